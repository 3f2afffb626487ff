"""The ``predict`` section: how maps are made."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rsmeta.config.base import Strict
from rsmeta.config.polygons import PolygonSettings


class PredictSettings(Strict):
    """How maps are made; stored in the bundle."""

    tile_px: int | None = Field(
        default=None,
        ge=8,
        description="side of a tile; none: the training chip's, or the ground of a training image",
    )
    stride_px: int | None = Field(
        default=None,
        ge=1,
        description="models of whole images: side of the cells that get one value each, in the "
        "scene's pixels; none: the tile's",
    )
    overlap: float = Field(
        default=0.25, ge=0, lt=0.75, description="share of a tile that its neighbour repeats"
    )
    block_px: int | None = Field(
        default=None, ge=16, description="side of a block held in memory; none: by what is free"
    )
    batch_size: int | None = Field(
        default=None, ge=1, description="tiles through the network at once; none: by the device"
    )
    blend: Literal["cosine", "centre", "none"] = Field(
        default="cosine", description="how overlapping tiles are joined"
    )
    augment: Literal["none", "flips", "all", "five_crop", "ten_crop", "random"] = Field(
        default="none",
        description="views of a tile to average: mirrored; turned by quarters too; for models of "
        "whole images also parts of it enlarged: five, their mirror images too, or random ones",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="what the network computes with (autocast)"
    )
    optimize: Literal[0, 1] = Field(
        default=0,
        description="speed for exactness; 1: bfloat16 where the device computes it itself",
    )
    check_range: bool = Field(
        default=True,
        description="refuse scenes whose values lie far beyond those of the training pixels",
    )
    polygons: PolygonSettings = Field(
        default=PolygonSettings(), description="how outlines are drawn; for --vector"
    )
