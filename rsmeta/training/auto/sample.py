"""Which labelled pixels the candidates are compared on, and how their groups are divided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rsmeta.data.labelled_places import Places, labelled_places
from rsmeta.data.streams import random_stream
from rsmeta.heads.regression import ranks_in_cells
from rsmeta.training.solve import MOST_PER_CLASS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.data.chips import LabelledScene
    from rsmeta.data.datamodule import SceneDataModule
    from rsmeta.data.splits import Part
    from rsmeta.training.auto.candidates import Rule


@dataclass(frozen=True)
class Sample:
    """Labelled pixels that stand for all.

    Attributes:
        scenes: The scenes that ``places`` counts through.
        places: The pixels; groups are numbered from 0.
        weight: Labelled pixels that each stands for, (N,).
        classes: Number of classes K.
    """

    scenes: list[LabelledScene]
    places: Places
    weight: np.ndarray
    classes: int

    @property
    def group_counts(self) -> np.ndarray:
        """Pixels by group and class, (G, K) int64."""
        groups = int(self.places.group.max(initial=-1)) + 1
        flat = np.bincount(
            self.places.group * self.classes + self.places.label, minlength=groups * self.classes
        )
        return flat.reshape(groups, self.classes)

    @property
    def groups_per_class(self) -> float:
        """How many groups a class has on average, of those that can be held out."""
        of_class = (self.group_counts > 0).sum(axis=0)
        return float(np.where(of_class > 1, of_class, 0).sum() / max((of_class > 0).sum(), 1))


def draw_sample(
    data: SceneDataModule,
    rule: Rule,
    *,
    seed: int,
    parts: Sequence[Part] = ("train", "validation"),
) -> Sample:
    """Draw labelled pixels, evenly over groups and their classes.

    Args:
        data: Labelled scenes.
        rule: How many.
        seed: Decides which.
        parts: Of which parts; the test part is not looked at.
    """
    rng = random_stream("labelled_pixels", seed)
    indexed = [one for part in parts for one in data.parts[part]]
    scenes, classes = [one.labelled for one in indexed], len(data.classes)
    counts = np.sum([one.index.class_counts for one in indexed], axis=0)
    shares = np.minimum(MOST_PER_CLASS / np.maximum(counts, 1), 1.0)
    places = labelled_places(scenes, data.settings, shares=shares, rng=rng)
    cell = places.group * classes + places.label
    rank = ranks_in_cells(cell, rng)
    sizes = np.bincount(cell)
    kept = rank < _most_of_each(sizes, rule.pixels)
    if kept.sum() > rule.pixels:
        kept[rng.permutation(np.flatnonzero(kept))[rule.pixels :]] = False
    kept &= _in_few_chips(places, kept, rank, rule.chips, data.settings.chip_px)
    drawn = np.bincount(cell[kept], minlength=len(sizes))
    weight = (sizes / np.maximum(drawn, 1))[cell] / shares[places.label]
    chosen = places.take(kept)
    _, group = np.unique(chosen.group, return_inverse=True)
    return Sample(scenes, chosen._replace(group=group.ravel()), weight[kept], classes)


def folds_of_pixels(sample: Sample, rule: Rule, rng: np.random.Generator) -> np.ndarray:
    """Return the fold of each pixel, (N,); -1: never held out."""
    folds: np.ndarray = divide_groups(sample.group_counts, rule.folds, rng)[sample.places.group]
    return folds


def divide_groups(counts: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """Deal groups into folds, each class as evenly as can be.

    A group of several classes counts for the rarest of them. The only group of a class is never
    held out, since nothing would be left to learn that class from.

    Args:
        counts: Pixels by group and class, (G, K).
        folds: Number of folds.
        rng: Shuffles the groups.

    Returns:
        Number of the fold of each group, (G,); -1: never held out.
    """
    of_class = (counts > 0).sum(axis=0)
    rarity = np.where(counts > 0, of_class, np.iinfo(np.int64).max)
    stratum = rarity.argmin(axis=1)
    fold = np.full(len(counts), -1, np.int64)
    start = 0
    for number in np.argsort(of_class, kind="stable"):
        members = rng.permutation(np.flatnonzero(stratum == number))
        if of_class[number] > 1:
            fold[members] = (start + np.arange(len(members))) % folds
            start += len(members)
    return fold


def _most_of_each(sizes: np.ndarray, total: int) -> int:
    """Return how many pixels of each cell can be taken without exceeding a total; 1 at least."""
    low, high = 1, int(sizes.max(initial=1))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (
            (middle, high) if np.minimum(sizes, middle).sum() <= total else (low, middle - 1)
        )
    return low


def _in_few_chips(
    places: Places, kept: np.ndarray, rank: np.ndarray, most: int, chip_px: int
) -> np.ndarray:
    """Return which pixels lie in the few chips that show the first kept pixels of each cell."""
    step = max(chip_px // 2, 1)
    keys = np.column_stack([places.scene, places.row // step, places.col // step])
    _, chip = np.unique(keys, axis=0, return_inverse=True)
    chip = chip.ravel()
    chosen = np.flatnonzero(kept)
    by_rank = chip[chosen[np.argsort(rank[chosen], kind="stable")]]
    _, first = np.unique(by_rank, return_index=True)
    few = by_rank[np.sort(first)[:most]]
    return np.isin(chip, few)
