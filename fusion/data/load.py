"""The ``data:`` section of a configuration, and loading what it names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError

from fusion.data.amazon import Version, load_amazon
from fusion.data.assemble import DatasetOptions
from fusion.data.dataset import Dataset
from fusion.data.movielens import Variant, load_movielens
from fusion.data.tables import TimestampUnit, load_tables
from fusion.data.template import DEFAULT_TEMPLATE
from fusion.errors import ConfigError, explain

__all__ = ["AmazonData", "DataConfig", "MovielensData", "TablesData", "load_data"]


class KCore(BaseModel):
    """Fewest events of a user and of an item."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user: int = Field(ge=1, description="fewest events of a user")
    item: int = Field(ge=0, description="fewest events of an item; 0 keeps items without any")


class _Common(BaseModel):
    """What every source takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    template: str = Field(DEFAULT_TEMPLATE, description="text of an item, from its fields")
    min_rating: float | None = Field(None, description="keep only events rated at least this")
    k_core: Annotated[int, Field(ge=1)] | KCore | None = Field(
        None, description="fewest events of a user and an item: a number, or {user: 5, item: 2}"
    )
    on_bad_rows: Literal["error", "skip"] = Field(
        "error", description="stop at the first malformed row, or leave them out and count them"
    )
    duplicates: Literal["last", "first", "error"] = Field(
        "last", description="which event of a repeated (user, item) pair stands"
    )

    def options(self) -> DatasetOptions:
        """As keyword arguments of a loader."""
        k = self.k_core
        return {
            "template": self.template,
            "min_rating": self.min_rating,
            "on_bad_rows": self.on_bad_rows,
            "duplicates": self.duplicates,
            "k_core": (k.user, k.item) if isinstance(k, KCore) else k,
        }


class MovielensData(_Common):
    """``source: movielens``; see `fusion.data.movielens.load_movielens`."""

    source: Literal["movielens"]
    variant: Variant = Field(description="which edition")
    path: str | None = Field(None, description="a local folder; null = the cache or a download")
    offline: bool = Field(False, description="never download")

    def load(self, base: Path, progress: bool) -> Dataset:
        """Load it; a relative path is taken from ``base``."""
        return load_movielens(
            self.variant,
            _under(base, self.path),
            offline=self.offline,
            progress=progress,
            **self.options(),
        )


class AmazonData(_Common):
    """``source: amazon``; see `fusion.data.amazon.load_amazon`."""

    source: Literal["amazon"]
    version: Version = Field(description="2014, 2018 or 2023")
    category: str | None = Field(None, description="the publisher's name, such as Beauty")
    path: str | None = Field(None, description="a local folder; null = the cache or a download")
    five_core: bool = Field(True, description="2014 and 2018: prefer the publisher's 5-core")
    with_items: bool = Field(True, description="read the file of the items")
    all_items: bool = Field(False, description="keep items that nobody reviewed")
    offline: bool = Field(False, description="never download")

    def load(self, base: Path, progress: bool) -> Dataset:
        """Load it; a relative path is taken from ``base``."""
        return load_amazon(
            _under(base, self.path),
            version=self.version,
            category=self.category,
            five_core=self.five_core,
            with_items=self.with_items,
            all_items=self.all_items,
            offline=self.offline,
            progress=progress,
            **self.options(),
        )


class TablesData(_Common):
    """``source: tables``; see `fusion.data.tables.load_tables`."""

    source: Literal["tables"]
    interactions: str = Field(description="a .csv, .tsv or .parquet file")
    items: str | None = Field(None, description="a .csv, .tsv or .parquet file; null = none")
    columns: dict[str, str] = Field(
        default_factory=dict, description="our column names to the interactions file's"
    )
    item_columns: dict[str, str] | None = Field(
        None, description="our column names to the items file's"
    )
    separator: str | None = Field(None, description="of text files; null = by the file's ending")
    encoding: Literal["utf-8", "latin-1", "cp1252"] = Field("utf-8", description="of text files")
    category_separator: str | None = Field(
        None, description="splits the categories of a text file into a list"
    )
    timestamp_unit: TimestampUnit = Field("s", description="what a number in timestamp counts")

    def load(self, base: Path, progress: bool) -> Dataset:
        """Load it; relative paths are taken from ``base``."""
        return load_tables(
            base / Path(self.interactions).expanduser(),
            _under(base, self.items),
            columns=self.columns,
            item_columns=self.item_columns,
            separator=self.separator,
            encoding=self.encoding,
            category_separator=self.category_separator,
            timestamp_unit=self.timestamp_unit,
            progress=progress,
            **self.options(),
        )


class DataConfig(RootModel[MovielensData | AmazonData | TablesData]):
    """Where data comes from; the key ``source`` says which other keys there are.

    >>> DataConfig.model_validate({"source": "movielens", "variant": "1m"}).root.variant
    '1m'
    """

    model_config = ConfigDict(frozen=True)

    root: MovielensData | AmazonData | TablesData = Field(discriminator="source")


def _under(base: Path, path: str | None) -> Path | None:
    return None if path is None else base / Path(path).expanduser()


def load_data(
    config: DataConfig | Mapping[str, Any],
    *,
    base: str | Path = ".",
    progress: bool = True,
) -> Dataset:
    """Load what ``config`` names.

    Args:
        config: checked, or a mapping of the same shape.
        base: the folder that relative paths are taken from, such as the YAML file's.
        progress: show bars on standard error.

    Raises:
        ConfigError: a mapping that is no data section; every fault with its key.
        DataError: as the loaders raise it.
    """
    if not isinstance(config, DataConfig):
        try:
            config = DataConfig.model_validate(dict(config))
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(map(str, fault['loc'])) or 'data'}: {fault['msg']}"
                for fault in error.errors()
            )
            raise ConfigError(explain("data", "a data section", faults)) from error
    return config.root.load(Path(base), progress)
