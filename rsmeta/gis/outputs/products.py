"""The files to write for a scene, as one value."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rsmeta.errors import OutputError, enumerate_names
from rsmeta.geo.arrays import is_array_file
from rsmeta.geo.footprint import WGS84, is_located
from rsmeta.geo.reprojection import places_of
from rsmeta.geo.writer import PAM_ENDING
from rsmeta.gis.outputs.destinations import Output

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rsmeta.geo.grid import Grid
    from rsmeta.heads.output import OutputSpec

#: In names of folders these mislead the library that writes polygons.
_UNOPENABLE = re.compile(r"[!\x00-\x1f\x7f]")
_TIFF = (".tif", ".tiff")
#: Formats of polygons.
POLYGON_ENDINGS = (".gpkg", ".parquet", ".fgb", ".geojson")
#: Products that are rasters of shares, 0 to 1, of a model of classes.
SHARES = ("probabilities", "confidence", "entropy")
#: Products that are rasters; each has styles and statistics as sidecars.
RASTERS = ("map", *SHARES)


def _file(own_name: str, *endings: str) -> dict[str, Any]:
    """Describe one of the files.

    Args:
        own_name: Its name in a folder, after the scene's name.
        endings: Suffixes that it may have.
    """
    return {"own_name": own_name, "endings": endings}


@dataclass(frozen=True)
class Products:
    """The files to write: paths, or addresses of an object store.

    For several scenes each is a folder; so is a name without a suffix for a single one.

    Attributes:
        map: The map.
        probabilities: One band per class.
        confidence: The largest probability.
        entropy: Entropy of the probabilities: 0 where one class has all, 1 where all are equal.
        vector: Polygons of the regions of the map.
        quicklook: A picture of the map with legend, scale bar and north arrow.
        stac: A STAC item that describes the map and the other files.
        probabilities_type: Type of probabilities, confidence and entropy: ``float32``, or
             ``uint8`` in steps of 0.004 at a quarter of the size.
        summary: One JSON file about all scenes: areas, times, errors; never one per scene.

    Raises:
        OutputError: A file has a suffix that it cannot have.
    """

    map: Path | str = field(metadata=_file("map.tif", *_TIFF))
    probabilities: Path | str | None = field(
        default=None, metadata=_file("probabilities.tif", *_TIFF)
    )
    confidence: Path | str | None = field(default=None, metadata=_file("confidence.tif", *_TIFF))
    entropy: Path | str | None = field(default=None, metadata=_file("entropy.tif", *_TIFF))
    vector: Path | str | None = field(default=None, metadata=_file("map.gpkg", *POLYGON_ENDINGS))
    quicklook: Path | str | None = field(default=None, metadata=_file("map.png", ".png"))
    stac: Path | str | None = field(default=None, metadata=_file("map.json", ".json", ".geojson"))
    probabilities_type: Literal["float32", "uint8"] = "float32"
    summary: Path | str | None = None

    def __post_init__(self) -> None:
        for spec in _file_fields():
            given = getattr(self, spec.name)
            if given is not None:
                object.__setattr__(self, spec.name, Output.at(given).name)
        outputs = self.outputs
        for name, output in outputs.items():
            endings = _description(name)["endings"]
            if not _is_folder(output.local) and output.local.suffix.lower() not in endings:
                raise OutputError(
                    f"{_option(name)} {output.destination}: such a file ends in "
                    f"{enumerate_names(list(endings))}; choose another name"
                )
        rasters = [outputs[name].destination for name in RASTERS if name in outputs]
        if self.stac is not None and any(map(is_array_file, rasters)):
            raise OutputError(
                f"--stac {self.stac}: the item describes GeoTIFFs, not Zarr or NetCDF; omit --stac "
                f"or write a .tif"
            )

    @property
    def outputs(self) -> dict[str, Output]:
        """The outputs, by the name of the field; the map comes first."""
        named = {spec.name: getattr(self, spec.name) for spec in _file_fields()}
        return {name: Output.at(given) for name, given in named.items() if given is not None}

    @property
    def files(self) -> dict[str, Path]:
        """The local files of the outputs, by the name of the field; the map comes first."""
        return {name: output.local for name, output in self.outputs.items()}

    @property
    def paths(self) -> tuple[Path, ...]:
        """The local files of the outputs."""
        return tuple(self.files.values())

    def sidecars(self, name: str) -> tuple[Output, ...]:
        """Return what is written beside an output: styles and statistics of a raster."""
        output = self.outputs[name]
        return tuple(map(output.sidecar, Beside(output.local).paths)) if name in RASTERS else ()

    @property
    def everything(self) -> tuple[Output, ...]:
        """The outputs and their sidecars."""
        return tuple(
            one for name, output in self.outputs.items() for one in (output, *self.sidecars(name))
        )

    def of_scene(self, stem: str, *, scenes: int) -> Products:
        """Return the files of one scene: folders become files in them.

        Args:
            stem: The scene's name without its ending.
            scenes: How many there are.

        Raises:
            OutputError: There are many, and a file is named for all of them.
        """
        placed: dict[str, Any] = {}
        for name, output in self.outputs.items():
            if _is_folder(output.local):
                placed[name] = output.child(f"{stem}_{_description(name)['own_name']}").name
            elif scenes > 1:
                raise OutputError(
                    f"{scenes} scenes go into a folder, and {_option(name)} {output.destination} "
                    f"is a file name; name a folder, or map one scene"
                )
        return replace(self, **placed)


@dataclass(frozen=True)
class Beside:
    """The sidecars of a raster, under the names that programs expect.

    Attributes:
        raster: The raster.
    """

    raster: Path

    @property
    def pam(self) -> Path:
        """Categories, attribute table and statistics, for GDAL and everything built on it."""
        return self.raster.with_name(self.raster.name + PAM_ENDING)

    @property
    def qml(self) -> Path:
        """The style for QGIS."""
        return self.raster.with_suffix(".qml")

    @property
    def sld(self) -> Path:
        """The style for map servers."""
        return self.raster.with_suffix(".sld")

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of them."""
        return self.pam, self.qml, self.sld


