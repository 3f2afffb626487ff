"""What mapping a scene is to leave: one value that names the files."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from rsmeta.config.data import ClassSpec
from rsmeta.errors import OutputError, SceneError, enumerate_names
from rsmeta.geo.handles import open_raster
from rsmeta.geo.writer import check_output
from rsmeta.gis.delivery import check_place, local_place

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

#: Tag that names the classes of a map, as JSON: [{value, name, colour}, …].
CLASSES_TAG = "RSMETA_CLASSES"

_TIFF = (".tif", ".tiff")


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

    Raises:
        OutputError: A file has an ending that its kind cannot have.
    """

    map: Path = field(metadata=_file("map.tif", *_TIFF))
    probabilities: Path | None = field(default=None, metadata=_file("probabilities.tif", *_TIFF))
    confidence: Path | None = field(default=None, metadata=_file("confidence.tif", *_TIFF))

    def __post_init__(self) -> None:
        for spec in _file_fields():
            given = getattr(self, spec.name)
            if given is not None:
                object.__setattr__(self, spec.name, local_place(given))
        for name, path in self.files.items():
            endings = _kind(name)["endings"]
            if not _is_folder(path) and path.suffix.lower() not in endings:
                raise OutputError(
                    f"{_option(name)} {path}: such a file ends in "
                    f"{enumerate_names(list(endings))}; choose another name"
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

    def of_scene(self, stem: str, *, scenes: int) -> Products:
        """Return the files of one scene: folders become files in them.

        Args:
            stem: The scene's name without its ending.
            scenes: How many there are.

        Raises:
            OutputError: There are many, and a file is named for all of them.
        """
        placed = {}
        for name, path in self.files.items():
            if _is_folder(path):
                placed[name] = path / f"{stem}_{_kind(name)['own_name']}"
            elif scenes > 1:
                raise OutputError(
                    f"{scenes} scenes go into a folder, and {_option(name)} {path} is a file "
                    f"name; name a folder, or map one scene"
                )
        return replace(self, **placed)


def _file_fields() -> list[Any]:
    return [spec for spec in fields(Products) if "own_name" in spec.metadata]


def _kind(name: str) -> Any:
    return Products.__dataclass_fields__[name].metadata


def _option(name: str) -> str:
    return "--output" if name == "map" else f"--{name}"


def _is_folder(path: Path) -> bool:
    return not path.suffix or path.is_dir()


def check_products(products: Sequence[Products], *, overwrite: bool) -> None:
    """Refuse, before any work, files that cannot be written, and files named twice.

    Raises:
        OutputError: Two products have one name, a file exists and ``overwrite`` is not given,
            or a folder cannot be written.
    """
    seen: set[Path] = set()
    for path in (path for one in products for path in one.paths):
        if path.resolve() in seen:
            raise OutputError(f"{path} would be written twice; name different files")
        seen.add(path.resolve())
        check_place(path, overwrite=overwrite)
        check_output(path, overwrite=overwrite)


def map_classes(path: str | Path) -> tuple[ClassSpec, ...]:
    """Read the classes of a map that ``rsmeta predict`` wrote.

    Raises:
        SceneError: The file cannot be read, or is no such map.
    """
    tag = open_raster(str(path)).tags().get(CLASSES_TAG)
    if tag is None:
        raise SceneError(f"{path} does not name its classes; give a map written by rsmeta predict")
    return tuple(ClassSpec.model_validate(entry) for entry in json.loads(tag))
