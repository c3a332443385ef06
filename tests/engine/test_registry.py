from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from fusion.errors import ConfigError, UnknownComponentError
from fusion.protocols import Component
from fusion.registry import GROUPS, known, resolve

BUILT_IN = {
    "retrievers": {"dense", "ease", "item_knn", "item_transition", "popularity", "relations"},
    "rankers": {"bert", "gpt"},
    "strategies": {"learned", "parallel", "serial", "single", "tuned"},
    "methods": {
        *("bayes_fuse", "borda", "comb_anz", "comb_gmnz", "comb_max", "comb_med", "comb_min"),
        *("comb_mnz", "comb_sum", "condorcet", "distribution_based", "isr", "log_isr", "logn_isr"),
        *("map_fuse", "mixed", "pos_fuse", "power_mean", "prob_fuse", "rbc", "rrf", "seg_fuse"),
        *("slide_fuse", "weighted_borda", "weighted_condorcet", "weighted_sum", "wmnz"),
    },
    "normalizations": {
        *("beta", "borda", "inverted_min_max", "isotonic", "l2", "log_softmax", "max", "min_max"),
        *("none", "platt", "quantile", "rank", "softmax", "sum", "z_score"),
    },
    "stackers": {
        *("blend", "gated", "greedy", "lambdamart", "lightgbm_binary", "lightgbm_regression"),
        *("linear", "logistic"),
    },
    "steps": {
        *("boost", "calibrated", "dpp", "epsilon", "filter", "mmr", "pin", "quota"),
        *("thompson", "xquad"),
    },
}
ALL = [(group, name) for group, names in BUILT_IN.items() for name in sorted(names)]


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Installs distributions that register components, as pip would, for one test."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(distribution: str, entry_points: str, code: str = "") -> None:
        info = tmp_path / f"{distribution}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
        )
        (info / "entry_points.txt").write_text(entry_points)
        (tmp_path / f"{distribution}.py").write_text(code)
        known.cache_clear()

    known.cache_clear()
    yield install
    known.cache_clear()
    for name in [name for name in sys.modules if name.startswith("acme_")]:
        del sys.modules[name]


MINE = """
from fusion.protocols import Method

class Mine(Method):
    def contributions(self, candidates, weights):
        return candidates.scores * weights
"""


@pytest.mark.parametrize("group", GROUPS)
def test_every_built_in_stands_behind_the_door_of_third_parties(group: str) -> None:
    assert set(known(group)) >= BUILT_IN[group]


@pytest.mark.parametrize(("group", "name"), ALL)
def test_a_built_in_is_complete_and_has_a_typed_config(group: str, name: str) -> None:
    found = resolve(group, name)
    assert issubclass(found, GROUPS[group])
    assert not inspect.isabstract(found)
    assert found.Config.model_config["extra"] == "forbid"
    assert found.Config.model_config["frozen"] is True


@pytest.mark.parametrize(("group", "name"), ALL)
def test_every_parameter_of_a_built_in_is_documented(group: str, name: str) -> None:
    """By itself, or by the docstring of the settings that it holds: editors show both."""
    fields = resolve(group, name).Config.model_fields
    bare = {field: info.annotation for field, info in fields.items() if not info.description}
    assert [
        field
        for field, kind in bare.items()
        if not (isinstance(kind, type) and issubclass(kind, BaseModel) and kind.__doc__)
    ] == []


def test_a_class_can_be_named_by_its_module() -> None:
    assert resolve("methods", "fusion.methods.rrf:RRF") is resolve("methods", "rrf")


def test_a_third_party_needs_nothing_but_an_entry_point(plug_in: Callable[..., None]) -> None:
    plug_in("acme_one", "[recfusion.methods]\nmine = acme_one:Mine\n", MINE)
    assert resolve("methods", "mine").__module__ == "acme_one"
    assert issubclass(resolve("methods", "mine"), Component)


def test_a_name_registered_twice_names_both_distributions(plug_in: Callable[..., None]) -> None:
    plug_in("acme_one", "[recfusion.methods]\nmine = acme_one:Mine\n", MINE)
    plug_in("acme_two", "[recfusion.methods]\nmine = acme_two:Mine\n", MINE)
    with pytest.raises(ConfigError, match=r"'mine' from acme_one and from acme_two"):
        known("methods")


def test_a_built_in_name_cannot_be_taken(plug_in: Callable[..., None]) -> None:
    plug_in("acme_one", "[recfusion.methods]\nrrf = acme_one:Mine\n", MINE)
    with pytest.raises(ConfigError, match=r"'rrf'.*acme_one.*recfusion|'rrf'.*recfusion.*acme_one"):
        resolve("methods", "rrf")


@pytest.mark.parametrize("name", ["Mine", "my-method", "1st", "a.b"])
def test_a_name_has_one_form(plug_in: Callable[..., None], name: str) -> None:
    plug_in("acme_one", f"[recfusion.methods]\n{name} = acme_one:Mine\n", MINE)
    with pytest.raises(ConfigError, match="a name like item_knn"):
        known("methods")


def test_an_unknown_name_lists_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(UnknownComponentError) as caught:
        resolve("retrievers", "eaze")
    for part in ("dense, ease, item_knn", "'eaze'", "did you mean 'ease'?"):
        assert part in str(caught.value)


def test_a_name_like_no_other_gets_no_guess() -> None:
    with pytest.raises(UnknownComponentError, match="check the spelling"):
        resolve("retrievers", "qqqqqqqq")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("no_such_module:Thing", "No module named"),
        ("fusion.methods.rrf:NoSuchClass", "no attribute"),
        ("fusion.methods.rrf:annotations", "a subclass of Method"),
        ("fusion.candidates:Candidates", "a subclass of Method"),
        ("retrievers.ease:Ease", "a subclass of Method"),
        (":", "importable module:Class"),
        (".relative:Class", "importable module:Class"),
    ],
)
def test_a_module_and_class_must_fit(name: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        resolve("methods", name)
