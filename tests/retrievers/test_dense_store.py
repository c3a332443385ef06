import numpy as np
import pytest
from safetensors.numpy import load_file

from fusion.errors import CorruptArtifactError
from retrievers.dense_store import VectorStore

ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_later_rows_follow_the_base(dtype, tmp_path):
    store = VectorStore(ROWS[:3].astype(dtype))
    store.append(ROWS[3:])
    assert (len(store), store.width, store.dtype) == (4, 3, dtype)
    np.testing.assert_array_equal(store.take(np.array([3, 0, 3])), ROWS[[3, 0, 3]])
    np.testing.assert_array_equal(store.block(1, 4), ROWS[1:])
    np.testing.assert_array_equal(store.block(3, 4), ROWS[3:])
    assert store.take(np.array([0, 3])).dtype == np.float32

    store.write(tmp_path / "v.safetensors")
    again = VectorStore.read(tmp_path / "v.safetensors")
    np.testing.assert_array_equal(again.block(0, 4), ROWS)
    assert again.dtype == dtype
    np.testing.assert_array_equal(load_file(tmp_path / "v.safetensors")["vectors"], ROWS)


def test_what_is_read_is_mapped_not_loaded(tmp_path):
    VectorStore(ROWS).write(tmp_path / "v.safetensors")
    base = VectorStore.read(tmp_path / "v.safetensors")._base
    while base.base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)


@pytest.mark.parametrize("content", [b"", b"\x05\0\0\0\0\0\0\0nojson", b"\x02\0\0\0\0\0\0\0{}"])
def test_another_file_is_refused(content, tmp_path):
    (tmp_path / "v.safetensors").write_bytes(content)
    with pytest.raises(CorruptArtifactError, match="a file of vectors"):
        VectorStore.read(tmp_path / "v.safetensors")
