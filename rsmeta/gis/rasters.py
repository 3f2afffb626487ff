"""Writes the rasters that mapping a scene gives, block by block."""

from __future__ import annotations

import contextlib
import json
from dataclasses import astuple, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from rasterio.windows import Window

from rsmeta.errors import OutputError
from rsmeta.geo.areas import row_areas_m2
from rsmeta.geo.journal import Journal, check_same
from rsmeta.geo.mosaic import RasterLook
from rsmeta.geo.writer import RasterWriter, partial_folder
from rsmeta.gis.cog import publish_cog
from rsmeta.gis.products import CLASSES_TAG

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from rsmeta.config.data import ClassSpec
    from rsmeta.geo.grid import Grid
    from rsmeta.gis.cog import Overviews
    from rsmeta.gis.products import Products


@dataclass(frozen=True)
class Tally:
    """What finished blocks came to.

    Attributes:
        pixels: Mapped pixels per class, (K,).
        areas_m2: Their area likewise; none where the grid has no CRS.
        tiles: Tiles that went through the network.
        skipped: Tiles without a valid pixel, which did not.
    """

    pixels: tuple[int, ...]
    areas_m2: tuple[float, ...] | None
    tiles: int
    skipped: int

    def __add__(self, other: Tally) -> Tally:
        """Return the sum."""
        areas = None
        if self.areas_m2 is not None and other.areas_m2 is not None:
            areas = tuple(map(sum, zip(self.areas_m2, other.areas_m2, strict=True)))
        pixels = tuple(map(sum, zip(self.pixels, other.pixels, strict=True)))
        return Tally(pixels, areas, self.tiles + other.tiles, self.skipped + other.skipped)


