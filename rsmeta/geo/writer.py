"""Rasters that appear under their name only when they are complete, and can be resumed."""

from __future__ import annotations

import logging
import os
import shutil
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from rasterio.io import MemoryFile
from rasterio.windows import Window

from rsmeta.errors import OutputError
from rsmeta.files import partial_folder, to_disk
from rsmeta.geo.block_vrt import RasterSpec, write_block_vrt
from rsmeta.geo.grid import whole_pixels
from rsmeta.geo.handles import GDAL_ERRORS, innermost, open_quietly
from rsmeta.geo.lock import locked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

#: Side of the tiles inside the file of a block.
FILE_TILE_PX = 512

# Below this much free space a failed write is put down to the full disk.
_LITTLE_SPACE_MB = 16
# Files in which GDAL keeps statistics, overviews and masks beside a raster.
PAM_ENDING = ".aux.xml"
_SIDECARS = (PAM_ENDING, ".ovr", ".ovr.tmp", ".msk", ".msk.ovr.tmp")


def check_output(path: Path, *, overwrite: bool) -> None:
    """Check that a file can be written, so that work does not end in an error.

    Creates missing folders.

    Raises:
        OutputError: The file is there and ``overwrite`` is not given, its name is too long, or
            its folder cannot be written.
    """
    try:
        is_dir, exists = path.is_dir(), path.exists()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise OutputError(f"cannot write {path} ({why}); choose another name") from error
    if is_dir:
        raise OutputError(f"{path} is a folder; name a file in it, with its ending")
    if exists and not overwrite:
        raise OutputError(f"{path} exists already; choose another name or give --overwrite")
    probe = partial_folder(path).with_suffix(".probe")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(
            f"cannot write in {path.parent} ({error.strerror}); choose another folder"
        ) from error


def why_not_written(path: Path, error: Exception) -> str:
    """Return in one line that a file could not be written, why, and what to do."""
    free_mb = shutil.disk_usage(path.parent).free / 1e6
    if free_mb < _LITTLE_SPACE_MB:
        why = f"the disk is full ({free_mb:.0f} MB free); make room or choose another place"
    else:
        why = f"{innermost(error)}; is there room on the disk, and may one file be so large?"
    return f"cannot write {path}: {why}"


