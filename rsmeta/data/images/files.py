"""Images in files of their own: GeoTIFF, JPEG, PNG and what else GDAL reads."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rasterio.enums import ColorInterp

from rsmeta.data.images.image_set import ImageSet, Pixels
from rsmeta.data.images.pictures import read_colours, upright
from rsmeta.data.open_scenes import check_speckle, read_rules, wanted_bands
from rsmeta.errors import SceneUnreadableError
from rsmeta.geo.handles import open_raster, reading
from rsmeta.geo.scene import open_scene
from rsmeta.geo.sensors import load_sensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rasterio.windows import Window

    from rsmeta.config.images import ImageFileSettings
    from rsmeta.geo.bands import Band
    from rsmeta.geo.rules import ReadRules
    from rsmeta.geo.scene import Scene


@dataclass(frozen=True)
class ImageReader:
    """Reads image files as the settings say.

    Attributes:
        rules: What the user says about the files.
        bands: Bands to read, by name.
        as_rgb: Turn pictures of any colour model into red, green, blue.
    """

    rules: ReadRules
    bands: tuple[Band, ...]
    as_rgb: bool = False

    @classmethod
    def of(
        cls,
        settings: ImageFileSettings,
        paths: Sequence[str],
        *,
        bands: Sequence[Band] | None = None,
        as_rgb: bool = False,
    ) -> ImageReader:
        """Return the reader of files that are all alike.

        Args:
            settings: The ``data`` section.
            paths: The files; the first one that opens says which bands there are.
            bands: Bands to read; none: those of the settings, else all of the first file's.
            as_rgb: Turn pictures of any colour model into red, green, blue.

        Raises:
            SceneError: The first file, or its bands, cannot be read; or none opens.
        """
        rules = read_rules(settings)
        if as_rgb:
            colours = load_sensor("rgb").bands
            check_speckle(settings, None, colours)
            return cls(rules, tuple(bands or colours), as_rgb=True)
        scene = _first_scene(paths, rules, skip=settings.corrupt == "skip")
        return cls(rules, tuple(bands or wanted_bands(settings, scene)))

    def open(self, path: str) -> Scene:
        """Open a file as a scene of the bands to read; no pixel is read."""
        return _open(path, self.rules).select(self.bands)

    def read(self, path: str) -> Pixels:
        """Read a whole file, a picture turned upright.

        Raises:
            SceneError: It cannot be read, or lacks a band.
        """
        if self.as_rgb:
            return upright(self._scaled(read_colours(path)), path)
        scene = self.open(path)
        chip = scene.read(scene.grid.full_window)
        return upright(Pixels(chip.data, chip.valid), path)

    def read_window(self, path: str, window: Window) -> Pixels:
        """Read a window of a file as it is stored; what reaches over its edges is invalid.

        Raises:
            SceneError: It cannot be read, or lacks a band.
        """
        if self.as_rgb and not _has_plain_colours(path):
            return self._scaled(read_colours(path, window))
        chip = self.open(path).read(window)
        return Pixels(chip.data, chip.valid)

    def _scaled(self, pixels: Pixels) -> Pixels:
        scale = 1.0 if self.rules.scale is None else self.rules.scale
        data = pixels.data * np.float32(scale) + np.float32(self.rules.offset or 0)
        return Pixels(np.where(pixels.valid, data, np.float32(0)), pixels.valid)


def _has_plain_colours(path: str) -> bool:
    """Whether a file holds red, green and blue as they are, so that a part of it can be read."""
    file = open_raster(path)
    colours = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
    return file.colorinterp == colours and set(file.dtypes) == {"uint8"}


def _first_scene(paths: Sequence[str], rules: ReadRules, *, skip: bool) -> Scene:
    for path in paths[:-1] if skip else ():
        with contextlib.suppress(SceneUnreadableError):
            return _open(path, rules)
    return _open(paths[-1] if skip else paths[0], rules)


def _open(path: str, rules: ReadRules) -> Scene:
    with reading(path):  # GDAL decodes a JPEG's beginning as soon as it is asked what it holds
        return open_scene(path, rules)


class FileImages(ImageSet):
    """Images that are whole files.

    Args:
        paths: The files.
        labels: See ``ImageSet``.
        reader: Reads them.
    """

    def __init__(self, paths: Sequence[str], labels: np.ndarray, reader: ImageReader) -> None:
        super().__init__(labels)
        self.paths = tuple(paths)
        self.reader = reader

    @property
    def bands(self) -> tuple[Band, ...]:
        """Bands that are read of every file."""
        return self.reader.bands

    def name(self, index: int) -> str:
        """Return the file's path."""
        return self.paths[index]

    def read(self, index: int) -> Pixels:
        """Read a file."""
        return self.reader.read(self.paths[index])

    def gsd_m(self, index: int) -> float | None:
        """Return the size of a file's pixels in metres, if it is georeferenced."""
        return None if self.reader.as_rgb else self.reader.open(self.paths[index]).grid.gsd_m

    def _keep(self, indices: np.ndarray) -> None:
        self.paths = tuple(self.paths[i] for i in indices.tolist())
