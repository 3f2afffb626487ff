"""What a user gets wrong: one line on standard error, status 1, and nothing left behind."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import rasterio.shutil
from affine import Affine

from rsmeta.errors import SceneNotFoundError
from rsmeta_cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import MakeScene
    from tests.integration.conftest import MakePolygons, Rsmeta, TinyRun

SHAPE = (96, 96)


def image(bands: int) -> np.ndarray:
    return np.random.default_rng(1).integers(1, 3000, (bands, *SHAPE)).astype(np.uint16)


def square(size_m: float) -> Affine:
    return Affine(size_m, 0.0, 500_000.0, 0.0, -size_m, 5_150_000.0)


# -- scenes and predict ----------------------------------------------------------------------

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
    assert "lacks the band nir; it has green, red" in ended.complaint
    assert not (tmp_path / "m.tif").exists()


def test_scene_whose_bands_have_no_names(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path, make_scene: MakeScene
) -> None:
    scene = make_scene(tmp_path / "nameless.tif", image(3))
    ended = rsmeta("predict", scene, "--model", tiny_run.bundle, "--output", tmp_path / "m.tif")
    assert ended.status == 1
    assert "cannot tell the bands" in ended.complaint


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


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("batch=4", "unknown key 'batch'; did you mean 'batch_size'?"),
        ("overlap=0.9", "overlap=0.9: "),
        ("tile_px=64", "the model was trained for tiles of 32 px"),
        ("overlap", "is no override; write KEY=VALUE"),
    ],
)
def test_settings_that_do_not_fit(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path, setting: str, told: str
) -> None:
    ended = rsmeta(
        "predict", tiny_run.scene, "--model", tiny_run.bundle, "--output", tmp_path / "m.tif",
        "--set", setting,
    )  # fmt: skip
    assert ended.status == 1
    assert told in ended.complaint


def test_summary_that_cannot_be_written(rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path) -> None:
    ended = rsmeta(
        "predict", tiny_run.scene, "--model", tiny_run.bundle, "--output", tmp_path / "m.tif",
        "--summary", tmp_path,
    )  # fmt: skip
    assert ended.status == 1
    assert f"cannot write the summary {tmp_path}" in ended.complaint


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


@pytest.mark.parametrize(
    ("bounds", "told"),
    [((1, 2, 3, 4), "do not meet the scene"), ((10, 2, 3, 4), "are no W S E N in degrees")],
)
def test_bounds_elsewhere(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path, bounds: tuple[int, ...], told: str
) -> None:
    ended = rsmeta(
        "predict", tiny_run.scene, "--model", tiny_run.bundle, "--output", tmp_path / "m.tif",
        "--bounds", *bounds,
    )  # fmt: skip
    assert ended.status == 1
    assert told in ended.complaint
    assert not (tmp_path / "m.tif").exists()


@pytest.mark.parametrize(
    ("device", "told"),
    [("cuda:7", "this machine has"), ("tpu", "no device is called"), ("mps", "no device is")],
)
def test_device_that_is_not_there(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path, device: str, told: str
) -> None:
    ended = rsmeta(
        "predict", tiny_run.scene, "--model", tiny_run.bundle, "--output", tmp_path / "m.tif",
        "--device", device,
    )  # fmt: skip
    assert ended.status == 1
    assert told in ended.complaint
    assert device in ended.complaint
    assert not (tmp_path / "m.tif").exists()


# -- outputs ---------------------------------------------------------------------------------


def test_existing_map_is_kept_without_overwrite(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path
) -> None:
    place = tmp_path / "m.tif"
    place.write_bytes(b"mine")
    words = ("predict", tiny_run.scene, "--model", tiny_run.bundle, "--output", place)
    ended = rsmeta(*words)
    assert ended.status == 1
    assert "--overwrite" in ended.complaint
    assert place.read_bytes() == b"mine"
    for extra in ("--probabilities", "--confidence"):
        ended = rsmeta(*words[:-1], tmp_path / "other.tif", extra, place)
        assert ended.status == 1
        assert place.read_bytes() == b"mine"
        assert not (tmp_path / "other.tif").exists()
    assert rsmeta(*words, "--overwrite").status == 0
    assert place.read_bytes() != b"mine"


def test_place_that_cannot_be_written(rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path) -> None:
    """Below a regular file nobody can write, not even root."""
    file = tmp_path / "file"
    file.write_text("mine")
    ended = rsmeta(
        "predict", tiny_run.scene, "--model", tiny_run.bundle, "--output", file / "m.tif"
    )
    assert ended.status == 1
    assert str(file) in ended.complaint
    for place in (file / "run", file):
        ended = rsmeta("train", tiny_run.config, f"data.root={tiny_run.data}", "--output", place)
        assert ended.status == 1
        assert f"{file} is a file" in ended.complaint
    assert file.read_text() == "mine"


def test_many_scenes_into_one_file(rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path) -> None:
    ended = rsmeta(
        "predict", tiny_run.scene, tiny_run.data / "east.tif", "--model", tiny_run.bundle,
        "--output", tmp_path / "m.tif",
    )  # fmt: skip
    assert ended.status == 1
    assert "name a folder" in ended.complaint


def test_two_products_in_one_file(rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path) -> None:
    ended = rsmeta(
        "predict", tiny_run.scene, "--model", tiny_run.bundle, "--output", tmp_path / "m.tif",
        "--confidence", tmp_path / "m.tif",
    )  # fmt: skip
    assert ended.status == 1
    assert "written twice" in ended.complaint


# -- bundles ---------------------------------------------------------------------------------


def predict_with(rsmeta: Rsmeta, tiny_run: TinyRun, bundle: Path) -> str:
    """Run predict with a bad bundle; return the complaint."""
    place = bundle.parent / "maps" / "m.tif"
    ended = rsmeta("predict", tiny_run.scene, "--model", bundle, "--output", place)
    assert ended.status == 1
    assert not place.parent.exists()
    return ended.complaint


def test_bundle_of_another_version(rsmeta: Rsmeta, tiny_run: TinyRun, bundle_copy: Path) -> None:
    file = bundle_copy / "bundle.yaml"
    file.write_text(file.read_text().replace("format: 3\n", "format: 99\n"))
    complaint = predict_with(rsmeta, tiny_run, bundle_copy)
    assert "bundle format 99" in complaint
    assert "reads format 3" in complaint


def test_no_bundle(rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path) -> None:
    for place in (tmp_path / "nothing", tiny_run.scene):
        assert f"no bundle at {place}" in predict_with(rsmeta, tiny_run, place)


@pytest.mark.parametrize("text", ["", "- a list", "{unfinished", "\x00", "format: 2\n"])
def test_bundle_whose_record_is_ruined(
    rsmeta: Rsmeta, tiny_run: TinyRun, bundle_copy: Path, text: str
) -> None:
    (bundle_copy / "bundle.yaml").write_text(text)
    assert str(bundle_copy) in predict_with(rsmeta, tiny_run, bundle_copy)


def test_bundle_with_an_unknown_key(rsmeta: Rsmeta, tiny_run: TinyRun, bundle_copy: Path) -> None:
    file = bundle_copy / "bundle.yaml"
    file.write_text(file.read_text() + "class_path: os.system\n")
    assert "unknown key 'class_path'" in predict_with(rsmeta, tiny_run, bundle_copy)


def test_bundle_with_ruined_weights(rsmeta: Rsmeta, tiny_run: TinyRun, bundle_copy: Path) -> None:
    weights, record = bundle_copy / "weights.safetensors", bundle_copy / "bundle.yaml"
    whole = weights.read_bytes()
    half = whole[: len(whole) // 2]
    weights.write_bytes(half)
    assert "is damaged" in predict_with(rsmeta, tiny_run, bundle_copy)
    hashes = [hashlib.sha256(content).hexdigest() for content in (whole, half)]
    record.write_text(record.read_text().replace(*hashes))  # even if the hash fits
    assert f"cannot read {weights}" in predict_with(rsmeta, tiny_run, bundle_copy)
    weights.unlink()
    assert "lacks weights.safetensors" in predict_with(rsmeta, tiny_run, bundle_copy)


# -- evaluate and inspect --------------------------------------------------------------------


def test_evaluate_what_cannot_be_compared(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path, make_polygons: MakePolygons
) -> None:
    place = tmp_path / "m.tif"
    ended = rsmeta("predict", tiny_run.scene, "--model", tiny_run.bundle, "--output", place)
    assert ended.status == 0
    for map_, reference, told in (
        (tiny_run.scene, tiny_run.labels, "does not name its classes"),
        (tmp_path / "none.tif", tiny_run.labels, "no scene at"),
        (place, tmp_path / "none.tif", "no labels at"),
        (place, tiny_run.data / "east_labels.tif", "do not overlap"),
        (place, make_polygons(tmp_path / "p.gpkg", kind=["bare", "mead"]), "class column"),
    ):
        ended = rsmeta("evaluate", "--map", map_, "--reference", reference)
        assert ended.status == 1
        assert told in ended.complaint
    words = ("evaluate", "--model", tiny_run.bundle, tiny_run.config, f"data.root={tiny_run.data}")
    ended = rsmeta(*words, "data.classes={1: x, 2: y}")
    assert ended.status == 1
    assert "the bundle's classes are ['bare', 'meadow']" in ended.complaint
    ended = rsmeta(*words, "data.split.test=null")
    assert ended.status == 1
    assert "there is no test part" in ended.complaint


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("none.tif", None), ("none", None), ("none.yaml", None), ("none.pt", None),
        ("text.tif", b"text"), ("junk.pt", b"junk"), ("junk.safetensors", b"junk"),
        ("pickle.pt", b"cos\nsystem\n(S'true'\ntR."), ("junk.yaml", b"data: \xff"),
    ],
)  # fmt: skip
def test_inspect_what_is_nothing(
    rsmeta: Rsmeta, tmp_path: Path, name: str, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    ended = rsmeta("inspect", tmp_path / name)
    assert ended.status == 1
    assert str(tmp_path / name) in ended.complaint


# -- usage -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        (), ("maps",), ("--nope",), ("train",), ("train", "config.yaml"), ("predict",),
        ("predict", "s.tif", "--model", "b", "--output", "m.tif", "--nope"),
        ("predict", "s.tif", "--model", "b", "--output", "m.tif", "--bounds", "a", "1", "2", "3"),
        ("evaluate",), ("evaluate", "--map", "m.tif"), ("list",), ("list", "things"), ("inspect",),
    ],
)  # fmt: skip
def test_wrong_usage_is_status_2(rsmeta: Rsmeta, words: tuple[str, ...]) -> None:
    ended = rsmeta(*words)
    assert ended.status == 2
    assert "Usage: rsmeta" in ended.err
    assert "Traceback" not in ended.err


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    for words in (["--debug", "inspect"], ["inspect", "--debug"]):
        with pytest.raises(SceneNotFoundError):
            main([*words, str(tmp_path / "none.tif")])


def test_error_of_the_system_is_one_line_too(
    rsmeta: Rsmeta, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: str) -> None:
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr("rsmeta.workflows.inspect.inspect", full)
    ended = rsmeta("inspect", "x")
    assert ended.status == 1
    assert "No space left on device" in ended.complaint
