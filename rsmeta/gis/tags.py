"""The tags of a map: every one that is written to a map or read from one, once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rsmeta.config.data import ClassSpec
from rsmeta.errors import SceneError
from rsmeta.geo.handles import open_raster

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

#: Classes of a map, as JSON: [{value, name, colour}, …].
CLASSES = "RSMETA_CLASSES"
#: SHA-256 of the trained weights.
MODEL = "RSMETA_MODEL_SHA256"
#: File names of the scenes, without their folders.
SOURCE = "RSMETA_SOURCE"
#: How the map was made from the scenes' own maps, where it was post-processed.
POSTPROCESS = "RSMETA_REFINED"
#: What wrote the map.
SOFTWARE = "TIFFTAG_SOFTWARE"
#: When the map was made, UTC, as of ``tiff_time``.
MADE = "TIFFTAG_DATETIME"
#: When the scene was acquired, as ISO 8601, where that is known.
ACQUIRED = "ACQUISITIONDATETIME"


def tiff_time(moment: datetime) -> str:
    """Return a moment as TIFF 6.0 writes it."""
    return moment.strftime("%Y:%m:%d %H:%M:%S")


def classes_text(classes: Sequence[ClassSpec]) -> str:
    """Return the value of ``CLASSES``."""
    listed = [{"value": s.value, "name": s.name, "colour": s.colour} for s in classes]
    return json.dumps(listed, ensure_ascii=False)


def map_classes(path: str | Path) -> tuple[ClassSpec, ...]:
    """Read the classes of a map that ``rsmeta predict`` wrote.

    Raises:
        SceneError: The file cannot be read, or is not such a map.
    """
    tag = open_raster(str(path)).tags().get(CLASSES)
    if tag is None:
        raise SceneError(f"{path} does not name its classes; give a map written by rsmeta predict")
    return tuple(ClassSpec.model_validate(entry) for entry in json.loads(tag))
