from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fusion.errors import DataError
from rankers.bert_token_store import TokenStore

LENGTHS = np.array([2, 0, 3, 1])
ROWS = np.arange(12, dtype=np.float16).reshape(6, 2)


def filled() -> TokenStore:
    store = TokenStore(LENGTHS, 2)
    store.put(np.array([3, 0]), ROWS[[5, 0, 1]])  # in any order
    store.put(np.array([2]), ROWS[2:5])
    store.close()
    return store


def test_items_come_in_the_order_that_they_are_asked_for() -> None:
    vectors, lengths = filled().gather(np.array([2, 1, 0], np.int32))
    assert vectors.tolist() == ROWS[[2, 3, 4, 0, 1]].tolist()
    assert lengths.tolist() == [3, 0, 2]


def test_a_copy_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "vectors.f16"
    filled().copy(path)
    assert [file.name for file in tmp_path.iterdir()] == ["vectors.f16"]
    store = TokenStore.open(path, LENGTHS, 2)
    assert store.gather(np.arange(4, dtype=np.int32))[0].tolist() == ROWS.tolist()
    assert isinstance(store._vectors, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        store.put(np.array([3]), ROWS[:1])


def test_a_file_of_another_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vectors.f16"
    filled().copy(path)
    with pytest.raises(DataError, match=r"36 bytes, \(6, 3\) in float16, got 24"):
        TokenStore.open(path, LENGTHS, 3)


def test_a_temporary_file_goes_with_its_store() -> None:
    store = filled()
    path = store._path
    assert path.is_file()
    del store
    assert not path.parent.exists()
