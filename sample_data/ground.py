"""Lay out the ground of a place: relief, water, forest, fields, towns and roads, 5 m a cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rsmeta.sample_data.fields import (
    Image,
    as_image,
    blur,
    cells,
    distance_to_path,
    enlarge,
    fractal,
    shrink,
)
from rsmeta.sample_data.materials import CLASS_OF_MATERIAL, class_value, material
from rsmeta.sample_data.places import FINE_M, FINE_PX, Place

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE_M = FINE_PX * FINE_M
_COARSE = 8
_CROPS = ("green crop", "mature crop", "bare soil", "wet soil", "grass", "dry grass")


@dataclass(frozen=True)
class Ground:
    """The ground before any light falls on it; all arrays are (H, W) on the 5 m grid.

    Attributes:
        height_m: Elevation.
        material: Row of the spectra.
        under: Material that shows through.
        cover: Share of ``material`` over ``under``, 0 to 1.
        brightness: Factor on the reflectance.
        label: Class value, 0 where nobody has looked.
    """

    height_m: Image
    material: NDArray[np.uint8]
    under: NDArray[np.uint8]
    cover: Image
    brightness: Image
    label: NDArray[np.uint8]


class _Canvas:
    """The ground while it is being painted: each ``paint`` covers what lies below it."""

    def __init__(self, rng: np.random.Generator) -> None:
        shape = (FINE_PX, FINE_PX)
        self.rng = rng
        self.y, self.x = np.mgrid[:FINE_PX, :FINE_PX].astype(np.float32) * np.float32(FINE_M)
        self.material = np.zeros(shape, np.uint8)
        self.under = np.full(shape, material("bare soil"), np.uint8)
        self.cover = np.ones(shape, np.float32)
        self.brightness = np.ones(shape, np.float32)
        self.label = np.zeros(shape, np.uint8)
        # One grain for everything: single trees, tractor lines, waves.
        self.grain = blur(rng.standard_normal(shape).astype(np.float32), 0.7)
        self.grain /= self.grain.std()

    def paint(
        self, where: NDArray[np.bool_], name: str, *, grain: float, cover: Image | float = 1.0
    ) -> None:
        """Put a material where the mask says."""
        self.material[where] = material(name)
        self.label[where] = CLASS_OF_MATERIAL[material(name)]
        self.cover[where] = cover[where] if isinstance(cover, np.ndarray) else cover
        self.brightness[where] = 1 + np.float32(grain) * self.grain[where]


def lay_out(rng: np.random.Generator, place: Place) -> Ground:
    """Draw the ground of a place.

    Args:
        rng: Source of randomness; the same state gives the same ground.
        place: What the place is like.
    """
    canvas = _Canvas(rng)
    river = _river_distance(canvas, place)
    height_m = _relief(rng, place, river)
    _fields(canvas, place)
    _forests(canvas, place, height_m, river)
    _roads(canvas, place)
    _towns(canvas, place)
    _waters(canvas, place, river)
    return Ground(
        height_m=height_m,
        material=canvas.material,
        under=canvas.under,
        cover=np.clip(canvas.cover, 0, 1),
        brightness=np.clip(canvas.brightness, 0.3, 1.7),
        label=canvas.label,
    )


def _river_distance(canvas: _Canvas, place: Place) -> Image:
    """Return the distance to a meandering river, in metres."""
    phases = canvas.rng.uniform(0, 2 * np.pi, 3)
    along = np.linspace(-0.05, 1.05, 90)
    swing = sum(
        size * np.sin(2 * np.pi * along * waves + phase)
        for size, waves, phase in zip((0.05, 0.03, 0.014), (1.3, 3.1, 6.7), phases, strict=True)
    )
    course = 0.5 + (along - 0.5) * place.river_bearing + swing
    path = np.stack([along + 0.4 * np.gradient(swing), course], 1) * SIDE_M
    x, y = (grid[::_COARSE, ::_COARSE] for grid in (canvas.x, canvas.y))
    return enlarge(distance_to_path(x, y, path), _COARSE)


def _relief(rng: np.random.Generator, place: Place, river: Image) -> Image:
    """Return heights in metres: hills that flatten towards the river."""
    hills = fractal(rng, FINE_PX, longest_px=500, slope=2.2) * place.relief_m
    valley = 1 - np.exp(-river / 900)
    return as_image(230 + 0.06 * river + hills * (0.15 + 0.85 * valley))


def _fields(canvas: _Canvas, place: Place) -> None:
    """Cover everything with districts of parallel parcels, each with its crop."""
    rng = canvas.rng
    warp = [fractal(rng, FINE_PX, longest_px=300, slope=1.8) * 90 for _ in "xy"]
    district, border = cells(rng, canvas.x + warp[0], canvas.y + warp[1], 26)
    parcel = _parcels(canvas, place, district)
    count = int(parcel.max()) + 1
    shares = np.array(place.crops) / sum(place.crops)
    crop = rng.choice(len(_CROPS), count, p=shares)
    density = rng.uniform(0.72, 1.0, count).astype(np.float32)
    tone = rng.normal(1, 0.09, count).astype(np.float32)
    patches = fractal(rng, FINE_PX, longest_px=60, slope=1.3)
    cover = density[parcel] + 0.06 * patches
    for index, name in enumerate(_CROPS):
        grassy = name.endswith("grass")
        canvas.paint(
            crop[parcel] == index, name, grain=0.07 if grassy else 0.035, cover=np.maximum(cover, 0)
        )
    canvas.brightness *= tone[parcel] * (1 + 0.03 * patches)
    surveyed = rng.random(count) > 0.05
    canvas.label[~surveyed[parcel]] = 0
    _margins(canvas, parcel, border)


def _parcels(canvas: _Canvas, place: Place, district: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the parcels, (H, W): in each district, rows of strips that share one direction."""
    rng, number = canvas.rng, np.zeros(district.shape, np.int64)
    for i in range(int(district.max()) + 1):
        inside = district == i
        angle = rng.uniform(0, np.pi)
        u = canvas.x[inside] * np.cos(angle) + canvas.y[inside] * np.sin(angle)
        v = canvas.y[inside] * np.cos(angle) - canvas.x[inside] * np.sin(angle)
        row_edges = np.cumsum(place.parcel_m[1] * rng.uniform(0.6, 1.5, 60))
        row = np.searchsorted(row_edges, v + 1.5 * SIDE_M)
        # Each row has strips of its own width; neighbours with one owner are one parcel.
        width = place.parcel_m[0] * rng.uniform(0.5, 1.6, 61)
        strip = ((u + 1.5 * SIDE_M) / width[row]).astype(np.int64)
        owner = np.cumsum(rng.random((61, 1024)) < 0.7, axis=1)
        number[inside] = (i * 64 + row) * 1024 + owner[row, np.minimum(strip, 1023)]
    return np.unique(number, return_inverse=True)[1].reshape(district.shape)


