import numpy as np
import pytest

from fusion.work import counting
from retrievers import dense_encoding
from retrievers.dense_encoding import encoded
from retrievers.encoder import Encoder

TEXTS = [f"crime story {i % 8} space {i % 7}" for i in range(50)] + ["war", "crime story 0 space 0"]


class Killed(Exception):
    """The process ends here."""


@pytest.fixture(scope="module")
def encoder(tiny_encoder):
    return Encoder.load(tiny_encoder, "float32")


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(dense_encoding, "PIECE", 8)


def run(encoder, texts=TEXTS, folder=None, dtype="float32", **options):
    options = {"tokens": 16, "batch_size": 4, "progress": False, **options}
    return encoded(encoder, texts, dtype=dtype, folder=folder, **options)


@pytest.mark.parametrize("folder", [None, "work"])
@pytest.mark.parametrize(("dtype", "near"), [("float32", 1e-6), ("float16", 1e-3)])
def test_pieces_give_what_one_call_gives(encoder, tmp_path, folder, dtype, near):
    expected = encoder.encode(TEXTS, tokens=16, batch_size=4, exact=True)
    with run(encoder, folder=folder and tmp_path / folder, dtype=dtype) as vectors:
        assert vectors.dtype == dtype
    np.testing.assert_allclose(vectors, expected, atol=near)  # readable after the `with`
    np.testing.assert_array_equal(vectors[0], vectors[-1])  # the same text
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_large_catalogues_are_kept_in_a_file_without_a_name(encoder, monkeypatch):
    monkeypatch.setattr(dense_encoding, "IN_MEMORY", 100)
    with run(encoder) as vectors:
        assert isinstance(vectors, np.memmap)
    expected = encoder.encode(TEXTS, tokens=16, batch_size=4, exact=True)
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


def test_after_a_kill_only_the_rest_is_encoded(encoder, tmp_path, monkeypatch):
    unique = len(set(TEXTS))
    whole, calls = Encoder.encode, []

    def dies(self, texts, **options):
        if len(calls) == 3:
            raise Killed
        calls.append(len(texts))
        return whole(self, texts, **options)

    monkeypatch.setattr(Encoder, "encode", dies)
    with pytest.raises(Killed), run(encoder, folder=tmp_path):
        pass
    seen = []

    def watched(self, texts, **options):
        seen.extend(texts)
        return whole(self, texts, **options)

    monkeypatch.setattr(Encoder, "encode", watched)
    with run(encoder, folder=tmp_path) as vectors:
        pass
    assert len(seen) == unique - 3 * 8
    expected = whole(encoder, TEXTS, tokens=16, batch_size=4, exact=True)
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


@pytest.mark.parametrize(
    "change", [{"texts": ["other", *TEXTS[1:]]}, {"tokens": 5}, {"dtype": "float16"}]
)
def test_what_was_left_of_something_else_is_not_taken(encoder, tmp_path, monkeypatch, change):
    with pytest.raises(Killed), run(encoder, folder=tmp_path):
        raise Killed
    seen = []
    whole = Encoder.encode
    monkeypatch.setattr(
        Encoder, "encode", lambda self, texts, **o: seen.extend(texts) or whole(self, texts, **o)
    )
    with run(encoder, folder=tmp_path, **change):
        pass
    assert len(seen) == len(set(change.get("texts", TEXTS)))


def test_the_tokens_and_matrix_products_are_counted(encoder):
    with counting() as work:
        encoder.encode(["crime", "space war"], tokens=16, batch_size=2, exact=True)
    tokens = 2 * 4  # [CLS] space war [SEP], and the other padded to it
    # a layer: four of 16 x 16, two of 16 x 32; the pooler once a text
    products = 2 * tokens * (4 * 16 * 16 + 2 * 16 * 32) + 2 * 2 * 16 * 16
    attention = 4 * (2 * 4 * 4) * 16
    assert work.counts == {"tokens": tokens, "passes": 1, "flops": products + attention}
