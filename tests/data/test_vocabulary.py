import numpy as np
import pytest

from fusion.data.vocabulary import Vocabulary
from fusion.errors import DataError, UnknownItemError, UnknownUserError


def test_an_index_is_the_place_in_ids() -> None:
    vocabulary = Vocabulary("item", ["b", "a", "007"])
    assert [vocabulary.index(name) for name in ("b", "a", "007")] == [0, 1, 2]
    assert vocabulary.indices(["007", "b"]).tolist() == [2, 0]
    assert vocabulary.indices(["b"]).dtype == np.int32
    assert len(vocabulary) == 3
    assert "a" in vocabulary
    assert vocabulary.get("zzz") == -1


def test_repeated_ids_are_refused() -> None:
    with pytest.raises(DataError, match="repeated"):
        Vocabulary("item", ["a", "a"])


@pytest.mark.parametrize(
    ("kind", "error"), [("user", UnknownUserError), ("item", UnknownItemError)]
)
def test_an_unknown_id_names_the_nearest(kind: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"'toy-stori'; nearest: 'toy-story'"):
        Vocabulary(kind, ["toy-story", "heat"]).index("toy-stori")


@pytest.mark.parametrize("name", [7, 7.0, None, b"7"])
def test_an_id_that_is_not_text_is_refused_with_what_to_pass(name: object) -> None:
    with pytest.raises(DataError, match="item_id: expected text") as caught:
        Vocabulary("item", ["7"]).index(name)  # type: ignore[arg-type]
    assert f"pass {str(name)!r}" in str(caught.value)
