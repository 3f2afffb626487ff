"""Numbers that cannot be: scenes unlike those trained on, and maps without a pixel."""

from __future__ import annotations

import logging
import math
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from rasterio.windows import Window

from rsmeta.errors import OutputError, SceneError
from rsmeta.geo.sparse import may_hold_data

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from rsmeta.bundle import BundleRecord
    from rsmeta.geo.scene import Scene
    from rsmeta.gis.outputs.map_statistics import MapStatistics
    from rsmeta.workflows.mapping.request import MapRequest

logger = logging.getLogger(__name__)

#: Distance of a band's mean from the training's, in the training's deviations, that is warned
#: about; and the mean of that of all bands.
_FAR, _FAR_ON_AVERAGE = 3.0, 2.0
#: Beyond this in every band nothing but a mistake explains it.
_IMPOSSIBLE = 10.0
#: Sample so many rows and columns of windows; if those are empty, so many.
_LATTICES = (4, 16)
_WINDOW_PX = 128
_FEWEST_PX = 100
#: Values this many times too large or too small are in other units.
_OTHER_UNITS = 20.0


class _Distance(NamedTuple):
    """How far a band of a scene lies from what the model was trained on."""

    band: str
    found: float
    mean: float
    std: float

    @property
    def deviations(self) -> float:
        """The distance in deviations of the training pixels."""
        return abs(self.found - self.mean) / max(self.std, 1e-6 * abs(self.mean), 1e-12)

    @property
    def text(self) -> str:
        """What was found, and what was expected."""
        return (
            f"{self.band} is {self.found:.4g} on average, {self.deviations:.3g} standard "
            f"deviations from the {self.mean:.4g} ± {self.std:.4g} of the training pixels"
        )

    @property
    def remedy(self) -> str:
        """What is likely to help."""
        if self.mean > 0 > self.found:
            return "it looks like decibels where the model was trained on linear values; convert it"
        if self.found > 0 > self.mean:
            return "it looks like linear values where the model was trained on decibels; convert it"
        ratio = abs(self.found / self.mean) if self.found and self.mean else 1.0
        if not 1 / _OTHER_UNITS < ratio < _OTHER_UNITS:
            scale = 10.0 ** -round(math.log10(ratio))
            return (
                f"it looks like other units, about {ratio:.2g} times the trained ones; write its "
                f"scale into the file (gdal_translate -a_scale {scale:g}) or name its --sensor"
            )
        return "check its scaling, units and season"


def check_range(scene: Scene, record: BundleRecord, extent: Window) -> None:
    """Compare the values of a scene, sampled, with those of the training pixels.

    A scene that lies far off is warned about, once. What cannot be read is left to the mapping.

    Args:
        scene: The scene, with the model's bands.
        record: The model.
        extent: Part of the scene that is mapped.

    Raises:
        SceneError: Every band lies beyond any doubt, and ``check_range`` is on.
    """
    if not any(band.training_range for band in record.bands):
        return
    try:
        pixels = _sample(scene, extent)
    except SceneError:
        return
    distances = _distances(pixels, record)
    if not distances:
        return
    worst = max(distances, key=lambda one: one.deviations)
    all_deviations = [one.deviations for one in distances]
    message = f"{scene.name}: {worst.text}; {worst.remedy}"
    if min(all_deviations) >= _IMPOSSIBLE and record.predict.check_range:
        raise SceneError(f"{message}, or map it regardless with --set check_range=false")
    if worst.deviations > _FAR or sum(all_deviations) / len(distances) > _FAR_ON_AVERAGE:
        logger.warning("%s; the map may be wrong", message)


def check_not_empty(
    statistics: MapStatistics, requests: Sequence[MapRequest], *, where: str
) -> None:
    """Refuse a map without a valid pixel, of scenes that have some.

    Args:
        statistics: Of the whole map.
        requests: The scenes in it.
        where: The map.

    Raises:
        OutputError: A scene has a valid pixel.
    """
    if sum(statistics.pixels) or statistics.numbers.count:
        return
    scenes = [request.scene for request in requests]
    if statistics.not_finite:
        raise OutputError(
            f"{where} would hold no pixel: the scores of all {statistics.not_finite} are not "
            f"finite (NaN); check the weights of the model and the scaling of the scene"
        )
    if any(map(_has_data, scenes)):
        names = ", ".join(scene.name for scene in scenes)
        raise OutputError(
            f"{where} would hold no pixel, though {names} has data; check that --bounds, --aoi, "
            f"--like and --crs cover places where it has some"
        )
    logger.warning("%s holds no pixel: the scene has no data", where)


def _has_data(scene: Scene) -> bool:
    """Return whether a scene has a valid pixel; it is read until the first one."""
    windows = scene.grid.windows(8 * _WINDOW_PX)
    return any(may_hold_data(scene, w) and scene.read(w).valid.any() for w in windows)


def _sample(scene: Scene, extent: Window) -> NDArray[np.float32]:
    """Return valid pixels from windows spread over an extent, (C, N)."""
    found = np.empty((len(scene.bands), 0), np.float32)
    for side in _LATTICES:
        for window in _lattice(extent, side):
            if found.shape[1] >= side**2 // 4 * _WINDOW_PX**2:
                return found
            if may_hold_data(scene, window):
                chip = scene.read(window)
                found = np.concatenate([found, chip.data[:, chip.valid]], axis=1)
        if found.shape[1] >= _FEWEST_PX:
            break
    return found


def _lattice(extent: Window, side: int) -> Iterator[Window]:
    """Yield windows in rows and columns, ``side`` of each at most, in an order that spreads."""
    (rows, height), (cols, width) = (
        (range(max(min(side, size // _WINDOW_PX), 1)), min(_WINDOW_PX, size))
        for size in (int(extent.height), int(extent.width))
    )
    places = list(product(rows, cols))
    for number in np.random.default_rng(0).permutation(len(places)):
        row, col = places[number]
        top = int((2 * row + 1) * extent.height / (2 * len(rows)) - height / 2)
        left = int((2 * col + 1) * extent.width / (2 * len(cols)) - width / 2)
        yield Window(int(extent.col_off) + left, int(extent.row_off) + top, width, height)


def _distances(pixels: NDArray[np.float32], record: BundleRecord) -> list[_Distance]:
    """Return how far each band lies from the training; nothing if too few pixels tell."""
    if pixels.shape[1] < _FEWEST_PX:
        return []
    means = (float(band[np.isfinite(band)].mean(dtype=np.float64)) for band in pixels)
    known = zip(record.bands, means, strict=True)
    return [
        _Distance(band.name, value, *band.training_range)
        for band, value in known
        if band.training_range is not None and math.isfinite(value)
    ]
