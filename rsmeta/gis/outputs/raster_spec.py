"""The rasters of one map: bands, types, nodata, tags, and how they are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from rsmeta.geo.block_vrt import RasterSpec
from rsmeta.gis.outputs.nodata import SHARE_NODATA, SHARE_STEP
from rsmeta.gis.outputs.products import SHARES
from rsmeta.gis.tags import CLASSES, classes_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rsmeta.config.data import ClassSpec
    from rsmeta.geo.grid import Grid
    from rsmeta.gis.outputs.cog import Overviews
    from rsmeta.heads.output import OutputSpec

#: matplotlib's names of colours that run evenly from dark to light, to colour-blind eyes too.
_RAMPS = {"probabilities": "viridis", "confidence": "cividis", "entropy": "magma"}
QUANTITY_RAMP = "viridis"


@dataclass(frozen=True)
class MapSpec:
    """What maps of one model have in common.

    Attributes:
        output: What the values of the map mean.
        classes: Values, names and colours; none where the map holds numbers.
        tags: Metadata of every file; the classes are added where they matter.
        shares: Type in which probabilities, confidence and entropy are stored.
    """

    output: OutputSpec
    classes: Sequence[ClassSpec]
    tags: Mapping[str, str]
    shares: Literal["float32", "uint8"] = "float32"


@dataclass(frozen=True)
class Ramp:
    """How numbers are drawn.

    Attributes:
        name: matplotlib's name of the colours.
        low: Number of the first colour; none: from the numbers themselves.
        high: Number of the last colour.
    """

    name: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class RasterProduct:
    """One raster of a map.

    Attributes:
        raster: Bands, types, tags.
        overviews: How pixels are merged in overviews.
        drawn: The classes with their colours, or how its numbers are drawn.
    """

    raster: RasterSpec
    overviews: Overviews
    drawn: Sequence[ClassSpec] | Ramp


def raster_products_of(grid: Grid, spec: MapSpec) -> dict[str, RasterProduct]:
    """Return every raster that a model can give, by the name of the product."""
    if spec.output.continuous:
        return {"map": _quantity(grid, spec)}
    tags = {**spec.tags, CLASSES: classes_text(spec.classes)}
    names = [spec.name for spec in spec.classes]
    shares = partial(_shares, grid, spec.shares)
    bands = {"probabilities": names, "confidence": ["confidence"], "entropy": ["entropy"]}
    tags_by_name = {"probabilities": tags, "confidence": spec.tags, "entropy": spec.tags}
    return {
        "map": _classes(grid, spec, tags),
        **{
            name: shares(tags_by_name[name], bands[name], Ramp(_RAMPS[name], 0.0, 1.0))
            for name in SHARES
        },
    }


def _classes(grid: Grid, spec: MapSpec, tags: Mapping[str, str]) -> RasterProduct:
    output = spec.output
    colours = None
    if output.dtype == "uint8":  # in uint16 a palette takes 400 kB, once for each overview
        colours = {s.value: (*s.rgb, 255) for s in spec.classes}
        colours |= {} if output.nodata is None else {int(output.nodata): (0, 0, 0, 0)}
    raster = RasterSpec(grid, 1, output.dtype, output.nodata, colours, ["class"], tags)
    return RasterProduct(raster, "mode", spec.classes)


def _quantity(grid: Grid, spec: MapSpec) -> RasterProduct:
    output = spec.output
    raster = RasterSpec(
        grid, 1, output.dtype, output.nodata, None, [output.name or "value"], spec.tags,
        unit=output.unit,
    )  # fmt: skip
    return RasterProduct(raster, "average", Ramp(QUANTITY_RAMP))


def _shares(
    grid: Grid, dtype: str, tags: Mapping[str, str], bands: Sequence[str], drawn: Ramp
) -> RasterProduct:
    if dtype == "uint8":
        raster = RasterSpec(
            grid, len(bands), dtype, SHARE_NODATA, None, bands, tags, scale=SHARE_STEP
        )
    else:
        raster = RasterSpec(grid, len(bands), dtype, float("nan"), None, bands, tags)
    return RasterProduct(raster, "average", drawn)
