"""See the ground as no sensor in particular does: other spectra, air and contrast in each place.

What is trained on many such places cannot know materials by their numbers and has to look at
shapes of spectra and at the surroundings, as another sensor or season demands (domain
randomisation: Tobin et al. 2017, arXiv:1703.06907). Everything here is drawn wide; nothing of it
describes an instrument.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from rsmeta.sample_data.fields import Image, as_image, blur, enlarge, fractal, shrink
from rsmeta.sample_data.ground import majority_labels, mixed_labels, slope_light
from rsmeta.sample_data.materials import (
    BANDS,
    CLOUD,
    DIFFUSE,
    PATH,
    SPECTRA,
    TRANSMISSION,
    WAVELENGTH_NM,
)
from rsmeta.sample_data.picture import Picture
from rsmeta.sample_data.places import FINE, PIXEL_M, SIDE_PX, Place
from rsmeta.sample_data.sensor import Sky, draw_sky, label_pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rsmeta.sample_data.ground import Ground

#: Rows of ``BANDS`` that are seen: those that look at the ground, not at the air alone.
_SEEN = [i for i, name in enumerate(BANDS) if name not in ("B01", "B09", "B10")]

#: Mean and deviation of the bands over many places, which stretched scenes are brought to.
_MEAN = np.array([19, 18, 17, 19, 26, 30, 32, 33, 25, 16], np.float32) / 100
_STD = np.array([18, 17, 18, 17, 16, 16, 17, 17, 14, 11], np.float32) / 100


@dataclass(frozen=True)
class _Optics:
    """What is drawn for one place; (materials, bands) or (bands,), unitless."""

    spectra: NDArray[np.float32]
    path: NDArray[np.float32]
    transmission: NDArray[np.float32]
    diffuse: NDArray[np.float32]
    cloud: NDArray[np.float32]
    snr: float


def look_varied(rng: np.random.Generator, place: Place, ground: Ground) -> Picture:
    """Return reflectance in ten bands of Sentinel-2, on pixels of 10, 20 or 30 m."""
    own = rng.spawn(1)[0]
    if own.random() < 0.6:
        place = replace(place, cloud=float(own.uniform(0.02, 0.6)))
    factor = int(own.choice([1, 2, 3], p=[0.5, 0.2, 0.3]))
    sky = draw_sky(own, place)
    seen = _observe(own, place, ground, sky, factor)
    if own.random() < 0.5:
        centre, spread = seen.mean(axis=(1, 2)), seen.std(axis=(1, 2))
        seen = (seen - centre[:, None, None]) / spread[:, None, None]
        seen = seen * _STD[:, None, None] + _MEAN[:, None, None]
    labels = (
        mixed_labels(ground.label) if factor == 1 else majority_labels(ground.label, FINE * factor)
    )
    opacity, shadow = (shrink(share, factor) for share in (sky.opacity, sky.shadow))
    return Picture(
        pixels=as_image(seen),
        labels=label_pixels(labels, opacity, shadow),
        bands=tuple(BANDS[i] for i in _SEEN),
        pixel_m=PIXEL_M * factor,
        inset_m=(0, 0),
        nodata=np.nan,
        scale=1,
        offset=0,
        title="reflectance of no sensor in particular",
    )


def _draw_optics(rng: np.random.Generator) -> _Optics:
    clear = rng.random() < 0.3
    haze = rng.uniform(0, 0.3) if clear else rng.uniform(0.3, 2.2)
    spectra = SPECTRA[:, _SEEN] * _tilts(rng, 0.25, len(SPECTRA)) * _tilts(rng, 0.12)
    return _Optics(
        spectra=as_image(spectra),
        path=as_image(PATH[_SEEN] * haze * _tilts(rng, 0.1)[0]),
        transmission=as_image(TRANSMISSION[_SEEN] ** rng.uniform(0, 1.6)),
        diffuse=as_image(np.minimum(DIFFUSE[_SEEN] * rng.uniform(0.5, 1.8), 0.6)),
        cloud=as_image(CLOUD[_SEEN] * _tilts(rng, 0.25)[0]),
        snr=float(rng.uniform(60, 200)),
    )


def _tilts(rng: np.random.Generator, deviation: float, rows: int = 1) -> NDArray[np.float64]:
    """Return factors (rows, bands) that change smoothly with the logarithm of wavelength."""
    at = np.log(np.array(WAVELENGTH_NM)[_SEEN])
    at = (at - at[0]) / (at[-1] - at[0])
    shapes = [np.ones_like(at), 2 * at - 1, np.cos(2 * np.pi * at), np.sin(2 * np.pi * at)]
    exponents = rng.standard_normal((rows, len(shapes))) * deviation / 2 @ np.stack(shapes)
    return np.asarray(np.exp(exponents), np.float64)


def _observe(
    rng: np.random.Generator, place: Place, ground: Ground, sky: Sky, factor: int
) -> Image:
    """Return reflectance (bands, H, W), on pixels of ``factor`` times 10 m."""
    optics = _draw_optics(rng)
    light = slope_light(ground, place)
    haze = 1 + 0.25 * enlarge(fractal(rng, 60, longest_px=60, slope=2), SIDE_PX // 60)
    side = SIDE_PX // factor
    made = np.empty((len(_SEEN), side, side), np.float32)
    for band in range(len(_SEEN)):
        spectrum, diffuse = optics.spectra[:, band], optics.diffuse[band]
        surface = spectrum[ground.material] * ground.cover
        surface += spectrum[ground.under] * (1 - ground.cover)
        seen = shrink(blur(as_image(surface * ground.brightness), 0.8), FINE)
        direct = (1 - diffuse) * light * (1 - 0.93 * sky.shadow)
        seen = optics.path[band] * haze + optics.transmission[band] * seen * (direct + diffuse)
        seen += sky.opacity * (optics.cloud[band] * sky.texture - seen)
        seen = shrink(blur(as_image(seen), 0.45 * factor), factor)
        noise = np.sqrt(np.maximum(seen, 0.002) * 0.1) / optics.snr
        made[band] = seen + rng.standard_normal(seen.shape) * noise
    return made
