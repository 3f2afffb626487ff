"""Metrics of images: published numbers, and an answer where the published code has none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from rsmeta.metrics import ClassificationMetrics, MultilabelMetrics, groups_by_count

if TYPE_CHECKING:
    from pathlib import Path

    from rsmeta.metrics import ClassificationResult

NAMES = tuple("abcdefg")

CASES = (
    "full", "no_splits", "head_tail_only_med_empty_float", "few_empty_int", "few_empty_float",
    "class3_absent", "class3_absent_indexerror", "class6_zero_recall",
)  # fmt: skip

#: What we report, by what the published evaluator calls it.
CALLED = {
    "accuracy": "accuracy",
    "macro_f1": "macro_f1",
    "worst_case_acc": "worst_accuracy",
    "hmean_acc": "harmonic_mean",
    "gmean_acc": "geometric_mean",
    "mean_acc": "mean_class_accuracy",
}


def evaluated(fixtures_dir: Path, case: str) -> tuple[dict[str, Any], ClassificationResult]:
    """Return what is known of a published case, and our result for it, in batches."""
    from safetensors.torch import load_file

    folder = fixtures_dir / "losses_etc"
    known = json.loads((folder / "meta.json").read_text())["evaluator"][case]
    tensors = load_file(folder / "evaluator.safetensors")
    groups = {name: known[name] for name in ("many", "med", "few") if known[name] is not None}
    metrics = ClassificationMetrics(NAMES, groups)
    logits, target = tensors[f"{case}.logits"], tensors[f"{case}.y_true"]
    for some, labels in zip(logits.split(64), target.split(64), strict=True):
        metrics.update(some, labels)
    return known, metrics.compute()


@pytest.mark.parametrize("case", CASES)
def test_equals_the_published_evaluator(case: str, fixtures_dir: Path) -> None:
    known, result = evaluated(fixtures_dir, case)
    wanted = known["results"]
    for theirs, ours in CALLED.items():
        if theirs in wanted and (case, ours) != ("class6_zero_recall", "harmonic_mean"):
            assert 100 * getattr(result, ours) == pytest.approx(wanted[theirs], abs=1e-9), theirs
    for name, value in result.groups.items():
        if f"{name}_acc" in wanted and case != "class3_absent":
            share = wanted[f"{name}_acc"]
            assert value == (None if share is None else pytest.approx(share / 100, abs=1e-12))


def test_answers_where_the_published_evaluator_crashes(fixtures_dir: Path) -> None:
    known, result = evaluated(fixtures_dir, "few_empty_float")
    assert known["error"]
    assert result.groups["few"] is None
    assert result.groups["med"] is not None
    assert result.accuracy == pytest.approx(0.81)
    known, result = evaluated(fixtures_dir, "class3_absent_indexerror")
    assert known["error"]
    absent = result.classes[3]
    assert (absent.accuracy, absent.f1, absent.precision, absent.images) == (None, None, None, 0)
    recalls = [one.accuracy for one in result.classes]
    assert result.groups["med"] == pytest.approx((recalls[2] + recalls[4]) / 2)
    assert result.groups["few"] == pytest.approx((recalls[5] + recalls[6]) / 2)


def test_groups_know_their_classes_also_where_one_is_absent(fixtures_dir: Path) -> None:
    """The published evaluator counts an absent class out, and so takes the next one for it."""
    known, result = evaluated(fixtures_dir, "class3_absent")
    recalls = [one.accuracy for one in result.classes]
    shifted = (recalls[2] + recalls[4] + recalls[5]) / 3
    assert known["results"]["med_acc"] == pytest.approx(100 * shifted)
    assert result.groups["med"] == pytest.approx((recalls[2] + recalls[4]) / 2)
    assert result.groups["few"] == recalls[5]


def test_a_class_never_recognised_makes_both_means_zero(fixtures_dir: Path) -> None:
    """The published harmonic mean takes 0.001 % for 0, and so tells 0.007 %."""
    _, result = evaluated(fixtures_dir, "class6_zero_recall")
    assert (result.harmonic_mean, result.geometric_mean) == (0, 0)
    assert (result.worst_class, result.worst_accuracy) == ("g", 0)


def test_calibration_equals_torchmetrics_and_leaves_out_empty_bins(fixtures_dir: Path) -> None:
    from safetensors.torch import load_file
    from torchmetrics.functional.classification import multiclass_calibration_error

    tensors = load_file(fixtures_dir / "losses_etc" / "evaluator.safetensors")
    logits, target = tensors["full.logits"], tensors["full.y_true"]
    for bins in (10, 15):
        metrics = ClassificationMetrics(NAMES, bins=bins)
        metrics.update(logits, target)
        wanted = multiclass_calibration_error(logits.softmax(dim=1), target, 7, n_bins=bins)
        assert metrics.compute().calibration_error == pytest.approx(float(wanted), abs=1e-6)
        assert (metrics.calibration.count == 0).any()


def test_calibration_by_hand() -> None:
    metrics = ClassificationMetrics(["a", "b"], bins=10)
    shares = torch.tensor([[0.95, 0.05], [0.95, 0.05], [0.3, 0.7], [0.5, 0.5]])
    metrics.update(shares.log(), torch.tensor([0, 1, 1, -1]))
    wanted = (abs(2 * 0.95 - 1) + abs(0.7 - 1)) / 3
    assert metrics.compute().calibration_error == pytest.approx(wanted)


def test_parts_of_several_processes_add_up() -> None:
    """As torchmetrics joins the states of processes."""
    torch.manual_seed(0)
    logits, target = 3 * torch.randn(90, 7), torch.randint(-1, 7, (90,))
    whole, one, other = (ClassificationMetrics(NAMES, {"few": [5, 6]}) for _ in range(3))
    whole.update(logits, target)
    one.update(logits[:30], target[:30])
    other.update(logits[30:], target[30:])
    for mine, theirs in zip(one.children(), other.children(), strict=True):
        mine.merge_state(theirs)
    joined = one.compute()
    assert joined.calibration_error == pytest.approx(whole.compute().calibration_error)
    assert joined.confusion == whole.compute().confusion


def test_images_without_label_do_not_count() -> None:
    metrics = ClassificationMetrics(["a", "b"])
    metrics.update(torch.tensor([[2.0, 1.0], [0.0, 3.0]]), torch.tensor([0, -1]))
    result = metrics.compute()
    assert result.images == 1
    assert result.accuracy == 1
    assert result.classes[1].accuracy is None


def test_nothing_compared_is_an_answer() -> None:
    metrics = ClassificationMetrics(["a", "b"], {"few": [1]})
    for _ in range(2):
        result = metrics.compute()
        told = result.as_dict()
        assert json.loads(json.dumps(told, allow_nan=False))["groups"] == {"few": None}
        empty = {k: v for k, v in told.items() if k not in ("classes", "confusion", "groups")}
        assert empty.pop("images") == 0
        assert set(empty.values()) == {None}
        metrics.update(torch.eye(2), torch.tensor([0, 0]))
        assert metrics.compute().accuracy == 0.5
        metrics.reset()


def test_as_dict_is_plain() -> None:
    metrics = ClassificationMetrics(["a", "b"], groups_by_count([300, 3]))
    metrics.update(torch.tensor([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]]), torch.tensor([0, 1, 1]))
    told = json.loads(json.dumps(metrics.compute().as_dict(), allow_nan=False))
    assert told["groups"] == {"many": 1, "medium": None, "few": 0.5}
    assert told["classes"]["b"] == {
        "accuracy": 0.5, "f1": pytest.approx(2 / 3), "precision": 1, "images": 2,
    }  # fmt: skip
    assert told["confusion"] == [[1, 0], [1, 1]]
    assert told["worst_class"] == "b"


def test_groups_by_training_images() -> None:
    counts = np.array([500, 101, 100, 20, 19, 0])
    assert groups_by_count(counts) == {"many": (0, 1), "medium": (2, 3), "few": (4, 5)}
    assert groups_by_count([9, 5, 1], many=8, few=5) == {"many": (0,), "medium": (1,), "few": (2,)}


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="group 'few' names class 2, beyond 0 to 1"):
        ClassificationMetrics(["a", "b"], {"few": [1, 2]})
    metrics = ClassificationMetrics(["a", "b"])
    with pytest.raises(ValueError, match=r"scores \(3, 4\) are not \(images, 2 classes\)"):
        metrics.update(torch.zeros(3, 4), torch.zeros(3))
    with pytest.raises(ValueError, match="do not lie in 0 to 1"):
        metrics.update(torch.zeros(3, 2), torch.tensor([0, 1, 2]))
    assert metrics.compute().images == 0


# -- several labels per image ------------------------------------------------------------------


def test_multilabel_by_hand() -> None:
    metrics = MultilabelMetrics(["a", "b", "c"])
    scores = torch.tensor([[2.0, -1.0, 1.0], [1.0, 3.0, -1.0], [-2.0, 1.0, 3.0]])
    target = torch.tensor([[1, 0, 0], [0, 1, 0], [-1, 1, 0]])
    for some, labels in zip(scores, target, strict=True):
        metrics.update(some[None], labels[None])
    result = metrics.compute()
    a, b, c = result.labels
    assert (a.average_precision, a.f1, a.images) == (1, pytest.approx(2 / 3), 1)
    assert (b.average_precision, b.f1, b.images) == (1, 1, 2)
    assert (c.average_precision, c.f1, c.images) == (None, None, 0)
    assert result.mean_average_precision == 1
    assert result.macro_f1 == pytest.approx((2 / 3 + 1) / 2)
    assert result.micro_f1 == pytest.approx(2 * 3 / (2 * 3 + 3))
    json.dumps(result.as_dict(), allow_nan=False)


def test_multilabel_equals_scikit_learn() -> None:
    from sklearn.metrics import average_precision_score, f1_score

    torch.manual_seed(0)
    scores, target = torch.randn(80, 5), (torch.rand(80, 5) < 0.3).long()
    metrics = MultilabelMetrics(NAMES[:5])
    metrics.update(scores, target)
    result = metrics.compute()
    found = (scores > 0).long().numpy()
    wanted = average_precision_score(target.numpy(), scores.numpy(), average="macro")
    assert result.mean_average_precision == pytest.approx(wanted, abs=1e-6)
    for average in ("micro", "macro"):
        wanted = f1_score(target.numpy(), found, average=average)
        assert getattr(result, f"{average}_f1") == pytest.approx(wanted)


def test_multilabel_of_which_nobody_knows() -> None:
    metrics = MultilabelMetrics(["a", "b"])
    metrics.update(torch.tensor([[1.0, 2.0], [-1.0, 2.0]]), torch.tensor([[1, -1], [0, -1]]))
    result = metrics.compute()
    assert result.labels[1].average_precision is None
    assert (result.mean_average_precision, result.micro_f1, result.macro_f1) == (1, 1, 1)


def test_multilabel_without_images_and_with_wrong_shapes() -> None:
    metrics = MultilabelMetrics(["a", "b"])
    result = metrics.compute()
    assert (result.mean_average_precision, result.micro_f1, result.macro_f1) == (None, None, None)
    metrics.update(torch.zeros(2, 2), torch.ones(2, 2))
    metrics.reset()
    assert metrics.compute() == result
    with pytest.raises(ValueError, match=r"are not both \(images, 2 labels\)"):
        metrics.update(torch.zeros(2, 3), torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"are not both \(images, 2 labels\)"):
        metrics.update(torch.zeros(2, 2), torch.zeros(2))
