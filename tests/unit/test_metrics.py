"""Metrics: right numbers, absent classes left out, plain values for JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from rsmeta.metrics import SegmentationMetrics

NAMES = ("water", "land", "cloud", "snow")


def test_scores_by_hand() -> None:
    metrics = SegmentationMetrics(NAMES)
    metrics.update(torch.tensor([0, 0, 1, 1, 2]), torch.tensor([0, 1, 1, 1, -1]))
    metrics.update(np.array([[1, 0]], np.uint8), np.array([[0, 0]], np.int16))
    result = metrics.compute()
    assert result.confusion == ((2, 1, 0, 0), (1, 2, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0))
    assert result.pixels == 6
    assert result.accuracy == pytest.approx(4 / 6)
    water, land, cloud, _ = result.classes
    assert water.iou == pytest.approx(2 / 4)
    assert water.f1 == land.f1 == pytest.approx(2 / 3)
    assert (cloud.iou, cloud.f1, cloud.precision, cloud.recall, cloud.pixels) == (*[None] * 4, 0)
    assert result.miou == pytest.approx(0.5)  # over two classes, not four
    assert result.macro_f1 == pytest.approx(2 / 3)


def test_a_class_on_one_side_only_counts_as_missed() -> None:
    metrics = SegmentationMetrics(NAMES)
    metrics.update(torch.tensor([0, 0]), torch.tensor([0, 3]))
    result = metrics.compute()
    snow = result.classes[3]
    assert (snow.iou, snow.f1, snow.precision, snow.recall) == (0, 0, 0, 0)
    assert result.miou == pytest.approx(0.25)


def test_equals_torchmetrics() -> None:
    from torchmetrics.functional import f1_score, jaccard_index

    torch.manual_seed(0)
    predicted, target = torch.randint(0, 4, (3, 50, 50)), torch.randint(-1, 4, (3, 50, 50))
    metrics = SegmentationMetrics(NAMES)
    for one, other in zip(predicted, target, strict=True):
        metrics.update(one, other)
    result = metrics.compute()
    keys = {"task": "multiclass", "num_classes": 4, "ignore_index": -1, "average": "macro"}
    assert result.miou == pytest.approx(float(jaccard_index(predicted, target, **keys)))
    assert result.macro_f1 == pytest.approx(float(f1_score(predicted, target, **keys)))


def test_kappa_is_agreement_beyond_chance() -> None:
    from torchmetrics.functional import cohen_kappa

    torch.manual_seed(0)
    target = torch.randint(-1, 4, (50, 50))
    predicted = torch.where(torch.rand(50, 50) < 0.6, target, 2)
    metrics = SegmentationMetrics(NAMES)
    metrics.update(predicted, target)
    known = target >= 0
    wanted = cohen_kappa(predicted[known], target[known], task="multiclass", num_classes=4)
    assert metrics.compute().kappa == pytest.approx(float(wanted))
    metrics.reset()
    metrics.update(torch.zeros(3), torch.zeros(3))
    assert metrics.compute().kappa is None  # chance alone agrees fully


def test_nothing_compared_is_an_answer() -> None:
    metrics = SegmentationMetrics(NAMES)
    metrics.update(torch.tensor([-1, 2]), torch.tensor([1, -1]))
    result = metrics.compute()
    assert (result.accuracy, result.miou, result.macro_f1, result.pixels) == (None, None, None, 0)
    metrics.update(torch.tensor([1]), torch.tensor([1]))
    assert metrics.compute().accuracy == 1
    metrics.reset()
    assert metrics.compute().accuracy is None


def test_as_dict_is_plain() -> None:
    metrics = SegmentationMetrics(NAMES)
    metrics.update(torch.tensor([0, 1]), torch.tensor([0, 0]))
    told = json.loads(json.dumps(metrics.compute().as_dict(), allow_nan=False))
    assert told["classes"]["water"]["recall"] == 0.5
    assert told["confusion"][0] == [1, 1, 0, 0]


def test_wrong_input_is_refused() -> None:
    metrics = SegmentationMetrics(NAMES)
    with pytest.raises(ValueError, match="differ in shape"):
        metrics.update(torch.zeros(2), torch.zeros(3))
    with pytest.raises(ValueError, match="0 to 3"):
        metrics.update(torch.tensor([4]), torch.tensor([0]))


def test_one_class_is_enough() -> None:
    metrics = SegmentationMetrics(["all"])
    metrics.update(torch.zeros(3), torch.zeros(3))
    assert metrics.compute().miou == 1
