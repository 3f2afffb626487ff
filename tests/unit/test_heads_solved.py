"""Heads that are solved for: they say what scikit-learn says, and keep it as plain tensors."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.utils.class_weight import compute_sample_weight

from rsmeta.config.model import HeadSpec
from rsmeta.errors import ConfigError
from rsmeta.heads import HEADS, HeadInput, SolvedHead, build_head

SHAPE = HeadInput(dims=(4,), strides_px=(1,), levels=(0, 0, 0, 0), channels=4)
NAMES = ("forest", "extra_trees", "logistic", "lda", "mlp")


def made(name: str, *, classes: int = 3, **options: object) -> SolvedHead:
    head = build_head(HeadSpec(name=name, **options), SHAPE, classes=classes, registry=HEADS)
    assert isinstance(head, SolvedHead)
    return head


def problem(seed: int = 0, n: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Digital numbers of three classes that band 0 tells apart."""
    draw = np.random.default_rng(seed)
    features = (draw.normal(size=(n, 4)) * 900 + 5000).astype(np.float32)
    labels = np.digitize(features[:, 0], [4600, 5400])
    return features, labels, np.arange(n) // 20


def standardised(features: np.ndarray) -> np.ndarray:
    wide = features.astype(np.float64)
    scaled: np.ndarray = (wide - wide.mean(0)) / wide.std(0)
    return scaled


def image(seed: int = 1) -> torch.Tensor:
    draw = np.random.default_rng(seed)
    return torch.from_numpy((draw.normal(size=(2, 4, 9, 7)) * 900 + 5000).astype(np.float32))


def pixels(scores: torch.Tensor) -> np.ndarray:
    """Probabilities (N, K) of logits (B, K, H, W)."""
    found: np.ndarray = scores.softmax(1).movedim(1, -1).reshape(-1, scores.shape[1]).numpy()
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_solved_head_tells_the_classes_apart(name: str) -> None:
    head, (features, labels, groups) = made(name), problem()
    head.solve(features, labels, groups, seed=0)
    unseen, truth, _ = problem(seed=7)
    said = head.probabilities(torch.from_numpy(unseen)).argmax(1).numpy()
    assert (said == truth).mean() > 0.9


@pytest.mark.parametrize(
    ("name", "estimator"),
    [("forest", RandomForestClassifier), ("extra_trees", ExtraTreesClassifier)],
)
def test_forests_equal_scikit_learn(name: str, estimator: type) -> None:
    features, labels, groups = problem()
    head, scene = made(name, trees=40), image()
    head.solve(features, labels, groups, seed=3)
    theirs = estimator(40, class_weight="balanced", random_state=3).fit(features, labels)
    expected = theirs.predict_proba(scene.movedim(1, -1).reshape(-1, 4).numpy())
    np.testing.assert_allclose(pixels(head([scene], scene)), expected, atol=1e-6)


def test_a_forest_that_has_been_asked_takes_the_trees_of_another() -> None:
    features, labels, groups = problem()
    first, second, scene = made("forest", trees=5), made("forest", trees=5), image()
    first.solve(features, labels, groups, seed=0)
    second.solve(features, labels[::-1], groups, seed=0)
    before, wanted = pixels(first([scene], scene)), pixels(second([scene], scene))
    assert abs(before - wanted).max() > 0.1
    copied = copy.deepcopy(first)
    for head in (first, copied):
        head.fit_shapes(second.state_dict())
        head.load_state_dict(second.state_dict())
        np.testing.assert_array_equal(pixels(head([scene], scene)), wanted)


