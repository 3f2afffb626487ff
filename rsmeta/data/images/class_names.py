"""Files of class names, in the forms in which they are published."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from rsmeta.config.data import composed
from rsmeta.errors import ImagesError, counted, one_line
from rsmeta.files import read_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Forms of a line: number and name, or name and number (Places365).
_NUMBERED = (
    re.compile(r"(?P<number>\d+)[\s,:;]+(?P<name>\S.*)"),
    re.compile(r"(?P<name>\S.*?)[\s,:;]+(?P<number>\d+)"),
)

#: Forms of a line whose key, the name of a folder, says nothing more: a key of WordNet and a
#: name (ImageNet), a name twice (Places-LT).
_KEYED = (
    re.compile(r"(?P<key>n\d{8})\s+(?P<name>\S.*)"),
    re.compile(r"(?P<key>\S+)\s+(?P<name>(?P=key))"),
)


class _Name(NamedTuple):
    """A class's name, and what distinguishes it from another class of that name."""

    name: str
    key: str | None = None


def read_class_names(path: Path, hint: str = "") -> tuple[str, ...]:
    """Read a file of class names, in the order of their numbers.

    A line is a name; or a number and a name, or a name and a number, numbers from 0; or a key of
    WordNet and a name; or a name twice. All lines have one form. A JSON file is a list of names,
    or of entries with ``name``. A key or number that distinguishes two
    classes of one name is added to it.

    Args:
        path: The file.
        hint: End of the message if it is missing.

    Raises:
        ImagesError: The file is missing or no such list, or a name stands twice.
    """
    found = _from_json(path, hint) if path.suffix == ".json" else _from_lines(path, hint)
    counts = Counter(one.name for one in found)
    if len(found) < 2:
        raise ImagesError(f"{path} holds {counted(len(found), 'class name')}; give two or more")
    for one in found:
        if counts[one.name] > 1 and one.key is None:
            raise ImagesError(f"{path} names the class {one.name!r} twice; give each its own name")
    names = (f"{one.name} ({one.key})" if counts[one.name] > 1 else one.name for one in found)
    return tuple(map(composed, names))


def read_lines(path: Path, what: str, hint: str = "") -> Iterator[tuple[int, str]]:
    """Yield number, from 1, and text of the lines of a file that are not empty.

    Args:
        path: The file.
        what: What it is, for the message.
        hint: End of the message if it is missing.

    Raises:
        ImagesError: There is no such file, or it is no text.
    """
    lines = _text(path, what, hint).splitlines()
    return ((i, line.strip()) for i, line in enumerate(lines, 1) if line.strip())


def _text(path: Path, what: str, hint: str) -> str:
    try:
        return read_text(path)
    except FileNotFoundError:
        raise ImagesError(f"no {what} at {path}; check data.root{hint}") from None
    except (OSError, UnicodeError) as error:
        raise ImagesError(f"cannot read the {what} {path} ({one_line(error)})") from error


def _from_lines(path: Path, hint: str) -> list[_Name]:
    lines = [text for _, text in read_lines(path, "file of class names", hint)]
    for form in _NUMBERED:
        matches = [match for match in map(form.fullmatch, lines) if match]
        by_number = {int(match["number"]): match["name"] for match in matches}
        if len(matches) == len(lines) and sorted(by_number) == list(range(len(lines))):
            return [_Name(by_number[i], str(i)) for i in range(len(lines))]
    for form in _KEYED:
        matches = [match for match in map(form.fullmatch, lines) if match]
        if len(matches) == len(lines):
            return [_Name(match["name"], match["key"]) for match in matches]
    return [_Name(line) for line in lines]


def _from_json(path: Path, hint: str) -> list[_Name]:
    try:
        entries = json.loads(_text(path, "file of class names", hint))
        if not isinstance(entries, list):
            raise TypeError(type(entries).__name__)  # noqa: TRY301 said as all else below
        names = [entry["name"] if isinstance(entry, dict) else entry for entry in entries]
    except (ValueError, KeyError, TypeError) as error:
        raise ImagesError(
            f"{path} is no JSON list of names, or of entries with 'name' ({one_line(error)})"
        ) from error
    return [_Name(str(name), str(i)) for i, name in enumerate(names)]
