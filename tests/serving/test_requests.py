from __future__ import annotations

from typing import Any

import pytest

from fusion.errors import DataError
from fusion.serving.requests import Recent, Request, checked_k


def test_the_digest_tells_requests_apart_and_depends_on_the_seed() -> None:
    asked = [
        Request.of("u1", None, 10, True),
        Request.of("u2", None, 10, True),
        Request.of("u1", None, 5, True),
        Request.of("u1", None, 10, False),
        Request.of(None, ["u1"], 10, True),
        Request.of(None, ["u1", "u2"], 10, True),
        Request.of(None, ["u2", "u1"], 10, True),
    ]
    digests = {request.digest(0) for request in asked}
    assert len(digests) == len(asked)
    assert all(len(digest) == 16 for digest in digests)
    assert digests == {request.digest(0) for request in asked}
    assert digests.isdisjoint({request.digest(1) for request in asked})


@pytest.mark.parametrize(
    ("user", "history", "k"),
    [(None, None, 1), ("u", ["i"], 1), (None, "i", 1), ("u", None, 0), ("u", None, True)],
)
def test_bad_requests_are_refused(user: Any, history: Any, k: Any) -> None:
    with pytest.raises(DataError):
        Request.of(user, history, k, True)


@pytest.mark.parametrize("k", [0, -1, 2.5, "3", None, True])
def test_k_is_a_whole_number(k: Any) -> None:
    with pytest.raises(DataError, match="whole number"):
        checked_k(k)


def test_recent_keeps_the_newest_in_order() -> None:
    recent = Recent(3)
    for n in range(5):
        recent.add(Request.of(f"u{n}", None, 1, True))
    assert [request.user_id for request in recent.last()] == ["u2", "u3", "u4"]
    assert [request.user_id for request in recent.last(2)] == ["u3", "u4"]
    assert recent.last(0) == []
