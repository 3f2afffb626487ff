"""The places that the landscape shows, all that differs between them, and how more are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

#: Side of a scene in pixels of 10 m; six of them make one of 60 m.
SIDE_PX = 480
PIXEL_M = 10
#: The ground is drawn finer than the sensor sees it, so that pixels are mixed.
FINE = 2
FINE_M = PIXEL_M / FINE
FINE_PX = SIDE_PX * FINE


@dataclass(frozen=True)
class Place:
    """One scene: where and when it is, its relief, land use and weather.

    Attributes:
        name: File name without ending.
        west_m: Left edge, easting in EPSG:32633.
        north_m: Top edge, northing in EPSG:32633.
        acquired: Date and time as TIFF writes them.
        sun_azimuth_deg: Where the sun stands, clockwise from north.
        sun_elevation_deg: How high the sun stands.
        relief_m: Standard deviation of the heights.
        river_bearing: Fall of the river's course, rows per column.
        lake: Centre and radius as shares of the side: x, y, r.
        towns: The same of each town.
        parcel_m: Typical width and length of a field.
        crops: Shares of green crop, mature crop, bare soil, wet soil, grass, dry grass.
        forest: Share of the ground under forest.
        cloud: Share of the sky under cloud.
        edge: Where the swath ends: share of the top row and of the bottom row without data,
            positive from the left, negative from the right.
    """

    name: str
    west_m: int
    north_m: int
    acquired: str
    sun_azimuth_deg: float
    sun_elevation_deg: float
    relief_m: float
    river_bearing: float
    lake: tuple[float, float, float]
    towns: tuple[tuple[float, float, float], ...]
    parcel_m: tuple[float, float]
    crops: tuple[float, ...]
    forest: float
    cloud: float
    edge: tuple[float, float]


WEST = Place(
    name="west",
    west_m=498_000,
    north_m=5_142_000,
    acquired="2023:06:24 10:06:31",
    sun_azimuth_deg=150,
    sun_elevation_deg=58,
    relief_m=85,
    river_bearing=0.35,
    lake=(0.70, 0.30, 0.085),
    towns=((0.40, 0.60, 0.085), (0.83, 0.73, 0.045), (0.22, 0.24, 0.035)),
    parcel_m=(90, 320),
    crops=(0.44, 0.27, 0.06, 0.03, 0.15, 0.05),
    forest=0.31,
    cloud=0.05,
    edge=(0.17, 0.045),
)

EAST = Place(
    name="east",
    west_m=561_000,
    north_m=5_128_000,
    acquired="2023:07:04 10:06:29",
    sun_azimuth_deg=146,
    sun_elevation_deg=60,
    relief_m=75,
    river_bearing=-0.45,
    lake=(0.27, 0.40, 0.07),
    towns=((0.66, 0.53, 0.075), (0.15, 0.76, 0.04), (0.50, 0.14, 0.04)),
    parcel_m=(70, 380),
    crops=(0.36, 0.38, 0.05, 0.03, 0.13, 0.05),
    forest=0.27,
    cloud=0.06,
    edge=(-0.06, -0.19),
)

PLACES = (WEST, EAST)

#: Crops by day of the year: shares in the order of ``Place.crops``. A rough calendar, no
#: statistics: cereals ripen in July, maize stands until September, in April and October most
#: fields are bare.
_CROPS_BY_DAY = {
    100: (0.30, 0.00, 0.30, 0.12, 0.20, 0.08),
    150: (0.52, 0.06, 0.12, 0.05, 0.19, 0.06),
    180: (0.42, 0.28, 0.07, 0.03, 0.15, 0.05),
    210: (0.34, 0.36, 0.08, 0.02, 0.11, 0.09),
    250: (0.30, 0.16, 0.26, 0.05, 0.13, 0.10),
    290: (0.17, 0.02, 0.44, 0.14, 0.16, 0.07),
}

_LATITUDE_DEG = 46.4


def draw_place(rng: np.random.Generator, number: int) -> Place:
    """Draw a place: its ground, its day between April and October, its weather.

    Args:
        rng: Source of randomness; the same state gives the same place.
        number: Its number, from 0; places of different numbers do not overlap.
    """
    day = int(rng.integers(100, 291))
    acquired = datetime(2023, 1, 1, 10, 6, 30, tzinfo=UTC) + timedelta(days=day - 1)
    top, bottom = rng.uniform(0.0, 0.2, 2) * rng.choice([-1, 1])
    return Place(
        name=f"place{number:03}",
        west_m=420_000 + 6_000 * (number % 30),
        north_m=5_100_000 - 6_000 * (number // 30),
        acquired=f"{acquired:%Y:%m:%d %H:%M:%S}",
        sun_azimuth_deg=float(rng.uniform(146, 164)),
        sun_elevation_deg=sun_elevation_deg(day) - float(rng.uniform(2, 5)),
        relief_m=float(rng.uniform(25, 140)),
        river_bearing=float(rng.uniform(-0.6, 0.6)),
        lake=(*_spot(rng), float(rng.uniform(0.03, 0.10))),
        towns=tuple((*_spot(rng), float(r)) for r in (0.08, *rng.uniform(0.03, 0.06, 2))),
        parcel_m=(float(rng.uniform(60, 150)), float(rng.uniform(200, 450))),
        crops=_crops(rng, day),
        forest=float(rng.uniform(0.12, 0.48)),
        cloud=float(rng.uniform(0.01, 0.10)),
        edge=(float(top), float(bottom)),
    )


def sun_elevation_deg(day: int) -> float:
    """Return how high the sun stands at noon of a day of the year, in degrees.

    Source: Cooper (1969), "The absorption of radiation in solar stills", for the declination.
    """
    declination = 23.45 * np.sin(2 * np.pi * (284 + day) / 365)
    return float(90 - _LATITUDE_DEG + declination)


def _spot(rng: np.random.Generator) -> tuple[float, float]:
    x, y = rng.uniform(0.12, 0.88, 2)
    return float(x), float(y)


def _crops(rng: np.random.Generator, day: int) -> tuple[float, ...]:
    """Return the shares of a day, each up to a third more or less than is usual."""
    days, rows = list(_CROPS_BY_DAY), np.array(list(_CROPS_BY_DAY.values()))
    usual = np.array([np.interp(day, days, column) for column in rows.T])
    drawn = usual * rng.uniform(0.67, 1.33, len(usual))
    return tuple(float(share) for share in drawn / drawn.sum())
