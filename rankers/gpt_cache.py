"""Keys and values of histories, kept from one request to the next.

A user who comes back has the same history, or the same with one more event behind it: its keys and
values need no computing. What is kept is found by the longest common run of first tokens, and the
least recently used goes first when the bytes exceed the limit. It is prefix caching as in Zheng et
al., "SGLang: Efficient Execution of Structured Language Model Programs", NeurIPS 2024, section 3,
https://arxiv.org/abs/2312.07104; few and long histories need no tree for it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

__all__ = ["Entry", "HistoryCache"]

Ints = npt.NDArray[np.int64]
#: shorter runs are not worth the copying
_WORTH = 16


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One history.

    Attributes:
        tokens: (H,) int64.
        layers: one tensor (2, heads, H, D) a layer: keys and values, positions applied.
        last: (D,) final hidden state of its last token, from which every candidate goes on.
    """

    tokens: Ints
    layers: Sequence[torch.Tensor]
    last: torch.Tensor

    @property
    def bytes(self) -> int:
        """Of everything that it holds."""
        last = int(self.last.numel()) * int(self.last.element_size())
        return self.tokens.nbytes + last + self.token_bytes * len(self.tokens)

    @property
    def token_bytes(self) -> int:
        """Of one token's keys and values in all layers."""
        return sum(t[:, :, 0].numel() * t.element_size() for t in self.layers)


class HistoryCache:
    """Histories by their tokens, bounded in bytes; for one thread at a time.

    Args:
        limit: bytes; 0 = keep nothing.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.bytes = limit, 0
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def on(self) -> bool:
        """Whether anything may be kept."""
        return self.limit > 0

    def find(self, tokens: Ints) -> tuple[Entry | None, int]:
        """What is known of a history, and of how many of its first tokens.

        The last token counts as known only where its hidden state is kept too: a history that is
        the beginning of a kept one has it computed again.
        """
        exact = self._entries.get(tokens.tobytes())
        if exact is not None:
            self._entries.move_to_end(tokens.tobytes())
            return exact, len(tokens)
        best, length = None, 0
        for key, entry in self._entries.items():
            common = _common(entry.tokens, tokens)
            if common > length:
                best, length = key, common
        length = min(length, len(tokens) - 1)
        if best is None or length < _WORTH:
            return None, 0
        self._entries.move_to_end(best)
        return self._entries[best], length

    def put(self, entry: Entry) -> None:
        """Keep ``entry``; it takes the place of those whose tokens it goes on from."""
        size, key = entry.bytes, entry.tokens.tobytes()
        if size > self.limit or len(entry.tokens) < _WORTH:
            return
        replaced = [k for k in self._entries if key.startswith(k)]
        for old in replaced:
            self.bytes -= self._entries.pop(old).bytes
        self._entries[key] = entry
        self.bytes += size
        while self.bytes > self.limit:
            self.bytes -= self._entries.popitem(last=False)[1].bytes

    def clear(self) -> None:
        """Forget everything: the model is another one now."""
        self._entries.clear()
        self.bytes = 0


def _common(one: Ints, other: Ints) -> int:
    n = min(len(one), len(other))
    differs = np.flatnonzero(one[:n] != other[:n])
    return int(differs[0]) if len(differs) else n
