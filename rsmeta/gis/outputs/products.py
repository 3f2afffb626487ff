"""What mapping a scene is to leave: one value that names the files."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from rsmeta.config.data import ClassSpec
from rsmeta.errors import OutputError, SceneError, enumerate_names
from rsmeta.geo.arrays import is_array_file
from rsmeta.geo.handles import open_raster
from rsmeta.geo.writer import PAM_ENDING, check_output
from rsmeta.gis.outputs.delivery import check_place, final_place, local_place

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rsmeta.heads.output import OutputSpec

#: Tag that names the classes of a map, as JSON: [{value, name, colour}, …].
CLASSES_TAG = "RSMETA_CLASSES"

_TIFF = (".tif", ".tiff")
#: Formats of polygons.
POLYGON_ENDINGS = (".gpkg", ".parquet", ".fgb", ".geojson")
#: Products that are rasters of shares, 0 to 1, of a model that tells classes.
SHARES = ("probabilities", "confidence", "entropy")
#: Products that are rasters; each has its styles and statistics beside it.
RASTERS = ("map", *SHARES)


def _file(own_name: str, *endings: str) -> dict[str, Any]:
    """Describe a kind of file.

    Args:
        own_name: What its name in a folder ends with, after the scene's name.
        endings: Endings that a file of this kind may have.
    """
    return {"own_name": own_name, "endings": endings}


@dataclass(frozen=True)
class Products:
    """Which files to write; strings are taken for paths.

    For many scenes each is a folder, and so is a name without an ending for a single one.

    Attributes:
        map: The map.
        probabilities: One band per class.
        confidence: The largest probability.
        entropy: How undecided the probabilities are: 0 where one class has all, 1 where all
            have the same.
        vector: Polygons of the regions of the map.
        quicklook: A picture of the map with legend, scale bar and north arrow.
        stac: An item that describes the map, and whatever else is written, to catalogues.
        probabilities_type: Numbers in which probabilities, confidence and entropy are written:
            as they are, or as whole steps of 0.004 in a quarter of the room.
        summary: One JSON file about all scenes: areas, times, errors; never one per scene.

    Raises:
        OutputError: A file has an ending that its kind cannot have.
    """

    map: Path = field(metadata=_file("map.tif", *_TIFF))
    probabilities: Path | None = field(default=None, metadata=_file("probabilities.tif", *_TIFF))
    confidence: Path | None = field(default=None, metadata=_file("confidence.tif", *_TIFF))
    entropy: Path | None = field(default=None, metadata=_file("entropy.tif", *_TIFF))
    vector: Path | None = field(default=None, metadata=_file("map.gpkg", *POLYGON_ENDINGS))
    quicklook: Path | None = field(default=None, metadata=_file("map.png", ".png"))
    stac: Path | None = field(default=None, metadata=_file("map.json", ".json", ".geojson"))
    probabilities_type: Literal["float32", "uint8"] = "float32"
    summary: Path | None = None

    def __post_init__(self) -> None:
        if self.summary is not None:
            object.__setattr__(self, "summary", Path(self.summary))
        for spec in _file_fields():
            given = getattr(self, spec.name)
            if given is not None:
                object.__setattr__(self, spec.name, local_place(given))
        for name, path in self.files.items():
            endings = _kind(name)["endings"]
            if not _is_folder(path) and path.suffix.lower() not in endings:
                raise OutputError(
                    f"{_option(name)} {final_place(path)}: such a file ends in "
                    f"{enumerate_names(list(endings))}; choose another name"
                )
        converted = [final_place(self.files[n]) for n in RASTERS if n in self.files]
        if self.stac is not None and any(map(is_array_file, converted)):
            raise OutputError(
                f"--stac {self.stac}: the item describes GeoTIFFs, not Zarr or NetCDF; leave it "
                f"away, or write a .tif"
            )

    @property
    def files(self) -> dict[str, Path]:
        """The files that are asked for, by the name of the field; the map comes first."""
        named = {spec.name: getattr(self, spec.name) for spec in _file_fields()}
        return {name: path for name, path in named.items() if path is not None}

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that are asked for."""
        return tuple(self.files.values())

    @property
    def beside(self) -> tuple[Path, ...]:
        """The files that belong beside the rasters that are asked for."""
        return tuple(path for name in self.files for path in self.beside_file(name))

    def beside_file(self, name: str) -> tuple[Path, ...]:
        """Return the files that belong beside one that is asked for."""
        return Beside(self.files[name]).paths if name in RASTERS else ()

    def of_scene(self, stem: str, *, scenes: int) -> Products:
        """Return the files of one scene: folders become files in them.

        Args:
            stem: The scene's name without its ending.
            scenes: How many there are.

        Raises:
            OutputError: There are many, and a file is named for all of them.
        """
        placed: dict[str, Any] = {}
        for name, path in self.files.items():
            if _is_folder(path):
                placed[name] = path / f"{stem}_{_kind(name)['own_name']}"
            elif scenes > 1:
                raise OutputError(
                    f"{scenes} scenes go into a folder, and {_option(name)} {path} is a file "
                    f"name; name a folder, or map one scene"
                )
        return replace(self, **placed)


@dataclass(frozen=True)
class Beside:
    """What belongs beside a raster, under the names by which programs look for it.

    Attributes:
        raster: The raster.
    """

    raster: Path

    @property
    def pam(self) -> Path:
        """Categories, attribute table and statistics, for GDAL and all that build on it."""
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


def _kind(name: str) -> Any:
    return Products.__dataclass_fields__[name].metadata


def _option(name: str) -> str:
    return "--output" if name == "map" else f"--{name}"


def _is_folder(path: Path) -> bool:
    return not path.suffix or path.is_dir()


def check_possible(products: Products, output: OutputSpec) -> None:
    """Refuse products that a model cannot give.

    Raises:
        OutputError: Probabilities or polygons are asked of a model of numbers.
    """
    asked = [name for name in (*SHARES, "vector") if name in products.files]
    if asked and output.continuous:
        none = "polygons" if asked[0] == "vector" else "probabilities"
        raise OutputError(
            f"{_option(asked[0])}: the model maps {output.name}, a number, and gives no {none}; "
            f"leave {_option(asked[0])} away"
        )


def check_products(products: Sequence[Products], *, overwrite: bool) -> None:
    """Refuse, before any work, files that cannot be written, and files named twice.

    Raises:
        OutputError: Two products have one name, a file exists and ``overwrite`` is not given,
            or a folder cannot be written.
    """
    seen: set[Path] = set()
    for path in (path for one in products for path in (*one.paths, *one.beside)):
        if path.resolve() in seen:
            raise OutputError(f"{path} would be written twice; name different files")
        seen.add(path.resolve())
        check_place(path, overwrite=overwrite)
        check_output(path, overwrite=overwrite)


def map_classes(path: str | Path) -> tuple[ClassSpec, ...]:
    """Read the classes of a map that ``rsmeta predict`` wrote.

    Raises:
        SceneError: The file cannot be read, or is no such map of classes.
    """
    tag = open_raster(str(path)).tags().get(CLASSES_TAG)
    if tag is None:
        raise SceneError(f"{path} does not name its classes; give a map written by rsmeta predict")
    return tuple(ClassSpec.model_validate(entry) for entry in json.loads(tag))
