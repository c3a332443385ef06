from __future__ import annotations

from typing import Any

import pytest
import torch
from finetuning_models import bert, classifier, convbert, distilbert, gpt2, ids, llama

from finetuning.settings import Tune
from finetuning.tuning import (
    adapter_state,
    apply,
    mergeable,
    merged,
    quietly,
    trainable,
    with_state,
)
from fusion.errors import ConfigError

MODELS = {f.__name__: f for f in (bert, classifier, distilbert, gpt2, llama)}


def output(model: Any) -> torch.Tensor:
    model.eval()
    with torch.no_grad(), quietly():
        return model(input_ids=ids(), attention_mask=torch.ones_like(ids()))[0]


def trained(model: Any, steps: int = 2) -> Any:
    """Some steps towards nothing in particular, by whatever asks for a gradient."""
    chosen = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(chosen, lr=0.05)
    for _ in range(steps):
        out = model(input_ids=ids(), attention_mask=torch.ones_like(ids()))[0]
        (out * torch.arange(out.shape[-1]).add(1.0).sin()).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("kind", ["lora", "dora", "ia3"])
def test_adapters_start_as_nothing_and_merge_to_the_same_outputs(make: Any, kind: str) -> None:
    tune = Tune(kind=kind, rank=4)
    plain = make()
    before = output(plain)
    wrapped = apply(plain, tune)
    torch.testing.assert_close(output(wrapped), before)
    after = output(trained(wrapped))
    assert (after - before).abs().max() > 1e-3
    again = merged(wrapped, tune)
    assert type(again) is type(make())
    torch.testing.assert_close(output(again), after, rtol=1e-4, atol=1e-4)
    assert set(again.state_dict()) == set(make().state_dict())


@pytest.mark.parametrize("kind", ["prefix", "prompt"])
@pytest.mark.parametrize("make", [bert, gpt2, llama], ids=["bert", "gpt2", "llama"])
def test_what_stands_before_the_text_is_kept_apart(make: Any, kind: str) -> None:
    tune = Tune(kind=kind, tokens=3)
    assert not mergeable(tune)
    with quietly():
        wrapped = trained(apply(make(), tune))
    state = adapter_state(wrapped)
    assert {len(tensor) for tensor in state.values()} == {3}
    again = with_state(make(), tune, state)
    torch.testing.assert_close(output(again), output(wrapped))
    assert not torch.allclose(output(apply(make(), tune, seed=1)), output(wrapped), atol=1e-3)
    with pytest.raises(ConfigError, match="to merge"):
        merged(wrapped, tune)


def test_a_prefix_does_not_work_on_a_sequence_classifier_and_a_prompt_does() -> None:
    with pytest.raises(ConfigError, match="past key values"):
        apply(classifier(), Tune(kind="prefix"))
    wrapped = apply(classifier(), Tune(kind="prompt", tokens=3), head_names=("classifier",))
    assert output(wrapped).shape == (2, 1)


def test_a_model_that_does_not_hear_a_prefix_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"tune prefix of ConvBertModel.*does not read"):
        apply(convbert(), Tune(kind="prefix"))


def test_adapters_are_restored_from_their_state() -> None:
    tune = Tune(kind="lora", rank=4, targets="all-linear")
    wrapped = trained(apply(gpt2(), tune))
    torch.testing.assert_close(
        output(merged(with_state(gpt2(), tune, adapter_state(wrapped)), tune)), output(wrapped)
    )
    with pytest.raises(ConfigError, match="weights of the same adapters"):
        with_state(gpt2(), Tune(kind="lora", rank=2), adapter_state(wrapped))


def names(model: Any) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


def test_full_and_none() -> None:
    model = apply(classifier(), Tune(kind="full"))
    assert names(model) == {name for name, _ in model.named_parameters()}
    model = apply(classifier(), Tune(kind="full"), unused=("pooler",))
    assert {n for n, _ in model.named_parameters()} - names(model) == {
        "bert.pooler.dense.weight",
        "bert.pooler.dense.bias",
    }
    assert names(apply(classifier(), Tune(kind="none"), head_names=("classifier",))) == set()


