"""How far labels resemble each other: as wide a gap parts training from held-out labels."""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING

import numpy as np

from rsmeta.data.label_index import labelled_windows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rsmeta.data.chips import LabelledScene

#: Windows looked at, over all scenes, and their side in pixels; more change little.
_WINDOWS, _SIDE_PX = 8, 512

#: Labels no longer resemble each other where less than this is left of their similarity.
_LEFT = float(np.exp(-1))


def label_range_px(scenes: Sequence[LabelledScene], most_px: int) -> int:
    """Return the distance at which labels no longer resemble each other, in pixels.

    Similarity is the agreement of classes beyond chance, or the correlation of numbers, along
    rows and columns.

    Args:
        scenes: Labelled scenes of one place.
        most_px: Largest distance looked at; it is returned where labels still are alike.
    """
    windows = list(islice(chain.from_iterable(map(_labels, scenes)), _WINDOWS))
    if not windows:
        return most_px
    every = np.concatenate([values[known] for values, known in windows])
    for step in range(1, most_px):
        if not _similarity(windows, every, step) >= _LEFT:
            return step
    return most_px


def _labels(scene: LabelledScene) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield labels, and where there are any, (H, W) each, window by window."""
    for _, strata, values in labelled_windows(scene):
        yield values[:_SIDE_PX, :_SIDE_PX], strata[:_SIDE_PX, :_SIDE_PX] >= 0


def _similarity(
    windows: Sequence[tuple[np.ndarray, np.ndarray]], every: np.ndarray, step: int
) -> float:
    """Return how alike labels are that lie a number of pixels apart; NaN where none do."""
    pairs = [
        (values[one][known[one] & known[other]], values[other][known[one] & known[other]])
        for values, known in windows
        for one, other in ((np.s_[:, step:], np.s_[:, :-step]), (np.s_[step:], np.s_[:-step]))
    ]
    first, second = (np.concatenate(side) for side in zip(*pairs, strict=True))
    if not len(first):
        return np.nan
    if np.issubdtype(every.dtype, np.floating):
        mean = every.mean()
        return float(np.mean((first - mean) * (second - mean)) / max(every.var(), 1e-30))
    chance = float(np.square(np.bincount(every) / len(every)).sum())
    agreement = float(np.mean(first == second))
    return (agreement - chance) / (1 - chance) if chance < 1 else 1.0