def _margins(canvas: _Canvas, parcel: NDArray[np.int64], border: Image) -> None:
    """Draw field margins: grass, here and there a hedge; tracks between the districts."""
    edge = np.zeros(parcel.shape, bool)
    edge[:, 1:] |= parcel[:, 1:] != parcel[:, :-1]
    edge[1:] |= parcel[1:] != parcel[:-1]
    overgrown = fractal(canvas.rng, FINE_PX, longest_px=120, slope=1.5)
    canvas.paint(edge, "dry grass", grain=0.1)
    canvas.paint(edge & (overgrown > 1.1), "broadleaf", grain=0.3)
    canvas.paint(border < 7, "gravel", grain=0.05, cover=0.7)
    canvas.label[border < 7] = 0
    canvas.paint((border > 7) & (border < 22) & (overgrown > 0.9), "broadleaf", grain=0.3)


def _forests(canvas: _Canvas, place: Place, height_m: Image, river: Image) -> None:
    """Grow forests on the heights and along the river; conifers higher up, stand by stand."""
    rng = canvas.rng
    wild = fractal(rng, FINE_PX, longest_px=330, slope=1.7)
    suitability = wild + 0.9 * (height_m - height_m.mean()) / height_m.std()
    suitability += 1.1 * np.exp(-(((river - 110) / 60) ** 2))
    forest = suitability > np.quantile(suitability, 1 - place.forest)
    warp = 30 * wild[::2, ::2]
    stand, _ = cells(rng, canvas.x[::2, ::2] + warp, canvas.y[::2, ::2] - warp, 90)
    stand = stand.repeat(2, axis=0).repeat(2, axis=1)
    sizes = np.maximum(np.bincount(stand.ravel()), 1)  # a warped stand may lie off the ground
    altitude = np.bincount(stand.ravel(), height_m.ravel()) / sizes
    score = altitude + rng.normal(0, 25, altitude.size)
    conifer = (score > np.quantile(score, 0.66))[stand]
    crowns = 0.85 + 0.12 * canvas.grain
    canvas.under[forest] = material("conifer")
    tone = rng.normal(1, 0.06, altitude.size).astype(np.float32)[stand]
    canvas.paint(forest & ~conifer, "broadleaf", grain=0.20, cover=crowns)
    canvas.paint(forest & conifer, "conifer", grain=0.24)
    canvas.brightness[forest] *= tone[forest]
    felled = forest & ((rng.random(altitude.size) < 0.035)[stand])
    canvas.paint(felled, "dry grass", grain=0.15, cover=0.7)
    shade = forest & ~np.roll(forest, (3, -2), (0, 1))
    canvas.brightness[shade] *= 0.8


