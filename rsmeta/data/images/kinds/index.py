"""Index files: the path of an image and its label on every line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from pydantic import Field

from rsmeta.config.data import composed
from rsmeta.config.data_kinds import DATASETS
from rsmeta.config.images import ImageFileSettings, PlaceOrShare, divided
from rsmeta.data.images.class_names import read_class_names, read_lines
from rsmeta.data.images.image_set import Found
from rsmeta.errors import ImagesError, did_you_mean, enumerate_names

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rsmeta.data.images.image_set import ImageTask, Wanted
    from rsmeta.data.splits import Part


@DATASETS.register("index")
class IndexSettings(ImageFileSettings):
    """Text files with the path of an image and its label on every line."""

    kind: Literal["index"] = Field(description="text files with lines of path and label")
    train: str = Field(description="index of the training images")
    validation: PlaceOrShare = Field(
        default=0.2, description="index of the validation images, or a share of the training ones"
    )
    test: PlaceOrShare | None = Field(
        default=None, description="index of the test images, or a share of the training ones"
    )
    images: str = Field(default=".", description="folder that the paths in the indexes start from")
    class_names: str | None = Field(
        default=None, description="file with a class name per line, with its number or without"
    )

    def find(self, wanted: Wanted) -> Found:
        """Find the images that index files list; see ``ImageSettings``."""
        from rsmeta.data.images.files import FileImages, ImageReader  # GDAL loads slowly

        task = wanted.task
        places, shares = divided(validation=self.validation, test=self.test)
        indexes: dict[Part, _Index] = {"train": _read(self, self.train, task)}
        indexes |= {part: _read(self, place, task) for part, place in places.items()}
        names = _class_names(self, indexes) if task != "regression" else ()
        if task == "regression":
            indexes = {part: _known(index, self) for part, index in indexes.items()}
        labels = {part: _labels(index, names, task) for part, index in indexes.items()}
        if self.target is not None:
            target = self.target
            labels = {part: one * target.scale + target.offset for part, one in labels.items()}
        folder = self.root / self.images
        paths = {part: _paths(index, folder, self) for part, index in indexes.items()}
        reader = ImageReader.of(
            self, paths["train"], bands=wanted.bands, as_rgb=self.colour == "rgb"
        )
        sets = {part: FileImages(paths[part], labels[part], reader) for part in indexes}
        return Found(names, dict(sets), shares)


class _Line(NamedTuple):
    """One line of an index."""

    number: int
    path: str
    labels: tuple[str, ...]


class _Index(NamedTuple):
    """An index as it was read."""

    file: Path
    lines: list[_Line]


def _read(settings: IndexSettings, name: str, task: ImageTask) -> _Index:
    file = settings.root / name
    lines = []
    for number, text in read_lines(file, "index", settings.origin_hint):
        path, labels = _path_and_labels(text, task)
        if not labels or (task != "multilabel" and len(labels) != 1):
            raise ImagesError(
                f"{file}, line {number}: {text[:80]!r} has no label; write a path and a label"
            )
        lines.append(_Line(number, path, labels))
    if not lines:
        raise ImagesError(f"the index {file} is empty; give it lines of a path and a label")
    return _Index(file, lines)


def _path_and_labels(text: str, task: ImageTask) -> tuple[str, tuple[str, ...]]:
    """Divide a line: one label is its last word; several are separated by blanks or commas."""
    if task == "multilabel":
        path, *rest = text.split("\t") if "\t" in text else text.split(maxsplit=1)
        return path, tuple(composed(" ".join(rest)).replace(",", " ").split())
    path, *rest = text.rsplit("\t", 1) if "\t" in text else text.rsplit(maxsplit=1)
    return path.rstrip(), tuple(composed(word.strip()) for word in rest)


def _class_names(settings: IndexSettings, indexes: dict[Part, _Index]) -> tuple[str, ...]:
    """Return the classes: the settings', those of the file of names, else the labels' numbers."""
    if settings.classes is not None:
        return tuple(spec.name for spec in settings.classes)
    if settings.class_names is not None:
        return read_class_names(settings.root / settings.class_names, settings.origin_hint)
    found = {label for index in indexes.values() for line in index.lines for label in line.labels}
    if all(label.isdecimal() for label in found):
        return tuple(map(str, range(max(map(int, found)) + 1)))
    return tuple(sorted(found))


def _labels(index: _Index, names: Sequence[str], task: ImageTask) -> np.ndarray:
    """Return the labels of an index as numbers."""
    if task == "regression":
        return np.array([_value(index, line) for line in index.lines], np.float32)
    by_name = {name: i for i, name in enumerate(names)}
    found = [[_class_number(index, line, label, by_name) for label in line.labels]
             for line in index.lines]  # fmt: skip
    if task == "classification":
        return np.array([numbers[0] for numbers in found], np.int64)
    hot = np.zeros((len(found), len(names)), np.float32)
    for row, numbers in enumerate(found):
        hot[row, numbers] = 1.0
    return hot


def _class_number(index: _Index, line: _Line, label: str, by_name: dict[str, int]) -> int:
    if label in by_name:
        return by_name[label]
    if label.isdecimal() and int(label) < len(by_name):
        return int(label)
    if label.isdecimal():
        raise ImagesError(
            f"{index.file}, line {line.number}: label {label} is beyond the {len(by_name)} class "
            f"names (0 to {len(by_name) - 1}); check data.class_names or data.classes"
        )
    raise ImagesError(
        f"{index.file}, line {line.number}: {label!r} is no class{did_you_mean(label, by_name)}; "
        f"classes: {enumerate_names(list(by_name))}"
    )


def _value(index: _Index, line: _Line) -> float:
    try:
        value = float(line.labels[0])
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise ImagesError(
            f"{index.file}, line {line.number}: {line.labels[0]!r} is no number; "
            f"task=regression needs one per image"
        )
    return value


def _known(index: _Index, settings: IndexSettings) -> _Index:
    """Leave out the lines whose number means that it is not known."""
    nodata = None if settings.target is None else settings.target.nodata
    known = [line for line in index.lines if _value(index, line) != nodata]
    if not known:
        raise ImagesError(f"no line of {index.file} has a known number; check data.target.nodata")
    return _Index(index.file, known)


def _paths(index: _Index, folder: Path, settings: IndexSettings) -> list[str]:
    """Return the files of an index; all are there."""
    paths = [folder / line.path for line in index.lines]
    # A listing per folder is quicker than a question per image, of which there may be a million.
    there = {place: _names_in(place) for place in {path.parent for path in paths}}
    missing = [i for i, path in enumerate(paths) if path.name not in there[path.parent]]
    if missing:
        others = f" (and {len(missing) - 1} more are missing)" if len(missing) > 1 else ""
        raise ImagesError(
            f"{index.file}, line {index.lines[missing[0]].number}: no image at "
            f"{paths[missing[0]]}{others}; check data.root and data.images{settings.origin_hint}"
        )
    return [str(path) for path in paths]


def _names_in(folder: Path) -> frozenset[str]:
    try:
        return frozenset(entry.name for entry in folder.iterdir())
    except OSError:
        return frozenset()
