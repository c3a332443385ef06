"""What is trained of a model: every weight, the top of it, or adapters of peft.

What `apply` gives is trained by any Trainer as it is; `merged` makes a plain model of it again.
Adapters inside the layers (LoRA, DoRA, IA3) are added to the weights, so that asking costs no
more than before. Prefix and prompt tuning lengthen the input and have nothing to be added to:
their state is kept apart (`adapter_state`) and put in place again (`with_state`).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from finetuning.settings import Tune
from fusion.errors import ConfigError, explain

__all__ = ["adapter_state", "apply", "merged", "mergeable", "quietly", "trainable", "with_state"]

_INSIDE = ("lora", "dora", "ia3")
_BEFORE = ("prefix", "prompt")


def apply(
    model: Any,
    tune: Tune,
    *,
    head_names: Sequence[str] = (),
    unused: Sequence[str] = (),
    seed: int = 0,
) -> Any:
    """Choose what of ``model`` is trained, and put adapters into it where ``tune`` says so.

    Args:
        model: a model of transformers, or any module for the kinds without adapters.
        tune: which weights.
        head_names: names of the parts that stand on the model (``classifier``); a part of the
            module's dotted name. They are trained whatever the kind, but for ``none``.
        unused: names of parts that the caller does not compute (a pooler, say): never trained, and
            without adapters.
        seed: of the adapters' first weights; global generators are left alone.

    Returns:
        ``model`` itself, its parameters asking for a gradient or not, or a `peft.PeftModel` on it.

    Raises:
        ConfigError: this kind does not work with this model; says which part is missing.
    """
    if tune.kind == "head" and not head_names:
        raise _refusal(tune, model, "a model with a head of its own", "none", "use another kind")
    model.requires_grad_(tune.kind == "full")
    if tune.kind in _INSIDE or tune.kind in _BEFORE:
        model = _with_adapters(model, tune, (*head_names, *unused), seed)
    if tune.kind == "last":
        for module in _last_layers(model, tune):
            module.requires_grad_(True)
    if tune.kind != "none":
        for name in head_names:
            _set_part(model, tune, name, True)
    for name in unused:
        _set_part(model, tune, name, False)
    return model


def mergeable(tune: Tune) -> bool:
    """Whether `merged` gives a plain model: not for prefix and prompt."""
    return tune.kind not in _BEFORE


def merged(model: Any, tune: Tune) -> Any:
    """The plain model again, which gives the same outputs: adapters added to its weights.

    Args:
        model: what `apply` gave, trained since.
        tune: as given to `apply`.

    Raises:
        ConfigError: prefix and prompt, which cannot be merged.
    """
    if not mergeable(tune):
        raise _refusal(
            tune,
            model,
            "adapters inside the layers (lora, dora, ia3) to merge",
            "learned states before the text",
            "keep them with adapter_state",
        )
    return model.merge_and_unload() if tune.kind in _INSIDE else model


def adapter_state(model: Any) -> dict[str, torch.Tensor]:
    """The adapters' weights of what `apply` gave, by name, on the CPU, in float32; no head."""
    from peft import get_peft_model_state_dict

    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    return {k: v.detach().to("cpu", torch.float32, copy=True) for k, v in state.items()}


def with_state(
    model: Any, tune: Tune, state: Mapping[str, torch.Tensor], *, unused: Sequence[str] = ()
) -> Any:
    """``model`` with adapters as `adapter_state` gave them, ready to be asked or merged.

    Raises:
        ConfigError: ``state`` is not of such adapters.
    """
    from peft import set_peft_model_state_dict

    wrapped = apply(model, tune, unused=unused)
    expected = {name: tensor.shape for name, tensor in adapter_state(wrapped).items()}
    given = {name: tensor.shape for name, tensor in state.items()}
    if expected != given:
        names = sorted(expected.keys() ^ given.keys()) or "other shapes"
        raise _refusal(tune, model, "weights of the same adapters", str(names), "tune again")
    set_peft_model_state_dict(wrapped, dict(state))
    return wrapped.eval()


