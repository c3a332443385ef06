"""What the two RecTools peers share: data in our order, training that can be resumed, the run.

RecTools 0.19 (NumPy < 2) with PyTorch Lightning. Settings and the way of training are those of
RecTools' own public benchmark (github.com/blondered/bert4rec_repro, README, notes): its defaults
(256 factors, 2 blocks, 4 heads, dropout .2, softmax over the catalogue, batches of 128), at most
200 epochs, early stopping with a patience of 50 epochs on the recall of the last training event of
2,048 users drawn at random, the best epoch's weights. Other events of those users stay in training.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from exchange import Given, Stopwatch, arguments, cut, read_split, write_run
from pytorch_lightning import Callback, Trainer, seed_everything
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from rectools import Columns
from rectools.dataset import Dataset

__all__ = ["main"]

METRIC = "val_recall@10"
#: arguments that belong to the run's settings
NOTED = ("epochs", "patience", "validation_users", "precision", "seed")


def main(kind: Any, name: str, defaults: dict[str, Any], doc: str | None) -> None:
    """Train ``kind`` on the split that the arguments name; write one run.

    Args:
        kind: a transformer model of RecTools.
        name: of the run.
        defaults: settings of ``kind`` that differ from RecTools' own.
        doc: of the script.
    """
    parser = arguments(doc)
    parser.add_argument("--workdir", type=Path, help="for checkpoints; by default OUT/NAME.work")
    parser.add_argument("--epochs", type=int, default=200, help="at most")
    parser.add_argument("--patience", type=int, default=50, help="epochs without a better recall")
    parser.add_argument("--validation-users", type=int, default=2048, help="at most a quarter")
    parser.add_argument("--max-len", type=int, default=100, help="events of a history")
    parser.add_argument("--factors", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--accelerator", default="auto", help="cpu, gpu or auto")
    parser.add_argument("--precision", default="32-true", help="of Lightning, as bf16-mixed")
    args = parser.parse_args()
    warnings.filterwarnings("ignore", module="pytorch_lightning|rectools|pydantic")
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    torch.set_num_threads(args.threads)
    seed_everything(args.seed, workers=True, verbose=False)
    given, watch = read_split(args.split), Stopwatch()
    settings = {
        **defaults,
        "n_factors": args.factors,
        "session_max_len": args.max_len,
        "batch_size": args.batch_size,
    }
    model = kind(
        **settings,
        get_val_mask_func=newest,
        get_val_mask_func_kwargs={"most": args.validation_users, "seed": args.seed},
        recommend_torch_device="cuda" if args.accelerator == "gpu" else None,
    )
    folder = args.workdir or args.out / f"{name}.work"
    with watch("fit"):
        log = fit(model, events_of(given), folder, args)
    with watch("recommend"):
        run = recommend(model, given, args.k)
    write_run(
        args.out,
        name,
        run,
        given,
        packages=("RecTools", "torch", "pytorch-lightning", "numpy"),
        settings={**settings, **{name: getattr(args, name) for name in NOTED}},
        seconds=watch.seconds,
        more={"epochs": log},
    )


def events_of(given: Given) -> Dataset:
    """The training events; the time of each is its place in our order, so that ties stay."""
    return _dataset(given.users, given.items, given.place)


def fit(model: Any, dataset: Dataset, folder: Path, args: argparse.Namespace) -> list[Any]:
    """Train, going on from the last whole epoch in ``folder``; the best weights stay in ``model``.

    `TransformerModelBase.fit` cannot be told to go on from a checkpoint, so this takes its steps.

    Returns:
        One entry an epoch: its number, seconds on the clock and of computing, and validation
        recall, also of earlier sittings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    best = ModelCheckpoint(
        folder,
        "best-{epoch}",
        monitor=METRIC,
        mode="max",
        save_last=True,
        enable_version_counter=False,
    )
    told = Told(folder / "epochs.jsonl")
    trainer = Trainer(
        max_epochs=args.epochs,
        accelerator=args.accelerator,
        precision=args.precision,
        devices=1,
        deterministic=True,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[Recall(), told, EarlyStopping(METRIC, patience=args.patience, mode="max"), best],
    )
    model._trainer = trainer
    model._build_model_from_dataset(dataset)
    last = folder / "last.ckpt"
    model.fit_trainer = trainer
    trainer.fit(
        model.lightning_model,
        model.data_preparator.get_dataloader_train(),
        model.data_preparator.get_dataloader_val(),
        ckpt_path=last if last.is_file() else None,
    )
    model.is_fitted = model.lightning_model.is_fitted = True
    model.load_weights_from_checkpoint(best.best_model_path)
    return told.lines()


