"""Relations between items: what the catalogue says goes with the asker's newest items."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fusion.artifacts import read_arrays, write_arrays
from fusion.data.dataset import Catalog, Dataset
from fusion.errors import DataError, explain
from fusion.protocols import FitContext, RetrieverConfig
from fusion.queries import Queries
from retrievers.history import history_matrix
from retrievers.linear import BlockRetriever, WarmItems

__all__ = ["LISTED", "SAME", "Relations", "RelationsConfig"]

#: fields that list related item ids, as the loaders and the common data sets call them
LISTED = (
    *("also_buy", "also_bought", "bought_together", "buy_after_viewing"),
    *("also_view", "also_viewed", "related", "similar"),
)
#: fields of which an equal value relates two items, and how much by default
SAME = {
    "series": 1.0,
    **dict.fromkeys(("author", "artist", "director", "actors", "brand"), 0.5),
    "categories": 0.1,
}
#: cells below this are what rounding leaves of an item's relation to itself; evidence is above
_ROUNDING = 1e-12

Weight = Annotated[float, Field(gt=0)]


class RelationsConfig(RetrieverConfig):
    """Options of `Relations`; the default weights are a judgement, not measured."""

    listed: dict[str, Weight] | None = Field(
        None,
        description="item fields that list ids of related items, and their weights; null = every "
        "known one that the items have (also_buy, also_view, bought_together...), weight 1",
    )
    same: dict[str, Weight] | None = Field(
        None,
        description="item fields whose equal values relate items, and their weights; null = those "
        "that the items have of series 1, author, artist, director, actors and brand 0.5, "
        "categories 0.1",
    )
    backward: float = Field(
        0.5, ge=0, le=1, description="how much a listed relation also counts the other way round"
    )
    newest: int = Field(10, ge=1, description="so many newest events are looked at")
    decay: float = Field(0.8, gt=0, le=1, description="weight a step back in the history")


class Relations(BlockRetriever):
    """One step from each of the newest items along the relations of the catalogue.

    ::

        score(j) = sum over the newest events h of decay ** steps_ago(h)
                   * sum over relations r of weight_r * P_r(h -> j)

    ``P_r`` is one step of a random walk. For a field that lists ids it goes to each listed item
    alike; an item that lists ``h`` counts ``backward`` of one that ``h`` lists. For a field of
    values it picks one of the values of ``h`` and then another item with that value: sharing a
    value with few items says more than sharing one with thousands. Item graphs walked like this:
    Gori and Pucci, "ItemRank", IJCAI 2007 (there to convergence; one step here).

    It needs no events: it finds items that nobody has met yet. Items without any relation are
    cold. Ids that the catalogue does not hold are passed over.

    Raises:
        DataError: from `fit`: a named field is not there, no item has a relation by it, or
            nothing was named and no known field is there.
    """

    Config: ClassVar[type[RelationsConfig]] = RelationsConfig

    _listed: Any  # (W, W) float64 csr_array: a step along the lists, weighted
    _member: Any  # (W, V) float64 csr_array: from an item to its values, weighted
    _spread: npt.NDArray[np.float64]  # (V,): from a value to each other item that has it

    def fit(self, data: Dataset, context: FitContext) -> None:
        """Read the relations of the catalogue."""
        catalog, config = data.catalog, self.config
        listed, same = config.listed, config.same
        if listed is None:
            listed = {name: 1.0 for name in LISTED if _any_listed(catalog, name)}
        if same is None:
            same = {name: weight for name, weight in SAME.items() if _any_shared(catalog, name)}
        for name in (*listed, *same):
            self._check(catalog, name)
        steps = _listed_steps(catalog, listed, config.backward, self.name)
        member, spread = _memberships(catalog, same, self.name)
        # an item is known if it leads to another one, or another one leads to it
        leads = steps.sum(axis=1) + steps.sum(axis=0) + member @ spread
        items = np.flatnonzero(leads > 0).astype(np.int32)
        if not len(items):
            fields = ", ".join(sorted(catalog.fields)) or "(none)"
            raise DataError(
                explain(
                    self.name,
                    "item fields that relate items, as also_buy, series, brand or categories",
                    f"the fields {fields}",
                    "name them under `listed` or `same`, or leave the retriever out",
                )
            )
        self._warm = WarmItems.of(items, data.n_items)
        self._listed = steps[items][:, items].tocsr()
        self._member, self._spread = member[items].tocsr(), spread

    def _check(self, catalog: Catalog, name: str) -> None:
        if name not in catalog.fields:
            known = sorted(catalog.fields)
            near = difflib.get_close_matches(name, known, n=1)
            raise DataError(
                explain(
                    self.name,
                    f"a field of the items out of {', '.join(known) or '(none)'}",
                    repr(name),
                    f"did you mean {near[0]!r}?" if near else "check the spelling",
                )
            )

    def _block(self, queries: Queries) -> npt.NDArray[np.float32]:
        warm, config = self._fitted(), self.config
        history = history_matrix(
            queries,
            warm.columns,
            len(warm),
            half_life=None if config.decay == 1 else float(-1 / np.log2(config.decay)),
            newest=config.newest,
        ).astype(np.float64)
        block: npt.NDArray[np.float64] = (history @ self._listed).toarray()
        if len(self._spread):
            values = (history @ self._member).multiply(self._spread).tocsr()
            block += (values @ self._pattern().T).toarray()
            # the walk goes to another item: take out the way back to where it came from
            block -= history.multiply(self._member @ self._spread).toarray()
        block[np.abs(block) < _ROUNDING] = 0
        return block.astype(np.float32)

    def _pattern(self) -> Any:
        """(W, V) float64 csr_array: 1 where an item has a value."""
        out = self._member.copy()
        out.data = np.ones(len(out.data))
        return out

    def save(self, folder: Path) -> None:
        """One safetensors file."""
        arrays: dict[str, npt.NDArray[Any]] = {
            "items": self._fitted().items,
            "spread": self._spread,
        }
        for name, matrix in (("listed", self._listed), ("member", self._member)):
            matrix.sort_indices()
            arrays[f"{name}.data"] = matrix.data
            arrays[f"{name}.indices"] = matrix.indices.astype(np.int32)
            arrays[f"{name}.indptr"] = matrix.indptr.astype(np.int64)
        write_arrays(folder / "relations.safetensors", arrays)

    def load(self, folder: Path, data: Dataset) -> None:
        """What `save` wrote."""
        from scipy.sparse import csr_array

        arrays = read_arrays(folder / "relations.safetensors")
        self._warm = WarmItems.of(arrays["items"], data.n_items)
        self._spread = arrays["spread"]
        width = len(self._warm)
        self._listed, self._member = (
            csr_array(
                tuple(arrays[f"{name}.{part}"] for part in ("data", "indices", "indptr")),
                shape=(width, columns),
            )
            for name, columns in (("listed", width), ("member", len(self._spread)))
        )


def _any_listed(catalog: Catalog, field: str) -> bool:
    """Whether the field names at least one item of the catalogue."""
    vocabulary = catalog.vocabulary
    return any(
        name in vocabulary for own in catalog.fields.get(field, ()) for name in _as_list(own)
    )


def _any_shared(catalog: Catalog, field: str) -> bool:
    """Whether two items have a value of the field in common."""
    seen: set[str] = set()
    for own in catalog.fields.get(field, ()):
        values = {str(value) for value in _as_list(own)}
        if values & seen:
            return True
        seen |= values
    return False


def _as_list(value: Any) -> Sequence[Any]:
    if value is None or value == "":
        return ()
    return value if isinstance(value, list | tuple) else (value,)


def _listed_steps(catalog: Catalog, listed: Mapping[str, float], backward: float, who: str) -> Any:
    """(I, I) float64 csr_array: the sum of the weighted one-step walks along the lists.

    Raises:
        DataError: a field holds no id of the catalogue.
    """
    from scipy.sparse import csr_array

    n = len(catalog)
    total = csr_array((n, n), dtype=np.float64)
    for field, weight in listed.items():
        pairs = [
            (source, target)
            for source, own in enumerate(catalog.fields[field])
            for target in {catalog.vocabulary.get(str(name)) for name in _as_list(own)}
            if target >= 0 and target != source
        ]
        if not pairs:
            raise DataError(
                explain(
                    f"{who}, field {field!r}",
                    "ids of other items of the catalogue",
                    "not one",
                    "if equal values relate the items, name the field under `same`",
                )
            )
        sources, targets = np.array(pairs, np.int64).T
        links = csr_array((np.ones(len(pairs)), (sources, targets)), shape=(n, n))
        # of two items that list each other neither counts more than one that is listed
        both = links.maximum(backward * links.T).tocsr()
        total = total + weight * _rows_to_one(both)
    return total.tocsr()


def _memberships(
    catalog: Catalog, same: Mapping[str, float], who: str
) -> tuple[Any, npt.NDArray[np.float64]]:
    """(I, V) csr_array of weighted memberships, and (V,) the chance of each other item of a value.

    The two are kept apart: their product has a cell for every pair of items that share a value,
    which for a category of thousands is millions.

    Raises:
        DataError: a field in which no two items share a value.
    """
    from scipy.sparse import csr_array, hstack

    n = len(catalog)
    blocks, spreads = [csr_array((n, 0), dtype=np.float64)], [np.empty(0)]
    for field, weight in same.items():
        codes: dict[str, int] = {}
        pairs = [
            (item, codes.setdefault(value, len(codes)))
            for item, own in enumerate(catalog.fields[field])
            for value in dict.fromkeys(map(str, _as_list(own)))
        ]
        items, values = np.array(pairs, np.int64).reshape(-1, 2).T
        sizes = np.bincount(values, minlength=len(codes))
        if not (sizes > 1).any():
            raise DataError(
                explain(
                    f"{who}, field {field!r}",
                    "a value that two items share",
                    "none",
                    "if it lists item ids, name the field under `listed`",
                )
            )
        links = csr_array((np.ones(len(pairs)), (items, values)), shape=(n, len(codes)))
        blocks.append(weight * _rows_to_one(links))
        spreads.append(np.where(sizes > 1, 1 / np.maximum(sizes - 1, 1), 0.0))
    return hstack(blocks, format="csr"), np.concatenate(spreads)


def _rows_to_one(matrix: Any) -> Any:
    """The rows divided by their sums; empty rows stay empty."""
    from scipy.sparse import diags_array

    totals = matrix.sum(axis=1)
    return diags_array(1 / np.where(totals > 0, totals, 1.0)) @ matrix
