"""One map made in parts, by runs that know nothing of each other; a VRT joins their files.

Each part is a strip of rows in a cloud-optimised GeoTIFF of its own, so that nothing is written by
one process for all. The run that completes the last part writes the VRT.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from rasterio.windows import Window

from rsmeta.errors import ConfigError, OutputError, one_line
from rsmeta.files import write_atomically
from rsmeta.geo.block_vrt import write_block_vrt
from rsmeta.geo.grid import whole_pixels
from rsmeta.geo.handles import GDAL_ERRORS, open_quietly
from rsmeta.geo.writer import FILE_TILE_PX
from rsmeta.gis import tags
from rsmeta.gis.outputs.products import RASTERS
from rsmeta.gis.outputs.raster_spec import MapSpec, raster_products_of

if TYPE_CHECKING:
    from pathlib import Path

    from rsmeta.bundle import BundleRecord
    from rsmeta.geo.grid import Grid
    from rsmeta.gis.outputs.products import Products
    from rsmeta.gis.postprocess.postprocess import Postprocess
    from rsmeta.workflows.mapping.request import MapRequest

_WRITTEN = re.compile(r"(\d{1,6})/(\d{1,6})")


@dataclass(frozen=True)
class Part:
    """One of several strips of rows that a map is made in.

    Attributes:
        number: Which, from 1.
        count: How many there are.

    Raises:
        ConfigError: There is no such part.
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ConfigError(
                f"--part {self.number}/{self.count}: write I/N, with I from 1 to N, e.g. 2/8"
            )

    @classmethod
    def of(cls, given: Part | str) -> Part:
        """Return a part given as ``I/N``, or as it is.

        Raises:
            ConfigError: There is no such part.
        """
        if isinstance(given, Part):
            return given
        match = _WRITTEN.fullmatch(given)
        if match is None:
            raise ConfigError(f"--part {given}: write I/N, with I from 1 to N, e.g. 2/8")
        return cls(int(match[1]), int(match[2]))

    def window(self, extent: Window) -> Window:
        """Return the part of what is mapped: whole rows of the file's tiles.

        Raises:
            ConfigError: There are more parts than such rows.
        """
        top, left, height, width = whole_pixels(extent)
        rows = -(-height // FILE_TILE_PX)
        if self.count > rows:
            raise ConfigError(
                f"--part {self.number}/{self.count}: the map has only {height} rows of pixels; "
                f"make at most {rows} parts of it"
            )
        first, end = (
            min(number * rows // self.count * FILE_TILE_PX, height)
            for number in (self.number - 1, self.number)
        )
        return Window(left, top + first, width, end - first)

    def products(self, whole: Products) -> Products:
        """Return the files of the part, each named after that of the whole map.

        Raises:
            OutputError: They end up elsewhere than on a disk, where no VRT could join them.
        """
        for output in whole.outputs.values():
            if output.is_delivered:
                raise OutputError(
                    f"--part {self.number}/{self.count} writes .tif files on a disk, which a VRT "
                    f"joins, and {output.destination} ends up elsewhere; name a local .tif"
                )
        files: dict[str, Any] = {n: self.file(path) for n, path in whole.files.items()}
        return replace(whole, **files)

    def joined(self, products: Products) -> dict[str, Path]:
        """Return the VRT of each raster, by its name.

        Args:
            products: The files of this part.
        """
        files = {name: path for name, path in products.files.items() if name in RASTERS}
        return {name: self._whole(path).with_suffix(".vrt") for name, path in files.items()}

    def join(self, request: MapRequest, extent: Window) -> None:
        """Write the VRTs of all parts, if this one was the last to be completed.

        Args:
            request: The map of this part.
            extent: What all parts map, in pixels of the scene.

        Raises:
            OutputError: They cannot be written.
        """
        grid, record = request.scene.grid.crop(extent), request.record
        parts = [Part(number, self.count) for number in range(1, self.count + 1)]
        windows = [part.window(grid.full_window) for part in parts]
        spec = MapSpec(
            record.output, record.classes, {tags.MODEL: record.weights_sha256},
            request.products.probabilities_type,
        )  # fmt: skip
        rasters = raster_products_of(grid, spec)
        for name, joined in self.joined(request.products).items():
            whole = self._whole(request.products.files[name])
            files = [part.file(whole) for part in parts]
            places = [grid.crop(window) for window in windows]
            if not all(map(partial(_is_made, record), files, places)):
                continue
            names = [file.name for file in files]
            try:
                with write_atomically(joined, shared=True) as hidden:
                    write_block_vrt(hidden, rasters[name].raster, zip(windows, names, strict=True))
            except GDAL_ERRORS as error:
                raise OutputError(f"cannot write {joined} ({one_line(error)})") from error

    def file(self, whole: Path) -> Path:
        """Return the file of this part of a whole raster."""
        return whole.with_stem(f"{whole.stem}{self._ending}")

    def _whole(self, file: Path) -> Path:
        return file.with_stem(file.stem.removesuffix(self._ending))

    @property
    def _ending(self) -> str:
        return f"_{self.number}of{self.count}"


def check_part(part: Part | None, record: BundleRecord, wanted: Postprocess) -> None:
    """Refuse what needs the pixels beyond a part.

    Raises:
        ConfigError: Its map is to be postprocessed, or is one of whole images.
    """
    if part is None:
        return
    if wanted:
        raise ConfigError(
            "--part maps a strip that knows nothing of its neighbours, which --mosaic, --crs, "
            "--like, --majority and --sieve need; omit one or the other"
        )
    if record.per != "pixel":
        raise ConfigError("--part applies to models of pixels, not of whole images; omit it")


def _is_made(record: BundleRecord, file: Path, grid: Grid) -> bool:
    """Return whether a part is complete, of the same model and at its place."""
    if not file.is_file():
        return False
    with open_quietly(file) as dataset:
        same: bool = dataset.tags().get(tags.MODEL) == record.weights_sha256
        return same and (dataset.transform, dataset.shape) == (grid.transform, grid.shape)
