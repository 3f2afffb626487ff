"""Classifiers: one suite over everything registered, published numbers, and where weights start."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.nn import functional

from rsmeta.config.model import HeadSpec
from rsmeta.errors import ConfigError, LabelsError, UnknownNameError
from rsmeta.heads import CLASSIFIERS, HeadInput, build_head
from rsmeta.heads.classifier_init import (
    class_means,
    few_shot_means,
    linear_probe,
    random_weights,
    text_weights,
)

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from rsmeta.heads import Classifier


def built(name: str, dim: int = 16, classes: int = 7, **options: Any) -> Classifier:
    shape = HeadInput(dims=(dim,), strides_px=(16,), levels=(0,) * 4, channels=3)
    return build_head(HeadSpec(name=name, **options), shape, classes=classes, registry=CLASSIFIERS)


def clusters(classes: int = 4, dim: int = 8, each: int = 20) -> tuple[Tensor, Tensor, Tensor]:
    """Return features (N, D) around one direction per class, labels (N,), and the directions."""
    torch.manual_seed(0)
    centres = random_weights(classes, dim)
    labels = torch.arange(classes).repeat_interleave(each)
    return 5 * centres[labels] + 0.3 * torch.randn(len(labels), dim), labels, centres


def cosines(a: Tensor, b: Tensor) -> Tensor:
    return functional.cosine_similarity(a, b, dim=-1)


# -- everything registered ---------------------------------------------------------------------


@pytest.mark.parametrize("name", CLASSIFIERS.names())
def test_scores_gradients_and_state(name: str) -> None:
    head = built(name)
    features = torch.randn(5, 16, requires_grad=True)
    logits = head(features)
    assert logits.shape == (5, 7)
    logits.square().mean().backward()
    assert features.grad is not None
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())
    other = built(name)
    assert not torch.equal(other(features), logits)
    other.load_state_dict(head.state_dict())
    assert torch.equal(other(features), logits)


@pytest.mark.parametrize("name", CLASSIFIERS.names())
def test_half_precision_and_nothing_at_all(name: str) -> None:
    torch.manual_seed(0)
    head = built(name)
    features = torch.cat([torch.zeros(1, 16), torch.full((1, 16), 1e4), torch.randn(3, 16)])
    wanted = head(features)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head(features)
    assert torch.isfinite(logits).all()
    torch.testing.assert_close(logits[2:].float(), wanted[2:], atol=0.3, rtol=0.05)
    assert head(features[:0]).shape == (0, 7)


@pytest.mark.parametrize("name", CLASSIFIERS.names())
def test_pointed_at_class_means_it_recognises(name: str) -> None:
    features, labels, _ = clusters()
    head = built(name, 8, 4)
    head.set_weights(class_means(features, labels, 4))
    assert (head(features).argmax(dim=1) == labels).float().mean() > 0.9
    with pytest.raises(ValueError, match=r"shape \(3, 8\), not \(4, 8\)"):
        head.set_weights(torch.zeros(3, 8))


@pytest.mark.parametrize(
    ("case", "name", "options"),
    [
        ("Linear", "linear", {}),
        ("Cosine25", "cosine", {}),
        ("Cosine_default30", "cosine", {"scale": 30}),
        ("L2Normed", "l2_normalised", {}),
        ("LayerNormed", "layer_normalised", {}),
    ],
)
def test_equals_the_published_code(
    case: str, name: str, options: dict[str, Any], fixtures_dir: Path
) -> None:
    from safetensors.torch import load_file

    known = load_file(fixtures_dir / "losses_etc" / "classifiers.safetensors")
    head = built(name, **options)
    state = {key: known[f"{case}.{key}"] for key in head.state_dict()}
    head.load_state_dict(state)
    torch.testing.assert_close(head(known["input"]), known[f"{case}.expected"], atol=2e-5, rtol=0)


def test_length_plays_no_part_where_it_should_not() -> None:
    features = torch.randn(3, 16)
    assert built("cosine")(features).abs().max() <= 25
    for name, free in (("cosine", True), ("layer_normalised", True), ("l2_normalised", False)):
        head = built(name)
        logits = head(features)
        same = torch.allclose(head(7 * features), logits, atol=1e-3)
        assert same == free, name
        head.set_weights(3 * head.weight.detach())
        torch.testing.assert_close(head(features), logits)


def test_what_a_configuration_may_get_wrong() -> None:
    with pytest.raises(UnknownNameError, match="unknown classifier 'cosin'; did you mean 'cosine'"):
        built("cosin")
    with pytest.raises(ConfigError, match=r"model.head \(cosine\): unknown key 'scal'; did you me"):
        built("cosine", scal=3)
    with pytest.raises(ConfigError, match=r"model.head \(cosine\): scale=0: input should be great"):
        built("cosine", scale=0)


# -- where weights start -----------------------------------------------------------------------


def test_class_means_by_hand() -> None:
    features = torch.tensor([[3.0, 0], [1, 4], [0, 2], [9, 9]])
    found = class_means(features, torch.tensor([0, 0, 1, -1]), 2)
    torch.testing.assert_close(found, functional.normalize(torch.tensor([[4.0, 4], [0, 2]])))


def test_few_shots_are_a_seeded_choice() -> None:
    features, labels, centres = clusters()
    one = few_shot_means(features, labels, 4, shots=1, seed=3)
    picks = functional.normalize(features)
    for k in range(4):
        assert (cosines(picks[labels == k], one[k]) > 1 - 1e-5).any()
    assert torch.equal(one, few_shot_means(features, labels, 4, shots=1, seed=3))
    assert not torch.equal(one, few_shot_means(features, labels, 4, shots=1, seed=4))
    everything = few_shot_means(features, labels, 4, shots=99)
    torch.testing.assert_close(everything, class_means(features, labels, 4))
    assert cosines(everything, centres).min() > 0.95


@pytest.mark.parametrize("classes", [2, 4])
def test_a_linear_probe_tells_classes_apart(classes: int) -> None:
    features, labels, _ = clusters(classes)
    labels[0] = -1
    found = linear_probe(features, labels, classes)
    assert found.shape == (classes, 8)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(classes))
    known = labels >= 0
    assert ((features @ found.T).argmax(dim=1) == labels)[known].float().mean() > 0.95
    torch.testing.assert_close(linear_probe(100 * features, labels, classes), found, atol=1e-4,
                               rtol=1e-4)  # fmt: skip


def test_a_probe_that_did_not_converge_says_so(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rsmeta.heads.classifier_init._MOST_STEPS", 1)
    features, labels, _ = clusters()
    with caplog.at_level(logging.WARNING, "rsmeta"):
        linear_probe(features, labels, 4)
    assert "had not converged after 1 steps" in caplog.text


def test_texts_of_one_prompt_and_of_several() -> None:
    texts = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    wanted = torch.tensor([[0.6, 0.8], [0.0, 1.0]])
    torch.testing.assert_close(text_weights(texts), wanted)
    prompts = torch.stack([texts, 10 * texts.flip(1)], dim=1)  # length does not weigh
    half = 0.5**0.5
    torch.testing.assert_close(text_weights(prompts), torch.full((2, 2), half))


@pytest.mark.parametrize("start", [class_means, linear_probe])
def test_a_class_without_images_is_named(start: Any) -> None:
    features = torch.randn(3, 8)
    with pytest.raises(
        LabelsError, match=r"no image of class 1, 3 .* or start from random weights"
    ):
        start(features, torch.tensor([0, 2, -1]), 4)
    with pytest.raises(LabelsError, match="label 2 is beyond the 2 classes; name them all"):
        start(features, torch.tensor([0, 1, 2]), 2)
    with pytest.raises(LabelsError, match="no image of class 0, 1"):
        few_shot_means(features[:0], torch.zeros(0).long(), 2, shots=1)
