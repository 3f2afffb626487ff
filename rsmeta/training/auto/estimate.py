"""How long choosing and solving will take, judged by one fit of every candidate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rsmeta.data.streams import random_stream
from rsmeta.training.auto.candidates import RULE, candidates_of, usual_names
from rsmeta.training.auto.held_out import try_all
from rsmeta.training.auto.sample import draw_sample, folds_of_pixels
from rsmeta.training.solve import check_classes, pixels_to_solve

if TYPE_CHECKING:
    from rsmeta.config.model import ModelSpec
    from rsmeta.data.datamodule import SceneDataModule
    from rsmeta.training.auto.candidates import Rule

#: Baselines, scores, pictures and files, as a share of what is estimated, and in seconds.
_BESIDES, _LEAST_SECONDS = 1.3, 2.0


def estimate_selection(
    model: ModelSpec, data: SceneDataModule, *, seed: int, rule: Rule = RULE
) -> float:
    """Return the seconds that cross-validation and the solution of the usual choice will take.

    Every candidate is fitted to one division of the labels; fits of all labels take longer by
    their number.

    Args:
        model: What is left open.
        data: Labelled scenes.
        seed: Decides what is random.
        rule: How much is compared.

    Raises:
        LabelsError: The labels hold fewer than two classes.
        RsmetaError: A candidate of the user's cannot be built.
    """
    usual = usual_names(model, data.bands)
    sample = draw_sample(data, rule, seed=seed)
    check_classes(sample.places.label, data)
    rule = rule.for_groups(sample.groups_per_class) if usual else rule
    fold = folds_of_pixels(sample, rule, random_stream("auto_folds", seed, 0))
    once = np.where(fold == fold.max(), fold, -1)
    tried = list(try_all(candidates_of(model, data.bands), data, sample, [once], seed=seed))
    fits = rule.repeats * rule.folds if (fold >= 0).any() else 0
    more = pixels_to_solve(data) / max(len(sample.places.row), 1)
    times = 2 if data.validates and data.settings.split.refit else 1
    seconds = sum(one.feature_seconds + fits * (one.seconds - one.feature_seconds) for one in tried)
    seconds += sum(times * more * one.seconds for one in tried if one.name in usual)
    return _LEAST_SECONDS + _BESIDES * seconds