class ProductWriter:
    """Writes the products of one scene block by block; used inside ``writing``.

    Attributes:
        finished: Blocks that need not be computed, in this run or an earlier one.
    """

    def __init__(
        self,
        look: Look,
        grid: Grid,
        journal: Journal,
        writers: Mapping[str, RasterWriter],
    ) -> None:
        self._values = np.array([spec.value for spec in look.classes], dtype=np.uint8)
        self._nodata = look.nodata
        self._grid = grid
        self._journal = journal
        self._writers = writers
        self.finished: dict[Window, Tally] = {}
        for entry in journal.entries:
            window = Window(*entry["window"])
            if entry["empty"] or all(writer.has(window) for writer in writers.values()):
                self.finished[window] = Tally(*_tuples(entry["tally"]))

    @property
    def tally(self) -> Tally:
        """What all finished blocks came to."""
        none = (0,) * len(self._values)
        areas = None if self._grid.crs is None else (0.0,) * len(self._values)
        return sum(self.finished.values(), Tally(none, areas, 0, 0))

    def write(
        self,
        scores: np.ndarray | None,
        valid: np.ndarray | None,
        window: Window,
        *,
        tiles: int,
        skipped: int,
    ) -> None:
        """Write one block into every raster, and then note it as finished.

        Args:
            scores: Probabilities, (K, h, w); none where nothing is valid.
            valid: (h, w) bool, elsewhere nodata is written; none likewise.
            window: Place of the block in the rasters.
            tiles: How many went through the network for it.
            skipped: How many had no valid pixel.

        Raises:
            OutputError: The disk does not take it.
        """
        counts = np.zeros((int(window.height), len(self._values)), dtype=np.int64)
        if scores is not None and valid is not None:
            best = largest(scores)
            for name, array in self._arrays(scores, valid, best):
                self._writers[name].write(array, window)
            rows = np.broadcast_to(np.arange(len(valid))[:, None], valid.shape)
            places = rows[valid] * len(self._values) + best[valid]
            counts = np.bincount(places, minlength=counts.size).reshape(counts.shape)
        tally = Tally(tuple(counts.sum(0).tolist()), self._areas(counts, window), tiles, skipped)
        place = (window.col_off, window.row_off, window.width, window.height)
        entry = {"window": place, "empty": scores is None, "tally": astuple(tally)}
        try:
            self._journal.add(entry)
        except OSError as error:
            raise OutputError(f"cannot write in {self._journal.path.parent} ({error})") from error
        self.finished[window] = tally

    def _arrays(
        self, scores: np.ndarray, valid: np.ndarray, best: np.ndarray
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Return what each raster gets, by name."""
        values = np.where(valid, self._values[best], np.uint8(self._nodata))
        yield "map", values[None]
        if "probabilities" in self._writers:
            yield "probabilities", np.where(valid, scores, np.float32(np.nan))
        if "confidence" in self._writers:
            yield "confidence", np.where(valid, scores.max(axis=0), np.float32(np.nan))[None]

    def _areas(self, counts: np.ndarray, window: Window) -> tuple[float, ...] | None:
        areas = row_areas_m2(self._grid.crop(window))
        return None if areas is None else tuple((areas @ counts).tolist())


def largest(scores: np.ndarray) -> np.ndarray:
    """Return the index of the largest of (K, h, w) scores, (h, w) uint8; the first of equals.

    The same as ``argmax``, which takes several times as long along the first axis.
    """
    best = np.zeros(scores.shape[1:], dtype=np.uint8)
    top = scores[0].copy()
    for index, score in enumerate(scores[1:], 1):
        larger = score > top
        best[larger] = index
        np.copyto(top, score, where=larger)
    return best


@dataclass(frozen=True)
class Look:
    """What maps of one model have in common.

    Attributes:
        classes: Values, names and colours.
        nodata: Value of the map where nothing is known.
        tags: Metadata of every file; the classes are added.
    """

    classes: Sequence[ClassSpec]
    nodata: int
    tags: Mapping[str, str]


def journal_file(products: Products) -> Path:
    """Return where finished blocks are noted while a map is not complete."""
    return partial_folder(products.map) / "journal"


@contextlib.contextmanager
def writing(
    products: Products,
    grid: Grid,
    look: Look,
    *,
    begun_with: Mapping[str, Any],
    overwrite: bool = False,
    resume: bool = False,
) -> Iterator[ProductWriter]:
    """Open the products of one scene; each becomes a COG under its name at a clean end.

    Args:
        products: Which files.
        grid: Their grid.
        look: Classes, nodata and tags.
        begun_with: What determines the pixels, under names that a user understands.
        overwrite: Replace files that exist.
        resume: Go on where an earlier call was interrupted.

    Raises:
        OutputError: A file cannot be written, or was begun with something else.
    """
    with contextlib.ExitStack() as stack:
        writers = {
            name: stack.enter_context(
                RasterWriter(
                    products.files[name], raster, publish=partial(publish_cog, overviews=merged),
                    overwrite=overwrite, resume=resume,
                )
            )
            for name, (raster, merged) in _rasters(grid, look).items()
            if name in products.files
        }  # fmt: skip
        file = journal_file(products)
        check_same(file, begun_with, products.map)
        with Journal(file, begun_with) as journal:
            yield ProductWriter(look, grid, journal, writers)
        for writer in writers.values():  # all of them before the first gets its name
            writer.complete()


def _rasters(grid: Grid, look: Look) -> dict[str, tuple[RasterLook, Overviews]]:
    """Return what each raster is like, and how its overviews are made."""
    listed = [{"value": s.value, "name": s.name, "colour": s.colour} for s in look.classes]
    tags = {**look.tags, CLASSES_TAG: json.dumps(listed, ensure_ascii=False)}
    colours = {s.value: (*s.rgb, 255) for s in look.classes} | {look.nodata: (0, 0, 0, 0)}
    names = [spec.name for spec in look.classes]
    shares = partial(RasterLook, grid, dtype="float32", nodata=float("nan"), tags=tags)
    return {
        "map": (RasterLook(grid, 1, "uint8", look.nodata, colours, ["class"], tags), "mode"),
        "probabilities": (shares(count=len(names), descriptions=names), "average"),
        "confidence": (shares(count=1, descriptions=["confidence"]), "average"),
    }


def _tuples(value: Any) -> Any:
    """Return what JSON made of tuples as tuples again."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
