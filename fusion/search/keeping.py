"""The disk that fitted models of many trials take, within a limit."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

__all__ = ["tidy"]


def tidy(folder: Path, varying: Collection[str], limit: float) -> None:
    """Forget fitted models of ``folder`` until those left take at most ``limit`` bytes.

    The oldest go first, and those that the search changes before those that all trials share.
    Checkpoints of models that are fitted by now go in any case.

    Args:
        folder: the working folder of `fusion.fitting.fit_models`; no trial runs in it now.
        varying: names of the models that a dimension changes.
        limit: in bytes.
    """
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    models = folder / "models"
    sizes = {kept: _bytes(kept) for kept in models.iterdir()} if models.is_dir() else {}

    def worth(kept: Path) -> tuple[bool, float]:
        return kept.name.rpartition("-")[0] not in varying, kept.stat().st_mtime

    total = sum(sizes.values())
    for kept in sorted(sizes, key=worth):
        if total <= limit:
            break
        shutil.rmtree(kept)
        total -= sizes[kept]


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
