"""Compare candidates on held-out groups of labelled pixels, and choose one."""

from __future__ import annotations

import itertools
import logging
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from rsmeta.config.model import ModelSpec
from rsmeta.config.tuner import TunerSpec
from rsmeta.data.streams import random_stream
from rsmeta.heads import HEADS, build_head
from rsmeta.heads.logistic import strength_path
from rsmeta.heads.solved import SolvedHead, standardisation
from rsmeta.models.build import build_network, head_input
from rsmeta.training.auto.candidates import (
    RULE,
    USUAL,
    Candidate,
    candidates_of,
)
from rsmeta.training.auto.sample import divide_groups, draw_sample
from rsmeta.training.auto.scores import (
    balanced_loss,
    choose,
    group_confusions,
    macro_f1,
    resampled_f1,
)
from rsmeta.training.pixel_features import features_at
from rsmeta.training.solve import check_classes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rsmeta.data.datamodule import SceneDataModule
    from rsmeta.models.network import Network
    from rsmeta.training.auto.candidates import Rule
    from rsmeta.training.auto.sample import Sample

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """One candidate in the table.

    Attributes:
        name: What it is.
        macro_f1: On pixels of held-out groups.
        difference: To the best candidate's.
        standard_error: Of that difference.
        seconds: For features and all fits.
    """

    name: str
    macro_f1: float
    difference: float
    standard_error: float
    seconds: float


