"""The GPT scorer beside what one writes first with Hugging Face: one by one, and padded batches.

``gpt.py`` scores 100 candidates of real MovieLens titles (about 10 tokens) after a history of about
220 tokens with SmolLM2-135M: one forward pass a candidate in fp32, padded batches of 16 in bf16,
our packed pass, and our packed pass for the second request of the same user, whose candidates are
new and whose history is cached. All give mean log-likelihoods; in fp32 they must agree to 1e-4.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from data import asked, movielens
from timing import arguments, finish, in_turns, note, ratio_row, table

from fusion.candidates import Candidates
from fusion.protocols import FitContext
from fusion.queries import Queries
from fusion.work import counting
from rankers.device import measured_peak
from rankers.gpt import Gpt

EVENTS = 16  # about 220 tokens


def main() -> None:
    """Read the options, run, print."""
    parser = arguments(__doc__, "gpt")
    parser.add_argument("--candidates", type=int, default=100)
    parser.add_argument("--events", type=int, default=EVENTS, help="events of the history")
    args = parser.parse_args()
    note("loading")
    exact, quick = ranker("float32", 0), ranker("bfloat16", 0)
    remembering = ranker("bfloat16", 256)
    queries, lists = asked(movielens(), 1, args.events, args.candidates * (args.repeat + 2))
    parts = [part(lists, at * args.candidates, args.candidates) for at in range(args.repeat + 2)]
    first = parts[0]

    note("scores in float32 by both ways")
    one_by_one = naive(exact, queries, first)
    packed = exact.score(queries, first).values
    apart = float(np.abs(one_by_one - packed).max())

    remembering.score(queries, first)
    new = itertools.cycle(parts[1:])
    taken = in_turns(
        {
            "one by one, fp32": lambda: naive(exact, queries, first),
            "padded 16, bf16": lambda: padded(quick, queries, first, 16),
            "packed, fp32": lambda: exact.score(queries, first),
            "packed, bf16": lambda: quick.score(queries, first),
            "packed, bf16, history cached": lambda: remembering.score(queries, next(new)),
        },
        args.repeat,
    )
    with counting() as work:
        quick.score(queries, first)
    with counting() as again:
        remembering.score(queries, next(new))
    rows = []
    for ours, theirs, goal, counted in (
        ("packed, bf16", "one by one, fp32", 60, work),
        ("packed, bf16", "padded 16, bf16", 25, work),
        ("packed, bf16, history cached", "padded 16, bf16", 30, again),
        ("packed, fp32", "one by one, fp32", None, work),
    ):
        row = ratio_row(f"GPT, {ours}", theirs, taken, ours, theirs, goal, **counted.counts)
        peak = measured_peak(str(quick._device), "float32" if "fp32" in ours else "bfloat16")
        row["share_of_peak"] = row["flops"] / (row["ours_ms"] / 1e3) / peak
        rows.append(row)
    text = table(rows)
    text += f"largest difference in float32: {apart:.1e} (at most 1e-4)\n"
    for name, counted in (("packed", work), ("history cached", again)):
        text += f"{name}: " + ", ".join(f"{k} {v:,.0f}" for k, v in counted.counts.items()) + "\n"
    text += "".join(
        f"{row['work']}: {100 * row['share_of_peak']:.0f} % of the measured peak\n" for row in rows
    )
    found = {
        "rows": rows,
        "largest_difference_fp32": apart,
        "history_tokens": len(exact._prompts.sequence(queries.history[0])),
        "candidate_tokens": float(np.mean([len(exact._prompts.items[i]) for i in first.items])),
    }
    finish(args, "gpt", found, text)
    if apart > 1e-4:
        raise SystemExit("the packed scores differ from the naive ones")


def ranker(dtype: str, cache_mb: int) -> Gpt:
    """SmolLM2 as it is; the log-likelihood after the history alone, which the naive loops give."""
    model = Gpt(
        {
            "tune": "none",
            "dtype": dtype,
            "unconditional": 0,
            "prompt": {"history": 200},
            "cache_mb": cache_mb,
        },
        name="gpt",
    )
    model.fit(movielens(), FitContext())
    return model


def part(lists: Candidates, start: int, count: int) -> Candidates:
    """``count`` candidates of the only query."""
    items = np.sort(np.random.default_rng(1).permutation(lists.items)[start : start + count])
    return Candidates.bare(np.array([0, count]), items)


def sequences(model: Gpt, queries: Queries, candidates: Candidates) -> list[Any]:
    """The tokens of history and item, of each candidate."""
    history = model._prompts.sequence(queries.history[0])
    return [(history, model._prompts.items[item]) for item in candidates.items]


@torch.inference_mode()
def naive(model: Gpt, queries: Queries, candidates: Candidates) -> npt.NDArray[np.float32]:
    """One forward pass a candidate."""
    causal, out = model._reader.model, []  # type: ignore[union-attr]
    for history, item in sequences(model, queries, candidates):
        tokens = torch.from_numpy(np.concatenate([history, item]))[None].to(causal.device)
        logits = causal(input_ids=tokens).logits[0, len(history) - 1 : -1].float()
        chosen = logits.log_softmax(-1).gather(1, tokens[0, len(history) :, None])
        out.append(float(chosen.mean()))
    return np.array(out, np.float32)


@torch.inference_mode()
def padded(
    model: Gpt, queries: Queries, candidates: Candidates, size: int
) -> npt.NDArray[np.float32]:
    """Right-padded batches of ``size``, in the order the candidates come in."""
    causal, out = model._reader.model, []  # type: ignore[union-attr]
    rows = sequences(model, queries, candidates)
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        longest = max(len(h) + len(i) for h, i in batch)
        tokens = torch.zeros(len(batch), longest, dtype=torch.long)
        there = torch.zeros_like(tokens)
        for at, (history, item) in enumerate(batch):
            row = torch.from_numpy(np.concatenate([history, item]))
            tokens[at, : len(row)], there[at, : len(row)] = row, 1
        tokens, there = tokens.to(causal.device), there.to(causal.device)
        logits = causal(input_ids=tokens, attention_mask=there).logits
        for at, (history, item) in enumerate(batch):
            stop = len(history) + len(item)
            mine = logits[at, len(history) - 1 : stop - 1].float().log_softmax(-1)
            out.append(float(mine.gather(1, tokens[at, len(history) : stop, None]).mean()))
    return np.array(out, np.float32)


if __name__ == "__main__":
    main()
