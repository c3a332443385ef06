"""Under which protocol a result was measured: results of different protocols are not comparable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from fusion._version import __version__
from fusion.data.dataset import Dataset
from fusion.data.order import ORDER_RULE
from fusion.data.splits import Split
from fusion.errors import FingerprintError, explain
from fusion.queries import Queries
from fusion.ragged import Ragged

__all__ = ["FULL_CATALOGUE", "Fingerprint", "hash_queries", "require_same"]

FULL_CATALOGUE = "full catalogue"
#: libraries whose version is part of the protocol: splits and metrics are computed by them
PROTOCOL_LIBRARIES = ("recfusion", "numpy")
#: libraries that only models are made of: noted, but free to differ between rows of a table
MODEL_LIBRARIES = ("torch", "transformers", "sentence-transformers", "lightgbm", "scipy")

_WORDS = {
    "data": "the data set",
    "order": "the order of a user's events",
    "split": "the split",
    "seen": "whether seen items are excluded",
    "candidates": "the candidate set",
    "queries": "the queries or their targets",
}


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What was measured on, and how.

    Attributes:
        data: `Dataset.fingerprint` of the whole data set.
        order: the rule for the order of a user's events.
        split: kind and parameters, as text.
        seen: ``"excluded"`` or ``"included"``: items of the query's history.
        candidates: what was ranked; this project only ranks the full catalogue.
        queries: hash of queries and targets.
        versions: (library, version) pairs, sorted.
        config: hash of the engine's configuration; ``""`` where there is none.
    """

    data: str
    order: str
    split: str
    seen: str
    candidates: str
    queries: str
    versions: tuple[tuple[str, str], ...]
    config: str = ""

    @classmethod
    def of(cls, data: Dataset, split: Split, *, config: str = "") -> Fingerprint:
        """The fingerprint of a full ranking of ``split.queries``, with the versions installed here.

        Args:
            data: what ``split`` was made from.
            split: its queries say whether seen items are excluded.
            config: the configuration's hash.
        """
        params = ", ".join(f"{name}={value}" for name, value in sorted(split.params.items()))
        open_door = (
            len(split.queries.excluded.values) == 0 and len(split.queries.history.values) > 0
        )
        return cls(
            data=data.fingerprint,
            order=ORDER_RULE,
            split=f"{split.kind}({params})",
            seen="included" if open_door else "excluded",
            candidates=FULL_CATALOGUE,
            queries=hash_queries(split.queries, split.targets),
            versions=_installed(),
            config=config,
        )

    @property
    def protocol(self) -> str:
        """SHA-256 over all that must be equal inside one table: not config, not model libraries."""
        return _hash(self._protocol_fields())

    @property
    def digest(self) -> str:
        """SHA-256 over all fields."""
        return _hash(asdict(self))

    def _protocol_fields(self) -> dict[str, str]:
        own = {name: str(getattr(self, name)) for name in _WORDS}
        found = dict(self.versions)
        return own | {f"{name} version": found.get(name, "none") for name in PROTOCOL_LIBRARIES}

    def differences(self, other: Fingerprint) -> list[str]:
        """In words, what of the protocol differs from ``other``'s; empty if nothing does."""
        mine, theirs = self._protocol_fields(), other._protocol_fields()
        return [
            f"{_WORDS.get(name, 'the ' + name)} ({_short(ours)} against {_short(theirs[name])})"
            for name, ours in mine.items()
            if ours != theirs[name]
        ]

    def to_json(self) -> dict[str, Any]:
        """Ready for ``json.dumps``, with both hashes for the reader."""
        return {
            **asdict(self),
            "versions": dict(self.versions),
            "protocol": self.protocol,
            "digest": self.digest,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Fingerprint:
        """What `to_json` gave.

        Raises:
            FingerprintError: a field is missing, or the fields do not have the hash they came with.
        """
        names = [f.name for f in fields(cls)]
        missing = [name for name in (*names, "digest") if name not in value]
        if missing:
            raise FingerprintError(explain("fingerprint", f"fields {names}", f"no {missing}"))
        own = {name: value[name] for name in names}
        own["versions"] = tuple(sorted(dict(own["versions"]).items()))
        found = cls(**own)
        if found.digest != value["digest"]:
            raise FingerprintError(
                explain("fingerprint", f"hash {value['digest']}", found.digest, "measure again")
            )
        return found


def require_same(fingerprints: Sequence[Fingerprint], names: Sequence[str] | None = None) -> None:
    """Make sure that results may stand side by side.

    Args:
        fingerprints: one a result.
        names: what to call the results; by default their number.

    Raises:
        FingerprintError: two protocols; the message says in words what differs, and between which.
    """
    called = list(names) if names is not None else [f"result {n}" for n in range(len(fingerprints))]
    for name, fingerprint in zip(called[1:], fingerprints[1:], strict=True):
        found = fingerprints[0].differences(fingerprint)
        if found:
            raise FingerprintError(
                explain(
                    f"{called[0]!r} and {name!r}",
                    "one protocol",
                    f"differences in {'; '.join(found)}",
                    "measure both on the same data and split",
                )
            )


def hash_queries(queries: Queries, targets: Ragged) -> str:
    """SHA-256 over users, histories, exclusions, times of asking and targets, in their order."""
    digest = sha256()
    parts = (
        queries.users,
        queries.history.offsets,
        queries.history.values,
        queries.times,
        queries.now,
        queries.excluded.offsets,
        queries.excluded.values,
        targets.offsets,
        targets.values,
    )
    for part in parts:
        digest.update(f"{part.dtype.str}{part.shape}".encode())
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def _installed() -> tuple[tuple[str, str], ...]:
    """Versions from the packages' metadata: nothing heavy is imported to know them."""
    found = {"recfusion": __version__, "numpy": np.__version__}
    for name in MODEL_LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return tuple(sorted(found.items()))


def _hash(value: Mapping[str, Any]) -> str:
    parts = "\x1e".join(f"{name}\x1f{value[name]}" for name in sorted(value))
    return sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()


def _short(text: str) -> str:
    looks_like_hash = len(text) == 64 and set(text) <= set("0123456789abcdef")
    return text[:12] if looks_like_hash else text
