"""Divide labelled scenes into training, validation and test parts, as ``data.split`` says."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import shapely

from rsmeta.data.label_index import count_by_block
from rsmeta.data.label_range import label_range_px
from rsmeta.data.places import same_place
from rsmeta.data.polygon_split import divide_by_polygons, has_polygons_to_hold_out
from rsmeta.data.splits import PARTS, Block, BlockLattice, Part, choose_blocks, regions_of
from rsmeta.data.streams import random_stream
from rsmeta.errors import SplitError
from rsmeta.geo.polygons import VectorFile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from rsmeta.config.data import DataSettings
    from rsmeta.data.chips import LabelledScene
    from rsmeta.geo.grid import Grid

logger = logging.getLogger(__name__)

#: The scenes of each part, each with the region that belongs to it.
Divided: TypeAlias = "dict[Part, list[LabelledScene]]"

#: Pixels left unused between whole polygons, and the least between blocks.
_SMALLEST_GAP_PX = 2


class NoLabelsError(SplitError):
    """No label is left to train on."""

    def __init__(self) -> None:
        super().__init__(
            "no labelled pixel is left for training: all labels are nodata, in data.ignore, on "
            "pixels without data, or held out; check data.labels, data.nodata and data.split"
        )


def divide(settings: DataSettings, scenes: Sequence[LabelledScene], *, seed: int) -> Divided:
    """Divide the training scenes into parts.

    Args:
        settings: The ``data`` section.
        scenes: Training scenes with all their labels.
        seed: Seed of what is chosen at random.

    Raises:
        SplitError: The labels do not allow such a division.
    """
    split = settings.split
    given: dict[Part, float | Path | None] = {
        "validation": split.validation, "test": split.test,
    }  # fmt: skip
    areas = {part: area for part, area in given.items() if isinstance(area, Path)}
    if areas:
        return _by_areas(settings, scenes, areas)
    explicit: dict[Part, Sequence[str]] = {
        "validation": settings.validation_scenes, "test": settings.test_scenes,
    }  # fmt: skip
    shares: dict[Part, float] = {
        part: share
        for part, share in given.items()
        if isinstance(share, float) and share and not explicit[part]
    }
    if not shares:
        return {"train": list(scenes), "validation": [], "test": []}
    rng = random_stream("split", seed)
    if split.by == "files":
        return _by_files(scenes, shares, rng)
    # a chip of a polygon's own pixels alone is no chip of one class
    may_be_polygons = split.by is None and settings.kind == "scenes"
    if split.by == "polygons" or (may_be_polygons and has_polygons_to_hold_out(scenes)):
        gap_px = _SMALLEST_GAP_PX if split.gap_px is None else split.gap_px
        return divide_by_polygons(settings, scenes, shares, gap_px=gap_px, rng=rng)
    return _by_blocks(settings, scenes, shares, rng)


def _by_files(
    scenes: Sequence[LabelledScene], shares: Mapping[Part, float], rng: np.random.Generator
) -> Divided:
    places = same_place([one.scene.grid for one in scenes], touching=False)
    if len(places) <= len(shares):
        raise SplitError(
            f"the {len(scenes)} scenes cover {len(places)} separate place(s), too few for "
            f"split.by=files with {len(shares) + 1} parts; use split.by=blocks"
        )
    order = [places[i] for i in rng.permutation(len(places))]
    divided: Divided = {part: [] for part in PARTS}
    for part, share in shares.items():
        wanted = max(1, round(share * len(places)))
        for _ in range(min(wanted, len(order) - 1)):
            divided[part] += [scenes[i] for i in order.pop()]
    divided["train"] = [scenes[i] for place in order for i in place]
    return divided


def _by_blocks(
    settings: DataSettings,
    scenes: Sequence[LabelledScene],
    shares: Mapping[Part, float],
    rng: np.random.Generator,
) -> Divided:
    counts: dict[Block, np.ndarray] = {}
    lattices: dict[int, BlockLattice] = {}
    places = same_place([one.scene.grid for one in scenes])
    for number, place in enumerate(places):
        grid = scenes[place[0]].scene.grid
        lattices[number] = BlockLattice.on(grid, block_px(settings, grid))
        for i in place:
            found = count_by_block(scenes[i], settings.strata, lattices[number])
            for (row, col), count in found.items():
                key = (number, row, col)
                counts[key] = counts.get(key, 0) + count
    if not counts:
        raise NoLabelsError
    chosen = choose_blocks(counts, shares, rng)
    for part in shares:
        if not chosen[part]:
            raise SplitError(
                f"the labels lie in {len(counts)} block(s), too few to keep a {part} part; "
                f"set data.split.block_px smaller, or data.split.{part}=0"
            )
    divided: Divided = {part: [] for part in PARTS}
    for number, place in enumerate(places):
        gap_px = gap_between_blocks_px(settings, [scenes[i] for i in place])
        for i in place:
            grid = scenes[i].scene.grid
            held_out = {
                part: lattices[number].polygons(
                    [(row, col) for n, row, col in chosen[part] if n == number], grid
                )
                for part in shares
            }
            for part, region in regions_of(held_out, grid, gap_px=gap_px).items():
                divided[part].append(replace(scenes[i], region=region))
    return divided


def _by_areas(
    settings: DataSettings, scenes: Sequence[LabelledScene], areas: Mapping[Part, Path]
) -> Divided:
    gap_px = settings.split.gap_px
    divided: Divided = {part: [] for part in PARTS}
    for one in scenes:
        grid = one.scene.grid
        held_out = {part: _area_of(settings.root / path, grid) for part, path in areas.items()}
        regions = regions_of(held_out, grid, gap_px=_SMALLEST_GAP_PX if gap_px is None else gap_px)
        for part, region in regions.items():
            divided[part].append(replace(one, region=region))
    return divided


def _area_of(path: Path, grid: Grid) -> shapely.Geometry:
    frame = VectorFile(path, error=SplitError).read_onto(grid)
    return shapely.union_all(frame.geometry.to_numpy())


def block_px(settings: DataSettings, grid: Grid) -> int:
    """Return the side of a block: a fifth of the scene, within half a chip and four chips."""
    fifth = min(grid.height_px, grid.width_px) // 5
    chip = settings.chip_px
    return settings.split.block_px or max(16, chip // 2, min(4 * chip, fifth))


def gap_between_blocks_px(settings: DataSettings, scenes: Sequence[LabelledScene]) -> int:
    """Return the gap between the blocks of one place.

    By default as far as labels resemble each other, but a quarter of a block at most: wider gaps
    would leave little to train on.
    """
    if settings.split.gap_px is not None:
        return settings.split.gap_px
    largest = block_px(settings, scenes[0].scene.grid) // 4
    gap_px = max(_SMALLEST_GAP_PX, min(label_range_px(scenes, largest), largest))
    logger.info("training labels keep a gap of %d px to held-out blocks", gap_px)
    return gap_px
