"""Writes the rasters of one map, block by block."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from rasterio.windows import Window

from rsmeta.errors import OutputError
from rsmeta.files import partial_folder
from rsmeta.geo.journal import Journal, check_same
from rsmeta.geo.writer import RasterWriter
from rsmeta.gis.outputs.best_effort import best_effort
from rsmeta.gis.outputs.blocks import BlockMaker
from rsmeta.gis.outputs.cog import publish_cog
from rsmeta.gis.outputs.map_statistics import MapStatistics
from rsmeta.gis.outputs.pam import pam_text
from rsmeta.gis.outputs.products import Beside
from rsmeta.gis.outputs.raster_spec import raster_products_of
from rsmeta.gis.outputs.styles import qml_text, sld_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from rsmeta.geo.grid import Grid
    from rsmeta.gis.outputs.blocks import MadeBlock
    from rsmeta.gis.outputs.destinations import Output
    from rsmeta.gis.outputs.products import Products
    from rsmeta.gis.outputs.raster_spec import MapSpec, RasterProduct


logger = logging.getLogger(__name__)


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


class ProductWriter:
    """Writes the rasters of one map block by block; used inside ``writing``.

    Attributes:
        maker: Makes the blocks that ``write`` takes.
        finished: Blocks that were written, by this run or an earlier one.
        statistics: Pixels and areas per class, or statistics of numbers, of all finished blocks.
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
        self.statistics = MapStatistics(none, None if grid.crs is None else (0.0,) * len(none))
        self.finished: set[Window] = set()
        for entry in journal.entries:
            window = Window(*entry["window"])
            if entry["empty"] or all(writer.has(window) for writer in writers.values()):
                self._finish(window, MapStatistics.from_json(entry["statistics"]))

    def write(self, block: MadeBlock) -> None:
        """Write one block into every raster, then record it as finished.

        Raises:
            OutputError: The disk does not take it.
        """
        window = block.window
        for name, array in (block.arrays or {}).items():
            self._writers[name].write(array, window)
        place = (window.col_off, window.row_off, window.width, window.height)
        entry = {
            "window": place,
            "empty": block.arrays is None,
            "statistics": block.statistics.as_json(),
        }
        try:
            self._journal.add(entry)
        except OSError as error:
            raise OutputError(f"cannot write in {self._journal.path.parent} ({error})") from error
        self._finish(window, block.statistics)

    def _finish(self, window: Window, statistics: MapStatistics) -> None:
        if window not in self.finished:
            self.finished.add(window)
            self.statistics += statistics

    def complete(self) -> dict[str, Finished]:
        """Complete the rasters and their sidecars, which do not have their final names yet.

        Raises:
            OutputError: The disk does not take it.
        """
        made, statistics = {}, self.statistics
        if statistics.not_finite:
            logger.warning(
                "%s: %d pixels became nodata because their scores are not finite (NaN); check the "
                "scene for extreme values and the model's weights",
                self._outputs["map"].destination, statistics.not_finite,
            )  # fmt: skip
        for name, writer in self._writers.items():
            product = self._products[name]
            made[name] = Finished(product, self._outputs[name], writer.complete())
            beside = Beside(writer.path)
            texts = {beside.pam: pam_text, beside.qml: qml_text, beside.sld: sld_text}
            for path, text_of in texts.items():
                with best_effort(str(path)):
                    if (text := text_of(product, statistics)) is not None:
                        with writer.beside(path) as hidden:
                            hidden.write_text(text, encoding="utf-8")
        return made

    def beside(self, path: Path) -> AbstractContextManager[Path]:
        """Yield a hidden file to write; it gets its final name just before the map does.

        Raises:
            OutputError: It cannot be written, now or later.
        """
        return self._writers["map"].beside(path)


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
