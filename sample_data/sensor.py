"""See the ground as Sentinel-2 does: light, atmosphere, clouds, blur, pixels, noise, counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rsmeta.sample_data.fields import Image, as_image, blur, enlarge, fractal, shrink
from rsmeta.sample_data.ground import Ground, mixed_labels, slope_light
from rsmeta.sample_data.materials import (
    BANDS,
    CLOUD,
    DIFFUSE,
    GSD_M,
    PATH,
    SNR,
    SNR_REFLECTANCE,
    SPECTRA,
    TRANSMISSION,
    class_value,
)
from rsmeta.sample_data.picture import Picture
from rsmeta.sample_data.places import FINE, PIXEL_M, SIDE_PX, Place

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Counts per unit of reflectance in a Sentinel-2 product; 0 means "no data".
COUNTS = 10_000


@dataclass(frozen=True)
class Sky:
    """Clouds and the shadows they throw, each a share from 0 to 1, (H, W) at 10 m."""

    opacity: Image
    shadow: Image
    texture: Image


def draw_sky(rng: np.random.Generator, place: Place) -> Sky:
    """Draw cumulus clouds about 800 m up, with shadows on the side away from the sun."""
    margin = 60
    side = SIDE_PX + 2 * margin
    shape = fractal(rng, side, longest_px=90, slope=2.4)
    billows = np.abs(fractal(rng, side, longest_px=26, slope=1.6))
    field = blur(as_image(shape + 0.30 * billows), 0.8)
    thickness = np.maximum(field - np.quantile(field, 1 - 1.25 * place.cloud), 0)
    opacity = 0.98 * (1 - np.exp(-((4.2 * thickness) ** 1.5)))
    azimuth, elevation = np.deg2rad([place.sun_azimuth_deg, place.sun_elevation_deg])
    reach_px = 800 / np.tan(elevation) / PIXEL_M
    down, right = round(reach_px * np.cos(azimuth)), round(-reach_px * np.sin(azimuth))
    shadow = blur(as_image(np.roll(opacity, (down, right), (0, 1))), 1.2)
    lit = np.roll(field, (2, -1), (0, 1)) - field
    texture = 1 - 0.05 * billows - 0.25 * np.clip(lit, -0.3, 0.5)
    inner = (slice(margin, -margin), slice(margin, -margin))
    return Sky(*(np.ascontiguousarray(a[inner], np.float32) for a in (opacity, shadow, texture)))


def look_sentinel2(rng: np.random.Generator, place: Place, ground: Ground) -> Picture:
    """Return a Level-1C product: top-of-atmosphere reflectance, 13 bands on the 10 m grid."""
    sky = draw_sky(rng, place)
    counts = observe(rng, place, ground, sky)
    labels = label_pixels(mixed_labels(ground.label), sky.opacity, sky.shadow)
    labels[(counts == 0).any(axis=0)] = 0
    return Picture(
        pixels=counts,
        labels=labels,
        bands=BANDS,
        pixel_m=PIXEL_M,
        inset_m=(0, 0),
        nodata=0,
        scale=1 / COUNTS,
        offset=0,
        title="Sentinel-2 L1C like",
    )


def label_pixels(labels: NDArray[np.uint8], opacity: Image, shadow: Image) -> NDArray[np.uint8]:
    """Return what is known of each pixel under its sky, (H, W).

    Args:
        labels: Class of the ground, 0 where it is mixed or unknown.
        opacity: Of the clouds; a veil leaves no label.
        shadow: Of the clouds.
    """
    labels = labels.copy()
    labels[(opacity > 0.08) | (shadow > 0.25)] = 0
    labels[(shadow > 0.6) & (opacity <= 0.08)] = class_value("cloud shadow")
    labels[opacity > 0.5] = class_value("cloud")
    return labels


def observe(rng: np.random.Generator, place: Place, ground: Ground, sky: Sky) -> NDArray[np.uint16]:
    """Return the scene in counts, (bands, H, W), on the 10 m grid, 0 beyond the swath.

    Args:
        rng: Source of the sensor's noise.
        place: Sun and swath edge.
        ground: What lies there, on the 5 m grid.
        sky: Clouds and shadows, on the 10 m grid.
    """
    light = slope_light(ground, place)
    haze = 1 + 0.10 * enlarge(fractal(rng, 60, longest_px=60, slope=2), SIDE_PX // 60)
    across = np.linspace(0.97, 1.03, SIDE_PX, dtype=np.float32)[np.newaxis]
    counts = np.empty((len(BANDS), SIDE_PX, SIDE_PX), np.uint16)
    for band, gsd_m in enumerate(GSD_M):
        spectrum = SPECTRA[:, band]
        share = ground.cover
        surface = spectrum[ground.material] * share + spectrum[ground.under] * (1 - share)
        seen = shrink(blur(as_image(surface * ground.brightness), 0.8), FINE)
        direct = (1 - DIFFUSE[band]) * light * (1 - 0.93 * sky.shadow)
        seen = PATH[band] * haze + TRANSMISSION[band] * across * seen * (direct + DIFFUSE[band])
        seen += sky.opacity * (CLOUD[band] * sky.texture - seen)
        factor = gsd_m // PIXEL_M
        seen = shrink(blur(seen, 0.45 * factor), factor)
        seen += _noise(rng, seen, band)
        seen = enlarge(seen, factor) if factor > 1 else seen
        counts[band] = np.clip(np.rint(seen * COUNTS), 1, 65_535)
        counts[band][_beyond_swath(place, band)] = 0
    return counts


def _noise(rng: np.random.Generator, seen: Image, band: int) -> Image:
    """Return noise that grows with the square root of the signal, as photons make it."""
    deviation = np.sqrt(np.maximum(seen, 0.002) * SNR_REFLECTANCE[band]) / SNR[band]
    return as_image(rng.standard_normal(seen.shape) * deviation)


def _beyond_swath(place: Place, band: int) -> NDArray[np.bool_]:
    """Return where a band has no data, (H, W): an oblique edge, a little different per band."""
    top, bottom = place.edge
    row, column = np.mgrid[:SIDE_PX, :SIDE_PX]
    edge = np.abs(top + (bottom - top) * row / SIDE_PX) * SIDE_PX
    # Detectors of one band lie behind one another, so lines begin in steps.
    edge = edge + 5 * (row // 45 % 3) + 2 * (band % 4)
    beyond: NDArray[np.bool_] = column < edge if top > 0 else column >= SIDE_PX - edge
    return beyond
