"""What predict is asked for and cannot do: settings, places, devices, bundles."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Rsmeta, TinyRun

# -- settings -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("batch=4", "unknown key 'batch'; did you mean 'batch_size'?"),
        ("overlap=0.9", "overlap=0.9: "),
        ("tile_px=16", "the model was trained for tiles of 32 px; give at least as many"),
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
    assert ended.complaint.startswith(f"rsmeta: {tmp_path} is a folder; name a file")
    assert not (tmp_path / "m.tif").exists()


@pytest.mark.parametrize(
    ("bounds", "told"),
    [((1, 2, 3, 4), "do not meet the scene"), ((10, 2, 3, 4), "are not W S E N in degrees")],
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