@dataclass(frozen=True)
class Selection:
    """The chosen model, and the table that it was chosen by.

    Attributes:
        name: What was chosen.
        model: Its settings.
        reason: Why, a sentence.
        rows: All candidates, best first; none where nothing could be held out.
        pixels: Labelled pixels that were compared.
        groups: Polygons or blocks that were held out.
        folds: Folds of each repeat.
        repeats: Repeats.
    """

    name: str
    model: ModelSpec
    reason: str
    rows: tuple[Row, ...] = ()
    pixels: int = 0
    groups: int = 0
    folds: int = 0
    repeats: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return what metrics.json says of it."""
        return {
            "chosen": self.name,
            "reason": self.reason,
            "pixels": self.pixels,
            "groups": self.groups,
            "folds": self.folds,
            "repeats": self.repeats,
            "candidates": [vars(row) for row in self.rows],
        }


@dataclass
class _Tried:
    """A candidate with what it said of held-out pixels, (R, N, K)."""

    name: str
    model: ModelSpec
    complexity: float
    shares: np.ndarray
    seconds: float
    confusions: np.ndarray = field(default_factory=lambda: np.empty(0))


def select_model(
    model: ModelSpec, data: SceneDataModule, *, seed: int, rule: Rule = RULE
) -> Selection:
    """Choose a model for labelled pixels by cross-validation over groups.

    Args:
        model: ``backbone=auto``, with the user's candidates and head.
        data: Labelled scenes; the test part is not looked at.
        seed: Decides what is random.
        rule: How much is compared, and what wins.

    Raises:
        LabelsError: The labels hold fewer than two classes.
        RsmetaError: A candidate of the user's cannot be built.
    """
    return _selection(candidates_of(model, data.bands), data, seed=seed, rule=rule)


def select_zoom(
    model: ModelSpec, data: SceneDataModule, *, seed: int, rule: Rule = RULE
) -> Selection:
    """Choose the zoom by a logistic regression on the backbone's frozen features.

    Args:
        model: ``zoom=auto``.
        data: Labelled scenes; the test part is not looked at.
        seed: Decides what is random.
        rule: How much is compared, and what wins.
    """
    candidates = candidates_of(model, data.bands)
    found = _selection(candidates, data, seed=seed, rule=replace(rule, members=0))
    zoom = found.model.zoom
    return replace(found, model=model.model_copy(update={"zoom": zoom}))


def _selection(
    candidates: Sequence[Candidate], data: SceneDataModule, *, seed: int, rule: Rule
) -> Selection:
    sample = draw_sample(data, rule, seed=seed)
    check_classes(sample.places.label, data)
    divisions = [
        _fold_of_pixels(sample, rule, random_stream("auto_folds", seed, repeat))
        for repeat in range(rule.repeats)
    ]
    if not any((one >= 0).any() for one in divisions):
        return _fallback(candidates)
    logger.info("comparing %d models on %s pixels of %d polygons or blocks", len(candidates),
                f"{len(sample.places.row):,}", len(sample.group_counts))  # fmt: skip
    tried = list(_tried(candidates, data, sample, divisions, seed=seed))
    tried += _averages(tried, sample, rule)
    confusions = np.stack([group_confusions(one.shares, sample) for one in tried])
    scores = macro_f1(confusions.sum(axis=1))
    drawn = resampled_f1(confusions, rule, random_stream("auto_errors", seed))
    chosen, errors = choose(scores, drawn, [one.complexity for one in tried], rule)
    best = int(scores.argmax())
    rows = tuple(
        Row(tried[i].name, float(scores[i]), float(scores[i] - scores[best]), float(errors[i]),
            round(tried[i].seconds, 2))
        for i in np.argsort(-scores, kind="stable")
    )  # fmt: skip
    reason = "it is best"
    if chosen != best:
        reason = f"it is the simplest within one standard error of the best, {tried[best].name}"
    judged = np.unique(sample.places.group[np.any([one >= 0 for one in divisions], axis=0)])
    return Selection(
        tried[chosen].name, tried[chosen].model, reason, rows, pixels=len(sample.places.row),
        groups=len(judged), folds=rule.folds, repeats=rule.repeats,
    )  # fmt: skip


def _fallback(candidates: Sequence[Candidate]) -> Selection:
    """Return what is taken where no group can be held out."""
    named = {one.name: one for one in candidates}
    one = next((named[name] for name in USUAL if name in named), candidates[0])
    model = _with_options(one.model, {"strength": 1.0} if len(one.variants) > 1 else {})
    return Selection(
        one.name, model, "no class has labels in two polygons or blocks, so that none can be held "
        "out to compare models, and this is the usual choice",
    )  # fmt: skip


def _fold_of_pixels(sample: Sample, rule: Rule, rng: np.random.Generator) -> np.ndarray:
    """Return the fold of each pixel, (N,); -1: never held out."""
    folds: np.ndarray = divide_groups(sample.group_counts, rule.folds, rng)[sample.places.group]
    return folds


def _tried(
    candidates: Sequence[Candidate],
    data: SceneDataModule,
    sample: Sample,
    divisions: Sequence[np.ndarray],
    *,
    seed: int,
) -> Iterator[_Tried]:
    """Yield each candidate with its held-out probabilities; features are computed once."""
    known: dict[str, np.ndarray] = {}
    mean, std = data.statistics
    for one in candidates:
        started = time.monotonic()
        network = build_network(
            one.model, TunerSpec(), bands=data.bands, classes=sample.classes, mean=mean, std=std
        )
        head = cast("SolvedHead", network.head)
        key = one.model.model_dump_json(exclude={"head"}) + str((head.depths, head.dim))
        if key not in known:
            known[key] = features_at(
                network, sample.scenes, sample.places, chip_px=data.settings.chip_px
            )
        options, shares = _best_variant(one, network, known[key], sample, divisions, seed)
        yield _Tried(
            one.name, _with_options(one.model, options), one.complexity, shares,
            time.monotonic() - started,
        )  # fmt: skip


def _best_variant(
    one: Candidate,
    network: Network,
    features: np.ndarray,
    sample: Sample,
    divisions: Sequence[np.ndarray],
    seed: int,
) -> tuple[dict[str, Any], np.ndarray]:
    """Return the options with the least loss on held-out pixels, and their probabilities."""
    if one.model.head.name == "logistic" and len(one.variants) > 1:
        found = _strengths(one, features, sample, divisions)
    else:
        found = [
            _held_out(one, dict(options), network, features, sample, divisions, seed)
            for options in one.variants
        ]
    losses = [balanced_loss(shares, sample) if len(found) > 1 else 0.0 for shares in found]
    best = int(np.argmin(losses))
    return dict(one.variants[best]), found[best]


def _strengths(
    one: Candidate, features: np.ndarray, sample: Sample, divisions: Sequence[np.ndarray]
) -> list[np.ndarray]:
    mean, std = standardisation(features)
    scaled = _rotated((features - mean) / std)
    strengths = [options["strength"] for options in one.variants]
    shape = (len(divisions), len(features), sample.classes)
    found = [np.full(shape, np.nan) for _ in strengths]
    label = sample.places.label
    for repeat, fit, judge in _splits(divisions, label):
        path = strength_path(scaled, label, fit, judge, strengths=strengths, classes=sample.classes)
        for shares, said in zip(found, path, strict=True):
            shares[repeat, judge] = said
    return found


def _rotated(scaled: np.ndarray) -> np.ndarray:
    """Return features (N, F) in their principal axes, which a penalised regression does not mind.

    Axes that hold next to nothing are dropped, so that wide features take no longer.
    """
    if scaled.shape[1] <= 64:
        return scaled
    axes = torch.linalg.svd(torch.from_numpy(scaled).float(), full_matrices=False)
    variance = axes.S.square()
    kept = int((variance.cumsum(0) < 0.999 * variance.sum()).sum()) + 1
    rotated: np.ndarray = (axes.U[:, :kept] * axes.S[:kept]).double().numpy()
    return rotated


def _held_out(
    one: Candidate,
    options: dict[str, Any],
    network: Network,
    features: np.ndarray,
    sample: Sample,
    divisions: Sequence[np.ndarray],
    seed: int,
) -> np.ndarray:
    """Return the probabilities of held-out pixels, (R, N, K)."""
    spec = _with_options(one.model, options).head
    head = cast("SolvedHead", build_head(
        spec, head_input(network.backbone), classes=sample.classes, registry=HEADS
    ))  # fmt: skip
    shares = np.full((len(divisions), len(features), sample.classes), np.nan)
    label, group = sample.places.label, sample.places.group
    for repeat, fit, judge in _splits(divisions, label):
        head.solve(features[fit], label[fit], group[fit], seed=seed)
        with torch.inference_mode():
            shares[repeat, judge] = head.probabilities(torch.from_numpy(features[judge])).numpy()
    return shares


def _splits(
    divisions: Sequence[np.ndarray], label: np.ndarray
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield the repeat, the pixels to fit and those to judge; of two classes to fit at least."""
    for repeat, fold in enumerate(divisions):
        for number in np.unique(fold[fold >= 0]):
            fit, judge = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
            if len(np.unique(label[fit])) > 1:
                yield repeat, fit, judge


def _averages(tried: Sequence[_Tried], sample: Sample, rule: Rule) -> Iterator[_Tried]:
    """Yield averages of two of the best candidates."""
    scores = [float(macro_f1(group_confusions(t.shares, sample).sum(axis=0))) for t in tried]
    best = sorted(range(len(tried)), key=lambda i: -scores[i])[: rule.members]
    for i, j in itertools.combinations(sorted(best), 2):
        a, b = tried[i], tried[j]
        yield _Tried(
            f"{a.name} + {b.name}", ModelSpec(average=(a.model, b.model)),
            100 + a.complexity + b.complexity, (a.shares + b.shares) / 2, 0.0,
        )  # fmt: skip


def _with_options(model: ModelSpec, options: dict[str, Any]) -> ModelSpec:
    """Return a model whose head has other options."""
    if not options:
        return model
    head = model.head.model_validate(model.head.model_dump() | options)
    return model.model_copy(update={"head": head})