class RasterWriter:
    """A raster, written block by block into a hidden folder beside its final place.

    A block is on the disk, whole, when ``write`` returns. On a clean exit the blocks become one
    file, which is read back and renamed into place in one step, after the files that belong
    beside it; statistics and overviews that lie beside a file that is replaced go with it. After
    an exception, or a kill, the blocks stay for a writer with ``resume``; if there are none
    nothing is left.

    Args:
        path: Final name; missing folders are created.
        spec: The raster apart from its pixels.
        publish: Makes the finished file from a raster of all blocks, both paths given.
        overwrite: Replace a file of that name.
        resume: Keep the blocks that an earlier writer has left.

    Raises:
        OutputError: The place cannot be written, now or later (disk full), or another process is
            writing the same file.
    """

    def __init__(
        self,
        path: Path,
        spec: RasterSpec,
        *,
        publish: Callable[[Path, Path], None],
        overwrite: bool = False,
        resume: bool = False,
    ) -> None:
        check_output(path, overwrite=overwrite)
        self.path = path
        self.spec = spec
        self.folder = partial_folder(path)
        self._publish = publish
        self._resume = resume
        self._finished = self.folder / "finished.tif"
        self._stack = ExitStack()
        self._is_complete = False
        self._beside: dict[Path, Path] = {}

    def __enter__(self) -> RasterWriter:
        with self._errors_said():
            self._stack.enter_context(locked(self.folder, self.path))
            if not self._resume:
                self._empty()
        return self

    def write(self, array: NDArray[Any], window: Window) -> None:
        """Write the pixels of one block.

        Args:
            array: (count, h, w), in the file's type.
            window: Whole pixels inside the grid, h by w.

        Raises:
            OutputError: The disk does not take them.
            ValueError: Array and window do not fit each other or the file.
        """
        row, col, height, width = whole_pixels(window)
        expected = (self.spec.count, height, width)
        if array.shape != expected or array.dtype != self.spec.dtype:
            raise ValueError(
                f"{array.dtype} {array.shape} does not fit {self.spec.dtype} {expected}"
            )
        grid = self.spec.grid
        inside = row + height <= grid.height_px and col + width <= grid.width_px
        if row < 0 or col < 0 or not inside:
            raise ValueError(f"{window} reaches out of {grid.shape}")
        with self._errors_said():
            self._write_block(array, self._block_file(window))

    def has(self, window: Window) -> bool:
        """Return whether a block is on the disk."""
        return self._block_file(window).exists()

    def complete(self) -> Path:
        """Make the finished file, not yet under its name; return where it is until then.

        Raises:
            OutputError: The disk does not take it.
        """
        with self._errors_said():
            mosaic = self.folder / "mosaic.vrt"
            write_block_vrt(mosaic, self.spec, self._blocks())
            self._publish(mosaic, self._finished)
            self._read_back(self._finished)
            to_disk(self._finished)
        self._is_complete = True
        return self._finished

    @contextmanager
    def beside(self, path: Path) -> Iterator[Path]:
        """Give a hidden file to write, which gets its name just before the raster gets its own.

        After an exception there is no such file, and the raster can still be completed.

        Args:
            path: The name; missing folders are created, a file of that name is replaced.

        Raises:
            OutputError: It cannot be written, now or later.
        """
        with self._errors_said(path):
            folder = partial_folder(path)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            hidden = folder / path.name
            try:
                yield hidden
                to_disk(hidden)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            self._beside[path] = hidden

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._stack:
            try:
                if error is None:
                    self._put_in_place()
            finally:
                self._clear_up()

    def _put_in_place(self) -> None:
        if not self._is_complete:
            self.complete()
        with self._errors_said():
            _remove_sidecars(self.path)
            for path, hidden in self._beside.items():
                os.replace(hidden, path)  # noqa: PTH105 - as atomic as the system has it
            for folder in {path.parent for path in self._beside}:
                to_disk(folder)
            os.replace(self._finished, self.path)  # noqa: PTH105
            to_disk(self.path.parent)
            self._empty()

    def _write_block(self, array: NDArray[Any], file: Path) -> None:
        """Write a block through memory: GDAL reports a disk that fills up to nobody."""
        with MemoryFile() as memory:
            with open_quietly(
                memory.name, "w", driver="GTiff", width=array.shape[2], height=array.shape[1],
                tiled=True, blockxsize=FILE_TILE_PX, blockysize=FILE_TILE_PX, interleave="band",
                compress="deflate", zlevel=1, num_threads="all_cpus", photometric="minisblack",
                alpha="no", **self.spec.profile,
            ) as dataset:  # fmt: skip
                dataset.write(array)
            part = file.with_suffix(".part")
            part.write_bytes(memory.getbuffer())
        to_disk(part)
        part.replace(file)
        to_disk(self.folder)

    def _block_file(self, window: Window) -> Path:
        row, col, height, width = whole_pixels(window)
        return self.folder / f"block_{row}_{col}_{height}_{width}.tif"

    def _blocks(self) -> Iterator[tuple[Window, str]]:
        for file in sorted(self.folder.glob("block_*.tif")):
            row, col, height, width = map(int, file.stem.split("_")[1:])
            yield Window(col, row, width, height), file.name

    def _read_back(self, path: Path) -> None:
        """Read every pixel once: GDAL reports a disk that fills up on closing to nobody."""
        grid = self.spec.grid
        with open_quietly(path) as dataset:
            for _, window in dataset.block_windows(1):
                dataset.read(window=window)
            if (dataset.crs or None) != grid.crs or dataset.transform != grid.transform:
                logger.warning("%s: a GeoTIFF cannot hold its CRS exactly", self.path)

    def _clear_up(self) -> None:
        """Leave finished blocks for a later writer, and nothing else."""
        for path in self._beside:
            shutil.rmtree(partial_folder(path), ignore_errors=True)
        if any(self._blocks()):
            for file in [*self.folder.glob("*.part"), *self.folder.glob("finished.tif*")]:
                file.unlink()
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _empty(self) -> None:
        for file in self.folder.iterdir():
            if file.name != "lock":
                file.unlink()

    @contextmanager
    def _errors_said(self, path: Path | None = None) -> Iterator[None]:
        try:
            yield
        except GDAL_ERRORS as error:
            kept = "; what is finished is kept for --resume" if any(self._blocks()) else ""
            raise OutputError(f"{why_not_written(path or self.path, error)}{kept}") from error


def _remove_sidecars(path: Path) -> None:
    for sidecar in (path.with_name(path.name + end) for end in _SIDECARS):
        if os.path.lexists(sidecar):  # false for a name too long
            sidecar.unlink()