def trainable(model: nn.Module) -> tuple[int, int]:
    """How many parameters are trained, and how many there are; tied ones count once."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, asked in sizes if asked), sum(n for n, _ in sizes)


def _refusal(tune: Tune, model: Any, expected: str, got: str, do: str = "") -> ConfigError:
    return ConfigError(explain(f"tune {tune.kind} of {type(model).__name__}", expected, got, do))


def _set_part(model: nn.Module, tune: Tune, name: str, asked: bool) -> None:
    found = False
    for path, module in model.named_modules():  # modules, as a tied weight has one name only
        # peft keeps an untouched copy of a head beside the one that is used
        if name in path.split(".") and "original_module" not in path:
            module.requires_grad_(asked)
            found = True
    if asked and not found:
        parts = ", ".join(child for child, _ in model.named_children())
        raise _refusal(tune, model, f"a part called {name!r}", f"only {parts}")


def _last_layers(model: nn.Module, tune: Tune) -> list[nn.Module]:
    """The last layers of the largest stack, and the norm that follows the stack."""
    stacks = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) > 0
    ]
    if not stacks:
        raise _refusal(tune, model, "a stack of layers", "a model without one", "use another kind")
    name, stack = max(stacks, key=lambda pair: sum(p.numel() for p in pair[1].parameters()))
    if tune.layers > len(stack):
        raise _refusal(tune, model, f"layers up to {len(stack)}", str(tune.layers))
    siblings = list(model.get_submodule(name.rpartition(".")[0]).children())
    after = siblings[siblings.index(stack) + 1 :]
    norms = [module for module in after if "norm" in type(module).__name__.lower()]
    return [*stack[len(stack) - tune.layers :], *norms]


@contextmanager
def quietly() -> Iterator[None]:
    """Without the warnings that peft of this version causes, none of which a user can act on.

    A model with a prefix needs it around every forward pass.
    """
    with warnings.catch_warnings():
        # peft asks transformers by names that transformers is about to give up
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        warnings.filterwarnings("ignore", ".*past_key_values", FutureWarning)
        # ... and says that it has noticed GPT-2's transposed layers
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to False", UserWarning)
        yield


def _with_adapters(model: Any, tune: Tune, others: Sequence[str], seed: int) -> Any:
    from peft import get_peft_model

    training = model.training
    with quietly(), torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            if tune.kind in _INSIDE:
                wrapped = get_peft_model(model, _inside(model, tune, others))
            else:
                wrapped = get_peft_model(model, _before(model, tune))
                _probe(wrapped)
        except (ValueError, TypeError, RuntimeError, KeyError, AttributeError) as error:
            # what peft raises where an architecture has not what a kind needs
            raise _refusal(
                tune,
                model,
                f"an architecture that peft can put {tune.kind} into",
                f"{type(error).__name__}: {error}",
                "use another kind of tune, or name targets",
            ) from error
    return wrapped.train(training)


def _inside(model: Any, tune: Tune, others: Sequence[str]) -> Any:
    """Peft's recipe of adapters in the layers; ``others`` get none."""
    from peft import IA3Config, LoraConfig
    from peft.utils import (
        TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING,
        TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING,
        TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING,
    )

    is_ia3 = tune.kind == "ia3"
    kind = getattr(getattr(model, "config", None), "model_type", "")
    usual = (
        TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING
        if is_ia3
        else TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
    )
    targets = usual.get(kind, "all-linear") if tune.targets == "auto" else tune.targets
    common = {
        "target_modules": targets if isinstance(targets, str) else list(targets),
        "exclude_modules": rf"(.*\.)?({'|'.join(others)})(\..*)?" if others else None,
    }
    if not is_ia3:
        return LoraConfig(
            r=tune.rank,
            lora_alpha=tune.alpha,
            lora_dropout=tune.dropout,
            use_dora=tune.kind == "dora",
            **common,
        )
    # IA3 scales what goes into a feed-forward layer, and what comes out of the others
    forward = TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING.get(kind, [])
    chosen = [name for name in forward if not isinstance(targets, str) and name in targets]
    return IA3Config(feedforward_modules=chosen, **common)


def _before(model: Any, tune: Tune) -> Any:
    """Peft's recipe of learned states or tokens before the text."""
    from peft import PrefixTuningConfig, PromptTuningConfig, TaskType

    recipe = PrefixTuningConfig if tune.kind == "prefix" else PromptTuningConfig
    if type(model).__name__.endswith("ForSequenceClassification"):
        task = TaskType.SEQ_CLS
    elif model.get_output_embeddings() is None:
        task = TaskType.FEATURE_EXTRACTION
    else:
        task = TaskType.CAUSAL_LM
    return recipe(
        task_type=task,
        num_virtual_tokens=tune.tokens,
        # peft looks them up by some architectures' own names only
        token_dim=model.config.hidden_size,
        num_attention_heads=model.config.num_attention_heads,
    )


def _probe(wrapped: Any) -> None:
    """Ask once and see that what was put before the text is heard: some models drop it silently.

    Raises:
        ValueError: it is not.
    """
    device = next(wrapped.parameters()).device
    ids = torch.tensor([[1, 2, 3]], device=device)
    learned = [p for name, p in wrapped.named_parameters() if "prompt_encoder" in name]
    with torch.enable_grad():
        out = wrapped.eval()(input_ids=ids, attention_mask=torch.ones_like(ids))[0]
        weights = torch.arange(out.numel(), device=device, dtype=out.dtype).reshape(out.shape)
        total = (out * (weights + 1).sin()).sum()  # a plain sum of normed states has no gradient
        heard = total.requires_grad and any(
            g is not None and bool(g.any())
            for g in torch.autograd.grad(total, learned, allow_unused=True)
        )
    if not heard:
        raise ValueError("the model does not read what stands before the text")
