"""Losses: one suite over everything registered, then each against published numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from rsmeta.config import load_settings
from rsmeta.config.load import preset_names
from rsmeta.config.loss import LossSpec
from rsmeta.errors import ConfigError, UnknownNameError
from rsmeta.losses import (
    LOSSES,
    MULTILABEL_LOSSES,
    REGRESSION_LOSSES,
    build_loss,
    check_loss,
)
from rsmeta.losses.counts import class_priors, filled_counts, frequency_weights

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

#: The third class has no label in training.
COUNTS = np.array([900, 100, 0, 25])

#: Presets of losses of classes; those of other tasks are tested in test_losses_tasks.py.
PRESETS = [
    name
    for name in preset_names("loss")
    if name not in {*MULTILABEL_LOSSES.names(), *REGRESSION_LOSSES.names()}
]

#: Losses that see every label on its own; the others see areas.
POINTWISE = sorted(set(LOSSES.names()) - {"dice", "jaccard", "lovasz", "tversky"})

#: Loss, options, and what the published code's numbers for it are called.
PUBLISHED = [
    ("ce", {}, "CE"),
    ("cross_entropy", {}, "CE"),
    ("focal", {}, "Focal"),
    ("focal", {"gamma": 0}, "Focal_g0"),
    ("ldam", {}, "LDAM_s25"),
    ("ldam", {"scale": 30}, "LDAM_s30"),
    ("class_balanced", {}, "CB"),
    ("reweighted", {}, "GRW"),
    ("reweighted", {"power": 0.5}, "GRW_exp0_5"),
    ("balanced_softmax", {}, "BS"),
    ("logit_adjusted", {}, "LA"),
    ("logit_adjusted", {"tau": 2}, "LA_tau2"),
    ("lade", {}, "LADE"),
]


def spec_of(given: Any) -> LossSpec:
    """Return the settings of a name, a preset, a mapping or a list, as a configuration has them."""
    data = {"scenes": "a.tif", "labels": "b.tif", "classes": ["dry", "wet"]}
    return load_settings({"data": data, "loss": given}).loss


def some_pixels(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return logits (2, 4, 6, 5) that want gradients, and a target with unlabelled pixels."""
    torch.manual_seed(seed)
    logits = (3 * torch.randn(2, 4, 6, 5)).requires_grad_()
    target = torch.tensor([-1, 0, 1, 3])[torch.randint(0, 4, (2, 6, 5))]
    return logits, target


def value_and_gradient(loss: torch.nn.Module, logits: Tensor, target: Tensor) -> list[Tensor]:
    given = logits.detach().clone().requires_grad_()
    value = loss(given, target)
    return [value.detach(), torch.autograd.grad(value, given)[0]]


