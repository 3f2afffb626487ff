"""What the landscape is made of: bands, spectra of materials, the atmosphere, the classes.

Reflectances are rounded to the level and shape that the sources show for such surfaces; they
are typical values per Sentinel-2 band, not records of a library.

Sources:
    Bands and signal-to-noise: ESA, Sentinel-2 User Handbook (2015), tables 1 and 2.
    Vegetation, soil, water, man-made surfaces: Kokaly et al. (2017), USGS Spectral Library
        version 7, doi:10.3133/ds1035; Meerdink et al. (2019), the ECOSTRESS spectral library
        version 1.0, doi:10.1016/j.rse.2019.05.015; roofs and roads: Herold et al. (2004),
        doi:10.1016/j.rse.2004.02.013.
    Scattered light and transmission: Vermote et al. (1997), 6S, doi:10.1109/36.581987, for a
        mid-latitude summer with some 20 km of visibility.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Band names in file order, as Sentinel-2 products name them.
BANDS = (
    "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12",
)  # fmt: skip

#: Ground sampling distance of each band, in metres.
GSD_M = (60, 10, 10, 10, 20, 20, 20, 10, 20, 60, 60, 20, 20)

#: Centre of each band in nanometres.
WAVELENGTH_NM = (
    442.7, 492.4, 559.8, 664.6, 704.1, 740.5, 782.8, 832.8, 864.7, 945.1, 1373.5, 1613.7, 2202.4,
)  # fmt: skip

#: Signal-to-noise ratio at the reference radiance, and the reflectance that this is about.
SNR = np.array([129, 154, 168, 142, 117, 89, 105, 174, 72, 114, 50, 100, 100], np.float32)
SNR_REFLECTANCE = np.array(
    [0.22, 0.21, 0.22, 0.22, 0.16, 0.16, 0.17, 0.33, 0.17, 0.05, 0.05, 0.05, 0.05], np.float32
)

# Surface reflectance in percent, one column per band of BANDS.
_PERCENT = {
    "clear water":   (2.6, 3.1, 3.2, 1.6, 1.2, .8, .7, .6, .5, .4, .2, .3, .2),
    "turbid water":  (4.2, 5.6, 7.6, 5.8, 4.6, 2.6, 2.4, 1.9, 1.7, 1.1, .3, .5, .3),
    "broadleaf":     (1.8, 2.2, 4.8, 2.5, 7.5, 26, 35, 38, 39.5, 39, 20, 19, 8.5),
    "conifer":       (1.4, 1.7, 3.0, 2.0, 4.5, 14, 17.5, 19, 20, 19.5, 9, 8.5, 3.8),
    "grass":         (2.8, 3.6, 7.5, 5.0, 11.5, 27, 33, 36.5, 38.5, 38, 24, 25, 13.5),
    "dry grass":     (4.5, 5.8, 9.5, 10.5, 15, 22, 25, 27.5, 29.5, 30, 28, 33, 21),
    "green crop":    (2.0, 2.6, 6.5, 2.8, 9.5, 35, 45, 49, 50.5, 49, 24, 21.5, 9.5),
    "mature crop":   (5.5, 7.5, 11.5, 16, 19, 22.5, 25, 28, 30, 31, 28, 37, 26),
    "bare soil":     (6.0, 7.5, 10.5, 14.5, 16.5, 18, 19.5, 21.5, 22.5, 24, 26, 31, 27),
    "wet soil":      (3.8, 4.7, 6.4, 8.8, 10.2, 11.3, 12.4, 13.8, 14.5, 15, 13, 17, 12.5),
    "gravel":        (13, 16, 21, 25, 26.5, 27.5, 28.5, 29.5, 30, 30, 29, 34, 30),
    "tile roof":     (6.5, 8, 11, 20, 23, 24.5, 25.5, 26.5, 27, 27.5, 28, 30, 27),
    "concrete":      (15, 18, 21.5, 24, 25, 25.5, 26, 26.5, 27, 27, 26, 28, 26),
    "metal roof":    (30, 34, 37, 39, 40, 40.5, 41, 41.5, 42, 42, 38, 41, 37),
    "asphalt":       (7, 8, 9, 10, 10.5, 11, 11.5, 12, 12.2, 12.5, 13, 15, 15),
    "reed":          (2.2, 3.0, 5.5, 4.2, 7.5, 15, 18, 20, 20.5, 19.5, 8, 9, 4.2),
}  # fmt: skip

MATERIALS = tuple(_PERCENT)
#: Surface reflectance, (materials, bands), unitless.
SPECTRA = np.array(list(_PERCENT.values()), np.float32) / 100

# Along the path of light, per band, in percent: light scattered into the view, transmission
# down and up, share of light that comes from the whole sky, and a thick cloud seen from above.
_PATH = (9.6, 6.8, 3.7, 1.9, 1.5, 1.2, 1.0, .8, .7, .4, .1, .2, .1)  # fmt: skip
_TRANSMISSION = (82, 86, 89, 92, 91, 91, 94, 94, 95, 55, 3, 95, 93)
_DIFFUSE = (32, 26, 18, 12, 11, 10, 9, 8, 7, 6, 6, 3, 2)
_CLOUD = (62, 60, 60, 61, 62, 63, 64, 65, 65, 40, 1.5, 48, 34)
PATH, TRANSMISSION, DIFFUSE, CLOUD = (
    np.array(row, np.float32) / 100 for row in (_PATH, _TRANSMISSION, _DIFFUSE, _CLOUD)
)


@dataclass(frozen=True)
class LandClass:
    """One class of the labels."""

    value: int
    name: str
    colour: str

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Colour as red, green, blue in 0..255."""
        digits = self.colour.removeprefix("#")
        return (int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16))


#: The classes of the labels; 0 means "no label".
CLASSES = (
    LandClass(1, "water", "#2b6fb3"),
    LandClass(2, "broadleaf forest", "#3f8f3b"),
    LandClass(3, "conifer forest", "#1d5a34"),
    LandClass(4, "grassland", "#a8cf6a"),
    LandClass(5, "green crop", "#e3d34b"),
    LandClass(6, "mature crop", "#d99a3a"),
    LandClass(7, "bare soil", "#9a6b43"),
    LandClass(8, "built-up", "#c8372d"),
    LandClass(9, "wetland", "#5bb5a6"),
    LandClass(10, "cloud", "#ededed"),
    LandClass(11, "cloud shadow", "#4a4a5c"),
)

_CLASS_OF = {
    "clear water": 1, "turbid water": 1, "broadleaf": 2, "conifer": 3, "grass": 4, "dry grass": 4,
    "green crop": 5, "mature crop": 6, "bare soil": 7, "wet soil": 7, "gravel": 7,
    "tile roof": 8, "concrete": 8, "metal roof": 8, "asphalt": 8, "reed": 9,
}  # fmt: skip
#: Class value of each material, (materials,).
CLASS_OF_MATERIAL = np.array([_CLASS_OF[name] for name in MATERIALS], np.uint8)


def material(name: str) -> int:
    """Return the row of a material in ``SPECTRA``."""
    return MATERIALS.index(name)


def class_value(name: str) -> int:
    """Return the label value of a class."""
    return next(c.value for c in CLASSES if c.name == name)
