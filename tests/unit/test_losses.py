"""Losses: labelled pixels only, also when there are none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from rsmeta.config.loss import LossSpec
from rsmeta.errors import UnknownNameError
from rsmeta.losses import LOSSES, balanced_weights, build_loss

COUNTS = np.array([900, 100, 0, 25])


@pytest.mark.parametrize("class_weights", ["none", "balanced"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_equals_torch_where_torch_is_defined(class_weights: str, smoothing: float) -> None:
    torch.manual_seed(0)
    spec = LossSpec(class_weights=class_weights, label_smoothing=smoothing)
    loss = build_loss(spec, COUNTS)
    logits, target = torch.randn(2, 4, 8, 8), torch.randint(-1, 4, (2, 8, 8))
    weight = balanced_weights(COUNTS) if class_weights == "balanced" else None
    wanted = functional.cross_entropy(
        logits, target, weight=weight, ignore_index=-1, label_smoothing=smoothing
    )
    torch.testing.assert_close(loss(logits, target), wanted)


@pytest.mark.parametrize("name", LOSSES.names())
@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_nothing_labelled_gives_zero_with_a_gradient(name: str, class_weights: str) -> None:
    loss = build_loss(LossSpec(name=name, class_weights=class_weights), COUNTS)
    logits = torch.randn(1, 4, 3, 3, requires_grad=True)
    value = loss(logits, torch.full((1, 3, 3), -1))
    assert value.item() == 0
    value.backward()
    assert logits.grad is not None
    assert (logits.grad == 0).all()


def test_unlabelled_pixels_do_not_count() -> None:
    loss = build_loss(LossSpec(), COUNTS)
    logits, target = torch.randn(1, 4, 4, 4), torch.randint(0, 4, (1, 4, 4))
    half = target.clone()
    half[:, 2:] = -1
    torch.testing.assert_close(loss(logits, half), loss(logits[:, :, :2], target[:, :2]))


def test_balanced_weights_follow_the_inverse_square_root() -> None:
    weights = balanced_weights(COUNTS)
    assert weights[1] / weights[0] == pytest.approx(3.0)
    assert weights[3] / weights[0] == pytest.approx(6.0)
    assert weights[2] == weights[3]
    assert weights[[0, 1, 3]].mean() == pytest.approx(1.0)
    assert torch.equal(balanced_weights([0, 0]), torch.ones(2))


def test_half_precision_is_summed_in_full() -> None:
    loss = build_loss(LossSpec(), COUNTS)
    value = loss(torch.randn(1, 4, 64, 64, dtype=torch.bfloat16), torch.zeros(1, 64, 64).long())
    assert value.dtype == torch.float32


def test_weights_move_but_are_not_saved() -> None:
    loss = build_loss(LossSpec(class_weights="balanced"), COUNTS)
    assert not loss.state_dict()
    assert len(list(loss.buffers())) == 1


def test_unknown_name() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'cross_entropy'"):
        build_loss(LossSpec(name="cross-entropy"), COUNTS)
