"""Unlabelled scenes: which windows hold enough valid pixels, and chips drawn around them.

At most 1024 windows of a scene of any size are checked; it is never read whole. A chip is a checked
window, moved by up to half its side; where the moved one lacks valid pixels it is the checked one,
so that every chip has enough of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from rasterio.windows import Window
from torch.utils.data import Dataset

from rsmeta.data.chip_cache import ChipCache
from rsmeta.data.class_sampling import EpochSampler

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rsmeta.geo.scene import Scene

#: Windows checked per scene at most.
_CHECKED = 1024


class UnlabelledKey(NamedTuple):
    """One chip: number of the scene, its upper left pixel, and that of the checked window."""

    scene: int
    row: int
    col: int
    safe_row: int
    safe_col: int


@dataclass(frozen=True)
class UnlabelledIndex:
    """Where a scene holds enough valid pixels.

    Attributes:
        corners: (row, column) of the upper left pixel of each such window, (N, 2) int64.
        share: Number of the scene's windows that each checked one stands for.
    """

    corners: np.ndarray
    share: float


def index_unlabelled(
    scene: Scene, chip_px: int, *, min_valid: float, rng: np.random.Generator
) -> UnlabelledIndex:
    """Find the windows of a regular grid that hold enough valid pixels.

    Args:
        scene: The scene.
        chip_px: Side of a window; the last ones are moved back into the scene.
        min_valid: Smallest share of valid pixels.
        rng: Chooses the windows to check of a scene that has more.
    """
    rows, cols = (
        np.unique(np.minimum(np.arange(0, side, chip_px), max(side - chip_px, 0)))
        for side in (scene.grid.height_px, scene.grid.width_px)
    )
    total = len(rows) * len(cols)
    chosen = np.sort(rng.choice(total, min(total, _CHECKED), replace=False, shuffle=False))
    corners = np.stack([rows[chosen // len(cols)], cols[chosen % len(cols)]], axis=1)
    found = [
        (row, col)
        for row, col in corners.tolist()
        if scene.read(Window(col, row, chip_px, chip_px)).valid.mean() >= min_valid
    ]
    return UnlabelledIndex(np.array(found, np.int64).reshape(-1, 2), total / len(chosen))


class UnlabelledSampler(EpochSampler[UnlabelledKey]):
    """Chips with enough valid pixels, drawn anew each epoch.

    Args:
        indexes: Valid windows of each scene.
        shapes: (height, width) of each scene in pixels.
        chip_px: Side of a chip.
        length: Chips in an epoch, over all processes.
        seed: Seed of the random numbers.
    """

    def __init__(
        self,
        indexes: Sequence[UnlabelledIndex],
        shapes: Sequence[tuple[int, int]],
        *,
        chip_px: int,
        length: int,
        seed: int,
    ) -> None:
        super().__init__(length=length, seed=seed)
        self._shapes = shapes
        self._chip_px = chip_px
        self._scene = np.concatenate([np.full(len(x.corners), i) for i, x in enumerate(indexes)])
        self._corners = np.concatenate([index.corners for index in indexes])
        weight = np.concatenate([np.full(len(x.corners), x.share) for x in indexes])
        self._cumulative = np.cumsum(weight / weight.sum())

    def _keys(self, rng: np.random.Generator, mine: slice) -> Iterator[UnlabelledKey]:
        numbers = rng.random((self._length, 3))
        for place, down, right in numbers[mine]:
            hit = min(np.searchsorted(self._cumulative, place), len(self._corners) - 1)
            scene = int(self._scene[hit])
            safe_row, safe_col = (int(i) for i in self._corners[hit])
            height, width = self._shapes[scene]
            row, col = self._moved(safe_row, down, height), self._moved(safe_col, right, width)
            yield UnlabelledKey(scene, row, col, safe_row, safe_col)

    def _moved(self, start: int, number: float, side_px: int) -> int:
        """Move a window by up to half its side, inside the scene if it fits."""
        moved = start + round((number - 0.5) * self._chip_px)
        return int(np.clip(moved, 0, max(side_px - self._chip_px, 0)))


class UnlabelledChips(Dataset[dict[str, Any]]):
    """Chips by ``UnlabelledKey``; a sample holds ``image`` (C, H, W) float32 and ``valid`` (H, W).

    Args:
        scenes: The scenes, with their bands selected.
        chip_px: Side of a chip; where a scene is smaller, the rest is invalid.
        min_valid: Smallest share of valid pixels of a moved window.
        cache: Keeps what was read, under the numbers of these scenes; none: nothing is kept.
    """

    def __init__(
        self,
        scenes: Sequence[Scene],
        chip_px: int,
        min_valid: float,
        cache: ChipCache | None = None,
    ) -> None:
        self.scenes = tuple(scenes)
        self.chip_px = chip_px
        self.min_valid = min_valid
        self.cache = cache or ChipCache(0)

    def __len__(self) -> int:
        """Return the number of scenes; the sampler decides on the number of chips."""
        return len(self.scenes)

    def __getitem__(self, key: UnlabelledKey) -> dict[str, Any]:
        """Read one chip, in physical units, 0 where it is not valid."""
        read = partial(self._read, self.scenes[key.scene])
        chip = self.cache.read(key.scene, key.row, key.col, self.chip_px, read)
        if chip["valid"].numpy().mean() < self.min_valid:
            chip = self.cache.read(key.scene, key.safe_row, key.safe_col, self.chip_px, read)
        return chip

    def _read(self, scene: Scene, window: Window) -> dict[str, torch.Tensor]:
        chip = scene.read(window)
        image, valid = torch.from_numpy(chip.data), torch.from_numpy(chip.valid)
        return {"image": torch.where(valid, image, 0.0), "valid": valid}