def _roads(canvas: _Canvas, place: Place) -> None:
    """Join the towns with each other and with the edge of the scene; roads carry no label."""
    rng = canvas.rng
    towns = np.array([town[:2] for town in place.towns]) * SIDE_M
    first = towns[0]
    exits = np.array([[-0.05, 0.35], [1.05, 0.62], [0.55, -0.05], [0.35, 1.05]]) * SIDE_M
    distance = np.full(canvas.x[::2, ::2].shape, np.inf, np.float32)
    for target in (*towns[1:], *exits):
        t = np.linspace(0, 1, 14)[:, np.newaxis]
        across = np.array([-(target - first)[1], (target - first)[0]])
        bends = 0.05 * np.sin(np.pi * t) * np.sin(2 * np.pi * t * rng.uniform(0.6, 1.6))
        path = first + (target - first) * t + across * bends
        distance = np.minimum(
            distance, distance_to_path(canvas.x[::2, ::2], canvas.y[::2, ::2], path)
        )
    distance = enlarge(distance, 2)
    verge = (distance > 7) & (distance < 13)
    canvas.paint(verge, "grass", grain=0.1)
    canvas.paint(distance <= 7, "asphalt", grain=0.05)
    canvas.label[distance < 13] = 0


def _towns(canvas: _Canvas, place: Place) -> None:
    """Build towns: blocks of roofs, gardens and streets, denser and greyer in the middle."""
    rng = canvas.rng
    rough = fractal(rng, FINE_PX, longest_px=160, slope=1.4)
    mixes = {
        "edge": (0.27, 0.07, 0.02, 0.14, 0.36, 0.14),
        "centre": (0.46, 0.20, 0.04, 0.18, 0.05, 0.07),
    }
    names = ("tile roof", "concrete", "metal roof", "asphalt", "grass", "broadleaf")
    for cx, cy, radius in place.towns:
        gap = np.hypot(canvas.x - cx * SIDE_M, canvas.y - cy * SIDE_M) / (radius * SIDE_M)
        inside = gap + 0.22 * rough < 1
        angle = rng.uniform(0, np.pi / 2)
        u = (canvas.x * np.cos(angle) + canvas.y * np.sin(angle) + SIDE_M) / FINE_M
        v = (canvas.y * np.cos(angle) - canvas.x * np.sin(angle) + SIDE_M) / FINE_M
        plot = (u / 3.1).astype(int) % 211, (v / 2.6).astype(int) % 211
        for part, where in (("edge", inside & (gap > 0.45)), ("centre", inside & (gap <= 0.45))):
            lot = rng.choice(len(names), (211, 211), p=mixes[part])[plot]
            for index, name in enumerate(names):
                canvas.paint(where & (lot == index), name, grain=0.12)
        street = inside & (((u % 19) < 1.5) | ((v % 15) < 1.3))
        canvas.paint(street, "asphalt", grain=0.05)
        canvas.label[inside] = class_value("built-up")
    _works(canvas, place)


