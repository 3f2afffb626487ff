"""The two places that the landscape shows, and all that differs between them."""

from __future__ import annotations

from dataclasses import dataclass

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
