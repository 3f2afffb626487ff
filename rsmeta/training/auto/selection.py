"""Compare candidates on held-out groups of labelled pixels, and choose one."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rsmeta.config.model import ModelSpec
from rsmeta.data.streams import random_stream
from rsmeta.training.auto.candidates import RULE, candidates_of, usual_names
from rsmeta.training.auto.held_out import Tried, try_all, with_options
from rsmeta.training.auto.sample import draw_sample, folds_of_pixels
from rsmeta.training.auto.scores import choose, group_confusions, macro_f1, resampled_f1
from rsmeta.training.duration import TimeLeft
from rsmeta.training.solve import check_classes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rsmeta.data.datamodule import SceneDataModule
    from rsmeta.training.auto.candidates import Candidate, Rule
    from rsmeta.training.auto.sample import Sample

logger = logging.getLogger(__name__)

#: A comparison of one model that takes longer says how long the others may take.
_SLOW_S = 5.0


@dataclass(frozen=True)
class Row:
    """One candidate in the table.

    Attributes:
        number: By which averages name their members.
        name: What it is.
        macro_f1: On pixels of held-out groups.
        difference: To the usual choice's, or the best's.
        standard_error: Of that difference.
        seconds: For features and all fits.
    """

    number: int
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
        members: Names of the candidates that the chosen model averages, or its own.
        reference: What they are compared with: the usual choice, or the best.
        pixels: Labelled pixels that were compared.
        groups: Polygons or blocks that were held out.
        folds: Folds of each repeat.
        repeats: Repeats.
    """

    name: str
    model: ModelSpec
    reason: str
    rows: tuple[Row, ...] = ()
    members: tuple[str, ...] = ()
    reference: str = ""
    pixels: int = 0
    groups: int = 0
    folds: int = 0
    repeats: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return what metrics.json says of it."""
        return {
            "chosen": self.name,
            "members": list(self.members),
            "reason": self.reason,
            "compared_with": self.reference,
            "pixels": self.pixels,
            "groups": self.groups,
            "folds": self.folds,
            "repeats": self.repeats,
            "candidates": [vars(row) for row in self.rows],
        }


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
    return _selection(model, data, seed=seed, rule=rule)


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
    found = _selection(model, data, seed=seed, rule=replace(rule, averages=()))
    zoom = found.model.zoom
    return replace(found, model=model.model_copy(update={"zoom": zoom}))


def _selection(model: ModelSpec, data: SceneDataModule, *, seed: int, rule: Rule) -> Selection:
    candidates, usual = candidates_of(model, data.bands), usual_names(model, data.bands)
    sample = draw_sample(data, rule, seed=seed)
    check_classes(sample.places.label, data)
    rule = rule.for_groups(sample.groups_per_class) if usual else rule
    divisions = [
        folds_of_pixels(sample, rule, random_stream("auto_folds", seed, repeat))
        for repeat in range(rule.repeats)
    ]
    if not any((one >= 0).any() for one in divisions):
        return _fallback(candidates, usual)
    logger.info("comparing %d models on %s pixels of %d polygons or blocks", len(candidates),
                f"{len(sample.places.row):,}", len(sample.group_counts))  # fmt: skip
    tried, left = [], TimeLeft(len(candidates))
    for one in try_all(candidates, data, sample, divisions, seed=seed):
        tried.append(one)
        logger.debug("%s compared in %.0f s%s", one.name, one.seconds, more := left.after_one())
        if one.seconds > _SLOW_S and more:
            logger.info("%d of %d compared%s", len(tried), len(candidates), more)
    tried += _averages(tried, usual, sample, rule)
    confusions = np.stack([group_confusions(one.shares, sample) for one in tried])
    scores = macro_f1(confusions.sum(axis=1))
    drawn = resampled_f1(confusions, rule, random_stream("auto_errors", seed))
    names = [one.name for one in tried]
    prior = [one.members for one in tried].index(usual) if usual else None
    judged = np.unique(sample.places.group[np.any([one >= 0 for one in divisions], axis=0)])
    chosen, reason = choose(
        scores, drawn, [one.complexity for one in tried], prior, rule,
        groups=sample.groups_per_class,
    )  # fmt: skip
    reference = int(scores.argmax()) if prior is None else prior
    errors = (drawn - drawn[:, [reference]]).std(axis=0, ddof=1)
    rows = tuple(
        Row(int(i) + 1, names[i], float(scores[i]), float(scores[i] - scores[reference]),
            float(errors[i]), round(tried[i].seconds, 2))
        for i in np.argsort(-scores, kind="stable")
    )  # fmt: skip
    return Selection(
        names[chosen], tried[chosen].model, reason, rows,
        members=tried[chosen].members, reference=names[reference], pixels=len(sample.places.row),
        groups=len(judged), folds=rule.folds, repeats=rule.repeats,
    )  # fmt: skip


def _fallback(candidates: Sequence[Candidate], usual: Sequence[str]) -> Selection:
    """Return what is taken where no group can be held out."""
    named = {one.name: one for one in candidates}
    members = [named[name] for name in usual] or [candidates[0]]
    models = [
        with_options(one.model, {"strength": 1.0} if len(one.variants) > 1 else {})
        for one in members
    ]
    model = models[0] if len(models) == 1 else ModelSpec(average=tuple(models))
    return Selection(
        f"average of {len(members)}" if len(members) > 1 else members[0].name, model,
        "no class has labels in two polygons or blocks, so that none can be held out to compare "
        "models, and this is the usual choice", members=tuple(one.name for one in members),
    )  # fmt: skip


def _averages(
    tried: Sequence[Tried], usual: Sequence[str], sample: Sample, rule: Rule
) -> Iterator[Tried]:
    """Yield the usual average, the usual one with each other backbone, and those of the best."""
    named = {one.name: one for one in tried}
    scores = {
        one.name: float(macro_f1(group_confusions(one.shares, sample).sum(axis=0))) for one in tried
    }
    best = sorted(named, key=lambda name: -scores[name])
    groups = [tuple(usual)] if usual else []
    others = [name for name in best if named[name].model.backbone != "pixels"]
    groups += [(*usual, name) for name in others[:1] if usual]
    order = list(named)
    numbers = {name: str(place + 1) for place, name in enumerate(order)}
    groups += [tuple(sorted(best[:count], key=order.index)) for count in rule.averages]
    for names in dict.fromkeys(names for names in groups if 1 < len(names) <= len(named)):
        members = [named[name] for name in names]
        yield Tried(
            f"average of {', '.join(numbers[name] for name in names)}",
            ModelSpec(average=tuple(one.model for one in members)),
            100 + sum(one.complexity for one in members),
            np.mean([one.shares for one in members], axis=0), 0.0, 0.0, names,
        )  # fmt: skip
