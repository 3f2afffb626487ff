"""Divide labelled scenes into training, validation and test parts, as ``data.split`` says."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import shapely

from rsmeta.data.label_index import NoLabelsError, count_by_block
from rsmeta.data.label_range import label_range_px
from rsmeta.data.places import same_place
from rsmeta.data.polygon_split import (
    PolygonKey,
    areas_of_polygons,
    choose_polygons,
    fold_of_polygons,
    has_polygons_to_hold_out,
    hold_out_polygons,
    polygon_classes,
)
from rsmeta.data.splits import PARTS, Block, BlockLattice, Part, choose_blocks, regions_of
from rsmeta.data.streams import random_stream
from rsmeta.errors import SplitError, counted
from rsmeta.geo.polygons import VectorFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import numpy as np

    from rsmeta.config.data import DataSettings
    from rsmeta.data.chips import LabelledScene
    from rsmeta.geo.grid import Grid

logger = logging.getLogger(__name__)

#: The scenes of each part, each with the region that belongs to it.
Divided: TypeAlias = "dict[Part, list[LabelledScene]]"

#: Pixels left unused between whole polygons, and the least between blocks.
_SMALLEST_GAP_PX = 2


class _HeldOut(NamedTuple):
    """What is held out of a scene: areas of parts in its CRS, and the gap beside them."""

    scene: LabelledScene
    areas: Mapping[Part, shapely.Geometry]
    gap_px: int


def divide(
    settings: DataSettings,
    scenes: Sequence[LabelledScene],
    *,
    seed: int,
    train_on_validation: bool = False,
) -> Divided:
    """Divide the training scenes into parts.

    Args:
        settings: The ``data`` section.
        scenes: Training scenes with all their labels.
        seed: Seed of what is chosen at random.
        train_on_validation: Whether the validation part belongs to the training part.

    Raises:
        SplitError: The labels do not allow such a division.
    """
    divided: Divided = {part: [] for part in PARTS}
    if settings.split.by == "files" and (shares := _shares(settings)):
        divided = _by_files(scenes, shares, random_stream("split", seed))
        if train_on_validation:
            divided["train"] += divided["validation"]
            divided["validation"] = []
        return divided
    for one, areas, gap_px in _held_out(settings, scenes, seed):
        kept = {p: a for p, a in areas.items() if not (train_on_validation and p == "validation")}
        for part, region in regions_of(kept, one.scene.grid, gap_px=gap_px).items():
            divided[part].append(replace(one, region=region) if areas else one)
    return divided


def _held_out(
    settings: DataSettings, scenes: Sequence[LabelledScene], seed: int
) -> Iterable[_HeldOut]:
    """Return what is held out of each scene."""
    split = settings.split
    areas: dict[Part, Path] = {
        part: area for part, area in _given(settings).items() if isinstance(area, Path)
    }
    if areas:
        return _by_areas(settings, scenes, areas)
    if split.folds is not None:
        return _by_folds(settings, scenes, seed)
    shares = _shares(settings)
    if not shares:
        return [_HeldOut(one, {}, 0) for one in scenes]
    rng = random_stream("split", seed)
    # a chip of a polygon's own pixels alone is no chip of one class
    may_be_polygons = split.by is None and settings.kind == "scenes"
    if split.by == "polygons" or (may_be_polygons and has_polygons_to_hold_out(scenes)):
        return _by_polygons(settings, scenes, hold_out_polygons(settings, scenes, shares, rng=rng))
    return _by_blocks(settings, scenes, shares, rng)


def _given(settings: DataSettings) -> dict[Part, float | Path | None]:
    return {"validation": settings.split.validation, "test": settings.split.test}


def _shares(settings: DataSettings) -> dict[Part, float]:
    """Return the share of the labels per part that is cut from the training scenes."""
    explicit: dict[Part, Sequence[str]] = {
        "validation": settings.validation_scenes, "test": settings.test_scenes,
    }  # fmt: skip
    return {
        part: share
        for part, share in _given(settings).items()
        if isinstance(share, float) and share and not explicit[part]
    }


def _by_folds(
    settings: DataSettings, scenes: Sequence[LabelledScene], seed: int
) -> Iterable[_HeldOut]:
    """Hold out one group of polygons for testing, or none where all are to be trained on."""
    split = settings.split
    assert split.folds is not None
    if settings.kind != "scenes":
        raise SplitError("data.split.folds applies to labels of pixels; drop it")
    if split.fold is None:
        return [_HeldOut(one, {}, 0) for one in scenes]
    repeat, group = divmod(split.fold, split.folds)
    classes = polygon_classes(scenes)
    test = fold_of_polygons(classes, split.folds, group, random_stream("folds", seed, repeat))
    rest = {key: number for key, number in classes.items() if key not in test}
    chosen: dict[Part, set[PolygonKey]] = {"test": test}
    share = split.validation
    if isinstance(share, float) and share and not settings.validation_scenes:
        rng = random_stream("split", seed, split.fold)
        chosen |= choose_polygons(rest, {"validation": share}, rng)
    return _by_polygons(settings, scenes, chosen)


def _by_polygons(
    settings: DataSettings,
    scenes: Sequence[LabelledScene],
    chosen: Mapping[Part, set[PolygonKey]],
) -> Iterator[_HeldOut]:
    for one in scenes:
        yield _HeldOut(one, areas_of_polygons(one, chosen), _gap_between_polygons_px(settings))


def _gap_between_polygons_px(settings: DataSettings) -> int:
    return _SMALLEST_GAP_PX if settings.split.gap_px is None else settings.split.gap_px


def _by_files(
    scenes: Sequence[LabelledScene], shares: Mapping[Part, float], rng: np.random.Generator
) -> Divided:
    places = same_place([one.scene.grid for one in scenes], touching=False)
    if len(places) <= len(shares):
        raise SplitError(
            f"the {len(scenes)} scenes cover {counted(len(places), 'separate place')}, too few for "
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
) -> Iterator[_HeldOut]:
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
        raise NoLabelsError(scenes)
    chosen = choose_blocks(counts, shares, rng)
    for part in shares:
        if not chosen[part]:
            raise SplitError(
                f"the labels lie in {counted(len(counts), 'block')}, too few to keep a "
                f"{part} part; set data.split.block_px smaller, or data.split.{part}=0"
            )
    for number, place in enumerate(places):
        gap_px = gap_between_blocks_px(settings, [scenes[i] for i in place])
        for i in place:
            held_out = {
                part: lattices[number].polygons(
                    [(row, col) for n, row, col in chosen[part] if n == number],
                    scenes[i].scene.grid,
                )
                for part in shares
            }
            yield _HeldOut(scenes[i], held_out, gap_px)


def _by_areas(
    settings: DataSettings, scenes: Sequence[LabelledScene], files: Mapping[Part, Path]
) -> Iterator[_HeldOut]:
    for one in scenes:
        areas = {p: _area_of(settings.root / file, one.scene.grid) for p, file in files.items()}
        yield _HeldOut(one, areas, _gap_between_polygons_px(settings))


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
