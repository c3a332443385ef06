"""From a data set and a recipe to trained weights: examples, objective, seeds, best weights."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from finetuning.augmentation import TextAugmenter
from finetuning.negatives import hard
from finetuning.propensity import weights as propensity_weights
from fusion.data.dataset import Dataset
from fusion.errors import DataError, explain
from fusion.protocols import FitContext
from rankers.device import working_dtype
from rankers.gpt_base import Base, load_model, load_tokenizer
from rankers.gpt_config import GptConfig
from rankers.gpt_examples import Example, Extras, examples
from rankers.gpt_lists import Lists
from rankers.gpt_modes import Mode, mode_of
from rankers.gpt_objectives import Both, Contrastive, Likelihood, Objective, Questions, Rating
from rankers.gpt_prompt import Prompts, item_texts
from rankers.gpt_reader import Reader
from rankers.gpt_rows import Mined
from rankers.gpt_training import train

__all__ = ["lesson", "objective_of", "pretrained", "run_name", "taught"]

log = logging.getLogger(__name__)


def lesson(
    config: GptConfig,
    data: Dataset,
    rest: Dataset,
    mode: Mode,
    tokenizer: Any,
    context: FitContext,
    rng: np.random.Generator,
    tokens: int,
) -> list[Example]:
    """Training rows of ``config``'s objective, of at most ``tokens`` tokens in all.

    Args:
        config: the recipe.
        data: everything that was met: no negative is among it.
        rest: what is learnt from.
        mode: how it will be asked.
        tokenizer: of the base model, for texts in other words.
        context: with the models that hard negatives come from.
        rng: of every choice.
        tokens: the budget.

    Raises:
        DataError: ratings are to be learnt, and there are none.
    """
    if config.goal == "rating" and not rest.has_ratings:
        raise DataError(
            explain("gpt objective: rating", "events with ratings", "none", "choose another")
        )
    prompts = mode.prompts
    extras = _extras(config, data, rest, mode, tokenizer, context, rng)

    def rows(kind: str, budget: int) -> list[Example]:
        return examples(
            rest,
            prompts,
            kind,
            max_tokens=budget,
            negatives=config.training.negatives,
            rng=rng,
            extras=extras,
        )

    if config.goal == "multi_task":
        told, asked = rows("likelihood", tokens // 2), rows("yes_no", tokens // 2)
        return [*told, *asked]
    return rows(config.goal if config.goal in _OWN_ROWS else config.score, tokens)


#: objectives whose rows are not those that the way of scoring asks for
_OWN_ROWS = ("likelihood", "rating", "contrastive")


def objective_of(config: GptConfig, prompts: Prompts, data: Dataset) -> Objective:
    """What is minimised on the rows of `lesson`."""
    goal = config.goal
    if goal == "likelihood":
        return Likelihood(keep=config.r_drop > 0)
    if goal == "rating":
        return Rating(prompts.answers)
    if goal == "contrastive":
        from finetuning.negatives import log_q

        own = config.embedding
        return Contrastive(own.pooling, own.center, own.scale, log_q(data.popularity))
    if goal == "multi_task":
        asked = Questions("pointwise", prompts.answers)
        return Both(Likelihood(), asked, config.task_weight)
    return Questions(goal, None if config.score == "listwise" else prompts.answers)


def pretrained(
    config: GptConfig, data: Dataset, base: Base, context: FitContext, seed: int, device: str
) -> Any:
    """The base model after further pre-training on the texts of ``data``, as it will be asked."""
    import torch

    from finetuning.pretraining import adapt_causal

    dtype = working_dtype(config.dtype, device)
    model = load_model(base.folder, torch.float32).to(device)
    adapt_causal(
        model,
        load_tokenizer(base.folder),
        [text for text in item_texts(data.catalog, config.item_text) if text],
        config.pretraining,
        seed=seed,
        bf16=dtype == torch.bfloat16,
        workdir=context.workdir,
        progress=context.progress,
        optimization=config.optimization,
    )
    return model.to(device, dtype).requires_grad_(False).eval()


def run_name(parts: Sequence[str], weights: Sequence[npt.NDArray[Any]]) -> str:
    """A folder's name that says everything that a training depends on.

    Args:
        parts: configuration, data, seed and the like.
        weights: what it goes on from.
    """
    digests = [sha256(np.ascontiguousarray(one).tobytes()).hexdigest() for one in weights]
    return f"gpt-{sha256('|'.join([*parts, *digests]).encode()).hexdigest()[:16]}"


def taught(
    model: Any,
    reader: Reader,
    rows: Sequence[Example],
    config: GptConfig,
    *,
    objective: Objective,
    tokens: int,
    evaluate: Callable[[], float] | None,
    half: bool,
    seed: int,
    workdir: Path | None,
    progress: bool,
) -> None:
    """Train ``model`` in place, ``config.seeds.count`` times from the same start, and average.

    Arguments as of `rankers.gpt_training.train`.
    """

    def once(number: int) -> None:
        report = train(
            model,
            reader,
            rows,
            config,
            objective=objective,
            tokens=tokens,
            evaluate=evaluate,
            half=half,
            seed=seed + number,
            workdir=workdir if not number or workdir is None else Path(f"{workdir}-{number}"),
            progress=progress,
        )
        log.info("gpt, training %d: %s", number, report)

    if config.seeds.count == 1:
        once(0)
        return
    import torch

    from finetuning.soup import soup

    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    start = {name: p.detach().clone() for name, p in trained.items()}

    def put(state: Any) -> None:
        with torch.no_grad():
            for name, parameter in trained.items():
                parameter.copy_(state[name])

    def again(number: int) -> dict[str, Any]:
        put(start)
        once(number)
        return {name: p.detach().clone() for name, p in trained.items()}

    def worth(state: Any) -> float:
        put(state)
        model.eval()
        return float("nan") if evaluate is None else evaluate()

    put(soup(again, config.seeds, None if evaluate is None else worth))


def _extras(
    config: GptConfig,
    data: Dataset,
    rest: Dataset,
    mode: Mode,
    tokenizer: Any,
    context: FitContext,
    rng: np.random.Generator,
) -> Extras:
    found = None
    if config.propensity.power > 0:
        found = propensity_weights(rest.popularity, config.propensity)
    return Extras(
        lists=mode.lists,
        augmentation=config.augmentation,
        others=_in_other_words(config, data, mode, tokenizer, rng),
        propensity=found,
        mined=_miner(config, data, rest, mode.prompts, context, rng),
        share=config.hard_negatives.share,
        bounds=_bounds(rest),
    )


def _bounds(data: Dataset) -> tuple[float, float]:
    ratings = data.interactions.ratings
    known = ratings[~np.isnan(ratings)]
    return (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)


def _in_other_words(
    config: GptConfig, data: Dataset, mode: Mode, tokenizer: Any, rng: np.random.Generator
) -> tuple[Prompts, Lists | None] | None:
    change = TextAugmenter(config.augmentation)
    if not change.changes:
        return None
    texts = item_texts(data.catalog, config.item_text)
    known = [i for i, text in enumerate(texts) if text]
    for i, text in zip(known, change([texts[i] for i in known], rng), strict=True):
        texts[i] = text or texts[i]  # what was said away is said as it was
    other = mode_of(config, data, tokenizer, first=mode.prompts.first, texts=texts)
    return other.prompts, other.lists


def _miner(
    config: GptConfig,
    data: Dataset,
    rest: Dataset,
    prompts: Prompts,
    context: FitContext,
    rng: np.random.Generator,
) -> Mined | None:
    """Hard negatives for the events with a text, by user and number of such events before."""
    if config.hard_negatives.share == 0:
        return None
    text = prompts.has_text[rest.interactions.items]

    def mined(users: Sequence[int], places: Sequence[int]) -> Sequence[npt.NDArray[np.int32]]:
        ends = []
        for user, place in zip(users, places, strict=True):
            start = int(rest.offsets[user])
            own = np.flatnonzero(text[start : int(rest.offsets[user + 1])])
            ends.append(start + int(own[place]))
        rows = np.array(ends, np.int64)
        queries = rest.queries_before(np.array(users, np.int64), rows)
        targets = rest.interactions.items[rows]
        found = hard(context, data, queries, targets, config.hard_negatives, rng)
        return [items[prompts.has_text[items]] for items in found]

    return mined