# -- everything registered ---------------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSES.names())
def test_a_scalar_of_pixels_and_of_images(name: str) -> None:
    loss = build_loss(LossSpec(name=name), COUNTS)
    logits, target = some_pixels()
    value = loss(logits, target)
    assert value.shape == ()
    assert value.dtype == torch.float32
    (gradient,) = torch.autograd.grad(value, logits)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0
    # the same pixels, each as an image of its own
    images = loss(logits.movedim(1, -1).reshape(-1, 4), target.flatten())
    torch.testing.assert_close(images, value, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", LOSSES.names())
def test_descent_finds_the_labels(name: str) -> None:
    logits, target = some_pixels()
    loss = build_loss(LossSpec(name=name), COUNTS)
    step = torch.optim.Adam([logits], lr=0.3)
    first = loss(logits, target).item()
    for _ in range(60):
        step.zero_grad()
        loss(logits, target).backward()
        step.step()
    assert loss(logits, target).item() < first
    known = target >= 0
    assert (logits.argmax(dim=1)[known] == target[known]).float().mean() > 0.95


@pytest.mark.parametrize("name", LOSSES.names())
def test_unlabelled_pixels_have_no_influence(name: str) -> None:
    loss = build_loss(LossSpec(name=name), COUNTS)
    logits, target = some_pixels()
    value, gradient = value_and_gradient(loss, logits, target)
    unknown = (target < 0)[:, None]
    assert (gradient * unknown == 0).all()
    other = torch.where(unknown, 40 * torch.randn_like(logits), logits)
    other_value, other_gradient = value_and_gradient(loss, other, target)
    assert torch.equal(other_value, value)
    assert torch.equal(other_gradient, gradient)


@pytest.mark.parametrize("name", LOSSES.names())
@pytest.mark.parametrize("shape", [(1, 3, 3), (5,)])
def test_nothing_labelled_gives_zero_with_a_gradient(name: str, shape: tuple[int, ...]) -> None:
    loss = build_loss(LossSpec(name=name), COUNTS)
    logits = torch.randn(shape[0], 4, *shape[1:], requires_grad=True)
    value = loss(logits, torch.full(shape, -1))
    assert value.item() == 0
    value.backward()
    assert logits.grad is not None
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("name", LOSSES.names())
@pytest.mark.parametrize("counts", [COUNTS, np.zeros(4, int), [0, 0, 7, 0]])
def test_classes_without_training_labels_are_no_trouble(name: str, counts: Any) -> None:
    """Also where validation has labels of a class that training never saw."""
    loss = build_loss(LossSpec(name=name), counts)
    target = torch.randint(0, 4, (2, 6, 5))
    value, gradient = value_and_gradient(loss, torch.randn(2, 4, 6, 5), target)
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", LOSSES.names())
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_full(name: str, dtype: torch.dtype) -> None:
    loss = build_loss(LossSpec(name=name), COUNTS)
    logits, target = some_pixels()
    logits = (20 * logits).detach().to(dtype)
    with torch.autocast("cpu", dtype=dtype):
        value, gradient = value_and_gradient(loss, logits, target)
    full_value, full_gradient = value_and_gradient(loss, logits.float(), target)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, full_value, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradient.float(), full_gradient, atol=1e-3, rtol=1e-2)


