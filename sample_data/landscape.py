"""Make the landscape: places, each seen by one sensor, with their labels; the same for a seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rsmeta.sample_data.ground import lay_out
from rsmeta.sample_data.landsat import look_landsat8
from rsmeta.sample_data.materials import CLASSES
from rsmeta.sample_data.places import PLACES, Place, draw_place
from rsmeta.sample_data.radar import look_sentinel1
from rsmeta.sample_data.sensor import look_sentinel2
from rsmeta.sample_data.varied import look_varied
from rsmeta.sample_data.write import write_labels, write_polygons, write_scene

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rsmeta.sample_data.ground import Ground
    from rsmeta.sample_data.picture import Picture

#: How each sensor sees a place, and what the names of its files end with.
SENSORS: dict[str, tuple[Callable[[np.random.Generator, Place, Ground], Picture], str]] = {
    "sentinel2": (look_sentinel2, ""),
    "landsat8": (look_landsat8, "_landsat8"),
    "sentinel1": (look_sentinel1, "_sentinel1"),
    "varied": (look_varied, "_varied"),
}

#: Number of the first place that is drawn; those below are the named ones.
_DRAWN = 100


@dataclass(frozen=True)
class SampleData:
    """Where the landscape's files are; west comes before east.

    Attributes:
        folder: Holds all of them.
        scenes: One file per place: 13 bands of Sentinel-2, or those of the other sensor.
        labels: Class values, 0 without label, on the grid of each scene.
        polygons: A part of the first place's labels as polygons in another CRS, column ``class``.
        classes: YAML with value, name and colour of each class.
    """

    folder: Path
    scenes: tuple[Path, ...]
    labels: tuple[Path, ...]
    polygons: Path
    classes: Path


def make_landscape(
    folder: Path, *, seed: int = 0, sensor: str = "sentinel2", places: int | None = None
) -> SampleData:
    """Make and write places of 4.8 x 4.8 km each.

    Every sensor sees the same ground; the weather is that of its own overpass. Files of sensors
    other than Sentinel-2 bear its name, so that all of them can lie in one folder.

    Args:
        folder: Where to write; made where it is missing, files in it are replaced.
        seed: The same seed gives the same pixels.
        sensor: One of ``SENSORS``.
        places: How many places to draw; none: the two that are named west and east.

    Raises:
        KeyError: There is no such sensor.
        OSError: The folder cannot be written.
    """
    look, suffix = SENSORS[sensor]
    chosen = _chosen(seed, places)
    stems = [f"{place.name}{suffix}" for place, _ in chosen]
    folder.mkdir(parents=True, exist_ok=True)
    made = SampleData(
        folder=folder,
        scenes=tuple(folder / f"{stem}.tif" for stem in stems),
        labels=tuple(folder / f"{stem}_labels.tif" for stem in stems),
        polygons=folder / f"{stems[0]}_polygons.gpkg",
        classes=folder / "classes.yaml",
    )
    for index, (place, number) in enumerate(chosen):
        rng = np.random.default_rng([seed, number])
        ground = lay_out(rng, place)
        picture = look(rng, place, ground)
        write_scene(made.scenes[index], place, picture)
        write_labels(made.labels[index], place, picture)
        if index == 0:
            write_polygons(made.polygons, place, picture, rng)
    made.classes.write_text(_classes_yaml(), encoding="utf-8")
    return made


def _chosen(seed: int, places: int | None) -> list[tuple[Place, int]]:
    """Return each place with the number that its random generator is seeded with."""
    if places is None:
        return [(place, number) for number, place in enumerate(PLACES)]
    return [
        (draw_place(np.random.default_rng([seed, _DRAWN + i, 1]), i), _DRAWN + i)
        for i in range(places)
    ]


def _classes_yaml() -> str:
    lines = [f'{c.value}: {{name: {c.name}, colour: "{c.colour}"}}' for c in CLASSES]
    return "\n".join(["# value: name and colour; 0 means no label", *lines, ""])
