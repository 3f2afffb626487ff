"""A sensor: the four bands of a camera, as scaled integers."""

from __future__ import annotations

from rsmeta.geo.sensors import Band, Sensor

CAMERA = Sensor(
    name="example_camera",
    title="Example camera",
    bands=(
        Band("X1", "blue", 470, 1.0),
        Band("X2", "green", 550, 1.0),
        Band("X3", "red", 660, 1.0),
        Band("X4", "nir", 840, 1.0),
    ),
    scale=1e-4,
    nodata=0,
    dtype="uint16",
    unit="reflectance",
)
