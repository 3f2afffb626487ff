"""Gradients of the scales: equal to numerical ones, to the published code's, and to each other."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from rsmeta.config import load_settings
from rsmeta.config.load import preset_names
from rsmeta.config.meta import MetaSettings
from rsmeta.config.model import ModelSpec
from rsmeta.config.tuner import TunerSpec
from rsmeta.errors import TrainingError, UnknownNameError
from rsmeta.geo.bands import generic_band
from rsmeta.models.timm.build import build_timm
from rsmeta.peft import AdaptedModule, apply_tuner, modulate, site_modulators
from rsmeta.training.meta import MetaTask, build_strategy, check_strategy
from rsmeta.training.meta.inner_steps import InnerSteps
from tests.unit.small_problem import Small, batch, task_of

if TYPE_CHECKING:
    from pathlib import Path

RGB = tuple(generic_band(name) for name in ("red", "green", "blue"))

OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda ps: torch.optim.SGD(ps, lr=0.1),
    "momentum": lambda ps: torch.optim.SGD(ps, lr=0.1, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda ps: torch.optim.SGD(ps, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda ps: torch.optim.Adam(ps, lr=0.05, weight_decay=0.01),
    "adamw": lambda ps: torch.optim.AdamW(ps, lr=0.05, betas=(0.8, 0.99), weight_decay=0.1),
}


def real_step(network: Small, optimizer: Any, data: dict[str, Tensor], clip: float | None) -> None:
    optimizer.zero_grad()
    loss = functional.cross_entropy(network(data["image"], data["valid"]), data["target"])
    loss.backward()
    if clip is not None:
        torch.nn.utils.clip_grad_norm_(network.weights, clip)
    optimizer.step()


def started(kind: str, clip: float | None = None, **meta: Any) -> tuple[Small, Any]:
    """Return a network and its optimizer after two steps, so that there are moments."""
    network = Small(**meta)
    optimizer = OPTIMIZERS[kind](network.weights)
    for seed in (1, 2):
        real_step(network, optimizer, batch(seed), clip)
    return network, optimizer


def gradients(name: str, task: MetaTask, **settings: Any) -> Tensor:
    strategy: Any = build_strategy(MetaSettings(strategy=name, **settings), task.rhos)
    estimates = [
        torch.cat([gradient.reshape(-1) for gradient in estimate])
        for estimate in strategy.estimates(task)
    ]
    return torch.stack(estimates).mean(dim=0)


def loss_ahead(kind: str, steps: int, clip: float | None, change: Tensor, **meta: Any) -> float:
    """Return the meta loss after real steps of the real optimizer with other scales."""
    network, optimizer = started(kind, clip, **meta)
    with torch.no_grad():
        parts = torch.split(change, [rho.numel() for rho in network.rhos])
        for rho, part in zip(network.rhos, parts, strict=True):
            rho += part.view_as(rho)
    for i in range(steps):
        real_step(network, optimizer, batch(10 + i), clip)
    with torch.no_grad():
        losses = [
            functional.cross_entropy(network(b["image"], b["valid"]), b["target"])
            for b in (batch(20), batch(21))
        ]
    return float(sum(losses) / 2)


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("clip", [None, 0.5])
def test_pure_steps_equal_those_of_torch(kind: str, clip: float | None) -> None:
    network, optimizer = started(kind, clip)
    steps = InnerSteps(optimizer, network, clip)
    weights: dict[str, Tensor] = steps.weights
    moments = steps.moments
    twin = copy.deepcopy(network)
    twin_optimizer = OPTIMIZERS[kind](twin.weights)
    twin_optimizer.load_state_dict(optimizer.state_dict())
    task = task_of(network)
    for seed in (5, 6, 7):
        found = task.gradient(task.loss_of(batch(seed), weights), list(weights.values()))
        weights, moments = steps.step(weights, found, moments)
        real_step(twin, twin_optimizer, batch(seed), clip)
        real = dict(twin.named_parameters())
        for name, weight in weights.items():
            torch.testing.assert_close(weight, real[name], atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize(("steps", "clip"), [(1, None), (3, None), (2, 0.5)])
@pytest.mark.parametrize("granularity", ["site", "channel"])
def test_unrolled_equals_the_numerical_derivative(
    kind: str, steps: int, clip: float | None, granularity: str
) -> None:
    network, optimizer = started(kind, clip, granularity=granularity)
    task = task_of(network, optimizer, ahead=steps, clip_norm=clip)
    found = gradients("unrolled", task, inner_steps=steps)
    h = 1e-5
    wanted = [
        (loss_ahead(kind, steps, clip, h * one, granularity=granularity)
         - loss_ahead(kind, steps, clip, -h * one, granularity=granularity)) / (2 * h)
        for one in torch.eye(len(found), dtype=torch.float64)
    ]  # fmt: skip
    torch.testing.assert_close(
        found, torch.tensor(wanted, dtype=torch.float64), atol=2e-8, rtol=1e-5
    )


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("clip", [None, 0.5])
def test_finite_difference_is_unrolled_by_one_step(kind: str, clip: float | None) -> None:
    network, optimizer = started(kind, clip)
    task = task_of(network, optimizer, ahead=1, clip_norm=clip)
    exact, near = (gradients(name, task) for name in ("unrolled", "finite_difference"))
    torch.testing.assert_close(near, exact, atol=2e-6, rtol=1e-3)
    first = gradients("first_order", task)
    assert (near - exact).norm() < 0.05 * (first - exact).norm(), "the second term is in it"


def test_first_order_is_unrolled_by_nothing() -> None:
    network, optimizer = started("momentum")
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    task = task_of(network, optimizer, ahead=2)
    torch.testing.assert_close(
        gradients("first_order", task), gradients("unrolled", task, inner_steps=2)
    )


@pytest.mark.parametrize("name", ["first_order", "unrolled", "finite_difference"])
def test_the_loss_scale_of_half_precision_cancels(name: str) -> None:
    network, optimizer = started("adamw")
    plain, scaled = (
        gradients(name, task_of(network, optimizer, ahead=1, loss_scale=scale))
        for scale in (1.0, 1024.0)
    )
    torch.testing.assert_close(plain, scaled)


class Cosine(nn.Module):
    """The published run's classifier on the class token, with logits adjusted for its loss."""

    def __init__(self, backbone: nn.Module, weight: Tensor, counts: Tensor) -> None:
        super().__init__()
        self.backbone = backbone
        self.weight = nn.Parameter(weight)
        self.prior = torch.log(counts / counts.sum())

    def forward(self, image: Tensor, valid: Tensor) -> Tensor:
        features = functional.normalize(self.backbone(image).cls, dim=-1)
        return 25 * features @ functional.normalize(self.weight, dim=-1).T + self.prior


