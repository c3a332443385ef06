"""Reading and writing a model's own files: safetensors for arrays, JSON for the rest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "floats_from_json",
    "floats_to_json",
    "read_arrays",
    "read_json",
    "write_arrays",
    "write_json",
]


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write named arrays as one safetensors file (dtypes and shapes are kept)."""
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """What `write_arrays` wrote."""
    from safetensors.numpy import load_file

    return dict(load_file(path))


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys."""
    path.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False), "utf-8")


def read_json(path: Path) -> Any:
    """What `write_json` wrote."""
    return json.loads(path.read_text("utf-8"))


def floats_to_json(values: npt.NDArray[np.float64]) -> list[float | None]:
    """A flat array as JSON knows it: NaN is null."""
    return [None if np.isnan(value) else float(value) for value in values]


def floats_from_json(values: Sequence[float | None]) -> npt.NDArray[np.float64]:
    """What `floats_to_json` gave."""
    return np.array([np.nan if value is None else value for value in values], np.float64)
