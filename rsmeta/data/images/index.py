"""Index files: the path of an image and its label on every line."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rsmeta.data.images.files import FileImages, ImageReader
from rsmeta.data.images.image_set import Found
from rsmeta.data.opening import whence
from rsmeta.errors import ImagesError, did_you_mean, enumerate_names, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rsmeta.config.images import IndexSettings
    from rsmeta.data.images.image_set import ImageTask, Wanted
    from rsmeta.data.splits import Part

#: Forms of a line of a file of class names: number and name, name and number, WordNet's key and
#: name. Else a line is a name.
_NUMBER_FIRST = re.compile(r"(?P<number>\d+)[\s,:;]+(?P<name>\S.*)")
_NUMBER_LAST = re.compile(r"(?P<name>\S.*?)[\s,:;]+(?P<number>\d+)")
_WORDNET = re.compile(r"n\d{8}\s+(?P<name>\S.*)")


class _Line(NamedTuple):
    """One line of an index."""

    number: int
    path: str
    labels: tuple[str, ...]


class _Index(NamedTuple):
    """An index as it was read."""

    file: Path
    lines: list[_Line]


def find_in_indexes(settings: IndexSettings, wanted: Wanted) -> Found:
    """Find the images that index files list.

    Args:
        settings: The ``data`` section.
        wanted: Task and bands.

    Raises:
        ImagesError: An index or an image is missing, or a label does not fit.
    """
    task = wanted.task
    indexes: dict[Part, _Index] = {"train": _read(settings, settings.train, task)}
    shares: dict[Part, float] = {}
    held_out: dict[Part, str | float | None] = {
        "validation": settings.validation, "test": settings.test,
    }  # fmt: skip
    for part, given in held_out.items():
        if isinstance(given, str):
            indexes[part] = _read(settings, given, task)
        elif given is not None:
            shares[part] = given
    names = _class_names(settings, indexes) if task != "regression" else ()
    labels = {part: _labels(index, names, task) for part, index in indexes.items()}
    folder = settings.root / settings.images
    paths = {part: _paths(index, folder, settings) for part, index in indexes.items()}
    reader = ImageReader.of(
        settings, paths["train"], bands=wanted.bands, as_rgb=settings.colour == "rgb"
    )
    sets = {part: FileImages(paths[part], labels[part], reader) for part in indexes}
    return Found(names, dict(sets), shares)


def read_lines(path: Path, what: str, hint: str = "") -> Iterator[tuple[int, str]]:
    """Yield number, from 1, and text of the lines of a file that are not empty.

    Raises:
        ImagesError: There is no such file, or it is no text.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise ImagesError(f"no {what} at {path}; check data.root{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ImagesError(f"cannot read the {what} {path} ({one_line(error)})") from error
    return ((i, line.strip()) for i, line in enumerate(lines, 1) if line.strip())


def _read(settings: IndexSettings, name: str, task: ImageTask) -> _Index:
    file = settings.root / name
    lines = []
    for number, text in read_lines(file, "index", whence(settings)):
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
    """Divide a line: one label is its last word; several are words, or parted by commas."""
    if task == "multilabel":
        path, *rest = text.split("\t") if "\t" in text else text.split(maxsplit=1)
        return path, tuple(" ".join(rest).replace(",", " ").split())
    path, *rest = text.rsplit("\t", 1) if "\t" in text else text.rsplit(maxsplit=1)
    return path.rstrip(), tuple(word.strip() for word in rest)


def _class_names(settings: IndexSettings, indexes: dict[Part, _Index]) -> tuple[str, ...]:
    """Return the classes: the settings', those of the file of names, else the labels' numbers."""
    if settings.classes is not None:
        return tuple(spec.name for spec in settings.classes)
    if settings.class_names is not None:
        return read_class_names(settings.root / settings.class_names, whence(settings))
    found = {label for index in indexes.values() for line in index.lines for label in line.labels}
    if all(label.isdecimal() for label in found):
        return tuple(map(str, range(max(map(int, found)) + 1)))
    return tuple(sorted(found))


def read_class_names(path: Path, hint: str = "") -> tuple[str, ...]:
    """Read a file of class names, in the order of their numbers.

    A line is a name; or a number and a name; or a name and a number; or a key of WordNet and a
    name. All lines have one form, and numbers run from 0.

    Raises:
        ImagesError: The file is missing, or a name stands twice.
    """
    lines = [text for _, text in read_lines(path, "file of class names", hint)]
    names = lines
    for form in (_NUMBER_FIRST, _NUMBER_LAST):
        found = [form.fullmatch(line) for line in lines]
        by_number = {int(m["number"]): m["name"] for m in found if m is not None}
        if sorted(by_number) == list(range(len(lines))):
            names = [by_number[i] for i in range(len(lines))]
            break
    else:
        keyed = [_WORDNET.fullmatch(line) for line in lines]
        if all(keyed):
            names = [match["name"] for match in keyed if match is not None]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if len(lines) < 2:
        raise ImagesError(f"{path} holds {len(lines)} class name(s); give two or more")
    if twice and all(map(_WORDNET.fullmatch, lines)):  # two senses of a word: the key tells them
        names = [f"{name} ({line.split()[0]})" if name in twice else name
                 for name, line in zip(names, lines, strict=True)]  # fmt: skip
    elif twice:
        raise ImagesError(f"{path} names the class {twice[0]!r} twice; give each its own name")
    return tuple(names)


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
            f"{paths[missing[0]]}{others}; check data.root and data.images{whence(settings)}"
        )
    return [str(path) for path in paths]


def _names_in(folder: Path) -> frozenset[str]:
    try:
        return frozenset(entry.name for entry in folder.iterdir())
    except OSError:
        return frozenset()
