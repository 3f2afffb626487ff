"""See the ground as Landsat 8 does: seven bands of surface reflectance on a grid of 30 m.

Sources:
    Edges of the bands: Barsi et al. (2014), "The Spectral Response of the Landsat-8 Operational
        Land Imager", doi:10.3390/rs61010232, table 1.
    Signal-to-noise at typical radiance: Knight and Kvaran (2014), "Landsat-8 Operational Land
        Imager Design, Characterization and Performance", doi:10.3390/rs61110286.
    Counts and the grid's corner at 15 m: USGS, LSDS-1619, Landsat 8-9 Collection 2 Level 2
        Science Product Guide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rsmeta.sample_data.fields import Image, as_image, blur, enlarge, fractal, shrink
from rsmeta.sample_data.ground import majority_labels, slope_light
from rsmeta.sample_data.materials import CLOUD, DIFFUSE, PATH, SPECTRA, WAVELENGTH_NM
from rsmeta.sample_data.picture import Picture
from rsmeta.sample_data.places import FINE_M, FINE_PX, PIXEL_M, SIDE_PX, Place
from rsmeta.sample_data.sensor import Sky, draw_sky, label_pixels

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from rsmeta.sample_data.ground import Ground

#: Lower and upper edge of each band in nanometres: B1 to B7, under their STAC common names, for
#: their numbers mean other bands in older Landsats.
EDGES_NM = {
    "coastal": (435, 451), "blue": (452, 512), "green": (533, 590), "red": (636, 673),
    "nir08": (851, 879), "swir16": (1566, 1651), "swir22": (2107, 2294),
}  # fmt: skip

_PIXEL_M = 30
_FACTOR = int(_PIXEL_M / FINE_M)

#: Counts mean ``raw * _SCALE + _OFFSET``; 0 is no data.
_SCALE, _OFFSET = 0.0000275, -0.2

_SNR = (232, 355, 296, 222, 199, 261, 326)
_SNR_REFLECTANCE = (0.066, 0.063, 0.052, 0.045, 0.046, 0.051, 0.062)

#: What correction leaves of the light that the air scatters, a share.
_RESIDUE = 0.12


def look_landsat8(rng: np.random.Generator, place: Place, ground: Ground) -> Picture:
    """Return a Collection 2 Level-2 product: surface reflectance, B1 to B7."""
    own = rng.spawn(1)[0]  # another overpass, other weather
    sky = draw_sky(own, place)
    fine = _window(place)
    counts = _observe(own, place, ground, sky)
    labels = majority_labels(ground.label[fine], _FACTOR)
    labels = label_pixels(labels, _shrunk(sky.opacity, fine), _shrunk(sky.shadow, fine))
    labels[(counts == 0).any(axis=0)] = 0
    return Picture(
        pixels=counts,
        labels=labels,
        bands=tuple(EDGES_NM),
        pixel_m=_PIXEL_M,
        inset_m=(fine[1].start * FINE_M, fine[0].start * FINE_M),
        nodata=0,
        scale=_SCALE,
        offset=_OFFSET,
        title="Landsat 8 Collection 2 Level-2 like",
    )


def through_band(values: ArrayLike, name: str) -> NDArray[np.float32]:
    """Return what a band sees of rows of values at Sentinel-2's wavelengths, (N, 13) to (N,)."""
    at = np.linspace(*EDGES_NM[name], 9)
    rows = np.asarray(values).reshape(-1, len(WAVELENGTH_NM))
    return np.array([np.interp(at, WAVELENGTH_NM, row).mean() for row in rows], np.float32)


def _window(place: Place) -> tuple[slice, slice]:
    """Return the rows and columns of the 5 m grid that whole pixels of Landsat's grid cover."""
    south = (place.north_m - 15) % _PIXEL_M
    east = -(place.west_m - 15) % _PIXEL_M
    starts = [int(inset / FINE_M) for inset in (south, east)]
    rows, cols = (slice(start, start + (FINE_PX - start) // _FACTOR * _FACTOR) for start in starts)
    return rows, cols


def _shrunk(share: Image, fine: tuple[slice, slice]) -> Image:
    """Return a field of the 10 m grid, (H, W), on Landsat's."""
    return shrink(enlarge(share, PIXEL_M // int(FINE_M))[fine], _FACTOR)


def _observe(
    rng: np.random.Generator, place: Place, ground: Ground, sky: Sky
) -> NDArray[np.uint16]:
    """Return counts (7, H, W) on Landsat's grid, 0 beyond the swath."""
    fine = _window(place)
    light = _shrunk(slope_light(ground, place), fine)
    shadow, opacity, texture = (_shrunk(a, fine) for a in (sky.shadow, sky.opacity, sky.texture))
    haze = enlarge(fractal(rng, 60, longest_px=60, slope=2), SIDE_PX // 60)
    haze = _RESIDUE * (1 + _shrunk(haze, fine))
    counts = np.empty((len(EDGES_NM), *light.shape), np.uint16)
    for band, name in enumerate(EDGES_NM):
        spectrum, diffuse = through_band(SPECTRA, name), through_band(DIFFUSE, name)
        surface = spectrum[ground.material] * ground.cover
        surface += spectrum[ground.under] * (1 - ground.cover)
        blurred = blur(as_image(surface * ground.brightness), 0.45 * _FACTOR)
        seen = shrink(blurred[fine], _FACTOR)
        seen = as_image(seen * ((1 - diffuse) * light * (1 - 0.93 * shadow) + diffuse))
        seen = as_image(seen + through_band(PATH, name) * haze)
        seen = as_image(seen + opacity * (through_band(CLOUD, name) * texture - seen))
        deviation = np.sqrt(np.maximum(seen, 0.002) * _SNR_REFLECTANCE[band]) / _SNR[band]
        noisy = seen + rng.standard_normal(seen.shape) * deviation
        counts[band] = np.clip(np.rint((noisy - _OFFSET) / _SCALE), 1, 65_535)
    counts[:, _beyond_swath(place, light.shape)] = 0
    return counts


def _beyond_swath(place: Place, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return where there are no data, (H, W): an edge on the other side than Sentinel-2's."""
    top, bottom = place.edge
    row, column = np.mgrid[: shape[0], : shape[1]]
    edge = np.abs(bottom + (top - bottom) * row / shape[0]) * shape[1]
    beyond: NDArray[np.bool_] = column >= shape[1] - edge if top > 0 else column < edge
    return beyond
