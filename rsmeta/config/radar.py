"""How speckle of radar is filtered: ``data.speckle``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from rsmeta.config.base import Strict


class SpeckleSettings(Strict):
    """A filter of the speckle in bands of radar, before anything else is made of them."""

    filter: Literal["lee", "boxcar"] = Field(
        default="lee",
        description="lee: the mean of a square where that is even, the pixel where it is not; "
        "boxcar: the mean",
    )
    side_px: int = Field(default=7, ge=3, le=63, description="side of the square, odd, in pixels")
    looks: float = Field(
        default=4.4, gt=0, description="equivalent number of looks (lee); 4.4: Sentinel-1 IW GRDH"
    )
    unit: Literal["decibels", "linear"] = Field(
        default="decibels", description="what backscatter is in; the mean is of powers"
    )

    @field_validator("side_px")
    @classmethod
    def _is_odd(cls, side: int) -> int:
        if side % 2 == 0:
            raise ValueError(f"{side} is even, and a square around a pixel is not; try {side + 1}")
        return side


def _by_name(given: Any) -> Any:
    return {"filter": given} if isinstance(given, str) else given


#: Settings, or the name of a filter.
Speckle = Annotated[
    SpeckleSettings, BeforeValidator(_by_name, json_schema_input_type=SpeckleSettings | str)
]