def recommend(model: Any, given: Given, k: int) -> Any:
    """The run: each query is a user of its own, who has met its history."""
    asked = given.asked
    place = np.arange(len(asked.items)) - asked.offsets[:-1][asked.rows]
    dataset = _dataset(asked.rows, asked.items, place)
    known = np.unique(asked.rows[np.isin(asked.items, model.data_preparator.get_known_item_ids())])
    found = model.recommend(known, dataset, k=k, filter_viewed=True)
    return cut(
        found[Columns.User].to_numpy(), found[Columns.Item].to_numpy(), found[Columns.Score], k
    )


def newest(interactions: pd.DataFrame, most: int, seed: int) -> np.ndarray:
    """(n,) bool: the newest event of ``most`` users drawn at random, of at most a quarter of them.

    Only of users with three events or more, so that two stay to learn from.
    """
    sizes = interactions.groupby(Columns.User)[Columns.Item].transform("size")
    latest = interactions.groupby(Columns.User)[Columns.Datetime].transform("max")
    last = np.flatnonzero((interactions[Columns.Datetime] == latest) & (sizes >= 3))
    chosen = np.random.default_rng(seed).choice(
        last, min(most, max(1, len(last) // 4)), replace=False
    )
    mask = np.zeros(len(interactions), bool)
    mask[chosen] = True
    return mask


class Recall(Callback):
    """Logs the share of validation users whose event is among the first ten unseen items."""

    def __init__(self) -> None:
        self.hits, self.users = 0, 0

    def on_validation_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, *_: Any, **__: Any
    ) -> None:
        """Count."""
        scores = outputs["logits"].reshape(len(batch["y"]), -1).clone()  # (B, extra + items)
        target = batch["y"].reshape(len(scores), -1)[:, -1:]  # (B, 1)
        own = scores.gather(1, target)
        scores[:, : len(module.item_extra_tokens)] = -torch.inf
        scores.scatter_(1, batch["x"], -torch.inf)
        self.hits += int(((scores > own).sum(1) < 10).sum())
        self.users += len(scores)

    def on_validation_epoch_end(self, trainer: Any, module: Any) -> None:
        """Log."""
        module.log(METRIC, self.hits / max(self.users, 1))
        self.hits, self.users = 0, 0


class Told(Callback):
    """Writes one line an epoch, so that a run that is killed has told how long an epoch takes."""

    def __init__(self, path: Path) -> None:
        self.path, self.start, self.busy = path, 0.0, 0.0

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        """Start the clock."""
        self.start, self.busy = time.perf_counter(), time.process_time()

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        """Write the line."""
        recall = trainer.callback_metrics.get(METRIC)
        line = {
            "epoch": trainer.current_epoch,
            "seconds": round(time.perf_counter() - self.start, 1),
            "cpu_seconds": round(time.process_time() - self.busy, 1),
            "recall": None if recall is None else round(float(recall), 5),
        }
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def lines(self) -> list[Any]:
        """All of them, one an epoch."""
        found = map(json.loads, self.path.read_text("utf-8").splitlines())
        return list({one["epoch"]: one for one in found}.values())


def _dataset(users: Any, items: Any, place: Any) -> Dataset:
    frame = {
        Columns.User: users,
        Columns.Item: items,
        Columns.Weight: 1.0,
        Columns.Datetime: pd.to_datetime(place, unit="s"),
    }
    return Dataset.construct(pd.DataFrame(frame))
