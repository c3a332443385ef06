"""A process that fits an engine and answers when it is told to: one side of a comparison.

It uses the interface that every version of this project has (and `warm_up` where there is one), so
`serving.py` can start it on another checkout (``PYTHONPATH``) and let two versions take turns.
Standard input: a line of JSON ``[user, ...]`` a turn. Standard output: a line of JSON with the
users first, then for each turn the milliseconds of each request.
"""

from __future__ import annotations

import json
import sys
import time

from fusion import Engine
from fusion.config import EngineConfig
from fusion.data.load import load_data


def main() -> None:
    """Fit what ``argv[1]`` (a JSON file of the configuration) says, then answer."""
    with open(sys.argv[1], encoding="utf-8") as file:
        config = EngineConfig.from_mapping(json.load(file))
    assert config.data is not None
    data = load_data(config.data)
    engine = Engine.from_config(config)
    engine.fit(data)
    if hasattr(engine, "warm_up"):  # not in every version
        engine.warm_up()
    say(list(data.users.ids))
    for line in sys.stdin:
        taken = []
        for user in json.loads(line):
            start = time.perf_counter()
            engine.recommend(user, k=10)
            taken.append(1e3 * (time.perf_counter() - start))
        say(taken)


def say(value: object) -> None:
    """One line."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