@pytest.mark.parametrize("name", LOSSES.names())
@pytest.mark.parametrize("right", [True, False])
def test_certain_scores_keep_a_finite_gradient(name: str, right: bool) -> None:
    """Also for powers of focal and alike that have no slope at 0."""
    options = {"gamma": 0.5} if name == "focal" else {}
    loss = build_loss(LossSpec(name=name, **options), COUNTS)
    target = torch.tensor([0, 1, 3])
    logits = 1e4 * functional.one_hot(target if right else 3 - target, 4).float()
    value, gradient = value_and_gradient(loss, logits, target)
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", POINTWISE)
def test_what_is_deterministic_on_a_gpu_suffices(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There torch refuses a cross-entropy of pixels side by side, and takes them in a list."""
    loss = build_loss(spec_of({"name": name}), COUNTS)
    expected = value_and_gradient(loss, *some_pixels())
    original = functional.cross_entropy

    def as_on_a_gpu(logits: Tensor, *rest: Any, **options: Any) -> Tensor:
        if torch.are_deterministic_algorithms_enabled() and logits.ndim > 2:
            raise RuntimeError("nll_loss2d has no deterministic implementation")
        return original(logits, *rest, **options)

    monkeypatch.setattr(functional, "cross_entropy", as_on_a_gpu)
    torch.use_deterministic_algorithms(True)
    try:
        found = value_and_gradient(loss, *some_pixels())
    finally:
        torch.use_deterministic_algorithms(False)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", LOSSES.names())
def test_a_loss_moves_but_is_not_saved(name: str) -> None:
    loss = build_loss(LossSpec(name=name), COUNTS)
    assert not loss.state_dict()
    assert not list(loss.parameters())
    assert all(buffer.dtype == torch.float32 for buffer in loss.buffers())


@pytest.mark.parametrize("name", sorted(set(LOSSES.names()) - {"cross_entropy"}))
def test_every_loss_has_a_preset_of_its_defaults(name: str) -> None:
    (term,) = spec_of(name).parts
    assert term.name == name
    options = LOSSES.get(name).Options
    assert options.model_validate(term.options) == options()
    assert all(field.description for field in options.model_fields.values())


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_built(name: str) -> None:
    logits, target = some_pixels()
    assert torch.isfinite(build_loss(spec_of(name), COUNTS)(logits, target))


# -- against published numbers -----------------------------------------------------------------


@pytest.mark.parametrize(("name", "options", "case"), PUBLISHED)
@pytest.mark.parametrize("dense", [False, True])
def test_equals_the_published_code(
    name: str, options: dict[str, Any], case: str, dense: bool, fixtures_dir: Path
) -> None:
    from safetensors.torch import load_file

    known = load_file(fixtures_dir / "losses_etc" / "losses.safetensors")
    logits, target, wanted = known["logits"], known["target"], known[f"grad.{case}"]
    if dense:  # two images of 6 pixels, and beside each pixel one without label
        logits, wanted = (t.view(2, 6, 1, -1).movedim(-1, 1) for t in (logits, wanted))
        logits = torch.cat([logits, torch.randn_like(logits)], dim=-1)
        wanted = torch.cat([wanted, torch.zeros_like(wanted)], dim=-1)
        target = target.view(2, 6, 1)
        target = torch.cat([target, torch.full_like(target, -1)], dim=-1)
    loss = build_loss(LossSpec(name=name, **options), known["cls_num_list"])
    if case == "CB":  # made in float32 there, which is 7e-5 off 1 - beta^n
        (weights,) = loss.buffers()
        torch.testing.assert_close(weights, known["aux.CB_w"], atol=0, rtol=1e-4)
        weights.copy_(known["aux.CB_w"])
    value, gradient = value_and_gradient(loss, logits, target)
    torch.testing.assert_close(value, known[f"loss.{case}"].reshape(()), atol=2e-5, rtol=2e-6)
    torch.testing.assert_close(gradient, wanted, atol=2e-5, rtol=2e-6)


@pytest.mark.parametrize("class_weights", ["none", "balanced"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_equals_torch(class_weights: str, smoothing: float) -> None:
    spec = LossSpec(name="ce", class_weights=class_weights, label_smoothing=smoothing)
    logits, target = some_pixels()
    counts = torch.as_tensor(COUNTS)
    weight = frequency_weights(counts, 0.5) if class_weights == "balanced" else None
    wanted = functional.cross_entropy(
        logits, target, weight=weight, ignore_index=-1, label_smoothing=smoothing
    )
    torch.testing.assert_close(build_loss(spec, COUNTS)(logits, target), wanted)


def overlaps(logits: Tensor, target: Tensor) -> list[tuple[float, float, float]]:
    """Return hits, false positives and misses of each class that occurs, in probabilities."""
    known = target >= 0
    shares = logits.detach().softmax(dim=1).movedim(1, -1)[known].double()
    found = []
    for k in target[known].unique():
        true = target[known] == k
        hit = float(shares[true, k].sum())
        found.append((hit, float(shares[~true, k].sum()), int(true.sum()) - hit))
    return found


@pytest.mark.parametrize(
    ("name", "options", "alpha", "beta"),
    [
        ("dice", {}, 0.5, 0.5),
        ("jaccard", {}, 1.0, 1.0),
        ("tversky", {}, 0.3, 0.7),
        ("tversky", {"alpha": 0.6, "beta": 0.2}, 0.6, 0.2),
    ],
)
def test_overlap_by_hand(name: str, options: dict[str, Any], alpha: float, beta: float) -> None:
    logits, target = some_pixels()
    scores = [tp / (tp + alpha * fp + beta * fn) for tp, fp, fn in overlaps(logits, target)]
    value = build_loss(LossSpec(name=name, **options), COUNTS)(logits, target)
    assert value.item() == pytest.approx(1 - sum(scores) / len(scores), abs=2e-6)


def test_micro_dice_by_hand() -> None:
    logits, target = some_pixels()
    count = int((target >= 0).sum())
    hits = sum(tp for tp, _, _ in overlaps(logits, target))
    value = build_loss(LossSpec(name="dice", average="micro"), COUNTS)(logits, target)
    assert value.item() == pytest.approx(1 - hits / count, abs=2e-6)


def test_lovasz_of_certain_maps_is_one_minus_iou() -> None:
    """The extension equals what it extends at its corners, over classes that occur."""
    _, target = some_pixels()
    mapped = torch.where(torch.rand(target.shape) < 0.5, target.clamp_min(0), 1)
    logits = 200.0 * functional.one_hot(mapped, 4).movedim(-1, 1)
    known = target >= 0
    lost = []
    for k in (0, 1, 3):
        a, b = (mapped == k)[known], (target == k)[known]
        lost.append(1 - float((a & b).sum() / (a | b).sum()))
    value = build_loss(LossSpec(name="lovasz"), COUNTS)(logits, target)
    assert value.item() == pytest.approx(sum(lost) / 3, abs=1e-6)


# -- class counts ------------------------------------------------------------------------------


def test_weights_follow_the_frequency() -> None:
    weights = frequency_weights(torch.as_tensor(COUNTS), 0.5)
    assert weights[1] / weights[0] == pytest.approx(3.0)
    assert weights[3] / weights[0] == pytest.approx(6.0)
    assert weights[2] == weights[3]
    assert weights[[0, 1, 3]].mean() == pytest.approx(1.0)
    assert torch.equal(frequency_weights(torch.tensor([0, 0]), 1), torch.ones(2))


def test_a_class_without_labels_counts_as_the_rarest() -> None:
    assert filled_counts(torch.as_tensor(COUNTS)).tolist() == [900, 100, 25, 25]
    priors = class_priors(torch.as_tensor(COUNTS))
    assert priors.tolist() == pytest.approx([900 / 1050, 100 / 1050, 25 / 1050, 25 / 1050])


def test_beta_near_one_tells_pixel_counts_apart() -> None:
    """A hundred thousand pixels are beyond what 0.9999 tells apart."""
    counts = torch.tensor([10_000_000, 100_000])
    weights = [
        next(build_loss(LossSpec(name="class_balanced", beta=beta), counts).buffers())
        for beta in (0.9999, 0.9999999)
    ]
    assert weights[0][1] / weights[0][0] == pytest.approx(1, abs=1e-4)
    assert weights[1][1] / weights[1][0] > 30


# -- sums, and what is wrong -------------------------------------------------------------------


def test_a_weighted_sum_adds_up() -> None:
    logits, target = some_pixels()
    both = spec_of([{"name": "ce", "weight": 2}, "dice", {"name": "focal", "gamma": 1}])
    alone = [build_loss(LossSpec(**keys), COUNTS)(logits, target) for keys in (
        {"name": "ce"}, {"name": "dice"}, {"name": "focal", "gamma": 1},
    )]  # fmt: skip
    value = build_loss(both, COUNTS)(logits, target)
    torch.testing.assert_close(value, 2 * alone[0] + alone[1] + alone[2])


def test_the_default_is_plain_cross_entropy() -> None:
    logits, target = some_pixels()
    wanted = functional.cross_entropy(logits, target, ignore_index=-1)
    torch.testing.assert_close(build_loss(LossSpec(), COUNTS)(logits, target), wanted)


def test_a_preset_takes_other_options() -> None:
    assert spec_of({"preset": "focal", "gamma": 1}).options == {"gamma": 1}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"gama": 1, "name": "focal"}, r"loss \(focal\): unknown key 'gama'; did you mean 'gamma'"),
        ({"gamma": 1}, r"loss \(cross_entropy\): unknown key 'gamma'; known here: class_weights, "),
        ({"name": "focal", "gamma": -1}, r"loss \(focal\): gamma=-1: input should be greater than"),
        ([{"name": "dice", "average": "mean"}], r"loss \(dice\): average='mean': input should be "),
        ({"weight": 0}, "loss.weight=0: input should be greater than 0"),
        ([{"name": "ce", "weight": -1}], "loss.terms.0.weight=-1: input should be greater than 0"),
        ({"preset": "ce_dice", "gamma": 2}, "loss: gamma is given beside terms; move it into one"),
        (
            {"preset": "ce_dice", "weight": 2},
            "loss: weight is given beside terms; move it into one",
        ),
        ({"preset": "ce_dice", "name": "ce"}, "loss: name is given beside terms; move it into one"),
        ([], "loss: names no loss; give at least one"),
    ],
)
def test_one_sentence_for_each_mistake(given: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        check_loss(spec_of(given))


def test_unknown_name() -> None:
    for name in ("cross-entropy", "cross entropy"):
        with pytest.raises(UnknownNameError, match="did you mean 'cross_entropy'"):
            check_loss(LossSpec(name=name))
        with pytest.raises(UnknownNameError, match="did you mean 'cross_entropy'"):
            build_loss(LossSpec(name=name), COUNTS)
