"""What candidates say of pixels whose group was held out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from rsmeta.bundle.as_backbone import build_from
from rsmeta.config.tuner import TunerSpec
from rsmeta.heads import HEADS, build_head
from rsmeta.heads.regression import reduced, strength_path
from rsmeta.heads.solved import SolvedHead, standardisation
from rsmeta.models.build import check_not_random_and_frozen, head_input
from rsmeta.training.auto.scores import balanced_loss
from rsmeta.training.blas import one_blas_thread
from rsmeta.training.pixel_features import features_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rsmeta.config.model import ModelSpec
    from rsmeta.data.datamodule import SceneDataModule
    from rsmeta.models.network import Network
    from rsmeta.training.auto.candidates import Candidate
    from rsmeta.training.auto.sample import Sample


@dataclass(frozen=True)
class Tried:
    """A candidate that was tried.

    Attributes:
        name: As the table shows it.
        model: With the best of its variants.
        complexity: The simpler one has less.
        shares: Probabilities of held-out pixels, (R, N, K); NaN where a pixel never was.
        seconds: For features and all fits.
        feature_seconds: For features alone; 0 where another candidate has them too.
        members: Names of the candidates that it averages, or its own.
    """

    name: str
    model: ModelSpec
    complexity: float
    shares: np.ndarray
    seconds: float
    feature_seconds: float
    members: tuple[str, ...]


def try_all(
    candidates: Sequence[Candidate],
    data: SceneDataModule,
    sample: Sample,
    divisions: Sequence[np.ndarray],
    *,
    seed: int,
) -> Iterator[Tried]:
    """Yield each candidate with its held-out probabilities; features are computed once."""
    known: dict[str, np.ndarray] = {}
    mean, std = data.statistics
    for one in candidates:
        started = time.monotonic()
        network = build_from(
            one.model, TunerSpec(), bands=data.bands, classes=sample.classes, mean=mean, std=std
        )
        check_not_random_and_frozen(network, one.model)
        head = cast("SolvedHead", network.head)
        key = one.model.model_dump_json(exclude={"head"}) + str((head.depths, head.dim))
        if key not in known:
            known[key] = features_at(
                network, sample.scenes, sample.places, chip_px=data.settings.chip_px
            )
        computed = time.monotonic() - started
        options, shares = _best_variant(one, network, known[key], sample, divisions, seed)
        yield Tried(
            one.name, with_options(one.model, options), one.complexity, shares,
            time.monotonic() - started, computed, (one.name,),
        )  # fmt: skip


@one_blas_thread()
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
    scaled = reduced((features - mean) / std)
    strengths = [options["strength"] for options in one.variants]
    shape = (len(divisions), len(features), sample.classes)
    found = [np.full(shape, np.nan) for _ in strengths]
    label = sample.places.label
    for repeat, fit, judge in _splits(divisions, label):
        path = strength_path(scaled, label, fit, judge, strengths=strengths, classes=sample.classes)
        for shares, said in zip(found, path, strict=True):
            shares[repeat, judge] = said
    return found


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
    spec = with_options(one.model, options).head
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


def with_options(model: ModelSpec, options: dict[str, Any]) -> ModelSpec:
    """Return a model whose head has other options."""
    if not options:
        return model
    head = model.head.model_validate(model.head.model_dump() | options)
    return model.model_copy(update={"head": head})
