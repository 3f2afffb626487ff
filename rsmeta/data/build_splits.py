"""From the ``data`` section to labelled scenes, divided into parts."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import shapely

from rsmeta.data.chips import LabelledScene
from rsmeta.data.label_index import LabelIndex, count_by_block, index_labels
from rsmeta.data.labels import LabelRules, open_labels
from rsmeta.data.open_scenes import open_scenes, wanted_bands
from rsmeta.data.places import same_place
from rsmeta.data.quantities import open_quantity
from rsmeta.data.splits import PARTS, Block, BlockLattice, Part, Region, choose_blocks, regions_of
from rsmeta.data.streams import random_stream
from rsmeta.errors import SplitError
from rsmeta.geo.polygons import VectorFile
from rsmeta.geo.sources import scene_stem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rsmeta.config.data import DataSettings
    from rsmeta.geo.bands import Band
    from rsmeta.geo.grid import Grid
    from rsmeta.geo.scene import Scene

logger = logging.getLogger(__name__)

_NO_LABELS = (
    "no labelled pixel is left for training: all labels are nodata, in data.ignore, on pixels "
    "without data, or held out; check data.labels, data.nodata and data.split"
)


@dataclass(frozen=True)
class IndexedScene:
    """A scene as one part sees it, with the index of the labels it sees."""

    labelled: LabelledScene
    index: LabelIndex


def build_splits(
    settings: DataSettings, *, seed: int, bands: Sequence[Band] | None = None
) -> dict[Part, list[IndexedScene]]:
    """Open every scene and its labels, and divide them into parts.

    Args:
        settings: The ``data`` section.
        seed: Seed of the division.
        bands: Bands to read; none: ``use_bands`` of the settings, else those of the first scene.

    Returns:
        The scenes of each part that hold labels in it; validation and test may be empty.

    Raises:
        RsmetaError: A scene, its bands, its labels or the split cannot be used.
    """
    opened = {
        name: open_scenes(settings, patterns)
        for name, patterns in (
            ("train", settings.scenes),
            ("validation", settings.validation_scenes),
            ("test", settings.test_scenes),
        )
    }
    wanted = bands or wanted_bands(settings, opened["train"][0])
    pairs = {
        name: [_with_labels(settings, scene.select(wanted)) for scene in scenes]
        for name, scenes in opened.items()
    }
    parts: dict[Part, list[IndexedScene]] = {part: [] for part in PARTS}
    for part in ("validation", "test"):
        _warn_of_overlap(part, pairs[part], pairs["train"])
        parts[part] += index_scenes(settings, [(pair, None) for pair in pairs[part]])
    divided = divide(settings, pairs["train"], seed=seed)
    for part in PARTS:
        parts[part] += index_scenes(settings, divided[part])
    if not parts["train"]:
        raise SplitError(_NO_LABELS)
    _log_counts(settings, parts)
    return parts


def _warn_of_overlap(
    part: str, pairs: Sequence[LabelledScene], training: Sequence[LabelledScene]
) -> None:
    """Warn of scenes named for one part that overlap training scenes."""
    for pair in pairs:
        grids = [pair.scene.grid, *(other.scene.grid for other in training)]
        if len(same_place(grids, touching=False)[0]) > 1:
            logger.warning(
                "the %s scene %s overlaps the training scenes: its scores say little about "
                "other places", part, pair.scene.name,
            )  # fmt: skip


def divide(
    settings: DataSettings, pairs: Sequence[LabelledScene], *, seed: int
) -> dict[Part, list[tuple[LabelledScene, Region | None]]]:
    """Divide the training scenes into parts by ``settings.split``."""
    split = settings.split
    explicit = {"validation": settings.validation_scenes, "test": settings.test_scenes}
    shares = {
        part: float(given)
        for part, given in _held_out(settings).items()
        if not isinstance(given, Path) and given and not explicit[part]
    }
    rng = random_stream("split", seed)
    if split.by == "polygons":
        return _by_polygons(settings, pairs)
    if not shares:
        return {"train": [(pair, None) for pair in pairs], "validation": [], "test": []}
    if split.by == "files":
        return _by_files(pairs, shares, rng)
    return _by_blocks(settings, pairs, shares, rng)


def _by_files(
    pairs: Sequence[LabelledScene], shares: Mapping[Part, float], rng: np.random.Generator
) -> dict[Part, list[tuple[LabelledScene, Region | None]]]:
    places = same_place([pair.scene.grid for pair in pairs], touching=False)
    if len(places) <= len(shares):
        raise SplitError(
            f"the {len(pairs)} scenes cover {len(places)} separate place(s), too few for "
            f"split.by=files with {len(shares) + 1} parts; use split.by=blocks"
        )
    order = [places[i] for i in rng.permutation(len(places))]
    divided: dict[Part, list[tuple[LabelledScene, Region | None]]] = {part: [] for part in PARTS}
    for part, share in shares.items():
        wanted = max(1, round(share * len(places)))
        for _ in range(min(wanted, len(order) - 1)):
            divided[part] += [(pairs[i], None) for i in order.pop()]
    divided["train"] = [(pairs[i], None) for place in order for i in place]
    return divided


def _by_blocks(
    settings: DataSettings,
    pairs: Sequence[LabelledScene],
    shares: Mapping[Part, float],
    rng: np.random.Generator,
) -> dict[Part, list[tuple[LabelledScene, Region | None]]]:
    counts: dict[Block, np.ndarray] = {}
    lattices: dict[int, BlockLattice] = {}
    places = same_place([pair.scene.grid for pair in pairs])
    for number, place in enumerate(places):
        grid = pairs[place[0]].scene.grid
        lattices[number] = BlockLattice.on(grid, block_px(settings, grid))
        for i in place:
            found = count_by_block(pairs[i], settings.strata, lattices[number])
            for (row, col), count in found.items():
                key = (number, row, col)
                counts[key] = counts.get(key, 0) + count
    if not counts:
        raise SplitError(_NO_LABELS)
    chosen = choose_blocks(counts, shares, rng)
    for part in shares:
        if not chosen[part]:
            raise SplitError(
                f"the labels lie in {len(counts)} block(s), too few to keep a {part} part; "
                f"set data.split.block_px smaller, or data.split.{part}=0"
            )
    divided: dict[Part, list[tuple[LabelledScene, Region | None]]] = {part: [] for part in PARTS}
    for number, place in enumerate(places):
        for i in place:
            scene = pairs[i].scene
            held_out = {
                part: lattices[number].polygons(
                    [(row, col) for n, row, col in chosen[part] if n == number], scene.grid
                )
                for part in shares
            }
            regions = regions_of(held_out, scene.grid, gap_px=settings.split.gap_px)
            for part, region in regions.items():
                divided[part].append((pairs[i], region))
    return divided


def _by_polygons(
    settings: DataSettings, pairs: Sequence[LabelledScene]
) -> dict[Part, list[tuple[LabelledScene, Region | None]]]:
    split = settings.split
    divided: dict[Part, list[tuple[LabelledScene, Region | None]]] = {part: [] for part in PARTS}
    for pair in pairs:
        grid = pair.scene.grid
        held_out: dict[Part, shapely.Geometry] = {}
        for part, given in _held_out(settings).items():
            if isinstance(given, Path):
                held_out[part] = _area_of(settings.root / given, grid)
        for part, region in regions_of(held_out, grid, gap_px=split.gap_px).items():
            divided[part].append((pair, region))
    return divided


def _held_out(settings: DataSettings) -> dict[Part, float | Path | None]:
    return {"validation": settings.split.validation, "test": settings.split.test}


def _area_of(path: Path, grid: Grid) -> shapely.Geometry:
    frame = VectorFile(path, error=SplitError).read_onto(grid)
    return shapely.union_all(frame.geometry.to_numpy())


def block_px(settings: DataSettings, grid: Grid) -> int:
    """Return the side of a block: a fifth of the scene, within half a chip and four chips."""
    fifth = min(grid.height_px, grid.width_px) // 5
    chip = settings.chip_px
    return settings.split.block_px or max(16, chip // 2, min(4 * chip, fifth))


def _with_labels(settings: DataSettings, scene: Scene) -> LabelledScene:
    name = settings.labels.replace("{stem}", scene_stem(scene.name))
    path = settings.root / name
    if settings.target is not None:
        labels = open_quantity(path, scene.grid, settings.target, settings.ignore)
        return LabelledScene(scene, labels)
    rules = LabelRules(settings.classes, settings.ignore, settings.class_column, settings.layer)
    return LabelledScene(scene, open_labels(path, scene.grid, rules))


def index_scenes(
    settings: DataSettings, divided: Sequence[tuple[LabelledScene, Region | None]]
) -> list[IndexedScene]:
    """Index the labels of each scene's region; scenes without any are left out."""
    parts = []
    for pair, region in divided:
        labelled = LabelledScene(pair.scene, pair.labels, region) if region else pair
        index = index_labels(labelled, settings.strata)
        if len(index.cells):
            parts.append(IndexedScene(labelled, index))
    return parts


def _log_counts(settings: DataSettings, parts: Mapping[Part, Sequence[IndexedScene]]) -> None:
    """Log the labelled pixels per part and class."""
    names = [spec.name for spec in settings.classes]
    if settings.target is not None:
        names = [settings.target.name]
    for part in PARTS:
        counts = sum(
            (seen.index.class_counts for seen in parts[part]),
            np.zeros(settings.strata, np.int64),
        )
        shown = ", ".join(f"{name} {n}" for name, n in zip(names, counts, strict=True))
        logger.info("%s: %d scene(s); labelled pixels: %s", part, len(parts[part]), shown or "none")
