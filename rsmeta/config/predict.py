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
        description="side of a tile; none: side of a training chip, or of the area of a "
        "training image; a map may take larger tiles than training did",
    )
    stride_px: int | None = Field(
        default=None,
        ge=1,
        description="models of whole images: side of the cells that get one value each, in "
        "pixels of the scene; none: side of a tile",
    )
    overlap: float = Field(
        default=0.25, ge=0, lt=0.75, description="share of a tile that overlaps its neighbour"
    )
    block_px: int | None = Field(
        default=None,
        ge=16,
        description="side of a block held in memory; none: from the free memory",
    )
    batch_size: int | None = Field(
        default=None, ge=1, description="tiles per batch; none: from the device"
    )
    blend: Literal["cosine", "centre", "none"] = Field(
        default="cosine", description="how overlapping tiles are combined"
    )
    augment: Literal["none", "flips", "all", "five_crop", "ten_crop", "random"] = Field(
        default="none",
        description="views of a tile to average: flips; all: rotations by 90° too; models of "
        "whole images also five_crop, ten_crop (enlarged parts, and mirrored) and "
        "random",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="number format of the network (autocast)"
    )
    optimize: Literal[0, 1] = Field(
        default=0,
        description="trade exactness for speed; 1: bfloat16 where the device supports it",
    )
    engine: Literal["torch", "onnx", "openvino"] = Field(
        default="torch",
        description="what runs the network on a CPU: torch; onnx: ONNX Runtime; openvino",
    )
    sensor: str | None = Field(
        default=None,
        description="sensor of the scenes, by its name; none: recognised by their bands",
    )
    check_range: bool = Field(
        default=True,
        description="refuse scenes whose values lie far beyond those of the training pixels",
    )
    polygons: PolygonSettings = Field(
        default=PolygonSettings(), description="how outlines are drawn; for --vector"
    )