def _works(canvas: _Canvas, place: Place) -> None:
    """Put large halls on a yard at the edge of the first town."""
    cx, cy, radius = place.towns[0]
    u = canvas.x - (cx + 1.02 * radius) * SIDE_M
    v = canvas.y - (cy - 0.75 * radius) * SIDE_M
    yard = (np.abs(u) < 230) & (np.abs(v) < 130)
    halls = yard & ((u + 230) % 115 < 80) & ((v + 130) % 87 < 60)
    tone = canvas.rng.choice(["metal roof", "concrete", "concrete", "metal roof"], 4)
    canvas.paint(yard, "asphalt", grain=0.04)
    for index, name in enumerate(tone):
        canvas.paint(halls & (((u + 230) // 115).astype(int) == index), str(name), grain=0.02)
    canvas.label[yard] = class_value("built-up")


def _waters(canvas: _Canvas, place: Place, river: Image) -> None:
    """Fill the river, the lake and ponds; reed and gravel along their shores."""
    rng = canvas.rng
    rough = fractal(rng, FINE_PX, longest_px=200, slope=1.6)
    cx, cy, radius = place.lake
    gap = np.hypot((canvas.x - cx * SIDE_M) * 0.8, (canvas.y - cy * SIDE_M) * 1.2)
    lake = gap / (radius * SIDE_M) + 0.20 * rough
    wet = (lake < 1.3) & (rough < 0.5)
    dry_shore = (river < 52) & (rough > 0.9)
    canvas.under[wet] = material("clear water")
    reeds = wet & (canvas.label != class_value("built-up"))
    stems = np.clip(0.80 + 0.2 * blur(canvas.grain, 2.0), 0, 1)
    canvas.paint(reeds, "reed", grain=0.15, cover=stems)
    canvas.paint(dry_shore, "gravel", grain=0.06)
    deep = np.clip((1.0 - lake) * 3, 0, 1)
    canvas.under[lake < 1] = material("turbid water")
    canvas.paint(lake < 1, "clear water", grain=0.03, cover=0.4 + 0.6 * deep)
    canvas.paint(river < 26 + 5 * np.clip(rough, -2, 2), "turbid water", grain=0.03)


def mixed_labels(label: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the class that holds most of each 10 m pixel, 0 where none does.

    Args:
        label: Class values on the 5 m grid, (2H, 2W).
    """
    height, width = label.shape
    four = label.reshape(height // 2, 2, width // 2, 2).transpose(0, 2, 1, 3)
    four = np.sort(four.reshape(height // 2, width // 2, 4), axis=-1)
    return np.where(four[..., 1] == four[..., 2], four[..., 1], 0).astype(np.uint8)


def majority_labels(label: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Return the class of at least six tenths of each coarser pixel, 0 where there is none.

    Args:
        label: Class values on the 5 m grid, (factor * H, factor * W).
        factor: Fine cells along the side of a pixel.
    """
    found = np.zeros([side // factor for side in label.shape], np.uint8)
    for value in np.unique(label[label > 0]):
        found[shrink(as_image(label == value), factor) >= 0.6] = value
    return found


def slope_light(ground: Ground, place: Place) -> Image:
    """Return the direct sunlight on the 10 m relief, (H/2, W/2), relative to level ground."""
    height_m = shrink(blur(ground.height_m, 2.0), 2)
    south, east = np.gradient(height_m, 2 * FINE_M)
    azimuth, elevation = np.deg2rad([place.sun_azimuth_deg, place.sun_elevation_deg])
    towards = east * np.sin(azimuth) - south * np.cos(azimuth)
    normal = np.sqrt(1 + east**2 + south**2)
    return as_image((1 - towards / np.tan(elevation)) / normal)
