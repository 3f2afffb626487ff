"""See the ground as Sentinel-1 does: backscatter in two polarisations, slopes, speckle; no clouds.

Backscatter is typical of such surfaces at C-band and 38 degrees, rounded; no records.

Sources:
    Levels: Ulaby and Dobson (1989), Handbook of Radar Scattering Statistics for Terrain; crops
        and grass: Vreugdenhil et al. (2018), doi:10.3390/rs10091396; forest: Rüetschi et al.
        (2018), doi:10.3390/rs10010055.
    Equivalent number of looks and noise: ESA, Sentinel-1 Product Definition
        (S1-RS-MDA-52-7440), interferometric wide swath, GRD high resolution.
    Slopes: Small (2011), "Flattening Gamma", doi:10.1109/TGRS.2011.2120616, section II.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rsmeta.sample_data.fields import Image, as_image, blur, shrink
from rsmeta.sample_data.ground import mixed_labels
from rsmeta.sample_data.materials import MATERIALS
from rsmeta.sample_data.picture import Picture
from rsmeta.sample_data.places import FINE, FINE_M, PIXEL_M, Place

if TYPE_CHECKING:
    from rsmeta.sample_data.ground import Ground

BANDS = ("VV", "VH")

# Sigma nought in decibels: VV, VH.
_DECIBEL = {
    "clear water": (-20, -28), "turbid water": (-18.5, -27), "broadleaf": (-8, -13.5),
    "conifer": (-9.2, -14.8), "grass": (-12.5, -19.5), "dry grass": (-13, -20.5),
    "green crop": (-10.5, -16.5), "mature crop": (-12.5, -18.5), "bare soil": (-11, -21),
    "wet soil": (-8.5, -19), "gravel": (-11.5, -19.5), "tile roof": (-4, -11.5),
    "concrete": (-5, -13), "metal roof": (-1.5, -10), "asphalt": (-15, -22.5),
    "reed": (-8.5, -17),
}  # fmt: skip

#: Sigma nought of each material, (materials, 2), as a ratio of powers.
BACKSCATTER = np.array([10 ** (np.array(_DECIBEL[name]) / 10) for name in MATERIALS], np.float32)

_LOOKS = 4.4
_NOISE = 10 ** (-25 / 10)
_INCIDENCE_DEG = 38


def look_sentinel1(rng: np.random.Generator, place: Place, ground: Ground) -> Picture:
    """Return a GRD product on the 10 m grid: sigma nought in decibels, NaN without data."""
    own = rng.spawn(1)[0]
    slopes = _slope_gain(ground)
    pixels = np.empty((len(BANDS), *slopes.shape), np.float32)
    for band in range(len(BANDS)):
        of = BACKSCATTER[:, band]
        power = of[ground.material] * ground.cover + of[ground.under] * (1 - ground.cover)
        # 20 m of resolution on pixels of 10 m.
        power = shrink(blur(as_image(power * ground.brightness), 0.45 * 2 * FINE), FINE)
        speckle = own.gamma(_LOOKS, 1 / _LOOKS, power.shape)
        pixels[band] = 10 * np.log10((power * slopes + _NOISE) * speckle)
    pixels[:, _beyond_swath(place, slopes.shape)] = np.nan
    labels = mixed_labels(ground.label)
    labels[np.isnan(pixels[0])] = 0
    return Picture(
        pixels=pixels,
        labels=labels,
        bands=BANDS,
        pixel_m=PIXEL_M,
        inset_m=(0, 0),
        nodata=np.nan,
        scale=1,
        offset=0,
        title="Sentinel-1 GRD like, sigma nought in dB",
    )


def _slope_gain(ground: Ground) -> Image:
    """Return what slopes add to backscatter, (H, W) at 10 m, for a radar that looks east."""
    height_m = shrink(blur(ground.height_m, 2.0), FINE)
    rise = np.arctan(np.gradient(height_m, FINE * FINE_M, axis=1))
    flat = np.deg2rad(_INCIDENCE_DEG)
    local = np.clip(flat - rise, np.deg2rad(10), np.deg2rad(80))
    return as_image(np.sin(flat) / np.sin(local))


def _beyond_swath(place: Place, shape: tuple[int, ...]) -> np.ndarray:
    """Return where there are no data, (H, W): a straight edge of half the optical one's width."""
    top, bottom = place.edge
    row, column = np.mgrid[: shape[0], : shape[1]]
    edge = np.abs(top + (bottom - top) * row / shape[0]) * shape[1] / 2
    beyond: np.ndarray = column < edge if top > 0 else column >= shape[1] - edge
    return beyond
