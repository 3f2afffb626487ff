"""Guessed keys of a configuration, what labels hold, and the YAML text of all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Column of the comments, unless a value reaches beyond it.
_COMMENT_COLUMN = 44
_WIDEST = 110


@dataclass(frozen=True)
class Guess:
    """A key with its value and what led to it.

    Attributes:
        key: Key in its section.
        value: Its value; none: the key is written as a comment, since its default fits.
        why: What was seen.
        rows: Instead of ``value``: entries of a list with what was seen of each.
    """

    key: str
    value: Any = None
    why: str = ""
    rows: Sequence[tuple[Any, str]] = field(default=())

    @property
    def settled(self) -> Any:
        """The value as settings take it; none where only a comment is written."""
        return [entry for entry, _ in self.rows] if self.rows else self.value


@dataclass(frozen=True)
class LabelGuesses:
    """What labels hold.

    Attributes:
        about: The label file in a few words.
        guesses: Keys of the ``data`` section about labels, without ``labels`` and ``classes``.
        classes: Entries of ``classes``: value, name, and a colour where the file has one.
        origin: Where the names of the classes come from.
        polygons: Polygons or points of each class, by value; none where labels are rasters.
        polygon_px: Side of the median polygon in pixels; none likewise.
        drawn_as: "polygon", or "point" where all are points.
    """

    about: str
    guesses: tuple[Guess, ...]
    classes: tuple[dict[str, Any], ...]
    origin: str
    polygons: Mapping[int, int] | None = None
    polygon_px: float | None = None
    drawn_as: str = "polygon"


def settings_of(guesses: Sequence[Guess]) -> dict[str, Any]:
    """Return a section of settings: the guesses that have a value."""
    return {one.key: one.settled for one in guesses if one.settled is not None}


def section_lines(name: str, guesses: Sequence[Guess]) -> list[str]:
    """Return the YAML lines of a section, a comment beside each value."""
    return [f"{name}:", *(line for one in guesses for line in _lines(one))]


def _lines(one: Guess) -> list[str]:
    if one.rows:
        entries = [f"    - {_flow(entry)}" for entry, _ in one.rows]
        column = max(map(len, entries))
        rows = [f"{text.ljust(column)}  # {why}"
                for text, (_, why) in zip(entries, one.rows, strict=True)]  # fmt: skip
        return [*_commented(f"  {one.key}:", one.why), *rows]
    if one.value is None:
        first, *others = _wrapped(one.why, _WIDEST - 8 - len(one.key))
        return [f"  # {one.key}: {first}", *(f"  #   {part}" for part in others)]
    return _commented(f"  {one.key}: {_flow(one.value)}", one.why)


def _commented(text: str, why: str) -> list[str]:
    """Put a comment beside a line, or above it where both are too long for one."""
    if not why:
        return [text]
    padded = text.ljust(_COMMENT_COLUMN)
    if len(padded) + len(why) + 3 <= _WIDEST:
        return [f"{padded} # {why}"]
    indent = " " * (len(text) - len(text.lstrip()))
    return [*(f"{indent}# {part}" for part in _wrapped(why, _WIDEST - 6)), text]


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _flow(value: Any) -> str:
    text = yaml.safe_dump(
        value, default_flow_style=True, width=10**9, sort_keys=False, allow_unicode=True
    )
    return text.removesuffix("\n").removesuffix("\n...")
