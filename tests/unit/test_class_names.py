"""Class names in decomposed Unicode, as macOS writes file names, are those composed."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from rsmeta.config.data import DataSettings
from rsmeta.data.images.class_names import read_class_names
from rsmeta.data.images.image_set import Wanted
from rsmeta.data.images.kinds.folder import FolderSettings

if TYPE_CHECKING:
    from pathlib import Path

NAME = "W\u00e4lder"
DECOMPOSED = unicodedata.normalize("NFD", NAME)


def test_classes_of_the_configuration_are_composed() -> None:
    settings = DataSettings.model_validate(
        {"scenes": "s", "labels": "l", "classes": [DECOMPOSED, "other"]}
    )
    assert settings.classes[0].name == NAME != DECOMPOSED


def test_a_file_of_names_is_composed(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text(f"{DECOMPOSED}\nother\n", encoding="utf-8")
    assert read_class_names(tmp_path / "names.txt") == (NAME, "other")


def test_folders_of_images_are_found_by_either_form(tmp_path: Path) -> None:
    for folder in (DECOMPOSED, "other"):
        (tmp_path / folder).mkdir()
        for i in range(5):
            pixels = np.full((8, 8, 3), i, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"{i}.png")
    settings = FolderSettings.model_validate(
        {"kind": "folder", "root": tmp_path, "chip_px": 16, "classes": [NAME, "other"]}
    )
    found = settings.find(Wanted())
    assert found.classes == (NAME, "other")
    assert len(found.sets["train"]) == 10
