"""Strategies at work: they find out which site helps and which harms, and can be interrupted."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from rsmeta.config import load_settings
from rsmeta.config.base import Strict
from rsmeta.config.meta import SHIPPED, MetaSettings
from rsmeta.errors import ConfigError, MissingExtraError, TrainingError
from rsmeta.peft import AdaptedModule, LoRA, Site, modulate, site_modulators
from rsmeta.training.meta import (
    STRATEGIES,
    MetaStrategy,
    MetaTask,
    build_strategy,
    check_strategy,
)
from tests.unit.small_problem import Small, task_of

STRATEGY_NAMES = ("first_order", "unrolled", "finite_difference", "evolution")


class Leaky(nn.Module):
    """Two sites: one sees what tells the classes, one sees what does so in training only."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.signal, self.leak = (
            AdaptedModule(
                nn.Linear(4, 2, bias=False).requires_grad_(False),
                {Site(block, "mlp1", 4, 2, name): LoRA(4, 2, rank=2, alpha=2)},
            )
            for block, name in enumerate(("signal", "leak"))
        )
        for site in (self.signal, self.leak):
            nn.init.zeros_(site.base.weight)
        modulate(self, MetaSettings())

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        logits: Tensor = self.signal(x[:, :4]) + self.leak(x[:, 4:])
        return logits


def draw(generator: torch.Generator, *, training: bool) -> dict[str, Tensor]:
    label = torch.randint(2, (32,), generator=generator)
    shown = label if training else torch.randint(2, (32,), generator=generator)
    noise = torch.randn(32, 8, generator=generator)
    x = noise + torch.cat([(label - 0.5)[:, None].expand(-1, 4) * 2,
                           (shown - 0.5)[:, None].expand(-1, 4) * 4], dim=1)  # fmt: skip
    return {"image": x, "valid": torch.ones(32, dtype=torch.bool), "target": label}


@pytest.mark.parametrize("name", STRATEGY_NAMES)
def test_the_harmful_site_is_switched_off_and_the_needed_one_is_not(name: str) -> None:
    network = Leaky()
    weights = [p for p in network.parameters() if p.requires_grad]
    rhos = [modulator.rho for modulator in site_modulators(network).values()]
    optimizer = torch.optim.AdamW(weights, lr=0.01, weight_decay=0.05)
    settings = MetaSettings(strategy=name, lr=0.1, population=6)
    strategy = build_strategy(settings, rhos, seed=1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(90):
        for _ in range(2):
            data = draw(generator, training=True)
            optimizer.zero_grad()
            functional.cross_entropy(
                network(data["image"], data["valid"]), data["target"]
            ).backward()
            optimizer.step()
        for p in weights:
            p.requires_grad_(False)
        for rho in rhos:
            rho.requires_grad_(True)
        strategy.update(
            MetaTask(
                network, rhos, nn.CrossEntropyLoss(),
                ahead=[draw(generator, training=True)], batches=[draw(generator, training=False)],
                optimizer=optimizer,
            )
        )  # fmt: skip
        for p in weights:
            p.requires_grad_(True)
    needed, harmful = (modulator.mean() for modulator in site_modulators(network).values())
    assert needed > 0.8
    assert harmful < 0.2


@pytest.mark.parametrize("name", STRATEGY_NAMES)
def test_goes_on_from_its_state_as_if_never_interrupted(name: str) -> None:
    def run(interrupted: bool) -> list[Tensor]:
        network = Small()
        optimizer = torch.optim.SGD(network.weights, lr=0.1, momentum=0.9)
        settings: Any = MetaSettings(strategy=name, lr=0.1)
        strategy = build_strategy(settings, network.rhos, seed=3)
        task = task_of(network, optimizer, ahead=strategy.steps_ahead)
        for step in range(4):
            if interrupted and step == 2:
                state = strategy.state_dict()
                strategy = build_strategy(settings, network.rhos, seed=3)
                strategy.load_state_dict(state)
            strategy.update(task)
        return [rho.detach() for rho in task.rhos]

    whole, resumed = run(interrupted=False), run(interrupted=True)
    assert all(torch.equal(a, b) for a, b in zip(whole, resumed, strict=True))
    fresh = [rho.detach() for rho in Small().rhos]
    assert not any(torch.equal(a, b) for a, b in zip(whole, fresh, strict=True))


def test_evolution_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = MetaSettings(strategy="evolution")
    one = Small(granularity="position").rhos
    with pytest.raises(TrainingError, match=r"needs two scales or more; choose another meta.gran"):
        build_strategy(settings, one)
    monkeypatch.setitem(sys.modules, "cmaes", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'rsmeta\[evolution\]'"):
        build_strategy(settings, Small().rhos)


class Still(MetaStrategy):
    """A strategy of another package: moves nothing, and has an option of its own."""

    class Options(Strict):
        """What it takes."""

        patience: int = Field(default=3, ge=1)

    def update(self, task: MetaTask) -> None:
        """Leave the scales."""

    def state_dict(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore nothing."""


def test_a_strategy_of_another_package_has_its_own_options(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(STRATEGIES._things, "still", Still)
    data = {"scenes": "a.tif", "labels": "b.tif", "classes": ["dry", "wet"]}

    def built(**keys: Any) -> Any:
        meta = load_settings({"data": data, "meta": {"strategy": "still", **keys}}).meta
        check_strategy(meta)
        return build_strategy(meta, Small().rhos)

    assert built().options.patience == 3
    assert built(patience=5).options.patience == 5
    with pytest.raises(ConfigError, match=r"meta \(still\): .*patience"):
        built(patience=0)
    with pytest.raises(ConfigError, match=r"patienc.*did you mean 'patience'"):
        built(patienc=5)


def test_options_of_other_strategies_are_ignored_and_typing_errors_are_not() -> None:
    data = {"scenes": "a.tif", "labels": "b.tif", "classes": ["dry", "wet"]}

    def meta(**keys: Any) -> MetaSettings:
        return load_settings({"data": data, "meta": keys}).meta

    for name, options in SHIPPED.items():
        given = meta(strategy=name, lr=0.3, inner_steps=4, sigma=0.7)
        assert given.options.keys() == options.model_fields.keys()
        assert meta(**given.model_dump()) == given
    with pytest.raises(ConfigError, match=r"unknown key 'meta\.sigmma'; did you mean 'sigma'"):
        meta(strategy="evolution", sigmma=0.2)
    with pytest.raises(ConfigError, match=r"meta\.inner_steps.*greater than or equal to 1"):
        meta(strategy="unrolled", inner_steps=0)
