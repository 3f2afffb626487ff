"""Losses of numbers and of sets of labels, and the scores of numbers."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score
from torch.nn import functional

from rsmeta.config import load_settings
from rsmeta.config.loss import LossSpec
from rsmeta.losses import MULTILABEL_LOSSES, REGRESSION_LOSSES, build_loss
from rsmeta.metrics import RegressionMetrics

#: Images with and without each of three labels.
COUNTS = [[10, 50, 90], [90, 50, 10]]


def some_numbers() -> tuple[torch.Tensor, torch.Tensor]:
    """Return estimates (2, 1, 4, 5) that want gradients, and labels, some of them not known."""
    torch.manual_seed(0)
    estimated = (100 + 10 * torch.randn(2, 1, 4, 5)).requires_grad_()
    target = 100 + 10 * torch.randn(2, 4, 5)
    target[0, 0] = torch.nan
    return estimated, target


@pytest.mark.parametrize("name", REGRESSION_LOSSES.names())
def test_a_loss_of_numbers_is_free_of_units(name: str) -> None:
    estimated, target = some_numbers()
    loss = build_loss(LossSpec(name=name), [10.0], REGRESSION_LOSSES)
    value = loss(estimated, target)
    (gradient,) = torch.autograd.grad(value, estimated)
    assert (gradient[0, 0, 0] == 0).all()
    assert torch.isfinite(gradient).all()
    known = target.isfinite()
    reference = {"mse": functional.mse_loss, "mae": functional.l1_loss,
                 "huber": functional.huber_loss}[name]  # fmt: skip
    expected = reference(estimated[:, 0][known] / 10, target[known] / 10)
    torch.testing.assert_close(value, expected)
    in_grams = build_loss(LossSpec(name=name), [10_000.0], REGRESSION_LOSSES)
    torch.testing.assert_close(in_grams(estimated * 1000, target * 1000), value)
    images = loss(estimated.reshape(-1, 1), target.flatten())
    torch.testing.assert_close(images, value)


@pytest.mark.parametrize("name", REGRESSION_LOSSES.names())
def test_nothing_measured_gives_zero_with_a_gradient(name: str) -> None:
    loss = build_loss(LossSpec(name=name), [2.0], REGRESSION_LOSSES)
    estimated = torch.randn(3, 1, requires_grad=True)
    value = loss(estimated, torch.full((3,), torch.nan))
    value.backward()
    assert value.item() == 0
    assert estimated.grad is not None
    assert (estimated.grad == 0).all()


@pytest.mark.parametrize("name", MULTILABEL_LOSSES.names())
def test_a_loss_of_labels_ignores_what_nobody_knows_and_finds_the_rest(name: str) -> None:
    torch.manual_seed(0)
    loss = build_loss(LossSpec(name=name), COUNTS, MULTILABEL_LOSSES)
    target = torch.randint(-1, 2, (40, 3)).float()
    logits = torch.randn(40, 3, requires_grad=True)
    step = torch.optim.Adam([logits], lr=0.2)
    for _ in range(80):
        step.zero_grad()
        value = loss(logits, target)
        value.backward()
        assert logits.grad is not None
        assert (logits.grad[target < 0] == 0).all()
        step.step()
    assert ((logits > 0) == (target == 1))[target >= 0].all()
    assert loss(logits, torch.full_like(target, -1)).item() == 0


def test_binary_cross_entropy_is_torch_s() -> None:
    logits, target = torch.randn(8, 3), torch.randint(0, 2, (8, 3)).float()
    loss = build_loss(LossSpec(name="bce"), COUNTS, MULTILABEL_LOSSES)
    expected = functional.binary_cross_entropy_with_logits(logits, target)
    torch.testing.assert_close(loss(logits, target), expected)
    spec = LossSpec.model_validate({"name": "bce", "class_weights": "balanced"})
    weights = torch.tensor([3.0, 1.0, 1 / 3])
    expected = functional.binary_cross_entropy_with_logits(logits, target, pos_weight=weights)
    torch.testing.assert_close(
        build_loss(spec, COUNTS, MULTILABEL_LOSSES)(logits, target), expected
    )


@pytest.mark.parametrize("name", REGRESSION_LOSSES.names())
def test_presets_of_numbers(name: str) -> None:
    data = {"scenes": "a.tif", "labels": "b.tif", "target": {"name": "height", "unit": "m"}}
    spec = load_settings({"task": "regression", "data": data, "loss": name}).loss
    assert spec.name == name
    build_loss(spec, [1.0], REGRESSION_LOSSES)


@pytest.mark.parametrize("centre", [0.0, 5000.0])
def test_scores_of_numbers_are_scikit_learn_s(centre: float) -> None:
    torch.manual_seed(0)
    target = 5000 + 10 * torch.randn(300)
    estimated = target + 3 * torch.randn(300) + 1
    target[:20] = torch.nan
    metrics = RegressionMetrics("height", "cm", centre=centre)
    for part in range(3):
        batch = slice(100 * part, 100 * part + 100)
        metrics.update(estimated[batch], target[batch])
    result = metrics.compute()
    y, guess = target[20:].double().numpy(), estimated[20:].double().numpy()
    assert result.count == 280
    assert result.rmse == pytest.approx(mean_squared_error(y, guess) ** 0.5, rel=1e-6)
    assert result.mae == pytest.approx(mean_absolute_error(y, guess), rel=1e-6)
    assert result.r2 == pytest.approx(r2_score(y, guess), rel=1e-4)
    assert result.bias == pytest.approx(float((guess - y).mean()), rel=1e-6)
    metrics.reset()
    assert metrics.compute().rmse is None


def test_equal_labels_have_no_share_of_variance() -> None:
    metrics = RegressionMetrics("height", centre=3.0)
    metrics.update(torch.tensor([2.0, 4.0]), torch.tensor([3.0, 3.0]))
    result = metrics.compute()
    assert (result.rmse, result.r2) == (1.0, None)
