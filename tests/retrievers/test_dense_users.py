import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.queries import Queries
from fusion.ragged import Ragged
from retrievers import dense_users
from retrievers.dense_store import VectorStore
from retrievers.dense_users import mean_users, readable_history

rng = np.random.default_rng(0)
VECTORS = rng.normal(size=(20, 4)).astype(np.float32)
STORE = VectorStore(VECTORS)
COLUMNS = np.where(np.arange(30) < 20, np.arange(30)[::-1] - 10, -1).astype(np.int32)


def naive(history: list[int], half_life: float | None) -> np.ndarray:
    known = [item for item in history if COLUMNS[item] >= 0]
    out = np.zeros(4)
    for age, item in enumerate(reversed(known)):
        out += (1 if half_life is None else 0.5 ** (age / half_life)) * VECTORS[COLUMNS[item]]
    return out / (np.linalg.norm(out) or 1)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.lists(st.integers(0, 29), max_size=80), min_size=1, max_size=5),
    st.sampled_from([0.5, 1.0, 7.0, None]),
)
def test_the_mean_is_the_loop_and_a_batch_is_its_queries(histories, half_life):
    queries = readable_history(Queries.from_history(Ragged.of(histories)), COLUMNS)
    found = mean_users(queries, COLUMNS, STORE, half_life)
    for q, history in enumerate(histories):
        np.testing.assert_allclose(found[q], naive(history, half_life), atol=1e-4)
        alone = mean_users(queries.take(np.array([q])), COLUMNS, STORE, half_life)
        np.testing.assert_array_equal(alone[0], found[q])


def test_long_batches_are_done_in_parts(monkeypatch):
    histories = [rng.integers(0, 20, size).tolist() for size in (9, 0, 30, 1, 2)]
    queries = Queries.from_history(Ragged.of(histories))
    whole = mean_users(queries, COLUMNS, STORE, None)
    monkeypatch.setattr(dense_users, "SCRATCH", 8 * 4 * 10)  # ten events at once
    np.testing.assert_array_equal(mean_users(queries, COLUMNS, STORE, None), whole)


def test_only_the_newest_vectors_are_read():
    queries = Queries.from_history(Ragged.of([[0] * 1_000 + [1]]))
    read = []

    class Watched(VectorStore):
        def take(self, rows):
            read.extend(rows)
            return super().take(rows)

    mean_users(queries, COLUMNS, Watched(VECTORS), 1.0)
    assert len(read) == 32  # older ones weigh less than 2 ** -32
