"""Rasters that appear under their name only when they are complete."""

from __future__ import annotations

import logging
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rsmeta.errors import OutputError
from rsmeta.geo.grid import Grid, whole_pixels
from rsmeta.geo.handles import GDAL_ERRORS, innermost, open_quietly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray
    from rasterio.windows import Window

logger = logging.getLogger(__name__)

#: Side of the tiles inside the file.
FILE_TILE_PX = 512

# Below this much free space a failed write is put down to the full disk.
_LITTLE_SPACE_MB = 16
# Files in which GDAL keeps statistics, overviews and masks beside a raster.
_SIDECARS = (".aux.xml", ".ovr", ".ovr.tmp", ".msk", ".msk.ovr.tmp")


def check_output(path: Path, *, overwrite: bool) -> None:
    """Check that a file can be written, so that work does not end in an error.

    Creates missing folders.

    Raises:
        OutputError: The file is there and ``overwrite`` is not given, or its folder cannot be
            written.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a file, e.g. {path / 'map.tif'}")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already; choose another name or give --overwrite")
    probe = path.with_name(f".{path.name}.probe")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(
            f"cannot write in {path.parent} ({error.strerror}); choose another folder"
        ) from error


class RasterWriter:
    """A tiled GeoTIFF, written window by window into a hidden file beside its final place.

    On a clean exit the file is published, read back, and renamed into place in one step; on an
    exception nothing is left. Statistics and overviews that lie beside a file that is replaced
    go with it.

    Args:
        path: Final name; missing folders are created.
        grid: Place of the pixels.
        count: Number of bands.
        dtype: NumPy name of the type of the numbers.
        nodata: Number without data, if there is one.
        overwrite: Replace a file of that name.
        colormap: Value -> red, green, blue (0..255), for a single uint8 band.
        descriptions: Name of each band.
        tags: Metadata of the dataset.
        publish: Makes the finished file from the partial one, both paths given, e.g. with
            overviews; none: the partial file is the finished one.

    Raises:
        OutputError: The place cannot be written, now or later (disk full).
    """

    def __init__(
        self,
        path: Path,
        grid: Grid,
        *,
        count: int,
        dtype: str,
        nodata: float | None,
        overwrite: bool = False,
        colormap: Mapping[int, tuple[int, ...]] | None = None,
        descriptions: Sequence[str] | None = None,
        tags: Mapping[str, str] | None = None,
        publish: Callable[[Path, Path], None] | None = None,
    ) -> None:
        check_output(path, overwrite=overwrite)
        self.path = path
        self.grid = grid
        self.partial = path.with_name(f".{path.name}.partial.tif")
        self._finished = path.with_name(f".{path.name}.finished.tif")
        self._profile = {"count": count, "dtype": dtype, "nodata": nodata}
        self._colormap = colormap
        self._descriptions = descriptions
        self._tags = tags
        self._publish = publish
        self._dataset: Any = None

    def __enter__(self) -> RasterWriter:
        self._discard()  # what a killed run has left
        with self._errors_said():
            self._dataset = open_quietly(
                self.partial,
                "w",
                driver="GTiff",
                width=self.grid.width_px,
                height=self.grid.height_px,
                crs=self.grid.crs,
                transform=self.grid.transform,
                tiled=True,
                blockxsize=FILE_TILE_PX,
                blockysize=FILE_TILE_PX,
                compress="deflate",
                bigtiff="if_safer",
                # Else the fourth 8-bit band would be taken for transparency.
                photometric="minisblack",
                alpha="no",
                **self._profile,
            )
            try:
                self._describe()
            except BaseException:
                self._discard()
                raise
        return self

    def write(self, array: NDArray[Any], window: Window) -> None:
        """Write the pixels of one window.

        Args:
            array: (count, h, w), in the file's type.
            window: Whole pixels inside the grid, h by w.

        Raises:
            OutputError: The disk does not take them.
            ValueError: Array and window do not fit each other or the file.
        """
        row, col, height, width = whole_pixels(window)
        expected = (self._profile["count"], height, width)
        if array.shape != expected or array.dtype != self._profile["dtype"]:
            raise ValueError(
                f"{array.dtype} {array.shape} does not fit {self._profile['dtype']} {expected}"
            )
        inside = row + height <= self.grid.height_px and col + width <= self.grid.width_px
        if row < 0 or col < 0 or not inside:
            raise ValueError(f"{window} reaches out of {self.grid.shape}")
        with self._errors_said():
            self._dataset.write(array, window=window)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            with self._errors_said():
                if error is None:
                    self._dataset.close()
                    self._finish()
        finally:
            self._discard()

    def _describe(self) -> None:
        if self._colormap:
            self._dataset.write_colormap(1, dict(self._colormap))
        for index, text in enumerate(self._descriptions or (), 1):
            self._dataset.set_band_description(index, text)
        if self._tags:
            self._dataset.update_tags(**self._tags)

    def _finish(self) -> None:
        finished = self.partial
        if self._publish is not None:
            finished = self._finished
            self._publish(self.partial, finished)
        self._read_back(finished)
        _to_disk(finished)
        os.replace(finished, self.path)  # noqa: PTH105 - as atomic as the system has it
        self._remove_sidecars(self.path)
        _to_disk(self.path.parent)

    def _read_back(self, path: Path) -> None:
        """Read every pixel once: GDAL reports a disk that fills up on closing to nobody."""
        with open_quietly(path) as dataset:
            for _, window in dataset.block_windows(1):
                dataset.read(window=window)
            if (dataset.crs or None) != self.grid.crs or dataset.transform != self.grid.transform:
                logger.warning("%s: a GeoTIFF cannot hold its CRS exactly", self.path)

    def _discard(self) -> None:
        """Close and remove what is not in place; a failing close has nothing more to say."""
        try:
            if self._dataset is not None:
                self._dataset.close()
        except GDAL_ERRORS:
            logger.debug("closing %s failed", self.partial, exc_info=True)
        for path in (self.partial, self._finished):
            path.unlink(missing_ok=True)
            self._remove_sidecars(path)

    @staticmethod
    def _remove_sidecars(path: Path) -> None:
        for end in _SIDECARS:
            path.with_name(path.name + end).unlink(missing_ok=True)

    @contextmanager
    def _errors_said(self) -> Iterator[None]:
        try:
            yield
        except GDAL_ERRORS as error:
            raise OutputError(f"cannot write {self.path}: {self._reason(error)}") from error

    def _reason(self, error: Exception) -> str:
        free_mb = shutil.disk_usage(self.path.parent).free / 1e6
        if free_mb < _LITTLE_SPACE_MB:
            return f"the disk is full ({free_mb:.0f} MB free); make room or choose another place"
        return f"{innermost(error)}; is there room on the disk, and may one file be so large?"


def _to_disk(path: Path) -> None:
    """Wait until a file's or folder's content is on the disk, not only in memory."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