def test_first_order_equals_the_published_gradient(fixtures_dir: Path) -> None:
    state = load_file(fixtures_dir / "meta_step" / "lora.safetensors")
    batches = load_file(fixtures_dir / "meta_step" / "batches.safetensors")
    weights = str(fixtures_dir / "metalora_timm" / "backbone.weights.safetensors")
    options = {"patch_size": 8, "embed_dim": 64, "depth": 3, "num_heads": 4, "img_size": 32}
    backbone = build_timm(ModelSpec(options=options, checkpoint=weights), RGB).eval()
    apply_tuner(backbone, TunerSpec(rank=4, alpha=1))
    modulate(backbone, MetaSettings(parametrisation="raw"))  # as in the published code
    wanted, rhos = [], []
    for module in backbone.modules():
        for position, site in module.sites.items() if isinstance(module, AdaptedModule) else ():
            place = f"lora_list.{site.block}.{position}"
            adapter = module.adapters[position]
            with torch.no_grad():
                adapter.down.copy_(state[f"s2_after_inner.tuner.{place}.lora_A"])
                adapter.up.copy_(state[f"s2_after_inner.tuner.{place}.lora_B"])
            module.modulators[position].set(
                state[f"s2_after_inner.tuner.{place}.meta_alpha"].item()
            )
            rhos.append(module.modulators[position].rho)
            wanted.append(state[f"hypergrad.{place}.meta_alpha"])
    network = Cosine(backbone, state["s2_after_inner.head.weight"], batches["cls_num_list"])
    network.requires_grad_(False)
    for rho in rhos:
        rho.requires_grad_(True)
    images, labels = batches["mval.0.images"], batches["mval.0.labels"]
    judged = {"image": images, "valid": images[:, 0] == images[:, 0], "target": labels}
    task = MetaTask(network, rhos, nn.CrossEntropyLoss(), ahead=[], batches=[judged])
    assert len(wanted) == len(site_modulators(backbone)) == 6
    torch.testing.assert_close(
        gradients("first_order", task), torch.stack(wanted), atol=2e-5, rtol=1e-4
    )


class Products(TorchDispatchMode):
    """Counts matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm)
        return func(*args, **(kwargs or {}))


def test_first_order_forms_no_gradient_of_a_weight() -> None:
    network, _ = started("sgd")
    with Products() as training:
        data = batch(20)
        loss = functional.cross_entropy(network(data["image"], data["valid"]), data["target"])
        loss.backward()
    task = task_of(network)
    with Products() as meta:
        gradients("first_order", task)
    # Of a backward pass, the products for head and ``down`` are saved; two meta batches.
    assert meta.count / 2 < training.count
    assert all(p.grad is None for p in network.rhos)


def test_a_gradient_that_is_not_finite_moves_nothing(caplog: pytest.LogCaptureFixture) -> None:
    network, _ = started("sgd")
    task = task_of(network)
    strategy = build_strategy(MetaSettings(strategy="first_order"), task.rhos)
    task.batches[0]["image"][0] = torch.nan
    before = [rho.clone() for rho in task.rhos]
    strategy.update(task)
    assert all(torch.equal(a, b) for a, b in zip(before, task.rhos, strict=True))
    assert "moved no scale, because its gradient is not finite" in caplog.text


def test_other_optimizers_cannot_be_looked_through() -> None:
    network = Small()
    with pytest.raises(TrainingError, match="cannot look ahead through Adagrad; use sgd or adamw"):
        InnerSteps(torch.optim.Adagrad(network.weights), network)
    with pytest.raises(TrainingError, match="AdamW with amsgrad"):
        InnerSteps(torch.optim.AdamW(network.weights, amsgrad=True), network)


def test_unknown_strategy_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown strategy 'first'; did you mean 'first_ord"):
        check_strategy(MetaSettings(strategy="first"))
    for name in ("fixed", "joint", "first_order", "unrolled", "finite_difference", "evolution"):
        check_strategy(MetaSettings(strategy=name))


@pytest.mark.parametrize("preset", preset_names("meta"))
def test_every_preset_names_a_strategy(preset: str) -> None:
    data = {"scenes": "a.tif", "labels": "b.tif", "classes": ["dry", "wet"]}
    meta = load_settings({"data": data, "meta": preset}).meta
    check_strategy(meta)
    assert preset.startswith(meta.strategy) or preset == "published"