def _file_fields() -> list[Any]:
    return [spec for spec in fields(Products) if "own_name" in spec.metadata]


def _description(name: str) -> Any:
    return Products.__dataclass_fields__[name].metadata


def _option(name: str) -> str:
    return "--output" if name == "map" else f"--{name}"


def _is_folder(path: Path) -> bool:
    return not path.suffix or os.path.isdir(path)  # noqa: PTH112 - false for names too long


def check_located(products: Products, grid: Grid) -> None:
    """Refuse, before any work, products that cannot be written for a map's grid.

    Raises:
        OutputError: Polygons cannot be.
    """
    if "vector" in products.files:
        check_polygon_place(products.files["vector"], grid)


def check_possible(products: Products, output: OutputSpec) -> None:
    """Refuse products that a model cannot give.

    Raises:
        OutputError: Probabilities or polygons are requested of a regression model.
    """
    asked = [name for name in (*SHARES, "vector") if name in products.files]
    if asked and output.continuous:
        none = "polygons" if asked[0] == "vector" else "probabilities"
        raise OutputError(
            f"{_option(asked[0])}: the model maps {output.name}, a number, and gives no {none}; "
            f"omit {_option(asked[0])}"
        )


def check_polygon_place(path: Path, grid: Grid) -> None:
    """Refuse, before any work, a file of polygons that cannot be written.

    Raises:
        OutputError: It is a GeoJSON, which holds degrees, and the grid has no place on the Earth,
            or a part of it has none; or its folder has a name that GDAL cannot open.
    """
    is_geojson = path.suffix.lower() == ".geojson"
    if is_geojson and is_located(grid) and not np.isfinite(places_of(grid, WGS84)).all():
        raise OutputError(
            f"{path}: GeoJSON is in degrees, and the map reaches beyond the Earth in its "
            f"projection; write a .gpkg or .parquet"
        )
    if is_geojson and not is_located(grid):
        raise OutputError(
            f"{path}: GeoJSON is in degrees, and the map has no CRS that leads to them; write a "
            f".gpkg or .parquet"
        )
    if _UNOPENABLE.search(str(path.absolute().parent)):
        raise OutputError(
            f"{path}: GDAL cannot open files in a folder whose name has '!' or a line break; "
            f"choose another folder"
        )


def check_products(products: Sequence[Products], *, overwrite: bool) -> None:
    """Refuse, before any work, files that cannot be written, and files named twice.

    Raises:
        OutputError: Two products have one name, a file exists and ``overwrite`` is not given,
            or a folder cannot be written.
    """
    seen: set[Path] = set()
    for output in (output for one in products for output in one.everything):
        path = output.local.resolve()
        if path in seen:
            raise OutputError(f"{output.destination} would be written twice; name different files")
        seen.add(path)
        output.check(overwrite=overwrite)
