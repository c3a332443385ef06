import pytest

from fusion.config import EngineConfig
from fusion.errors import ConfigError
from fusion.search import SearchSpace
from fusion.search.dimensions import Dimension, read_dimension


@pytest.fixture(scope="module")
def base() -> EngineConfig:
    return EngineConfig.from_mapping(
        {
            "retrievers": {"item_knn": {}, "popularity": {}, "item_transition": {"decay": 0.5}},
            "fusion": {
                "mode": "serial",
                "stages": [
                    {"models": ["item_knn", "popularity"], "keep": 20},
                    {"models": ["item_transition"], "method": "rrf"},
                ],
            },
        }
    )


def read(tmp_path, base, text) -> SearchSpace:
    path = tmp_path / "space.yaml"
    path.write_text(text, "utf-8")
    return SearchSpace.read(path, base)


def test_every_kind_of_dimension(tmp_path, base):
    space = read(
        tmp_path,
        base,
        """
retrievers.item_knn.half_life: {float: [1, 20], log: true}
retrievers.item_knn.k: {int: [10, 105], step: 10}
retrievers.item_transition.decay: {choice: [0.5, 0.9]}
fusion.stages.0.keep: {int: [10, 30]}
fusion.stages.1.method: {choice: [rrf, {name: weighted_sum}]}
stacking.events: {int: [1, 3]}
""",
    )
    assert [d.kind for d in space.dimensions] == [
        "float", "int", "choice", "int", "choice", "int"
    ]  # fmt: skip
    half_life, k, *_ = space.dimensions
    assert (half_life.low, half_life.high, half_life.log) == (1, 20, True)
    assert (k.low, k.high, k.step) == (10, 100, 10)  # 105 is not reached in steps of 10
    made = space.config({"retrievers.item_knn.k": 30, "fusion.stages.0.keep": 12})
    assert made.retrievers["item_knn"]["k"] == 30
    assert made.fusion["stages"][0]["keep"] == 12
    assert made.retrievers["item_knn"]["shrink"] == base.retrievers["item_knn"]["shrink"]
    assert base.retrievers["item_knn"]["k"] == 200  # the base is as it was


def test_bool_is_short_for_a_choice():
    assert read_dimension("a.b", "bool") == Dimension("a.b", "choice", choices=(True, False))


def test_the_start_is_what_the_base_says(base):
    space = SearchSpace.read(
        {
            "retrievers.item_knn.k": {"int": [10, 300], "step": 10},
            "retrievers.item_transition.decay": {"choice": [0.9, 0.5]},
        },
        base,
    )
    assert space.start == {
        "retrievers.item_knn.k": 200,
        "retrievers.item_transition.decay": "0.5",
    }
    shrink = Dimension("a", "choice", choices=(True, 5, 0))
    assert shrink.as_asked(5.0) == "5"
    assert shrink.as_asked(0.0) == "0"
    with pytest.raises(ValueError, match="1"):
        shrink.as_asked(1)
    outside = SearchSpace.read({"retrievers.item_knn.k": {"int": [10, 100]}}, base)
    assert outside.start is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("retrievers.item_kn.k: {int: [1, 9]}", r"did you mean 'retrievers\.item_knn'\?"),
        ("retrievers.item_knn.shrnk: {float: [1, 9]}", r"mean 'retrievers\.item_knn\.shrink'\?"),
        ("retriever.item_knn.k: {int: [1, 9]}", "did you mean 'retrievers'"),
        ("evaluation.k: {int: [1, 9]}", "does not change what is measured"),
        ("fusion.stages.7.keep: {int: [1, 9]}", "one of the keys 0, 1"),
        ("retrievers.item_knn.k.x: {int: [1, 9]}", "a mapping or a list at 'retrievers.item_knn.k"),
        ("fusion.mode: {choice: [serial, parallel]}", "give choices of 'fusion'"),
        ("retrievers.item_knn.k: {int: [0, 9]}", "greater than or equal to 1"),
        ("retrievers.item_knn.k: {choice: [5, many]}", "a whole number"),
        ("retrievers.item_knn.k: {int: [9, 1]}", "the lower number first"),
        ("retrievers.item_knn.k: {int: [1.5, 9]}", "two whole numbers"),
        ("retrievers.item_knn.shrink: {float: [0, 9], log: true}", "above 0 with log"),
        ("retrievers.item_knn.shrink: {float: [1, 9], log: 1}", "true or false"),
        ("retrievers.item_knn.shrink: {float: [1, 9], stepp: 1}", "did you mean 'step'"),
        ("retrievers.item_knn.shrink: {float: [1, 9], step: 0}", "above 0"),
        ("retrievers.item_knn.shrink: {choice: [1, 1]}", "different values"),
        ("retrievers.item_knn.shrink: 5", "one of {float"),
    ],
)
def test_what_is_wrong_is_told_with_its_line_before_anything_runs(tmp_path, base, line, said):
    with pytest.raises(ConfigError, match=said) as error:
        read(tmp_path, base, f"\n\n{line}\n")
    assert "space.yaml:3:" in str(error.value)


def test_all_faults_at_once(tmp_path, base):
    with pytest.raises(ConfigError, match="2 faults") as error:
        read(tmp_path, base, "a.b: bool\nretrievers.item_knn.k: {int: [5, 4]}\n")
    assert "space.yaml:1:1: a.b:" in str(error.value)
    assert "space.yaml:2:30: retrievers.item_knn.k.int:" in str(error.value)


def test_a_path_inside_of_another(base):
    space = {
        "retrievers.item_knn": {"choice": [{"type": "item_knn", "k": 5}]},
        "retrievers.item_knn.k": {"int": [1, 9]},
    }
    with pytest.raises(ConfigError, match=r"no path inside of 'retrievers\.item_knn'"):
        SearchSpace.read(space, base)


@pytest.mark.parametrize("text", ["[1, 2]", "{}", "", "a: [}"])
def test_what_is_no_space(tmp_path, base, text):
    with pytest.raises(ConfigError, match=r"space\.yaml"):
        read(tmp_path, base, text)


def test_a_file_that_is_not_there(tmp_path, base):
    with pytest.raises(ConfigError, match="check the path"):
        SearchSpace.read(tmp_path / "no.yaml", base)
