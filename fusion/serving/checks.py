"""Is this an answer? What a model gave, checked against the contract before anybody uses it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.candidates import Candidates, Scores
from fusion.errors import DataError, ModelError, explain
from fusion.queries import Queries

__all__ = ["checked_list", "checked_scores"]

_WIDTH = np.int64(2) ** 32
#: cells of the largest table (queries x items, one byte each) that is made to look items up
_TABLE = 1 << 18


def checked_scores(name: str, given: Any, candidates: Candidates) -> Scores:
    """The answer of ``Model.score`` for the rows of ``candidates`` (N,), as float32.

    float64, float16 and integers are converted. A column of NaN only is an answer: the model
    knows nothing of these rows.

    Raises:
        ModelError: no `Scores`; another length; text, objects, booleans or complex numbers;
            infinities, also those that float32 makes of larger numbers; a reason that does not
            stand exactly where the score is NaN.
    """
    if not isinstance(given, Scores):
        raise _refused(name, "Scores from `score`", type(given).__name__)
    n = len(candidates)
    values = _floats(name, given.values, n)
    why = np.asarray(given.why)
    if why.shape != (n,) or why.dtype.kind not in "iu":
        raise _refused(name, f"{n} reasons (uint8)", f"{why.dtype} of shape {why.shape}")
    if (np.isnan(values) != (why != 0)).any():
        raise _refused(name, "a reason exactly where a score is NaN", "another")
    return Scores(values, why.astype(np.uint8, copy=False))


def checked_list(name: str, given: Any, queries: Queries, n_items: int) -> Candidates:
    """The answer of ``Retriever.retrieve``: one column called ``name`` over the same queries.

    Raises:
        ModelError: no `Candidates` of one column for these queries; scores as in
            `checked_scores`; items that are no integers, stand twice in a query, are not in the
            catalogue (0..``n_items`` - 1), or are among those that the query excludes.
    """
    if not isinstance(given, Candidates):
        raise _refused(name, "Candidates from `retrieve`", type(given).__name__)
    if given.models != (name,):
        raise _refused(name, f"one column called {name!r}", str(given.models))
    offsets, items = np.asarray(given.offsets), np.asarray(given.items)
    if offsets.shape != (len(queries) + 1,) or offsets.dtype.kind not in "iu":
        raise _refused(name, f"lists of {len(queries)} queries", f"offsets {offsets.shape}")
    if items.ndim != 1 or items.dtype.kind not in "iu":
        raise _refused(name, "item indices (int32)", f"{items.dtype} of shape {items.shape}")
    if len(items) and not (int(items.min()) >= 0 and int(items.max()) < n_items):
        got = str(int(items.min() if items.min() < 0 else items.max()))
        raise _refused(name, f"items of the catalogue, 0..{n_items - 1}", got)
    values = _floats(name, np.asarray(given.scores).reshape(-1), len(items))
    found = Candidates(
        offsets.astype(np.int64, copy=False),
        items.astype(np.int32, copy=False),
        values[:, None],
        given.models,
        given.why,
    )
    try:
        found.checked()
    except DataError as error:
        raise _refused(name, "Candidates as documented", str(error)) from error
    if _any_hidden(found, queries, n_items):
        raise _refused(name, "none of the excluded items", "some of them")
    return found


def _any_hidden(found: Candidates, queries: Queries, n_items: int) -> bool:
    """Whether any row is among those that its query excludes."""
    excluded = queries.excluded
    cells = len(queries) * n_items
    if cells <= _TABLE:  # a few queries: looking up is much quicker than sorting
        hidden = np.zeros(cells, bool)
        hidden[excluded.rows * n_items + excluded.values] = True
        return bool(hidden[found.rows * n_items + found.items].any())
    keys = excluded.rows * _WIDTH + excluded.values
    return bool(np.isin(found.rows * _WIDTH + found.items, keys).any())


def _floats(name: str, given: Any, n: int) -> npt.NDArray[np.float32]:
    values = np.asarray(given)
    if values.shape != (n,):
        raise _refused(name, f"{n} scores, one a candidate", f"shape {values.shape}")
    if values.dtype.kind not in "fiu":
        raise _refused(name, "scores that are numbers (float32)", str(values.dtype))
    with np.errstate(over="ignore"):
        column = values.astype(np.float32, copy=False)
    if np.isinf(column).any():
        raise _refused(name, "finite scores or NaN", f"{int(np.isinf(column).sum())} infinities")
    return column


def _refused(name: str, expected: str, got: str) -> ModelError:
    do = "correct the model, or set serving.on_model_error: skip"
    return ModelError(explain(f"model {name!r}", expected, got, do), model=name)
