"""What mapping a scene is to leave: names of files, and folders for many scenes."""

from __future__ import annotations

from pathlib import Path

import pytest

import rsmeta
from rsmeta.errors import OutputError
from rsmeta.gis.outputs.products import Products


def test_strings_are_paths_and_only_what_is_asked_for_counts() -> None:
    wanted = rsmeta.Products("map.tif", confidence="sure.tif")  # type: ignore[arg-type]
    assert wanted.files == {"map": Path("map.tif"), "confidence": Path("sure.tif")}
    assert wanted.of_scene("scene", scenes=1) == wanted


def test_folders_get_a_file_per_scene(tmp_path: Path) -> None:
    (tmp_path / "maps.v2").mkdir()  # a folder, whatever its name looks like
    wanted = Products(tmp_path / "maps.v2", probabilities=tmp_path / "shares")
    assert wanted.of_scene("west", scenes=2).files == {
        "map": tmp_path / "maps.v2" / "west_map.tif",
        "probabilities": tmp_path / "shares" / "west_probabilities.tif",
    }


def test_one_file_for_many_scenes_is_refused() -> None:
    wanted = Products(Path("maps"), confidence=Path("sure.tif"))
    assert wanted.of_scene("west", scenes=1).confidence == Path("sure.tif")
    with pytest.raises(OutputError, match=r"2 scenes .*--confidence sure.tif .*name a folder"):
        wanted.of_scene("west", scenes=2)


def test_an_ending_that_does_not_fit_is_refused() -> None:
    with pytest.raises(OutputError, match=r"--output map.png: such a file ends in .tif"):
        Products(Path("map.png"))
