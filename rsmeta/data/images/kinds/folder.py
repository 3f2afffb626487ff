"""A folder of images per class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from rsmeta.config.data import composed
from rsmeta.config.data_kinds import DATASETS
from rsmeta.config.images import ImageFileSettings, PlaceOrShare, divided
from rsmeta.data.images.image_set import Found
from rsmeta.data.images.listing import folders_in, images_below
from rsmeta.errors import ImagesError, counted, did_you_mean, enumerate_names

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rsmeta.data.images.image_set import Wanted
    from rsmeta.data.splits import Part

#: Names of the folders that are taken for held-out parts where the settings name none.
_USUAL: dict[Part, tuple[str, ...]] = {"validation": ("val", "validation"), "test": ("test",)}


@DATASETS.register("folder")
class FolderSettings(ImageFileSettings):
    """A folder per class, with its images in it."""

    kind: Literal["folder"] = Field(description="a folder of images per class")
    train: str | None = Field(
        default=None,
        description="folder of the classes' folders; none: the folder train, else root itself",
    )
    validation: PlaceOrShare | None = Field(
        default=None,
        description="such a folder, or a share of every training class; none: the folder val or "
        "validation, else 0.2",
    )
    test: PlaceOrShare | None = Field(
        default=None,
        description="such a folder, or a share of every training class; none: the folder test",
    )

    def find(self, wanted: Wanted) -> Found:
        """Find the images of every class's folder; see ``ImageSettings``."""
        from rsmeta.data.images.files import FileImages, ImageReader  # GDAL loads slowly

        if wanted.task != "classification":
            raise ImagesError(
                f"data.kind=folder gives one class per image, not what task={wanted.task} needs; "
                f"use data.kind=index"
            )
        folders, shares = _folders_of_parts(self)
        names = tuple(spec.name for spec in self.classes or ())
        listed: dict[Part, tuple[list[str], np.ndarray]] = {}
        for part, folder in folders.items():
            found = _class_folders(folder, self, names)
            names = names or tuple(found)
            listed[part] = _images_of(found, names, folder)
        reader = ImageReader.of(
            self, listed["train"][0], bands=wanted.bands, as_rgb=self.colour == "rgb"
        )
        sets = {part: FileImages(paths, labels, reader) for part, (paths, labels) in listed.items()}
        return Found(names, dict(sets), shares)


def _folders_of_parts(settings: FolderSettings) -> tuple[dict[Part, Path], dict[Part, float]]:
    """Return the folder of each part that has one, and the shares of the others."""
    root = settings.root
    own = settings.train is None and not (root / "train").is_dir()
    folders: dict[Part, Path] = {"train": root if own else root / (settings.train or "train")}
    places, shares = divided(validation=settings.validation, test=settings.test)
    folders |= {part: root / place for part, place in places.items()}
    for part, names in _USUAL.items():
        usual = [root / name for name in names if (root / name).is_dir()]
        if usual and not own and part not in folders and part not in shares:
            folders[part] = usual[0]
    if "validation" not in folders:
        shares.setdefault("validation", 0.2)
    return folders, shares


def _class_folders(folder: Path, settings: FolderSettings, names: Sequence[str]) -> dict[str, Path]:
    """Return the folders of the classes by name, sorted; all are among ``names``, if any."""
    if not folder.is_dir():
        raise ImagesError(f"no folder at {folder}; check data.root{settings.origin_hint}")
    found = {composed(place.name): place for place in folders_in(folder)}
    if len(found) < 2 and not names:
        raise ImagesError(
            f"{folder} holds {counted(len(found), 'folder')}, of one class each; give it one "
            f"folder of images per class{settings.origin_hint}"
        )
    unknown = [name for name in found if names and name not in names]
    if unknown:
        raise ImagesError(
            f"{folder / unknown[0]} is no class{did_you_mean(unknown[0], names)}; classes: "
            f"{enumerate_names(list(names))}"
        )
    return found


def _images_of(
    found: dict[str, Path], names: Sequence[str], folder: Path
) -> tuple[list[str], np.ndarray]:
    """Return the images' paths and class numbers, class by class."""
    number = {name: i for i, name in enumerate(names)}
    paths: list[str] = []
    labels: list[int] = []
    for name, place in found.items():
        images = [str(path) for path in images_below(place)]
        if not images:
            raise ImagesError(
                f"the class {name!r} has no images in {place}; add some, or remove the folder"
            )
        paths += images
        labels += [number[name]] * len(images)
    if not paths:
        raise ImagesError(f"{folder} holds no images; check data.root")
    return paths, np.array(labels, np.int64)
