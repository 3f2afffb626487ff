"""How far and when scales move: by the length of the run, and only where a gradient is clear."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from rsmeta.config import load_settings
from rsmeta.config.meta import MetaSettings
from rsmeta.errors import ConfigError
from rsmeta.peft import scales_of, site_modulators
from rsmeta.training.meta import MetaTask, ScaleHistory, build_strategy, judge_scales
from rsmeta.training.meta.descent import GatedTravel
from rsmeta.training.meta.objective import ClassObjective
from rsmeta.training.meta.schedule import travel_shares
from tests.unit.small_problem import Small, batch, task_of


@pytest.mark.parametrize("total", [1, 7, 8, 100, 1_000, 20_000])
@pytest.mark.parametrize("every", [1, 5, 8])
@pytest.mark.parametrize("warmup", [0, 3, 400])
@pytest.mark.parametrize("until", [0.1, 0.7, 1.0])
def test_shares_add_up_however_long_the_run(
    total: int, every: int, warmup: int, until: float
) -> None:
    settings = MetaSettings(
        strategy="first_order", every_n_steps=every, warmup_steps=warmup, until=until
    )
    shares = travel_shares(settings, total)
    due = [step for step in range(1, total + 1) if settings.due(step) and step <= until * total]
    assert list(shares) == due
    if due:
        assert sum(shares.values()) == pytest.approx(1)
        assert list(shares.values()) == sorted(shares.values(), reverse=True)
        assert min(shares.values()) > 0


def travelled(gradient: Any, steps: int, estimates: int = 4, **options: Any) -> Tensor:
    """Return how far numbers move along gradients: ``gradient(step) -> (N,)``, plus nothing."""
    settings = MetaSettings(strategy="first_order", every_n_steps=1, **options)
    rho = nn.Parameter(torch.zeros_like(gradient()))
    descent = GatedTravel([rho], build_strategy(settings, [rho]).options)
    for share in travel_shares(settings, steps).values():
        descent.step([[gradient()] for _ in range(estimates)], share)
    return rho.detach()


@pytest.mark.parametrize("steps", [2, 20, 500])
@pytest.mark.parametrize("travel", [3.0, 30.0])
def test_a_clear_gradient_takes_a_scale_as_far_as_travel_in_any_run(
    steps: int, travel: float
) -> None:
    slopes = torch.tensor([-1e-6, 1e-6, -1e3, 0.0])
    moved = travelled(lambda: slopes, steps, travel=travel)
    expected = math.log(travel) * torch.tensor([1.0, -1.0, 1.0, 0.0])
    torch.testing.assert_close(moved, expected)


@pytest.mark.parametrize("estimates", [1, 9])
def test_noise_moves_next_to_nothing_and_a_signal_in_it_is_followed(estimates: int) -> None:
    generator = torch.Generator().manual_seed(0)

    def noise(signal: float) -> Tensor:
        return signal + torch.randn(400, generator=generator)

    still = travelled(lambda: noise(0.0), 60, estimates, travel=30)
    assert float(still.abs().mean()) < 0.03 * math.log(30)
    assert float(still.mean().abs()) < 0.01 * math.log(30)
    open_gate = travelled(lambda: noise(0.0), 60, estimates, travel=30, gate=0)
    assert float(open_gate.abs().mean()) > 3 * float(still.abs().mean())
    followed = travelled(lambda: noise(-1.5), 60, estimates, travel=30)
    assert float(followed.mean()) > 0.6 * math.log(30)
    assert float(followed.max()) <= math.log(30) + 1e-6


@pytest.mark.parametrize("estimates", [1, 2, 3])
def test_a_few_looks_say_nothing_of_their_error(estimates: int) -> None:
    assert float(travelled(lambda: torch.ones(1), 1, estimates=estimates, until=1.0)) == 0


def trained(labels: str, **meta: Any) -> dict[str, float]:
    """Train on labels that follow from the images, or on their shuffle; return the scales."""
    settings = MetaSettings(strategy="first_order", every_n_steps=4, **meta)
    network = Small(granularity=settings.granularity)
    weights = network.weights
    for rho in network.rhos:
        rho.requires_grad_(True)
    optimizer = torch.optim.SGD(weights, lr=0.02)
    strategy = build_strategy(settings, network.rhos)
    teacher = torch.randn(6, 3, generator=torch.Generator().manual_seed(7), dtype=torch.float64)

    def draw(number: int) -> dict[str, Tensor]:
        drawn = batch(number, size=16)
        drawn["target"] = (drawn["image"] @ teacher).argmax(dim=1)
        if labels == "shuffled":
            order = torch.randperm(16, generator=torch.Generator().manual_seed(number))
            drawn["target"] = drawn["target"][order]
        return drawn

    steps, estimates = 240, []
    shares = travel_shares(settings, steps)
    for step in range(1, steps + 1):
        data = draw(step)
        loss = functional.cross_entropy(network(data["image"], data["valid"]), data["target"])
        found = torch.autograd.grad(loss, [*network.rhos, *weights])
        estimates.append(list(found[: len(network.rhos)]))
        for weight, gradient in zip(weights, found[len(network.rhos) :], strict=True):
            weight.grad = gradient
        optimizer.step()
        if step in shares:
            task = MetaTask(
                network, network.rhos, nn.CrossEntropyLoss(), ahead=[], share=shares[step],
                batches=[draw(10_000 + step)], training_estimates=estimates,
            )  # fmt: skip
            strategy.update(task)
            estimates = []
    return scales_of(network)


@pytest.mark.parametrize("meta", [{}, {"granularity": "site"}], ids=["default", "site"])
def test_scales_stay_under_shuffled_labels_and_move_under_real_ones(meta: dict[str, Any]) -> None:
    shuffled = trained("shuffled", **meta)
    real = trained("real", **meta)
    farthest = max(abs(math.log(scale)) for scale in shuffled.values())
    assert farthest < math.log(1.1)
    assert max(abs(math.log(scale)) for scale in real.values()) > math.log(2)


def losses_by_class(logits: Tensor, target: Tensor) -> dict[int, Tensor]:
    each = functional.cross_entropy(logits, target, reduction="none")
    return {int(k): each[target == k].mean() for k in target.unique()}


def test_objectives_are_means_over_classes() -> None:
    counts = [1000, 3, 400, 0, 20, 7]
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(12, 6, generator=generator)
    target = torch.tensor([0, 0, 0, 0, 0, 0, 2, 2, 2, 4, 4, 1])
    means = losses_by_class(logits, target)
    balanced = ClassObjective("balanced", counts)(logits, target)
    torch.testing.assert_close(balanced, torch.stack(list(means.values())).mean())
    tail = ClassObjective("tail", counts)(logits, target)
    torch.testing.assert_close(tail, means[1])  # of 5 classes with labels one; it is class 1
    worst = ClassObjective("worst", counts)(logits, target)
    values = torch.stack(list(means.values()))
    torch.testing.assert_close(worst, (values.softmax(dim=0) * values).sum())
    assert balanced < worst <= values.max()


@pytest.mark.parametrize("name", ["balanced", "tail", "worst"])
def test_objectives_ignore_what_has_no_label(name: Any) -> None:
    objective = ClassObjective(name, [10, 5, 2])
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    target = torch.full((2, 4, 4), -1)
    nothing = objective(logits, target)
    nothing.backward()
    assert float(nothing.detach()) == 0
    assert logits.grad is not None
    assert not logits.grad.any()
    target[:, :2] = torch.randint(3, (2, 2, 4), generator=torch.Generator().manual_seed(1))
    flat = logits[:, :, :2].movedim(1, -1).reshape(-1, 3)
    torch.testing.assert_close(objective(logits, target), objective(flat, target[:, :2].flatten()))


@pytest.mark.parametrize(
    ("source", "objective", "lr", "used"),
    [(*pair, lr, pair == ("train", "training") and lr is None)
     for pair in itertools.product(("train", "held_out"), ("training", "tail"))
     for lr in (None, 0.1)],
)  # fmt: skip
def test_gradients_of_training_answer_no_other_question(
    source: Any, objective: Any, lr: float | None, used: bool
) -> None:
    settings = MetaSettings(strategy="first_order", source=source, objective=objective, lr=lr)
    assert settings.uses_training_gradients is used
    assert not MetaSettings(strategy="unrolled").uses_training_gradients


@pytest.mark.parametrize(
    ("given", "batches", "every"),
    [({}, 0, 1), ({"batches": 2}, 2, 8), ({"every_n_steps": 5}, 0, 5), ({"lr": 0.1}, 1, 8),
     ({"objective": "tail"}, 1, 8), ({"source": "held_out"}, 1, 8),
     ({"training_gradients": False}, 1, 8), ({"strategy": "unrolled"}, 1, 8)],
)  # fmt: skip
def test_a_meta_step_follows_every_training_step_whose_gradient_is_all_it_needs(
    given: dict[str, Any], batches: int, every: int
) -> None:
    settings = MetaSettings(**{"strategy": "first_order", **given})
    assert (settings.batches, settings.every_n_steps) == (batches, every)
    assert MetaSettings(**settings.model_dump()) == settings


def history(course: list[float]) -> Any:
    """Return the history of two scales, noted every 8 steps."""
    made = ScaleHistory(Path("gamma_history.csv"))
    made.sites, made.steps = ["0.q", "0.v"], [8 * i for i in range(len(course))]
    made.scales = [[scale, scale] for scale in course]
    return made


def test_scales_that_still_rise_are_said_to() -> None:
    settings = MetaSettings(strategy="first_order", every_n_steps=8)
    shares = travel_shares(settings, 800)
    rising, settled, log = [1.0], [1.0], 0.0
    for i, step in enumerate(range(8, 801, 8)):
        log += math.log(30) * shares.get(step, 0.0)
        rising.append(math.exp(log))
        settled.append(3.0 if i > 10 else 1 + 0.18 * i)
    (said,) = judge_scales(history(rising), settings, "adamw")
    assert "still rose when they were frozen (to 30.0 times their start" in said
    assert "your learning rate or scale is too low" in said
    assert judge_scales(history(settled), settings, "adamw") == []
    every = MetaSettings(strategy="first_order")  # recorded less often than scales move
    assert every.every_n_steps == 1
    assert judge_scales(history(rising), every, "adamw") == [said]
    assert judge_scales(history(settled), every, "adamw") == []
    falling = [1 / scale for scale in rising]
    assert judge_scales(history(falling), settings, "adamw") == []
    constant = MetaSettings(strategy="first_order", lr=0.02, until=1)
    straight = [math.exp(0.02 * i) for i in range(100)]
    assert len(judge_scales(history(straight), constant, "sgd")) == 1


@pytest.mark.parametrize("strategy", ["joint", "first_order", "evolution"])
def test_scales_that_hardly_moved_are_said_to(strategy: str) -> None:
    settings = MetaSettings(strategy=strategy)
    (said,) = judge_scales(history([1.0, 1.001, 1.01]), settings, "sgd")
    assert "hardly moved (by at most 1.0%)" in said
    assert ("trainer.optimizer.name=sgd" in said) is (strategy == "joint")
    assert judge_scales(history([1.0, 1.01, 1.05]), settings, "sgd") == []
    assert judge_scales(history([1.0]), settings, "sgd") == []


def test_an_objective_over_classes_needs_one_class_each() -> None:
    data = {"scenes": "a.tif", "labels": "b.tif", "target": {"name": "height", "unit": "m"}}
    given = {"task": "regression", "data": data, "meta": {"preset": "first_order"}}
    load_settings(given)
    with pytest.raises(ConfigError, match="needs one class per pixel or image"):
        load_settings(given, ["meta.objective=tail"])


@pytest.mark.parametrize(
    ("given", "said"),
    [("meta.retrain=true", "needs scales that are learned"),
     ("meta={preset: first_order, retrain: true, granularity: channel}", "one scale per site"),
     ("meta={preset: first_order, travel: 1}", "greater than 1"),
     ("meta={preset: first_order, gate: -1}", "greater than or equal to 0"),
     ("meta={preset: first_order, objective: tail, batches: 0}", "nothing to be judged by"),
     ("meta={preset: unrolled, batches: 0}", "nothing to be judged by"),
     ("meta.until=0", "greater than 0")],
)  # fmt: skip
def test_settings_that_do_not_fit_are_refused(given: str, said: str) -> None:
    data = {"scenes": "a.tif", "labels": "b.tif", "classes": ["dry", "wet"]}
    with pytest.raises(ConfigError, match=said):
        load_settings({"data": data}, [given])


def test_published_is_the_form_of_the_paper() -> None:
    """As before: softplus, one scale per site, Adam at 0.02, no other gradients, to the end."""
    data = {"scenes": "a.tif", "labels": "b.tif", "classes": ["dry", "wet"]}
    meta = load_settings({"data": data, "meta": "published"}).meta
    network = Small(granularity=meta.granularity, parametrisation=meta.parametrisation)
    twin = Small(granularity=meta.granularity, parametrisation=meta.parametrisation)
    assert not meta.uses_training_gradients
    assert max(travel_shares(meta, 800)) == 800
    strategy = build_strategy(meta, network.rhos)
    adam = torch.optim.Adam(twin.rhos, lr=0.02, betas=(0.9, 0.999))
    for step, share in travel_shares(meta, 80).items():
        task = task_of(network)
        strategy.update(dataclasses.replace(task, share=share))
        task = task_of(twin)
        losses = torch.stack([task.loss_of(one) for one in task.batches])
        for rho, gradient in zip(
            twin.rhos, torch.autograd.grad(losses.mean(), twin.rhos), strict=True
        ):
            rho.grad = gradient
        adam.step()
        for a, b in zip(network.rhos, twin.rhos, strict=True):
            torch.testing.assert_close(a, b, msg=f"step {step}")
    with torch.no_grad():
        for rho, modulator in zip(network.rhos, site_modulators(network).values(), strict=True):
            torch.testing.assert_close(modulator(), functional.softplus(rho))
