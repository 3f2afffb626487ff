"""Score one tile per cell of a map: for models of whole images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from rsmeta.inference.blending import Block
from rsmeta.inference.reading import within

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from rasterio.windows import Window

    from rsmeta.geo.patches import PatchPlan
    from rsmeta.inference.reading import SceneReader
    from rsmeta.inference.scoring import Scorer


@dataclass(frozen=True)
class ReadPatches:
    """A block of cells with the pixels that its tiles need.

    Attributes:
        block: Its cells.
        window: Its pixels in the scene.
        data: Physical values, (C, h, w) float32; none where no pixel is to be mapped.
        valid: (h, w) bool; none likewise.
        wanted: Pixels to be mapped, (h, w) bool; none likewise.
    """

    block: Window
    window: Window
    data: np.ndarray | None = None
    valid: np.ndarray | None = None
    wanted: np.ndarray | None = None


def read_patches(
    reader: SceneReader, plan: PatchPlan, blocks: Iterable[Window]
) -> Generator[ReadPatches, None, None]:
    """Yield blocks of cells with their pixels.

    Raises:
        SceneUnreadableError: The scene cannot be read to its end.
    """

    def read(block: Window) -> ReadPatches:
        window = plan.read_window(block)
        if not reader.may_be_wanted(window):
            return ReadPatches(block, window)
        chip = reader.scene.read(window)
        wanted = reader.wanted(chip.valid, window)
        return ReadPatches(block, window, chip.data, chip.valid, wanted)

    yield from map(read, blocks)  # keeps no block


def score_patches(
    blocks: Iterable[ReadPatches], plan: PatchPlan, scorer: Scorer
) -> Generator[Block, None, None]:
    """Yield blocks of scored cells.

    A cell is valid where one of its own pixels is to be mapped; the network sees all pixels of
    the tile, so that a cell comes out as it would without an area of interest.
    """
    yield from map(partial(_block, plan=plan, scorer=scorer), blocks)  # keeps no block


def _block(read: ReadPatches, *, plan: PatchPlan, scorer: Scorer) -> Block:
    cells = _wanted_cells(read, plan)
    places = np.argwhere(cells)
    skipped = cells.size - len(places)
    if not len(places):
        return Block(read.block, None, None, 0, skipped)
    step = scorer.batch_size
    batches = (places[start : start + step] for start in range(0, len(places), step))
    found = np.concatenate([_scores(read, plan, batch, scorer) for batch in batches])
    scores = np.zeros((found.shape[1], *cells.shape), dtype=np.float32)
    scores[:, cells] = found.T
    return Block(read.block, scores, cells, len(places), skipped)


def _scores(read: ReadPatches, plan: PatchPlan, places: np.ndarray, scorer: Scorer) -> np.ndarray:
    """Return the scores (N, K) of cells of a block, given by row and column in it."""
    assert read.data is not None and read.valid is not None  # noqa: PT018 - a cell is wanted
    row, col = int(read.block.row_off), int(read.block.col_off)
    tiles = [within(plan.tile(row + int(r), col + int(c)), read.window) for r, c in places]
    image = np.stack([read.data[:, *tile] for tile in tiles])
    valid = np.stack([read.valid[tile] for tile in tiles])
    scores: np.ndarray = scorer(image, valid).cpu().numpy()
    return scores


def _wanted_cells(read: ReadPatches, plan: PatchPlan) -> np.ndarray:
    """Return which cells of a block have a wanted pixel of their own that their tile sees."""
    cells = np.zeros((int(read.block.height), int(read.block.width)), dtype=bool)
    if read.wanted is None:
        return cells
    row, col = int(read.block.row_off), int(read.block.col_off)
    for r, c in np.ndindex(*cells.shape):
        seen = plan.seen(row + r, col + c)
        cells[r, c] = seen is not None and read.wanted[within(seen, read.window)].any()
    return cells