def test_forests_say_the_same_with_a_scikit_learn_whose_trees_are_stored_in_another_way(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    features, labels, groups = problem()
    head, scene = made("forest", trees=5), image()
    head.solve(features, labels, groups, seed=0)
    expected = pixels(head([scene], scene))
    monkeypatch.setattr("sklearn.tree._tree.NODE_DTYPE", np.dtype([("left", np.int64)]))
    head.load_state_dict(head.state_dict())
    for _ in range(2):
        np.testing.assert_allclose(pixels(head([scene], scene)), expected, atol=1e-6)
    [message] = [one.getMessage() for one in caplog.records]
    assert "stores trees in another way" in message


def test_values_at_a_threshold_go_the_way_that_scikit_learn_sends_them() -> None:
    # Whole numbers: thresholds lie at halves, or, between neighbours, on what float32 rounds to.
    draw = np.random.default_rng(0)
    base = np.float32(16_777_216)  # beyond it float32 holds even numbers only
    features = (base + draw.integers(0, 12, size=(300, 4))).astype(np.float32)
    labels = (features[:, 0] > base + 5).astype(int)
    head = made("forest", classes=2, trees=20)
    head.solve(features, labels, np.arange(300), seed=0)
    theirs = RandomForestClassifier(20, class_weight="balanced", random_state=0)
    theirs.fit(features, labels)
    said = head.probabilities(torch.from_numpy(features)).numpy()
    np.testing.assert_allclose(said, theirs.predict_proba(features), atol=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
def test_logistic_equals_scikit_learn(classes: int) -> None:
    features, labels, groups = problem()
    labels = np.minimum(labels, classes - 1)
    head = made("logistic", classes=classes, strength=0.7)
    head.solve(features, labels, groups, seed=0)
    scaled = standardised(features)
    theirs = LogisticRegression(C=0.7, class_weight="balanced", max_iter=2000).fit(scaled, labels)
    said = head.probabilities(torch.from_numpy(features)).numpy()
    np.testing.assert_allclose(said, theirs.predict_proba(scaled), atol=2e-6)
    scene = torch.from_numpy(features).T.reshape(1, 4, 20, 20)
    np.testing.assert_allclose(pixels(head([scene], scene)), said, atol=2e-6)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")  # of the one to compare with
@pytest.mark.parametrize("classes", [2, 3])
def test_mlp_equals_scikit_learn(classes: int) -> None:
    features, labels, groups = problem()
    labels = np.minimum(labels, classes - 1)
    head = made("mlp", classes=classes, width=16)
    head.solve(features, labels, groups, seed=5)
    scaled = standardised(features)
    theirs = MLPClassifier((16,), alpha=1e-2, max_iter=500, learning_rate_init=5e-3, random_state=5)
    theirs.fit(scaled, labels, sample_weight=compute_sample_weight("balanced", labels))
    said = head.probabilities(torch.from_numpy(features)).numpy()
    np.testing.assert_allclose(said, theirs.predict_proba(scaled), atol=2e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_class_without_labels_is_never_chosen(name: str) -> None:
    features, labels, groups = problem()
    kept = labels != 1
    head, scene = made(name), image()
    head.solve(features[kept], labels[kept], groups[kept], seed=0)
    shares = pixels(head([scene], scene))
    assert shares[:, 1].max() < 1e-6
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_saved_tensors_give_the_same_head(name: str) -> None:
    head, scene = made(name), image()
    head.solve(*problem(), seed=0)
    other = made(name)
    other.fit_shapes(head.state_dict())
    other.load_state_dict(head.state_dict())
    torch.testing.assert_close(other([scene], scene), head([scene], scene), rtol=0, atol=0)


def test_strength_is_chosen_between_groups_not_within_them() -> None:
    """Pixels of a group are alike: only a strong penalty does not learn the groups by heart."""
    draw = np.random.default_rng(0)
    groups = np.repeat(np.arange(24), 20)
    labels = groups % 2
    own = draw.normal(size=(24, 30))[groups]  # says which group, nothing of the class
    told = (labels * 0.8 + draw.normal(size=len(labels)))[:, None]
    features = np.concatenate([told, own + 0.05 * draw.normal(size=own.shape)], axis=1)
    shape = HeadInput(dims=(31,), strides_px=(1,), levels=(0,), channels=31)
    fits = {}
    for name, of in (("grouped", groups), ("alone", np.arange(len(labels)))):
        head = build_head(HeadSpec(name="logistic"), shape, classes=2, registry=HEADS)
        assert isinstance(head, SolvedHead)
        head.solve(features.astype(np.float32), labels, of, seed=0)
        fits[name] = float(head.get_buffer("weight")[:, 1:].abs().sum())
    assert fits["grouped"] < fits["alone"]


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("strength", [0.01, 1.0])
def test_features_that_say_the_same_change_nothing(classes: int, strength: float) -> None:
    features, labels, groups = problem()
    labels = np.minimum(labels, classes - 1)
    mixed = np.random.default_rng(5).normal(size=(4, 150)) / 4
    wide = (standardised(features) @ mixed + 3).astype(np.float32)
    shape = replace(SHAPE, dims=(150,))
    spec = HeadSpec(name="logistic", strength=strength)
    head = build_head(spec, shape, classes=classes, registry=HEADS)
    assert isinstance(head, SolvedHead)
    head.solve(wide, labels, groups, seed=0)
    scaled = standardised(wide)
    theirs = LogisticRegression(C=strength, class_weight="balanced", max_iter=2000, tol=1e-8)
    said = head.probabilities(torch.from_numpy(wide)).numpy()
    np.testing.assert_allclose(said, theirs.fit(scaled, labels).predict_proba(scaled), atol=3e-3)


def test_coarse_features_are_laid_on_the_pixels_beside_the_bands() -> None:
    shape = HeadInput(dims=(2, 5), strides_px=(4, 4), levels=(0, 0, 1, 1), channels=3)
    head = build_head(HeadSpec(name="logistic"), shape, classes=2, registry=HEADS)
    assert isinstance(head, SolvedHead)
    assert head.depths == (0, 1)
    scene = torch.rand(1, 3, 8, 8)
    found = head.features([torch.rand(1, 2, 2, 2), torch.rand(1, 5, 2, 2)], scene)
    assert found.shape == (1, 2 + 5 + 3, 8, 8)
    torch.testing.assert_close(found[:, -3:], scene)


def test_a_depth_beyond_the_backbone_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"depths.*5.*1 block"):
        made("logistic", depths=(5,))


@pytest.mark.parametrize("classes", [2, 3])
def test_lda_equals_scikit_learn(classes: int) -> None:
    features, labels, groups = problem()
    labels = np.minimum(labels, classes - 1)
    head = made("lda", classes=classes)
    head.solve(features, labels, groups, seed=0)
    theirs = LinearDiscriminantAnalysis(
        solver="lsqr", shrinkage="auto", priors=np.full(classes, 1 / classes)
    ).fit(standardised(features), labels)
    said = head.probabilities(torch.from_numpy(features)).numpy()
    np.testing.assert_allclose(said, theirs.predict_proba(standardised(features)), atol=2e-6)


@pytest.mark.parametrize("name", NAMES)
def test_one_label_of_each_class_is_enough(name: str) -> None:
    features = np.array([[1, 2, 3, 4], [5, 2, 3, 9]], np.float32)
    head = made(name, classes=2)
    head.solve(features, np.array([0, 1]), np.array([0, 1]), seed=0)
    said = head.probabilities(torch.from_numpy(features)).numpy()
    assert np.isfinite(said).all()
    assert said.argmax(1).tolist() == [0, 1]
