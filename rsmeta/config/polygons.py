"""The ``predict.polygons`` settings: how a map becomes polygons."""

from __future__ import annotations

from pydantic import Field

from rsmeta.config.base import Strict


class PolygonSettings(Strict):
    """How the regions of a map are drawn as polygons."""

    smallest_m2: float = Field(
        default=0.0, ge=0, description="smaller regions go to a neighbour; 0: all stay"
    )
    simplify_px: float = Field(
        default=0.0, ge=0, description="how far outlines may move to have fewer points; 0: not"
    )
    smooth: bool = Field(default=False, description="cut the corners of pixels off the outlines")
