"""Simple classifiers on the bands of single pixels, scored on the same labels as the network."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any, cast

import torch

from rsmeta.config.model import HeadSpec, ModelSpec
from rsmeta.config.tuner import TunerSpec
from rsmeta.metrics import SegmentationMetrics
from rsmeta.models.build import build_network
from rsmeta.training.solve import labelled_pixels, solve_head

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rsmeta.data.splits import Part
    from rsmeta.heads import SolvedHead
    from rsmeta.metrics import SegmentationResult
    from rsmeta.models.network import Network
    from rsmeta.tasks.base import TrainingData

logger = logging.getLogger(__name__)

#: What a network is compared with: heads on the backbone ``pixels``.
BASELINES: Mapping[str, Mapping[str, Any]] = {
    "forest": {"trees": 100},
    "logistic": {"strength": 1.0},
}


def baseline_scores(
    data: TrainingData, parts: Iterable[Part], *, seed: int
) -> dict[str, dict[Part, SegmentationResult]]:
    """Train the baselines on the training labels, and score them on other parts.

    Args:
        data: Labelled scenes.
        parts: Parts to score, each with labels.
        seed: Decides what is random.

    Returns:
        Scores by baseline and part.

    Raises:
        LabelsError: The training labels hold fewer than two classes.
    """
    mean, std = data.statistics
    scores = {}
    for name, options in BASELINES.items():
        network = build_network(
            ModelSpec(backbone="pixels", head=HeadSpec(name=name, **options)), TunerSpec(),
            bands=data.bands, classes=len(data.classes), mean=mean, std=std,
        )  # fmt: skip
        solve_head(network, data, seed=seed)
        scores[name] = {part: _score(network, data, part, seed=seed) for part in parts}
    return scores


def _score(network: Network, data: TrainingData, part: Part, *, seed: int) -> SegmentationResult:
    pixels = labelled_pixels(network, data, part, seed=seed)
    head = cast("SolvedHead", network.head)
    with torch.inference_mode():
        said = head.probabilities(torch.from_numpy(pixels.features)).argmax(dim=1)
    metrics = SegmentationMetrics([spec.name for spec in data.classes])
    metrics.update(said, torch.from_numpy(pixels.labels))
    return metrics.compute()


#: What to do if a baseline is better than a model that is solved for, or trained by steps.
_ADVICE = {
    True: "one division proves little: cross-validate (data.split={folds: 5}), or draw more "
    "polygons",
    False: "try model=auto, which compares several, or give a network pretrained weights, more "
    "labels or more steps",
}


def compare_with_baselines(
    own: SegmentationResult,
    baselines: Mapping[str, SegmentationResult],
    part: Part,
    *,
    solved: bool,
) -> None:
    """Log the macro F1 of a model beside that of the baselines, and warn if it is worse.

    Args:
        own: Scores of the model.
        baselines: Those of the baselines, on the same labels.
        part: Which part was scored.
        solved: Whether the model is solved for, not trained by steps.
    """
    mine = _known(own.macro_f1)
    theirs = {name: _known(scores.macro_f1) for name, scores in baselines.items()}
    listed = ", ".join(f"{name} {value:.3f}" for name, value in theirs.items())
    logger.info(
        "%s: macro F1 %.3f; on the bands of single pixels: %s (%s pixels)",
        part, mine, listed, f"{own.pixels:,}",
    )  # fmt: skip
    best = max(theirs, key=theirs.__getitem__)
    if theirs[best] > mine:
        logger.warning(
            "a %s on the bands of single pixels is better than this model (macro F1 %.3f "
            "against %.3f, %s part): %s",
            {"forest": "random forest", "logistic": "logistic regression"}.get(best, best),
            theirs[best], mine, part, _ADVICE[solved],
        )  # fmt: skip


def _known(score: float | None) -> float:
    return math.nan if score is None else score
