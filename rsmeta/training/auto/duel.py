"""Compare the chosen model with an adapted network, on the validation part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rsmeta.bundle.as_backbone import build_from
from rsmeta.config.tuner import TunerSpec
from rsmeta.data.streams import random_stream
from rsmeta.training.auto.candidates import RULE
from rsmeta.training.auto.sample import draw_sample
from rsmeta.training.auto.scores import choose, group_confusions, macro_f1, resampled_f1
from rsmeta.training.pixel_features import probabilities_at
from rsmeta.training.solve import solve_head

if TYPE_CHECKING:
    from rsmeta.config.model import ModelSpec
    from rsmeta.data.datamodule import SceneDataModule
    from rsmeta.models.network import Network


@dataclass(frozen=True)
class Duel:
    """How an adapted network did beside the chosen model, both trained on the training part.

    Attributes:
        chosen: Macro F1 of the chosen model on the validation part.
        network: That of the network.
        standard_error: Of the difference.
        adopted: Whether the network takes its place.
        pixels: Labelled pixels of the validation part that were compared.
    """

    chosen: float
    network: float
    standard_error: float
    adopted: bool
    pixels: int

    def as_dict(self) -> dict[str, Any]:
        """Return what metrics.json says of it."""
        return vars(self) | {}


def compare_network(
    network: Network, chosen: ModelSpec, data: SceneDataModule, *, seed: int
) -> Duel:
    """Compare a trained network with a model that is solved for.

    The network's weights are those with the best validation score, which flatters it a little: it
    must be clearly better.

    Args:
        network: Trained on the training part.
        chosen: The chosen model, to be solved for on the same labels.
        data: Labelled scenes with a validation part.
        seed: Decides what is random.
    """
    mean, std = data.statistics
    classes = len(data.classes)
    solved = build_from(chosen, TunerSpec(), bands=data.bands, classes=classes, mean=mean, std=std)
    solve_head(solved, data, seed=seed)
    sample = draw_sample(data, RULE, parts=("validation",), seed=seed)
    shares = [
        probabilities_at(one, sample.scenes, sample.places, chip_px=data.settings.chip_px)
        for one in (solved, network)
    ]
    confusions = np.stack([group_confusions(one[None], sample) for one in shares])
    scores = macro_f1(confusions.sum(axis=1))
    drawn = resampled_f1(confusions, RULE, random_stream("auto_errors", seed))
    winner, _ = choose(scores, drawn, (0, 1), 0, RULE, groups=RULE.groups)
    return Duel(
        float(scores[0]), float(scores[1]), float((drawn[:, 1] - drawn[:, 0]).std(ddof=1)),
        adopted=winner == 1, pixels=len(sample.places.row),
    )  # fmt: skip
