"""Where downloads and derived files are kept."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder(*parts: str) -> Path:
    """A folder of the cache, made if it is not there.

    The root is the environment variable ``RECFUSION_CACHE``, else the user's cache folder of this
    operating system (``platformdirs.user_cache_dir("recfusion")``).

    Args:
        parts: sub-folders below the root, such as ``"data", "movielens"``.
    """
    root = os.environ.get("RECFUSION_CACHE")
    if not root:
        from platformdirs import user_cache_dir

        root = user_cache_dir("recfusion", appauthor=False)
    folder = Path(root).expanduser().joinpath(*parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