def test_only_the_head() -> None:
    model = apply(classifier(), Tune(kind="head"), head_names=("classifier",))
    assert names(model) == {"classifier.weight", "classifier.bias"}
    assert trainable(model)[0] == 32 + 1
    with pytest.raises(ConfigError, match="a head of its own"):
        apply(bert(), Tune(kind="head"))
    with pytest.raises(ConfigError, match=r"a part called 'score'.*only bert, dropout, classifier"):
        apply(classifier(), Tune(kind="head"), head_names=("score",))


def test_a_tied_head_is_found_under_its_own_name() -> None:
    model = apply(gpt2(), Tune(kind="head"), head_names=("lm_head",))
    assert names(model) == {"transformer.wte.weight"}


def test_the_last_layers_and_the_norm_after_them() -> None:
    model = apply(classifier(), Tune(kind="last", layers=1), head_names=("classifier",))
    assert {n.split(".")[0] for n in names(model)} == {"bert", "classifier"}
    assert {n[:20] for n in names(model) if n.startswith("bert")} == {"bert.encoder.layer.1"}
    model = apply(gpt2(), Tune(kind="last", layers=1))
    assert {n.split(".")[1] for n in names(model)} == {"h", "ln_f"}
    assert not [n for n in names(model) if ".h.0." in n]
    with pytest.raises(ConfigError, match="layers up to 2, got 3"):
        apply(gpt2(), Tune(kind="last", layers=3))
    with pytest.raises(ConfigError, match="a stack of layers"):
        apply(torch.nn.Linear(2, 2), Tune(kind="last"))


def test_a_head_beside_adapters_is_trained_whole_and_kept_by_the_merge() -> None:
    tune = Tune(kind="lora", rank=2, targets="all-linear")
    wrapped = apply(classifier(), tune, head_names=("classifier",), unused=("pooler",))
    asked = names(wrapped)
    assert {n for n in asked if "lora" not in n} == {
        "base_model.model.classifier.weight",
        "base_model.model.classifier.bias",
    }
    assert not [n for n in asked if "pooler" in n or "classifier.lora" in n]
    before = classifier().classifier.weight
    after = merged(trained(wrapped), tune).classifier.weight
    assert not torch.allclose(after, before)


def test_the_size_of_an_update_is_what_the_paper_says() -> None:
    # two layers, query and value (32 x 32) each with A (4 x 32) and B (32 x 4)
    assert trainable(apply(bert(), Tune(kind="lora", rank=4)))[0] == 2 * 2 * (4 * 32 + 32 * 4)
    # DoRA has a magnitude for each output beside
    assert trainable(apply(bert(), Tune(kind="dora", rank=4)))[0] == 2 * 2 * (2 * 4 * 32 + 32)
    # IA3: a factor for each output of key and value, and for each input of both `output.dense`
    assert trainable(apply(bert(), Tune(kind="ia3")))[0] == 2 * (32 + 32 + 32 + 64)
    # a prompt: tokens x width; a prefix: tokens x layers x (key and value) x width
    assert trainable(apply(gpt2(), Tune(kind="prompt", tokens=5)))[0] == 5 * 32
    assert trainable(apply(gpt2(), Tune(kind="prefix", tokens=5)))[0] == 5 * 2 * 2 * 32


def test_named_targets_and_wrong_ones() -> None:
    wrapped = apply(bert(), Tune(kind="lora", rank=1, targets=("key",)))
    assert all(".key." in n for n in names(wrapped))
    with pytest.raises(ConfigError, match=r"tune lora of BertModel.*nothing_of_that_name"):
        apply(bert(), Tune(kind="lora", targets=("nothing_of_that_name",)))


def test_the_seed_decides_the_first_weights_and_no_global_generator_moves() -> None:
    state = torch.random.get_rng_state()
    first, same, other = (
        adapter_state(apply(bert(), Tune(kind="lora"), seed=s)) for s in (1, 1, 2)
    )
    assert torch.equal(torch.random.get_rng_state(), state)
    name = next(n for n in first if "lora_A" in n)
    assert torch.equal(first[name], same[name])
    assert not torch.equal(first[name], other[name])


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_model_stays(training: bool) -> None:
    for kind in ("lora", "prefix"):
        assert apply(bert().train(training), Tune(kind=kind)).training is training
