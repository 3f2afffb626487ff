"""Writes the rasters that mapping a scene gives, block by block."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from rasterio.windows import Window

from rsmeta.errors import OutputError
from rsmeta.geo.journal import Journal, check_same
from rsmeta.geo.pixel_area import cover_of
from rsmeta.geo.writer import RasterWriter, partial_folder
from rsmeta.gis.outputs.cog import publish_cog
from rsmeta.gis.outputs.map_statistics import MapStatistics, Statistics
from rsmeta.gis.outputs.pam import pam_text
from rsmeta.gis.outputs.products import Beside
from rsmeta.gis.outputs.raster_spec import SHARE_NODATA, SHARE_STEP, raster_products_of
from rsmeta.gis.outputs.styles import qml_text, sld_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from rsmeta.geo.grid import Grid
    from rsmeta.gis.outputs.destinations import Output
    from rsmeta.gis.outputs.products import Products
    from rsmeta.gis.outputs.raster_spec import MapSpec, RasterProduct
    from rsmeta.heads.output import OutputSpec


#: Pixels that are worked on at once where many bands are gone through for each.
_THIN_PX = 2**17


@dataclass(frozen=True)
class Finished:
    """A raster that is complete and has not its name yet.

    Attributes:
        kind: What it is like.
        output: Where it ends up.
        hidden: Where it is until then.
    """

    kind: RasterProduct
    output: Output
    hidden: Path


@dataclass(frozen=True)
class MadeBlock:
    """What a block gives to each raster, wherever it was made.

    Attributes:
        window: Its place in the rasters.
        arrays: (bands, h, w) in its type, by the name of the raster; none: nothing is valid.
        tally: What it came to.
    """

    window: Window
    arrays: Mapping[str, np.ndarray] | None
    tally: MapStatistics


@dataclass(frozen=True)
class BlockMaker:
    """Makes what the rasters of one map hold out of scores; can be pickled.

    Attributes:
        look: What they hold.
        grid: Their grid.
        names: Which rasters are asked for.
    """

    look: MapSpec
    grid: Grid
    names: tuple[str, ...]

    def made(
        self,
        scores: np.ndarray | None,
        valid: np.ndarray | None,
        window: Window,
        *,
        tiles: int = 0,
        skipped: int = 0,
        classes: np.ndarray | None = None,
    ) -> MadeBlock:
        """Return what a block gives.

        Args:
            scores: Probabilities, (K, h, w), or numbers, (1, h, w), float32; none where nothing
                is valid.
            valid: (h, w) bool, elsewhere is nodata; none likewise.
            window: Place of the block in the rasters.
            tiles: How many went through the network for it.
            skipped: How many had no valid pixel.
            classes: Class indices, (h, w), that were chosen otherwise than by the largest score;
                scores may then be none, if no raster of shares is made.
        """
        computed, arrays = None, None
        if valid is not None and (scores is not None or classes is not None):
            best = classes
            if best is None and scores is not None and not self.look.output.continuous:
                best = largest(scores)
            computed = scores, best, valid
            arrays = {name: self._array(name, *computed) for name in self.names}
        tally = replace(self._tally(computed, window), tiles=tiles, skipped=skipped)
        return MadeBlock(window, arrays, tally)

    def _array(
        self, name: str, scores: np.ndarray | None, best: np.ndarray | None, valid: np.ndarray
    ) -> np.ndarray:
        """Return what a raster gets, (bands, h, w) in its type."""
        if name == "map":
            return map_values(self.look.output, scores, valid, best)
        if scores is None:
            raise ValueError(f"{name} needs scores")
        shares = _SHARES[name](scores)
        if self.look.shares == "uint8":
            steps = np.rint(np.clip(shares, 0, 1) / SHARE_STEP)
            return np.where(valid, steps, SHARE_NODATA).astype(np.uint8)
        return np.where(valid, shares, np.float32(np.nan))

    def _tally(
        self,
        computed: tuple[np.ndarray | None, np.ndarray | None, np.ndarray] | None,
        window: Window,
    ) -> MapStatistics:
        """Count what was computed: scores, index of the largest, and what of it is valid."""
        classes, grid = len(self.look.output.values), self.grid.crop(window)
        none = None if grid.crs is None else (0.0,) * classes
        if computed is None:
            return MapStatistics((0,) * classes, none)
        scores, best, valid = computed
        if best is None:
            assert scores is not None  # one of them is there
            return MapStatistics((), none, numbers=Statistics.of(scores[0][valid]))
        pixels, areas = cover_of(best, valid, grid, classes)
        return MapStatistics(
            tuple(pixels.tolist()), None if areas is None else tuple(areas.tolist())
        )


class ProductWriter:
    """Writes the products of one scene block by block; used inside ``writing``.

    Attributes:
        maker: Makes what ``write`` takes.
        finished: Blocks that need not be computed, in this run or an earlier one.
        tally: Statistics of all finished blocks.
    """

    def __init__(
        self,
        look: MapSpec,
        grid: Grid,
        journal: Journal,
        outputs: Mapping[str, Output],
        writers: Mapping[str, RasterWriter],
    ) -> None:
        self.maker = BlockMaker(look, grid, tuple(writers))
        self._kinds = raster_products_of(grid, look)
        self._journal = journal
        self._outputs = outputs
        self._writers = writers
        none = (0,) * len(look.output.values)
        self.tally = MapStatistics(none, None if grid.crs is None else (0.0,) * len(none))
        self.finished: set[Window] = set()
        for entry in journal.entries:
            window = Window(*entry["window"])
            if entry["empty"] or all(writer.has(window) for writer in writers.values()):
                self._finish(window, MapStatistics.from_json(entry["tally"]))

    def write(self, block: MadeBlock) -> None:
        """Write one block into every raster, and then note it as finished.

        Raises:
            OutputError: The disk does not take it.
        """
        window = block.window
        for name, array in (block.arrays or {}).items():
            self._writers[name].write(array, window)
        place = (window.col_off, window.row_off, window.width, window.height)
        entry = {"window": place, "empty": block.arrays is None, "tally": block.tally.as_json()}
        try:
            self._journal.add(entry)
        except OSError as error:
            raise OutputError(f"cannot write in {self._journal.path.parent} ({error})") from error
        self._finish(window, block.tally)

    def _finish(self, window: Window, tally: MapStatistics) -> None:
        if window not in self.finished:
            self.finished.add(window)
            self.tally += tally

    def complete(self) -> dict[str, Finished]:
        """Make the rasters and what belongs beside them, none of it under its name yet.

        Raises:
            OutputError: The disk does not take it.
        """
        made = {}
        for name, writer in self._writers.items():
            kind = self._kinds[name]
            made[name] = Finished(kind, self._outputs[name], writer.complete())
            beside = Beside(writer.path)
            texts = {
                beside.pam: pam_text(kind, self.tally),
                beside.qml: qml_text(kind, self.tally),
                beside.sld: sld_text(kind, self.tally),
            }
            for path, text in texts.items():
                if text is not None:
                    with writer.beside(path) as hidden:
                        hidden.write_text(text, encoding="utf-8")
        return made

    def beside(self, path: Path) -> AbstractContextManager[Path]:
        """Give a hidden file to write, which gets its name just before the map gets its own.

        Raises:
            OutputError: It cannot be written, now or later.
        """
        return self._writers["map"].beside(path)


def map_values(
    output: OutputSpec,
    scores: np.ndarray | None,
    valid: np.ndarray,
    best: np.ndarray | None = None,
) -> np.ndarray:
    """Return the values of a map, (1, h, w).

    Args:
        output: What they mean.
        scores: Probabilities, (K, h, w), or numbers, (1, h, w); none if ``best`` is known.
        valid: (h, w) bool, elsewhere is nodata.
        best: Index of the largest probability, (h, w), if it is known.
    """
    nodata = np.array(output.nodata, output.dtype)
    if best is not None:
        return np.where(valid, np.array(output.values, output.dtype)[best], nodata)[None]
    if scores is None:
        raise ValueError("a map needs scores, or the classes chosen by them")
    if output.continuous:
        return np.where(valid, scores, nodata).astype(output.dtype)
    return map_values(output, None, valid, largest(scores))


def largest(scores: np.ndarray) -> np.ndarray:
    """Return the index of the largest of (K, h, w) scores, (h, w); the first of equals.

    The same as ``argmax``, which takes several times as long along the first axis.
    """
    best = np.zeros(scores.shape[1:], dtype=np.uint8 if len(scores) <= 256 else np.uint16)
    for rows in _thin(best):  # so that it all stays in the processor's cache
        found, top = best[rows], scores[0, rows].copy()
        for index, score in enumerate(scores[1:, rows], 1):
            # Indices grow, so that the larger one is the later one: no masks, which are slow.
            np.maximum(found, (score > top) * found.dtype.type(index), out=found)
            np.fmax(top, score, out=top)
    return best


def _thin(image: np.ndarray) -> Iterator[slice]:
    """Yield some rows of an image at a time."""
    step = max(_THIN_PX // image.shape[1], 1)
    for row in range(0, len(image), step):
        yield slice(row, row + step)


def _entropy(scores: np.ndarray) -> np.ndarray:
    """Return the entropy of (K, h, w) probabilities as a share of the largest, (1, h, w)."""
    total = np.zeros(scores.shape[1:], dtype=np.float32)
    for share in scores:  # a class at a time: memory is set by the block
        total -= share * np.log(share, out=np.zeros_like(share), where=share > 0)
    share_of_largest: np.ndarray = np.clip(total / np.float32(np.log(len(scores))), 0, 1)
    return share_of_largest[None]


#: What rasters of shares hold, (bands, h, w), of probabilities (K, h, w).
_SHARES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "probabilities": lambda scores: scores,
    "confidence": lambda scores: scores.max(axis=0)[None],
    "entropy": _entropy,
}


def journal_file(products: Products) -> Path:
    """Return where finished blocks are noted while a map is not complete."""
    return partial_folder(products.files["map"]) / "journal"


@contextlib.contextmanager
def writing(
    products: Products,
    grid: Grid,
    look: MapSpec,
    *,
    resume_fingerprint: Mapping[str, Any],
    overwrite: bool = False,
    resume: bool = False,
) -> Iterator[ProductWriter]:
    """Open the rasters of one scene, to be made complete before they are left.

    At a clean end each gets its name; the map is the last.

    Args:
        products: Which files.
        grid: Their grid.
        look: What they hold and how they are drawn.
        resume_fingerprint: What determines the pixels, under names that a user understands.
        overwrite: Replace files that exist.
        resume: Go on where an earlier call was interrupted.

    Raises:
        OutputError: A file cannot be written, or was begun with something else.
    """
    kinds, outputs = raster_products_of(grid, look), products.outputs
    with contextlib.ExitStack() as stack:
        writers = {
            name: stack.enter_context(
                RasterWriter(
                    outputs[name].local, kind.raster,
                    publish=partial(publish_cog, overviews=kind.overviews),
                    overwrite=overwrite, resume=resume,
                )
            )
            for name, kind in kinds.items()
            if name in outputs
        }  # fmt: skip
        file = journal_file(products)
        check_same(file, resume_fingerprint, outputs["map"].local)
        with Journal(file, resume_fingerprint) as journal:
            yield ProductWriter(look, grid, journal, outputs, writers)
