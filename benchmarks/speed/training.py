"""BERT fine-tuning steps beside the Hugging Face Trainer's default: fp32, one padded pair a row.

Both take the same examples in the same order from the same weights with the same optimiser: a
history with one item met next and seven sampled ones. The default reads each of the eight pairs as
a row of its own, padded to the longest of the batch, in fp32. Ours packs a history and its eight
items into one sequence, groups like lengths, and computes in bf16 where that is fast. With dropout
off, both losses are printed step by step: they are the same function.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from data import movielens
from timing import arguments, curves, finish, note, ratio_row, table

from fusion.protocols import FitContext
from rankers.bert import Bert
from rankers.bert_batches import Numbers, by_length, collator, draw_examples
from rankers.bert_examples import NO_ITEM, Examples, split_events
from rankers.bert_model import Net, make_batch
from rankers.device import best_device, quiet, working_dtype


def main() -> None:
    """Read the options, run, print."""
    parser = arguments(__doc__, "training")
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()
    note("loading")
    ours = Run(args.steps, grouped=True)
    theirs = Run(args.steps, grouped=False)
    taken: dict[str, list[float]] = {"packed": [], "padded": []}
    losses: dict[str, list[float]] = {}
    for turn in range(args.repeat + 1):
        note(f"turn {turn + 1} of {args.repeat + 1}")
        for name, run in (("packed", ours), ("padded", theirs)):
            seconds, losses[name] = run.train(packed=name == "packed")
            if turn:
                taken[name].append(seconds)
    same = theirs.losses_of(ours.order, args.steps)
    row = ratio_row(
        f"BERT fine-tuning, {args.steps} steps, packed, bf16 where native",
        "Trainer, fp32, padded pairs",
        taken,
        "packed",
        "padded",
        2.5,
    )
    gap = float(np.abs(np.array(losses["packed"]) - np.array(same)).max())
    text = table([row]) + "loss, packed: " + " ".join(f"{x:.4f}" for x in losses["packed"]) + "\n"
    text += "loss, padded: " + " ".join(f"{x:.4f}" for x in same) + "\n"
    text += f"largest difference of a step's loss on the same batches: {gap:.4f}\n"
    found = {"rows": [row], "losses": {"packed": losses["packed"], "padded": same}, "gap": gap}
    steps = list(range(1, args.steps + 1))
    series = {"packed": (steps, losses["packed"]), "padded fp32": (steps, same)}
    finish(args, "training", found, text, lambda figure: curves(figure, series, "step", "loss"))


class Run:
    """The same examples for both ways of training."""

    def __init__(self, steps: int, *, grouped: bool) -> None:
        self.ranker = Bert(
            {"max_steps": 0, "dropout": 0.0, "history_tokens": 64, "item_tokens": 16}, name="bert"
        )
        data = movielens()
        self.ranker.fit(data, FitContext(seed=1))
        config, texts = self.ranker.config, self.ranker._texts
        rng = np.random.default_rng(0)
        events = split_events(data, texts.known, validation_users=0, rated=False, rng=rng)
        examples, _ = draw_examples(events, data, texts, config, rng, steps)
        self.events, self.texts, self.steps, self.config = events, texts, steps, config
        self.order = by_length(examples, events, texts, config.batch_size, rng)
        self.examples = self.order if grouped else examples

    def train(self, *, packed: bool) -> tuple[float, list[float]]:
        """Seconds and the loss of each step, from the pretrained weights."""
        return self._train(self.examples, packed=packed)

    def losses_of(self, examples: Examples, steps: int) -> list[float]:
        """The padded way's losses on these batches."""
        del steps
        return self._train(examples, packed=False)[1]

    def _train(self, examples: Examples, *, packed: bool) -> tuple[float, list[float]]:
        import copy
        import tempfile

        from transformers import Trainer, TrainerCallback, TrainingArguments

        net = copy.deepcopy(self.ranker._net)
        net.requires_grad_(True)
        net.encoder.get_input_embeddings().requires_grad_(False)
        model = net if packed else Pairs(net)
        collate = collator(examples, self.events, self.texts)
        if not packed:
            collate = self._pairs(examples)
        taken: list[float] = []

        class Clock(TrainerCallback):  # type: ignore[misc]
            """The time of the steps alone."""

            def on_train_begin(self, *_: Any, **__: Any) -> None:
                taken.append(time.perf_counter())

            def on_train_end(self, *_: Any, **__: Any) -> None:
                taken.append(time.perf_counter())

        bf16 = packed and working_dtype("auto") == torch.bfloat16
        with tempfile.TemporaryDirectory() as folder, quiet():
            trainer = Trainer(
                model=model,
                args=TrainingArguments(
                    output_dir=folder,
                    max_steps=self.steps,
                    per_device_train_batch_size=self.config.batch_size,
                    learning_rate=self.config.learning_rate,
                    use_cpu=best_device().type == "cpu",
                    bf16=bf16,
                    logging_steps=1,
                    report_to="none",
                    save_strategy="no",
                    disable_tqdm=True,
                    seed=1,
                    dataloader_pin_memory=best_device().type != "cpu",
                    remove_unused_columns=False,
                    label_names=["labels"],
                    train_sampling_strategy="sequential",
                ),
                train_dataset=Numbers(len(examples)),
                data_collator=collate,
                callbacks=[Clock()],
            )
            from transformers import PrinterCallback

            trainer.remove_callback(PrinterCallback)
            trainer.train()
        losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
        return taken[1] - taken[0], losses

    def _pairs(self, examples: Examples) -> Any:
        texts, events = self.texts, self.events

        def collate(numbers: Any) -> dict[str, torch.Tensor]:
            at = np.asarray(numbers, np.int64)
            histories, items = [], []
            kept = examples.items[at] != NO_ITEM
            for row, few in zip(examples.rows[at].tolist(), examples.items[at], strict=True):
                history = texts.history(events.history(row))
                for item in few[few != NO_ITEM].tolist():
                    histories.append(history)
                    items.append([texts.candidate(item)])
            batch = make_batch(histories, items, texts.pad)
            return {
                "tokens": batch.tokens,
                "positions": batch.positions,
                "segments": batch.segments,
                "labels": torch.from_numpy(examples.labels[at][kept][:, None]),
            }

        return collate


class Pairs(torch.nn.Module):  # type: ignore[misc]
    """The same network, one pair a row."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def forward(
        self,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        segments: torch.Tensor,
        labels: torch.Tensor,
    ) -> Any:
        """As `Net.forward`."""
        return self.net(tokens, positions, segments, labels)


if __name__ == "__main__":
    main()
