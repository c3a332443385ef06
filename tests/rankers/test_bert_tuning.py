from __future__ import annotations

from typing import Any

import pytest
import torch
from bert_models import classifier, encoder

from fusion.errors import ConfigError
from rankers.bert_asking import make_net
from rankers.bert_config import Config
from rankers.bert_tuning import at_rest, make_trainable, parameter_groups


def network(mode: str = "shared", **options: Any) -> tuple[Any, Config]:
    config = Config.model_validate({"mode": mode, **options})
    net = make_net(classifier() if mode == "cross" else encoder(), config)
    net.requires_grad_(False)
    return net, config


def trained(net: torch.nn.Module) -> set[str]:
    return {name for name, p in net.named_parameters() if p.requires_grad}


def loss(net: Any, mode: str) -> torch.Tensor:
    labels = torch.tensor([[1.0, 0.0]])
    if mode == "cross":
        tokens = torch.tensor([[2, 20, 3, 30, 3], [2, 20, 3, 31, 3]])
        types = torch.tensor([[0, 0, 0, 1, 1]] * 2)
        return net(tokens, torch.ones_like(tokens), types, torch.arange(2), labels)["loss"]
    tokens = torch.tensor([[2, 20, 3, 2, 30, 3, 2, 31, 3]])
    positions = torch.tensor([[0, 1, 2] * 3])
    segments = torch.tensor([[0, 0, 0, 1, 1, 1, 2, 2, 2]])
    return net(tokens, positions, segments, labels)["loss"]


@pytest.mark.parametrize("mode", ["shared", "late", "cross"])
@pytest.mark.parametrize("kind", ["full", "none", "head", "last", "lora", "dora", "ia3"])
def test_every_kind_trains_in_every_mode_and_is_plain_afterwards(mode: str, kind: str) -> None:
    torch.manual_seed(0)
    net, config = network(mode, tune=kind, dropout=0.0, history_bias=0.0)
    before = {name: p.clone() for name, p in net.state_dict().items()}
    make_trainable(net, config, seed=0)
    asked = trained(net)
    assert any(n.startswith("head.") or "classifier" in n for n in asked)
    assert not any("pooler" in name for name in asked if mode != "cross")
    groups = parameter_groups(net, config)
    assert sum(len(g["params"]) for g in groups) == len(asked)
    optimizer = torch.optim.AdamW(groups)
    net.train()
    for _ in range(2):  # the first step of LoRA moves one factor alone
        loss(net, mode).backward()
        for group in optimizer.param_groups:
            group["lr"] = 1e-2
        optimizer.step()
        optimizer.zero_grad()
    net.eval()
    with torch.no_grad():
        tuned = loss(net, mode)
        at_rest(net, config)
        plain = loss(net, mode)
    assert torch.allclose(tuned, plain, atol=1e-5)
    after = net.state_dict()
    assert after.keys() == before.keys()
    assert not trained(net)
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    layers = {int(n.split(".layer.")[1].split(".")[0]) for n in changed if ".layer." in n}
    assert layers == (set() if kind in ("none", "head") else {0, 1})
    assert not any("word_embeddings" in name for name in changed)


def test_the_last_layers_only() -> None:
    net, config = network(tune={"kind": "last", "layers": 1})
    make_trainable(net, config, seed=0)
    layers = {name.split(".layer.")[1].split(".")[0] for name in trained(net) if ".layer." in name}
    assert layers == {"1"}
    assert not any("embeddings" in name for name in trained(net))
    net, config = network(tune={"kind": "last", "layers": 3})
    with pytest.raises(ConfigError, match="layers up to 2"):
        make_trainable(net, config, seed=0)


def test_a_second_task_is_trained_whatever_is_tuned() -> None:
    for mode in ("shared", "late", "cross"):
        net, config = network(
            mode, tune="none", head="multi_task", task_weights="uncertainty", head_learning_rate=0.5
        )
        make_trainable(net, config, seed=0)
        assert "objective.second.weight" in trained(net)
        assert "objective.tasks.log_variance.ctr" in trained(net)
        rates = {
            id(p): (g["lr"], g["weight_decay"])
            for g in parameter_groups(net, config)
            for p in g["params"]
        }
        named = dict(net.named_parameters())
        assert rates[id(named["objective.second.weight"])] == (0.5, 0.01)
        assert rates[id(named["objective.tasks.log_variance.ctr"])] == (0.5, 0.0)


def test_word_embeddings_are_trained_when_asked() -> None:
    for freeze in (True, False):
        net, config = network(freeze_embeddings=freeze)
        make_trainable(net, config, seed=0)
        name = "encoder.embeddings.word_embeddings.weight"
        assert (name in trained(net)) is not freeze


def test_targets_that_are_not_there() -> None:
    net, config = network(tune={"kind": "lora", "targets": ["nowhere"]})
    with pytest.raises(ConfigError, match="lora"):
        make_trainable(net, config, seed=0)
