"""What the user says about how files are to be read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rsmeta.config.radar import SpeckleSettings

ValidIf = Literal["all", "any"]


@dataclass(frozen=True)
class ReadRules:
    """What the user says about files; every rule wins over what a file says itself.

    As a fallback, what held for other files: it fills the gaps of what a file says.

    Args:
        sensor: Registered name, YAML file or mapping; none: recognised from the bands.
        bands: Names of a file's bands in file order; ``"wavelengths"``: those that state one are
            named by it, others are ignored; none: the file's descriptions, else wavelengths.
        scale: ``physical = raw * scale + offset``; given alone, the offset is 0.
        offset: Given alone, the scale is the file's or the sensor's.
        nodata: Raw value without data.
        skip_nm: Ranges of wavelengths, both ends included, whose bands are ignored.
        speckle: How bands of radar are filtered; none: not.
        valid_if: A pixel is valid if all, or any, of the bands in use have data there.
    """

    sensor: str | Mapping[str, Any] | None = None
    bands: tuple[str, ...] | Literal["wavelengths"] | None = None
    scale: float | None = None
    offset: float | None = None
    nodata: float | None = None
    valid_if: ValidIf = "all"
    skip_nm: tuple[tuple[float, float], ...] = ()
    speckle: SpeckleSettings | None = None
