"""Writes the rasters of one map, block by block: values, scores, nodata."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from rasterio.windows import Window

from rsmeta.errors import OutputError
from rsmeta.files import partial_folder
from rsmeta.geo.journal import Journal, check_same
from rsmeta.geo.pixel_area import cover_of
from rsmeta.geo.writer import RasterWriter
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


#: Pixels that are processed at once where each has many bands.
_THIN_PX = 2**17


@dataclass(frozen=True)
class Finished:
    """A complete raster that does not have its final name yet.

    Attributes:
        product: Its bands, types, tags and colours.
        output: Where it ends up.
        hidden: Where it is until then.
    """

    product: RasterProduct
    output: Output
    hidden: Path


@dataclass(frozen=True)
class MadeBlock:
    """One block of every raster, ready to be written.

    Attributes:
        window: Its place in the rasters.
        arrays: (bands, h, w) in the raster's type, by the name of the raster; none: nothing is
            valid.
        tally: Its pixels and areas per class, or statistics of numbers.
    """

    window: Window
    arrays: Mapping[str, np.ndarray] | None
    tally: MapStatistics


@dataclass(frozen=True)
class BlockMaker:
    """Turns the scores of a block into what each raster holds; can be pickled.

    Attributes:
        spec: What the rasters of the map have in common.
        grid: Their grid.
        names: The rasters to write.
    """

    spec: MapSpec
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
        """Return a block of every raster.

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
            if best is None and scores is not None and not self.spec.output.continuous:
                best = largest(scores)
            computed = scores, best, valid
            arrays = {name: self._array(name, *computed) for name in self.names}
        tally = replace(self._tally(computed, window), tiles=tiles, skipped=skipped)
        return MadeBlock(window, arrays, tally)

    def _array(
        self, name: str, scores: np.ndarray | None, best: np.ndarray | None, valid: np.ndarray
    ) -> np.ndarray:
        """Return a block of one raster, (bands, h, w) in its type."""
        if name == "map":
            return map_values(self.spec.output, scores, valid, best)
        if scores is None:
            raise ValueError(f"{name} needs scores")
        shares = _SHARES[name](scores)
        if self.spec.shares == "uint8":
            steps = np.rint(np.clip(shares, 0, 1) / SHARE_STEP)
            return np.where(valid, steps, SHARE_NODATA).astype(np.uint8)
        return np.where(valid, shares, np.float32(np.nan))

    def _tally(
        self,
        computed: tuple[np.ndarray | None, np.ndarray | None, np.ndarray] | None,
        window: Window,
    ) -> MapStatistics:
        """Sum up a block from its scores, indices of the largest, and validity."""
        classes, grid = len(self.spec.output.values), self.grid.crop(window)
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
    """Writes the rasters of one map block by block; used inside ``writing``.

    Attributes:
        maker: Makes the blocks that ``write`` takes.
        finished: Blocks that were written, by this run or an earlier one.
        tally: Pixels and areas per class, or statistics of numbers, of all finished blocks.
    """

    def __init__(
        self,
        spec: MapSpec,
        grid: Grid,
        journal: Journal,
        outputs: Mapping[str, Output],
        writers: Mapping[str, RasterWriter],
    ) -> None:
        self.maker = BlockMaker(spec, grid, tuple(writers))
        self._products = raster_products_of(grid, spec)
        self._journal = journal
        self._outputs = outputs
        self._writers = writers
        none = (0,) * len(spec.output.values)
        self.tally = MapStatistics(none, None if grid.crs is None else (0.0,) * len(none))
        self.finished: set[Window] = set()
        for entry in journal.entries:
            window = Window(*entry["window"])
            if entry["empty"] or all(writer.has(window) for writer in writers.values()):
                self._finish(window, MapStatistics.from_json(entry["tally"]))

    def write(self, block: MadeBlock) -> None:
        """Write one block into every raster, then record it as finished.

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
        """Complete the rasters and their sidecars, which do not have their final names yet.

        Raises:
            OutputError: The disk does not take it.
        """
        made = {}
        for name, writer in self._writers.items():
            product = self._products[name]
            made[name] = Finished(product, self._outputs[name], writer.complete())
            beside = Beside(writer.path)
            texts = {
                beside.pam: pam_text(product, self.tally),
                beside.qml: qml_text(product, self.tally),
                beside.sld: sld_text(product, self.tally),
            }
            for path, text in texts.items():
                if text is not None:
                    with writer.beside(path) as hidden:
                        hidden.write_text(text, encoding="utf-8")
        return made

    def beside(self, path: Path) -> AbstractContextManager[Path]:
        """Yield a hidden file to write; it gets its final name just before the map does.

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

    The same as ``argmax``, which is several times slower along the first axis.
    """
    best = np.zeros(scores.shape[1:], dtype=np.uint8 if len(scores) <= 256 else np.uint16)
    for rows in _thin(best):  # small enough for the processor's cache
        found, top = best[rows], scores[0, rows].copy()
        for index, score in enumerate(scores[1:, rows], 1):
            # Indices grow, so the later one is the larger: masks would be slower.
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


#: Contents of rasters of shares, (bands, h, w), from probabilities (K, h, w).
_SHARES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "probabilities": lambda scores: scores,
    "confidence": lambda scores: scores.max(axis=0)[None],
    "entropy": _entropy,
}


def journal_file(products: Products) -> Path:
    """Return the file that records finished blocks until a map is complete."""
    return partial_folder(products.files["map"]) / "journal"


@contextlib.contextmanager
def writing(
    products: Products,
    grid: Grid,
    spec: MapSpec,
    *,
    resume_fingerprint: Mapping[str, Any],
    overwrite: bool = False,
    resume: bool = False,
) -> Iterator[ProductWriter]:
    """Open the rasters of one map for writing; call ``complete`` before leaving.

    On a clean exit each gets its final name, the map last.

    Args:
        products: The files.
        grid: Their grid.
        spec: What they hold.
        resume_fingerprint: What determines the pixels, under names that a user understands.
        overwrite: Replace files that exist.
        resume: Resume an interrupted call.

    Raises:
        OutputError: A file cannot be written, or was begun with other settings.
    """
    rasters, outputs = raster_products_of(grid, spec), products.outputs
    with contextlib.ExitStack() as stack:
        writers = {
            name: stack.enter_context(
                RasterWriter(
                    outputs[name].local, product.raster,
                    publish=partial(publish_cog, overviews=product.overviews),
                    overwrite=overwrite, resume=resume,
                )
            )
            for name, product in rasters.items()
            if name in outputs
        }  # fmt: skip
        file = journal_file(products)
        check_same(file, resume_fingerprint, outputs["map"].local)
        with Journal(file, resume_fingerprint) as journal:
            yield ProductWriter(spec, grid, journal, outputs, writers)
