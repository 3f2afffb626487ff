"""Scenes that cannot be mapped: one line, status 1, and nothing left behind."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
import rasterio.shutil
from affine import Affine

from rsmeta.geo.sources import read_lists

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import MakeScene
    from tests.integration.conftest import Rsmeta, TinyRun

SHAPE = (96, 96)


def image(bands: int) -> np.ndarray:
    return np.random.default_rng(1).integers(1, 3000, (bands, *SHAPE)).astype(np.uint16)


def square(size_m: float) -> Affine:
    return Affine(size_m, 0.0, 500_000.0, 0.0, -size_m, 5_150_000.0)


RUINS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda raw: b"",
    "four_bytes": lambda raw: raw[:4],
    "half": lambda raw: raw[: len(raw) // 2],
    "nearly_whole": lambda raw: raw[: int(len(raw) * 0.99)],
    "other_magic": lambda raw: b"XX" + raw[2:],
    "zeros_at_the_end": lambda raw: raw[: len(raw) // 2] + bytes(len(raw) - len(raw) // 2),
    "html": lambda raw: b"<html>404 Not Found</html>",
    "text": lambda raw: b"this is a text file\n",
}


@pytest.mark.parametrize("kind", RUINS)
def test_ruined_scene(rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path, kind: str) -> None:
    bad = tmp_path / "bad.tif"
    bad.write_bytes(RUINS[kind](tiny_run.scene.read_bytes()))
    ended = rsmeta(
        "predict", bad, "--model", tiny_run.bundle, "--output", tmp_path / "maps" / "m.tif"
    )
    assert ended.status == 1
    assert str(bad) in ended.complaint
    assert "is it complete?" in ended.complaint
    assert not (tmp_path / "maps").exists()


@pytest.mark.parametrize("cut", [0.5, 0.9])
def test_scene_whose_pixels_are_cut_off(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path, make_scene: MakeScene, cut: float
) -> None:
    """The header is whole, so that only reading finds out, after the map was begun."""
    whole = make_scene(tmp_path / "whole.tif", image(3), descriptions=("green", "red", "nir"))
    bad = tmp_path / "bad.tif"
    rasterio.shutil.copy(whole, bad, driver="COG", compress="deflate")
    raw = bad.read_bytes()
    bad.write_bytes(raw[: int(len(raw) * cut)])
    ended = rsmeta("predict", bad, "--model", tiny_run.bundle, "--output", tmp_path / "m.tif")
    assert ended.status == 1
    assert str(bad) in ended.complaint
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.tif", "whole.tif"]


def test_no_scene(rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for missing in ("none.tif", "empty", "*.tif"):
        ended = rsmeta(
            "predict", tmp_path / missing, "--model", tiny_run.bundle,
            "--output", tmp_path / "m.tif",
        )  # fmt: skip
        assert ended.status == 1
        assert ended.complaint == f"rsmeta: no scene at {tmp_path / missing}; check the path"
    assert not (tmp_path / "m.tif").exists()


def test_scene_that_lacks_a_band(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path, make_scene: MakeScene
) -> None:
    scene = make_scene(tmp_path / "two.tif", image(2), descriptions=("green", "red"))
    ended = rsmeta("predict", scene, "--model", tiny_run.bundle, "--output", tmp_path / "m.tif")
    assert ended.status == 1
    assert "lacks the band nir (" in ended.complaint
    assert "; it has green, red" in ended.complaint
    assert not (tmp_path / "m.tif").exists()


def test_scene_whose_bands_have_no_names(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path, make_scene: MakeScene
) -> None:
    scene = make_scene(tmp_path / "nameless.tif", image(3))
    ended = rsmeta("predict", scene, "--model", tiny_run.bundle, "--output", tmp_path / "m.tif")
    assert ended.status == 1
    assert "cannot recognise the bands" in ended.complaint


@pytest.mark.parametrize(
    ("size_m", "told"), [(50.0, "5.0 times coarser"), (2.0, "5.0 times finer")]
)
def test_pixels_beyond_four_times_the_trained_size(
    rsmeta: Rsmeta,
    tiny_run: TinyRun,
    tmp_path: Path,
    make_scene: MakeScene,
    size_m: float,
    told: str,
) -> None:
    scene = make_scene(
        tmp_path / "s.tif", image(3), descriptions=("green", "red", "nir"), transform=square(size_m)
    )
    ended = rsmeta("predict", scene, "--model", tiny_run.bundle, "--output", tmp_path / "m.tif")
    assert ended.status == 1
    assert told in ended.complaint
    assert not (tmp_path / "m.tif").exists()


def test_pixels_of_twice_the_trained_size_are_mapped_with_a_warning(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path, make_scene: MakeScene
) -> None:
    scene = make_scene(
        tmp_path / "s.tif", image(3), descriptions=("green", "red", "nir"), transform=square(20)
    )
    ended = rsmeta("predict", scene, "--model", tiny_run.bundle, "--output", tmp_path / "m.tif")
    assert ended.status == 0
    assert "warning: " in ended.err
    assert "2.0 times coarser than the trained 10 m" in ended.err


def test_scene_without_crs_is_mapped_and_this_is_said(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path, make_scene: MakeScene
) -> None:
    scene = make_scene(tmp_path / "s.tif", image(3), descriptions=("green", "red", "nir"), crs=None)
    words = ("predict", scene, "--model", tiny_run.bundle, "--output", tmp_path / "m.tif")
    ended = rsmeta(*words)
    assert ended.status == 0
    assert "has no CRS" in ended.err
    assert rsmeta(*words, "--overwrite", "--bounds", 14, 46, 15, 47).status == 1


def test_bad_scenes_among_many_do_not_stop_the_others(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path, make_scene: MakeScene
) -> None:
    bad = make_scene(tmp_path / "two.tif", image(2), descriptions=("green", "red"))
    ended = rsmeta(
        "predict", bad, tiny_run.scene, tmp_path / "none.tif", "--model", tiny_run.bundle,
        "--output", tmp_path / "maps", "--summary", tmp_path / "summary.json",
    )  # fmt: skip
    assert ended.status == 1
    assert ended.complaint.startswith("rsmeta: 2 of 3 scenes could not be mapped: no scene at ")
    assert "lacks the band nir" in ended.complaint
    assert f"warning: {bad} is left out: " in ended.err
    assert [path.name for path in (tmp_path / "maps").glob("*.tif")] == ["west_map.tif"]
    assert "west_map.tif: bare" in ended.out
    told = json.loads((tmp_path / "summary.json").read_text())["scenes"]
    assert [(scene["scene"], scene["status"]) for scene in told] == [
        (str(tiny_run.scene), "mapped"), (str(tmp_path / "none.tif"), "failed"),
        (str(bad), "failed"),
    ]  # fmt: skip
    assert "lacks the band nir" in told[2]["error"]


def test_scene_that_breaks_off_among_many(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path, make_scene: MakeScene
) -> None:
    whole = make_scene(tmp_path / "whole.tif", image(3), descriptions=("green", "red", "nir"))
    bad = tmp_path / "bad.tif"
    rasterio.shutil.copy(whole, bad, driver="COG", compress="deflate")
    raw = bad.read_bytes()
    bad.write_bytes(raw[: int(len(raw) * 0.7)])
    ended = rsmeta("predict", tmp_path, "--model", tiny_run.bundle, "--output", tmp_path / "maps")
    assert ended.status == 1
    assert f"1 of 2 scenes could not be mapped: cannot read {bad}" in ended.complaint
    assert [path.name for path in (tmp_path / "maps").glob("*.tif")] == ["whole_map.tif"]


@pytest.mark.parametrize("text", [None, "# nothing\n\n"])
def test_list_of_scenes_that_leads_nowhere(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path, text: str | None
) -> None:
    scenes = tmp_path / "scenes.txt"
    if text is not None:
        scenes.write_text(text)
    ended = rsmeta(
        "predict", f"@{scenes}", "--model", tiny_run.bundle, "--output", tmp_path / "m.tif"
    )
    assert ended.status == 1
    assert f"no scene at {scenes}" in ended.complaint


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("form", ["{}", '"{}"', "'{}'"])
def test_lists_as_windows_writes_them(
    tiny_run: TinyRun, tmp_path: Path, encoding: str, form: str
) -> None:
    name = "sçene 1.tif"
    shutil.copy(tiny_run.scene, tmp_path / name)
    scenes = tmp_path / "scenes.txt"
    scenes.write_bytes(f"{form.format(name)}\r\n\r\n".encode(encoding))
    assert read_lists([f"@{scenes}"]) == [tmp_path / name]


def test_a_list_that_is_no_text(rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path) -> None:
    scenes = tmp_path / "scenes.txt"
    scenes.write_bytes(b"sc\xe9ne.tif\n")
    given = ("predict", f"@{scenes}", "--model", tiny_run.bundle, "--output", tmp_path / "m.tif")
    assert f"cannot read the list {scenes}" in rsmeta(*given).complaint
