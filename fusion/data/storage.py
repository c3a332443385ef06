"""A `Dataset` as two Parquet files and a small JSON, inside a saved engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fusion.artifacts import read_arrays, read_json, write_arrays, write_json
from fusion.data.dataset import Catalog, Dataset, Interactions
from fusion.data.vocabulary import Vocabulary

__all__ = ["load_dataset", "save_dataset"]


def save_dataset(folder: Path, data: Dataset) -> None:
    """Write ``data`` into ``folder``; `load_dataset` gives an equal one (same fingerprint)."""
    catalog, events = data.catalog, data.interactions
    columns: dict[str, Any] = {
        "item_id": pa.array(catalog.ids, pa.string()),
        "text": pa.array(catalog.texts, pa.string()),
        "title": pa.array(catalog.titles, pa.string()),
        # other fields are of any kind (text, lists, numbers), so each value is a JSON text
        "fields": pa.array(
            [
                json.dumps(dict(zip(catalog.fields, row, strict=True)), default=str)
                for row in (
                    zip(*catalog.fields.values(), strict=True)
                    if catalog.fields
                    else ((),) * len(catalog)
                )
            ],
            pa.string(),
        ),
    }
    pq.write_table(pa.table(columns), folder / "catalog.parquet")
    pq.write_table(
        pa.table({"user_id": pa.array(data.users.ids, pa.string())}), folder / "users.parquet"
    )
    write_arrays(
        folder / "interactions.safetensors",
        {
            "users": events.users,
            "items": events.items,
            "times": events.times,
            "ratings": events.ratings,
        },
    )
    write_json(folder / "report.json", dict(data.report))


def load_dataset(folder: Path) -> Dataset:
    """What `save_dataset` wrote."""
    table = pq.read_table(folder / "catalog.parquet")
    fields = [json.loads(row) for row in table["fields"].to_pylist()]
    names = list(fields[0]) if fields else []
    catalog = Catalog(
        Vocabulary("item", table["item_id"].to_pylist()),
        tuple(table["text"].to_pylist()),
        tuple(table["title"].to_pylist()),
        {name: tuple(row[name] for row in fields) for name in names},
    )
    arrays = read_arrays(folder / "interactions.safetensors")
    users = pq.read_table(folder / "users.parquet")["user_id"].to_pylist()
    events = Interactions(
        arrays["users"].astype(np.int32, copy=False),
        arrays["items"].astype(np.int32, copy=False),
        arrays["times"],
        arrays["ratings"],
    )
    return Dataset(Vocabulary("user", users), catalog, events, read_json(folder / "report.json"))
