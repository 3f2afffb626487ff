"""A folder of images per class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rsmeta.data.images.files import FileImages, ImageReader, is_image
from rsmeta.data.images.image_set import Found
from rsmeta.data.open_scenes import whence
from rsmeta.errors import ImagesError, did_you_mean, enumerate_names

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rsmeta.config.images import FolderSettings
    from rsmeta.data.images.image_set import Wanted
    from rsmeta.data.splits import Part

#: Names of the folders that are taken for held-out parts where the settings name none.
_USUAL: dict[Part, tuple[str, ...]] = {"validation": ("val", "validation"), "test": ("test",)}


def find_in_folders(settings: FolderSettings, wanted: Wanted) -> Found:
    """Find the images of every class's folder.

    Args:
        settings: The ``data`` section.
        wanted: Task and bands.

    Raises:
        ImagesError: A folder is missing or empty, or the classes of two parts differ.
    """
    if wanted.task != "classification":
        raise ImagesError(
            f"data.kind=folder gives one class per image, not what task={wanted.task} needs; "
            f"use data.kind=index"
        )
    root = settings.root
    own = settings.train is None and not (root / "train").is_dir()
    train = root if own else root / (settings.train or "train")
    folders: dict[Part, Path] = {"train": train}
    shares: dict[Part, float] = {}
    held_out: dict[Part, str | float | None] = {
        "validation": settings.validation, "test": settings.test,
    }  # fmt: skip
    for part, given in held_out.items():
        if isinstance(given, str):
            folders[part] = root / given
        elif given is not None:
            shares[part] = given
        elif not own:
            usual = [root / name for name in _USUAL[part] if (root / name).is_dir()]
            if usual:
                folders[part] = usual[0]
    if "validation" not in folders:
        shares.setdefault("validation", 0.2)
    names = tuple(spec.name for spec in settings.classes or ())
    listed: dict[Part, tuple[list[str], np.ndarray]] = {}
    for part, folder in folders.items():
        found = _class_folders(folder, settings, names)
        names = names or tuple(found)
        listed[part] = _images_of(found, names, folder)
    reader = ImageReader.of(
        settings, listed["train"][0], bands=wanted.bands, as_rgb=settings.colour == "rgb"
    )
    sets = {part: FileImages(paths, labels, reader) for part, (paths, labels) in listed.items()}
    return Found(names, dict(sets), shares)


def _class_folders(folder: Path, settings: FolderSettings, names: Sequence[str]) -> dict[str, Path]:
    """Return the folders of the classes by name, sorted; all are among ``names``, if any."""
    if not folder.is_dir():
        raise ImagesError(f"no folder at {folder}; check data.root{whence(settings)}")
    found = {p.name: p for p in sorted(folder.iterdir()) if p.is_dir() and p.name[0] != "."}
    if len(found) < 2 and not names:
        raise ImagesError(
            f"{folder} holds {len(found)} folder(s), which are the classes; give it one folder of "
            f"images per class{whence(settings)}"
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
        images = sorted(str(p) for p in place.rglob("*") if is_image(p))
        if not images:
            raise ImagesError(
                f"the class {name!r} has no images in {place}; add some, or take the folder away"
            )
        paths += images
        labels += [number[name]] * len(images)
    if not paths:
        raise ImagesError(f"{folder} holds no images; check data.root")
    return paths, np.array(labels, np.int64)
