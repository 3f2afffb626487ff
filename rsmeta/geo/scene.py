"""Scenes: rasters read window by window as physical values with validity."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from rasterio.enums import MaskFlags
from rasterio.windows import Window

from rsmeta.geo import metadata
from rsmeta.geo.bands import inputs, measured
from rsmeta.geo.chip import Chip
from rsmeta.geo.computed import compute
from rsmeta.geo.filebands import tell_bands
from rsmeta.geo.grid import Grid, whole_pixels
from rsmeta.geo.handles import open_raster, read_from, reading
from rsmeta.geo.radar import is_radar
from rsmeta.geo.raster_source import AnySource, RasterSource
from rsmeta.geo.raw_values import has_mask, occurs, raw_nodata, raw_type
from rsmeta.geo.rules import ReadRules, ValidIf
from rsmeta.geo.safe import is_safe
from rsmeta.geo.scaling import band_scaling
from rsmeta.geo.selection import Recipe, as_they_are, packed, select
from rsmeta.geo.sources import expand_sources
from rsmeta.geo.speckle import filter_speckle
from rsmeta.geo.stac_items import is_stac
from rsmeta.geo.stac_scene import item_raster, safe_raster

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from rsmeta.config.radar import SpeckleSettings
    from rsmeta.geo.bands import Band

__all__ = ["ReadRules", "Scene", "ValidIf", "expand_sources", "open_scene"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scene:
    """A raster with everything that is needed to read it; holds no open file.

    Can be pickled, and read from any thread or process. Per-band fields are in the order of
    ``bands``.

    Args:
        source: Where it is read from.
        bands: Bands in use.
        grid: Place of the pixels.
        band_indexes: Place of the bands in the file, from 1; those that bands are made of, where
            there are ``recipes``, and so are scale, offset and nodata.
        scale: ``physical = raw * scale + offset``.
        offset: See ``scale``.
        nodata: Raw values without data, per band.
        dtype: NumPy name of the raw type.
        valid_if: A pixel is valid if all, or any, of its bands have data.
        alpha_index: Place of an alpha band in the file, from 1; 0 there is no data.
        acquired: When it was taken, UTC.
        sensor: Name of the sensor, where it is known.
        recipes: Of each band, or of both inputs of one that is computed, the places in
            ``band_indexes`` of what it is made of, with their shares; none: each band is one of
            the file's.
        speckle: How bands of radar are filtered; none: not.
    """

    source: RasterSource
    bands: tuple[Band, ...]
    grid: Grid
    band_indexes: tuple[int, ...]
    scale: tuple[float, ...]
    offset: tuple[float, ...]
    nodata: tuple[tuple[float, ...], ...]
    dtype: str
    valid_if: ValidIf = "all"
    alpha_index: int | None = None
    acquired: datetime | None = None
    sensor: str | None = None
    recipes: tuple[Recipe, ...] | None = None
    speckle: SpeckleSettings | None = None

    @property
    def name(self) -> str:
        """What messages call the scene."""
        return self.source.name

    @property
    def halo_px(self) -> int:
        """How far around a window pixels are read that values in it depend on."""
        is_filtered = self.speckle is not None and any(map(is_radar, self.bands))
        return self.speckle.side_px // 2 if self.speckle is not None and is_filtered else 0

    def select(self, bands: Sequence[Band]) -> Scene:
        """Return the scene with only these bands, in this order.

        They are found by name, else computed or made of bands that see the same; see ``select``.

        Raises:
            BandsMissingError: The scene lacks one of them.
        """
        own = self.recipes or as_they_are(len(self.bands))
        chosen, recipes = select(bands, self.bands, own, self.name)
        picked, recipes_of_picked = packed(recipes)
        return replace(
            self,
            bands=chosen,
            band_indexes=tuple(self.band_indexes[i] for i in picked),
            scale=tuple(self.scale[i] for i in picked),
            offset=tuple(self.offset[i] for i in picked),
            nodata=tuple(self.nodata[i] for i in picked),
            recipes=recipes_of_picked,
        )

    @property
    def file_tile_px(self) -> tuple[int, int]:
        """Height and width of the pieces in which the file is stored.

        Raises:
            SceneUnreadableError: The file has gone.
        """
        height, width = open_raster(self.source).block_shapes[self.band_indexes[0] - 1]
        return height, width

    def read(self, window: Window) -> Chip:
        """Read a window, which may reach over the edges; pixels out there are invalid and 0.

        Args:
            window: Whole pixels of the scene's grid.

        Raises:
            SceneUnreadableError: The file is damaged or has gone.
            ValueError: The window is empty or does not hold whole pixels.
        """
        _, _, height, width = whole_pixels(window)
        data = np.empty((len(self.bands), height, width), np.float32)
        valid = np.empty((height, width), np.bool_)
        self.read_into(window, data, valid)
        return Chip(data, valid, self.grid.crop(window), self.bands)

    def read_into(
        self, window: Window, data: NDArray[np.float32], valid: NDArray[np.bool_]
    ) -> None:
        """Read a window, as ``read`` does, into arrays that are there.

        Args:
            window: Whole pixels of the scene's grid.
            data: Takes the physical values, (C, h, w); 0 without data.
            valid: Takes which pixels are valid, (h, w).

        Raises:
            SceneUnreadableError: The file is damaged or has gone.
            ValueError: The window is empty or does not hold whole pixels.
        """
        row, col, height, width = whole_pixels(window)
        top, left = max(row, 0), max(col, 0)
        bottom = min(row + height, self.grid.height_px)
        right = min(col + width, self.grid.width_px)
        if (top, left, bottom, right) != (row, col, row + height, col + width):
            data[...], valid[...] = 0, False
        if top < bottom and left < right:
            part = Window(left, top, right - left, bottom - top)
            rows, cols = slice(top - row, bottom - row), slice(left - col, right - col)
            self._read_part(part, data[:, rows, cols], valid[rows, cols])

    def _read_part(self, part: Window, data: NDArray[np.float32], valid: NDArray[np.bool_]) -> None:
        """Read a window inside the scene, with as much around it as a filter needs."""
        around = part
        if self.halo_px:
            wide = Window(
                part.col_off - self.halo_px, part.row_off - self.halo_px,
                part.width + 2 * self.halo_px, part.height + 2 * self.halo_px,
            )  # fmt: skip
            around = wide.intersection(self.grid.full_window)
        raw, has_data = read_from(self.source, lambda dataset: self._read_raw(dataset, around))
        if around == part:
            self._to_physical(raw, has_data, data, valid)
            return
        down, right = part.row_off - around.row_off, part.col_off - around.col_off
        inside = np.s_[down : down + part.height, right : right + part.width]
        values = np.empty((len(data), *raw.shape[1:]), np.float32)
        known = np.empty(raw.shape[1:], np.bool_)
        self._to_physical(raw, has_data, values, known)
        data[...], valid[...] = values[:, *inside], known[inside]

    def _read_raw(
        self, dataset: Any, window: Window
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Return raw numbers, (C, h, w), and where the file's masks say that a band has data.

        The latter is (C, h, w), or (1, h, w) for all bands alike; none where there is no mask.
        """
        indexes = list(self.band_indexes)
        raw = dataset.read(indexes, window=window, out_dtype=self.dtype)
        has_data = None
        if self.alpha_index is not None:
            has_data = dataset.read([self.alpha_index], window=window, out_dtype=self.dtype) > 0
        flags = dataset.mask_flag_enums
        masked = [i for i, index in enumerate(indexes) if has_mask(flags[index - 1])]
        if masked and MaskFlags.per_dataset in flags[indexes[masked[0]] - 1]:
            masks = dataset.read_masks(indexes[masked[0]], window=window)[None]
            has_data = masks > 0 if has_data is None else has_data & (masks > 0)
        elif masked:
            own = np.ones(raw.shape, np.bool_)
            own[masked] = dataset.read_masks([indexes[i] for i in masked], window=window) > 0
            has_data = own if has_data is None else own & has_data
        return raw, has_data

    def _to_physical(
        self,
        raw: NDArray[Any],
        has_data: NDArray[np.bool_] | None,
        data: NDArray[np.float32],
        valid: NDArray[np.bool_],
    ) -> None:
        """Fill in physical values, (C, h, w), 0 without data, and valid pixels, (h, w)."""
        if self.recipes is not None:
            self._make(raw, has_data, data, valid)
            return
        valid[...] = self.valid_if == "all"
        for i, values in enumerate(data):
            known = self._band_to_physical(i, raw[i], values)
            if has_data is not None:
                known &= has_data[min(i, len(has_data) - 1)]
            self._filter(self.bands[i], values, known)
            if not known.all():
                np.copyto(values, 0, where=~known)
            if self.valid_if == "all":
                valid &= known
            else:
                valid |= known

    def _make(
        self,
        raw: NDArray[Any],
        has_data: NDArray[np.bool_] | None,
        data: NDArray[np.float32],
        valid: NDArray[np.bool_],
    ) -> None:
        """Fill in bands made of the file's, one of the latter at a time; else ``_to_physical``."""
        parts = [part for own in self.recipes or () for part in own]
        used: list[list[tuple[int, float]]] = [[] for _ in raw]
        for place, part in enumerate(parts):
            for i, share in part:
                used[i].append((place, share))
        shape = len(parts), *data.shape[1:]
        read = data if shape == data.shape else np.empty(shape, np.float32)
        read[...] = 0
        known = np.ones(shape, np.bool_)
        one = np.empty(raw.shape[1:], np.float32)
        for i, places in enumerate(used):
            here = self._band_to_physical(i, raw[i], one)
            if has_data is not None:
                here &= has_data[min(i, len(has_data) - 1)]
            np.copyto(one, 0, where=~here)
            for place, share in places:
                read[place] += np.float32(share) * one
                known[place] &= here
        for band, values, own in zip(inputs(self.bands), read, known, strict=True):
            self._filter(band, values, own)
        read[~known] = 0
        if read is not data:
            known = compute(self.bands, read, known, data)
        valid[...] = known.all(axis=0) if self.valid_if == "all" else known.any(axis=0)

    def _filter(self, band: Band, values: NDArray[np.float32], known: NDArray[np.bool_]) -> None:
        if self.speckle is not None and is_radar(band):
            filter_speckle(values, known, self.speckle)

    def _band_to_physical(
        self, i: int, raw: NDArray[Any], values: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Fill in the physical values of a band, (h, w); return where they are numbers."""
        exact = np.result_type(raw.dtype, np.float32)
        # Where nothing is lost no other array is made: this is done for every pixel of a scene.
        own = values if exact == values.dtype else np.empty(raw.shape, exact)
        with np.errstate(over="ignore", invalid="ignore"):
            np.multiply(raw, exact.type(self.scale[i]), out=own, dtype=exact)
            if self.offset[i]:
                own += exact.type(self.offset[i])
            if own is not values:
                values[...] = own
        known: NDArray[np.bool_] | None = None
        if not self._always_finite(i, raw.dtype):
            known = np.isfinite(values)
        for nodata in (value for value in self.nodata[i] if occurs(value, raw.dtype)):
            with np.errstate(over="ignore"):
                has_data = raw != raw.dtype.type(nodata)
            known = has_data if known is None else known & has_data
        return np.ones(raw.shape, np.bool_) if known is None else known

    def _always_finite(self, i: int, dtype: np.dtype[Any]) -> bool:
        """Return whether every raw number of a type is a number in physical units too."""
        if not np.issubdtype(dtype, np.integer):
            return False
        limits = np.iinfo(dtype)
        largest = max(abs(limits.min), limits.max) * abs(self.scale[i]) + abs(self.offset[i])
        return bool(largest < np.finfo(np.float32).max)


def open_scene(
    source: AnySource,
    rules: ReadRules | None = None,
    *,
    wanted: Sequence[Band] | None = None,
    fallback: ReadRules | None = None,
) -> Scene:
    """Open a raster as a scene; no pixel is read.

    Names, scale and offset of the bands are those of ``rules``, else those in the file (of
    Sentinel-2 its metadata state them too), else those of ``fallback``, else, for integers, the
    sensor's scaling, else 1 and 0. The values without data of file and ``fallback`` are both
    invalid.

    Args:
        source: Path; or GDAL's name: /vsi…, http://…, a VRT, a subdataset; or a STAC item, with
            ``#id`` in a document of several; or a product of Sentinel-2 (.SAFE, a zip of it, or
            its MTD_MSI….xml).
        rules: What the user says about this file.
        wanted: Bands that a model needs: others are ignored. None: all bands count.
        fallback: What held for other files, such as those of the training; it fills gaps.

    Raises:
        SceneNotFoundError: Nothing is there.
        SceneUnreadableError: It is no raster, or a damaged one.
        BandsUnrecognisedError: Its bands cannot be recognised.
        BandsMissingError: It lacks a wanted band.
        ConfigError: ``rules`` do not fit the file.
        SceneError: Its numbers are complex.
    """
    rules, fallback = rules or ReadRules(), fallback or ReadRules()
    wanted = None if wanted is None else measured(wanted)
    rules = replace(rules, skip_nm=rules.skip_nm or fallback.skip_nm)
    if not isinstance(source, RasterSource) and (is_stac(source) or is_safe(source)):
        item = (item_raster if is_stac(source) else safe_raster)(str(source), wanted)
        source, rules, fallback = item.source, item.rules(rules), item.fallback(fallback)
    source = RasterSource.of(source)
    dataset = open_raster(source)
    dtype = raw_type(dataset, source.name)
    with reading(source):
        told = tell_bands(dataset, source.name, rules, wanted=wanted, fallback=fallback)
    tags = metadata.plain_tags(dataset)
    scaling = band_scaling(dataset, told, dtype, rules, fallback)
    more = () if fallback.nodata is None else (fallback.nodata,)
    nodata = [(*raw_nodata(dataset, i, told.sensor, dtype, rules), *more) for i in told.indexes]
    return Scene(
        source=source,
        bands=told.bands,
        grid=Grid(dataset.crs or None, dataset.transform, dataset.height, dataset.width),
        band_indexes=told.indexes,
        scale=tuple(scale for scale, _ in scaling),
        offset=tuple(offset for _, offset in scaling),
        nodata=tuple(tuple(dict.fromkeys(values)) for values in nodata),
        dtype=dtype,
        valid_if=rules.valid_if if rules.valid_if != "all" else fallback.valid_if,
        alpha_index=told.alpha_index,
        acquired=metadata.acquired(tags),
        sensor=None if told.sensor is None else told.sensor.name,
        speckle=rules.speckle or fallback.speckle,
    )
