"""What scenes are: their bands or sensor, scale, and the value without data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rasterio.windows import Window

from rsmeta.errors import BandsUnrecognisedError, enumerate_names
from rsmeta.geo.handles import open_raster, reading
from rsmeta.geo.radar import is_radar, radar_units
from rsmeta.geo.scene import ReadRules, open_scene
from rsmeta.workflows.init.guess import Guess
from rsmeta.workflows.init.sensor_hints import guess_bands

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rsmeta.geo.scene import Scene

#: Windows, and pixels per side of each, that are read to see the values.
_WINDOWS, _WINDOW_PX = 16, 128

#: Values that stand for "no data" where a file does not say so.
_USUAL_NODATA = (0.0, 255.0, 65535.0, -9999.0, -32768.0, 32767.0)

#: Shares of all pixels and of the pixels at the edges from which such a value is nodata.
_SHARE, _SHARE_AT_EDGES = 0.005, 0.05

#: Upper percentile of whole numbers that are reflectance times 10,000.
_REFLECTANCE = (1_500.0, 20_000.0)


@dataclass(frozen=True)
class SceneGuesses:
    """Scenes, opened as guessed.

    Attributes:
        scenes: The scenes.
        guesses: Keys of the ``data`` section about them, without ``scenes`` itself.
        about: What the first scene is, in a line.
    """

    scenes: tuple[Scene, ...]
    guesses: tuple[Guess, ...]
    about: str


def guess_scenes(sources: Sequence[str | Path]) -> SceneGuesses:
    """Open scenes whose bands need not be known, and guess how their values are to be read.

    Args:
        sources: Scenes of one kind; the first decides.

    Raises:
        SceneError: One cannot be read.
    """
    rules, guesses = _bands(sources[0])
    first = open_scene(sources[0], rules)
    nodata = _nodata(first)
    scale = _scale(first, None if nodata.value is None else float(nodata.value))
    rules = ReadRules(rules.sensor, rules.bands, scale.value, nodata=nodata.value)
    scenes = tuple(open_scene(source, rules) for source in sources)
    return SceneGuesses(scenes, (*guesses, scale, nodata, *_speckle(scenes[0])), about(first))


def about(scene: Scene) -> str:
    """Return size, type, CRS and pixel size of a scene in a line."""
    grid = scene.grid
    crs = "no CRS" if grid.crs is None else grid.crs.to_string()
    crs = crs if len(crs) < 24 else "its own CRS"
    bands = f"{len(scene.bands)} band{'s' if len(scene.bands) > 1 else ''}"
    size = "" if grid.gsd_m is None else f", pixels of {grid.gsd_m:.3g} m"
    return f"{grid.width_px:,} x {grid.height_px:,} px, {bands} of {scene.dtype}, {crs}{size}"


def _bands(source: str | Path) -> tuple[ReadRules, list[Guess]]:
    """Return how to name the bands, and the keys that say so."""
    try:
        scene = open_scene(source)
    except BandsUnrecognisedError as error:
        return guess_bands(source, error)
    named = enumerate_names([str(band) for band in scene.bands], most=8)
    of = f"of {scene.sensor}, by " if scene.sensor else "by "
    return ReadRules(), [Guess("bands", why=f"{named}: {of}the names in the file")]


def _scale(scene: Scene, nodata: float | None) -> Guess:
    """Guess the factor to physical values."""
    if {*scene.scale} != {1.0} or any(scene.offset):
        stated = f"{scene.scale[0]:g}" + (
            f", offset {scene.offset[0]:g}" if scene.offset[0] else ""
        )
        where = f"usual for {scene.sensor}" if scene.sensor else "stated in the file"
        return Guess("scale", why=f"{stated}, {where}")
    values = sample(scene)
    if nodata is not None:
        values = values[:, ~(values == nodata).all(axis=0)]
    if not values.size:
        return Guess("scale", why="none")
    low, high = np.percentile(values, [1, 99])
    seen = f"values mostly {low:.4g} to {high:.4g}"
    is_whole = np.issubdtype(np.dtype(scene.dtype), np.integer)
    if not is_whole or np.dtype(scene.dtype).itemsize == 1:
        kind = "8-bit values, used as they are" if is_whole else "used as they are"
        return Guess("scale", why=f"{seen}: {kind}")
    optical = [band.spectrum_part in ("reflected", None) for band in scene.bands]
    if all(optical) and _REFLECTANCE[0] <= high <= _REFLECTANCE[1]:
        return Guess("scale", 0.0001, f"{seen}: taken for reflectance x 10,000")
    return Guess("scale", why=f"{seen}: used as they are")


def _speckle(scene: Scene) -> list[Guess]:
    """Say what bands of radar are in, and how their speckle can be filtered; none: no radar."""
    if not any(map(is_radar, scene.bands)):
        return []
    values = sample(scene)
    units = {*radar_units(scene.bands, values.mean(axis=1).tolist()).values()}
    if len(units) != 1 or not values.size:
        return []
    (unit,) = units
    how = {"decibels": "lee", "linear backscatter": "{filter: lee, unit: linear}"}.get(unit)
    fix = "" if how is None else f"; if it shows speckle, {how} filters it"
    return [Guess("speckle", why=f"radar in {unit}, by its mean{fix}")]


def _nodata(scene: Scene) -> Guess:
    """Guess the value without data from what all bands hold at the edges."""
    stated = sorted({value for values in scene.nodata for value in values})
    if stated:
        return Guess("nodata", why=f"{', '.join(f'{v:g}' for v in stated)}, stated in the file")
    if scene.alpha_index is not None:
        return Guess("nodata", why="the file has an alpha band")
    whole, edges = _raw(scene, _spread(scene)), _raw(scene, _edges(scene))
    for value in _USUAL_NODATA:
        share, at_edges = (float((one == value).all(axis=0).mean()) for one in (whole, edges))
        if share >= _SHARE and at_edges >= _SHARE_AT_EDGES:
            number = int(value) if value % 1 == 0 else value
            why = (
                f"the file states none; {share:.0%} of the pixels and {at_edges:.0%} of those at "
                f"the edges hold {number} in every band"
            )
            return Guess("nodata", number, why)
    return Guess("nodata", why="none stated, and no value fills the edges")


def _spread(scene: Scene) -> list[Window]:
    windows = list(scene.grid.windows(_WINDOW_PX))
    picked = sorted({*np.linspace(0, len(windows) - 1, _WINDOWS).astype(int)})
    return [windows[i] for i in picked]


def _edges(scene: Scene) -> list[Window]:
    height, width = scene.grid.shape
    return [
        Window(0, 0, width, 1), Window(0, height - 1, width, 1),
        Window(0, 0, 1, height), Window(width - 1, 0, 1, height),
    ]  # fmt: skip


def _raw(scene: Scene, windows: Sequence[Window]) -> np.ndarray:
    """Return raw values of windows, (C, N)."""
    indexes = list(scene.band_indexes)
    with reading(scene.source):
        dataset = open_raster(scene.source)
        parts = [dataset.read(indexes, window=w).reshape(len(indexes), -1) for w in windows]
    return np.concatenate(parts, axis=1)


def sample(scene: Scene) -> np.ndarray:
    """Return the valid pixels of windows spread over a scene, (C, N) physical."""
    chips = [scene.read(window) for window in _spread(scene)]
    return np.concatenate([chip.data[:, chip.valid] for chip in chips], axis=1)
