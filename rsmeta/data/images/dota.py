"""Annotations of oriented boxes in pictures, as DOTA writes them.

An annotation file stands for one picture of the same name. Its lines are eight numbers (x and y
of the four corners, in pixels, in the order of the outline), a class name, and optionally 1 for
objects that are difficult to recognise. Lines like ``imagesource:…`` and ``gsd:…`` come before
them.

Source: Xia et al. 2018, "DOTA: A Large-scale Dataset for Object Detection in Aerial Images";
    https://captain-whu.github.io/DOTA/dataset.html, "Annotation format".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from rsmeta.data.images.class_names import read_lines
from rsmeta.data.images.listing import is_image
from rsmeta.errors import ImagesError, did_you_mean, enumerate_names
from rsmeta.files import is_hidden

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rsmeta.data.images.kinds.boxes import BoxesSettings

#: Lines that say something of the whole picture.
_HEADS = ("imagesource", "acquisition dates", "gsd")


@dataclass
class BoxObjects:
    """The objects of one part, as they are found.

    Attributes:
        pictures: The pictures' paths.
        gsd_m: Size of each picture's pixels in metres, where its annotations say it.
        picture: Number of each object's picture.
        corners: x and y of each object's four corners, in pixels.
        names: Class name of each object.
    """

    pictures: list[str] = field(default_factory=list)
    gsd_m: list[float | None] = field(default_factory=list)
    picture: list[int] = field(default_factory=list)
    corners: list[list[float]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


def read_objects(folder: Path, settings: BoxesSettings) -> BoxObjects:
    """Read the annotations of one folder; pictures without an object are left out."""
    pictures = _files_by_stem(folder / settings.images, settings)
    annotations = _files_by_stem(folder / settings.annotations, settings)
    names = tuple(spec.name for spec in settings.classes or ())
    found = BoxObjects()
    for stem, file in annotations.items():
        if stem not in pictures:
            raise ImagesError(
                f"{file} has no picture {folder / settings.images / stem}.*; check data.images"
                f"{settings.origin_hint}"
            )
        before = len(found.names)
        gsd_m = _read_boxes(file, found, settings, names)
        if len(found.names) > before:
            found.pictures.append(str(pictures[stem]))
            found.gsd_m.append(gsd_m)
    if not found.names:
        raise ImagesError(
            f"the annotations in {folder / settings.annotations} hold no object; check "
            f"data.annotations, data.difficult and data.min_box_px{settings.origin_hint}"
        )
    return found


def _files_by_stem(folder: Path, settings: BoxesSettings) -> dict[str, Path]:
    if not folder.is_dir():
        raise ImagesError(f"no folder at {folder}; check data.root{settings.origin_hint}")
    files = (p for p in sorted(folder.iterdir()) if not is_hidden(p, folder))
    kept = (p for p in files if is_image(p) or p.suffix == ".txt")
    return {path.stem: path for path in kept}


def _read_boxes(
    file: Path, found: BoxObjects, settings: BoxesSettings, names: Sequence[str]
) -> float | None:
    """Add the objects of one annotation file; return the size of the picture's pixels, if known."""
    gsd_m = None
    for line, text in read_lines(file, "annotations"):
        if text.lower().startswith(_HEADS):
            gsd_m = _gsd(text) or gsd_m
            continue
        words = text.split()
        corners = _numbers(words[:8])
        if len(words) < 9 or corners is None:
            raise ImagesError(
                f"{file}, line {line}: {text[:80]!r} is no oriented box; write x1 y1 x2 y2 x3 y3 "
                f"x4 y4 class difficult"
            )
        if names and words[8] not in names:
            raise ImagesError(
                f"{file}, line {line}: {words[8]!r} is no class{did_you_mean(words[8], names)}; "
                f"classes: {enumerate_names(list(names))}"
            )
        difficult = words[9:10] == ["1"]
        if (settings.difficult or not difficult) and _shorter(corners) >= settings.min_box_px:
            found.picture.append(len(found.pictures))
            found.corners.append(corners)
            found.names.append(words[8])
    return gsd_m


def _gsd(text: str) -> float | None:
    name, _, value = text.partition(":")
    numbers = _numbers([value]) if name.lower() == "gsd" else None
    return numbers[0] if numbers and 0 < numbers[0] < np.inf else None


def _numbers(words: Sequence[str]) -> list[float] | None:
    try:
        return [float(word) for word in words]
    except ValueError:
        return None


def _shorter(corners: Sequence[float]) -> float:
    points = np.array(corners).reshape(4, 2)
    return float(min(np.hypot(*(points[1] - points[0])), np.hypot(*(points[2] - points[1]))))
