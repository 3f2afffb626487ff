"""What is done to a map after the model has made it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rasterio.crs import CRS
from rasterio.errors import CRSError

from rsmeta.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from rsmeta.gis.postprocess.composite import Rule

_RULES = ("first", "confidence", "mean")
_RENAMED: dict[str | None, str] = {"order": "first"}


@dataclass(frozen=True)
class Postprocess:
    """How maps are put together, projected and tidied, in this order.

    Attributes:
        mosaic: Make one map of all scenes; where they overlap a pixel is taken from the first that
            knows it (``first``) or from the surest (``confidence``), or their probabilities are
            averaged (``mean``).
        crs: CRS of the map, as rasterio reads it: ``EPSG:3035``, WKT, PROJ.
        like: Raster whose grid the map is to lie on.
        majority_px: Side of the square whose most frequent class each pixel gets, odd.
        sieve_px: Regions of fewer pixels are joined to their largest neighbour.

    Raises:
        ConfigError: A value that cannot be used.
    """

    mosaic: Rule | None = None
    crs: str | None = None
    like: str | Path | None = None
    majority_px: int | None = None
    sieve_px: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "mosaic", _RENAMED.get(self.mosaic, self.mosaic))
        if self.mosaic is not None and self.mosaic not in _RULES:
            hint = did_you_mean(self.mosaic, _RULES)
            raise ConfigError(f"mosaic {self.mosaic!r} is none of {', '.join(_RULES)}{hint}")
        if self.majority_px is not None and (self.majority_px < 3 or self.majority_px % 2 == 0):
            raise ConfigError(
                f"a majority of {self.majority_px} pixels has no middle; use 3, 5, 7, …"
            )
        if self.sieve_px is not None and self.sieve_px < 2:
            raise ConfigError(f"a sieve of {self.sieve_px} pixels lets all through; use 2 or more")
        if self.crs is not None and self.like is not None:
            raise ConfigError("the grid of another raster has its own CRS; give one of the two")
        _ = self.target_crs

    @property
    def target_crs(self) -> CRS | None:
        """The CRS that is asked for."""
        if self.crs is None:
            return None
        try:
            return CRS.from_user_input(self.crs)
        except CRSError as error:
            raise ConfigError(f"{self.crs!r} is no CRS; write e.g. EPSG:3035") from error

    @property
    def description(self) -> str:
        """What was done, for the map's metadata."""
        words = {
            "mosaic by": self.mosaic, "CRS": self.crs,
            "grid of": None if self.like is None else Path(self.like).name,
            "majority of": self.majority_px, "sieve of": self.sieve_px,
        }  # fmt: skip
        return ", ".join(f"{name} {value}" for name, value in words.items() if value is not None)

    def __bool__(self) -> bool:
        """Return whether anything is asked for."""
        return bool(self.description)
