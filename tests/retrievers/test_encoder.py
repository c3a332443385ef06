import numpy as np
import pytest

from fusion.errors import ConfigError, MissingDataError
from retrievers.encoder import Encoder, unit, uses_bf16


@pytest.fixture(scope="module")
def encoder(tiny_encoder):
    return Encoder.load(tiny_encoder, "float32")


def ask(encoder, texts, tokens=16, **options):
    return encoder.encode(texts, **{"tokens": tokens, "batch_size": 2, "exact": True, **options})


def test_vectors_have_length_one_in_the_order_asked(encoder):
    texts = ["crime story", "space", "crime story", "war and music 1 2 3"]
    found = ask(encoder, texts)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_allclose(ask(encoder, texts[::-1]), found[::-1], atol=1e-6)


def test_no_texts(encoder):
    assert ask(encoder, []).shape == (0, 16)


def test_only_so_many_tokens_are_read(encoder):
    long = "crime comedy space war romance music"
    np.testing.assert_allclose(
        ask(encoder, [long], tokens=4), ask(encoder, ["crime comedy"]), atol=1e-6
    )  # [CLS] crime comedy [SEP]


def test_more_tokens_than_the_model_can_read_are_cut(encoder):
    assert np.isfinite(ask(encoder, ["crime " * 200], tokens=10_000)).all()


def test_save_keeps_what_the_model_can_read(encoder, tmp_path):
    before = ask(encoder, ["crime " * 20], tokens=40)
    encoder.reading(4)
    encoder.save(tmp_path)
    again = Encoder.load(tmp_path, "float32")
    np.testing.assert_allclose(ask(again, ["crime " * 20], tokens=40), before, atol=1e-6)


def test_bfloat16_is_near_and_float32_is_used_where_exactness_is_asked(tiny_encoder, encoder):
    half = Encoder.load(tiny_encoder, "bfloat16")
    texts = ["crime story", "space war"]
    full = ask(encoder, texts)
    np.testing.assert_array_equal(ask(half, texts), full)
    rounded = ask(half, texts, exact=False)
    assert not np.array_equal(rounded, full)
    np.testing.assert_allclose((rounded * full).sum(axis=1), 1, atol=0.01)


@pytest.mark.parametrize(
    ("precision", "device", "expected"),
    [("bfloat16", "cpu", True), ("float32", "cpu", False), ("auto", "mps", False)],
)
def test_precision(precision, device, expected):
    assert uses_bf16(precision, device) is expected


def test_auto_precision_asks_the_hardware(monkeypatch):
    import torch

    for able, expected in [({"amx_bf16": True}, True), ({"avx2": True}, False), ({}, False)]:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda able=able: able)
        assert uses_bf16("auto", "cpu") is expected


def test_a_missing_model_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(MissingDataError, match="nowhere"):
        Encoder.base(str(tmp_path / "nowhere"))


def test_a_gguf_file_is_no_encoder(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(ConfigError, match="GGUF"):
        Encoder.base(str(tmp_path / "model.gguf"))


def test_unit_leaves_zero_alone():
    np.testing.assert_allclose(unit(np.array([[3, 4], [0, 0]], np.float32)), [[0.6, 0.8], [0, 0]])
