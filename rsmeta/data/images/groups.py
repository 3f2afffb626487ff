"""Which classes count as many, medium and few."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsmeta.data.images.class_names import read_lines
from rsmeta.errors import ImagesError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.config.images import ImageSettings


def read_groups(settings: ImageSettings, names: Sequence[str]) -> dict[str, tuple[int, ...]] | None:
    """Return the class numbers of each group that the settings name; none: they name none.

    Raises:
        ImagesError: A file is missing, an entry is no class, or a class is in two groups.
    """
    if settings.groups is None:
        return None
    number = {name: i for i, name in enumerate(names)}
    found: dict[str, tuple[int, ...]] = {}
    where: dict[int, str] = {}
    for group in ("many", "medium", "few"):
        given: str | tuple[str, ...] = getattr(settings.groups, group)
        if isinstance(given, str):
            lines = read_lines(
                settings.root / given, f"list of classes ({group})", settings.origin_hint
            )
            given = tuple(line for _, line in lines)
        found[group] = tuple(_number(entry, number, group) for entry in given)
        for one in found[group]:
            if one in where:
                raise ImagesError(
                    f"the class {names[one]!r} is both in data.groups.{where[one]} and in "
                    f"data.groups.{group}; leave it in one"
                )
            where[one] = group
    return found


def _number(entry: str, number: dict[str, int], group: str) -> int:
    if entry in number:
        return number[entry]
    if entry.isdecimal() and int(entry) < len(number):
        return int(entry)
    raise ImagesError(
        f"data.groups.{group} names {entry!r}, which is no class{did_you_mean(entry, number)}"
    )
