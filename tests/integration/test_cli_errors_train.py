"""Training that cannot start: one line, status 1, and no run folder that stands in the way."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.conftest import MakePolygons, Rsmeta, TinyRun


@pytest.fixture
def fails(rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path) -> Callable[..., str]:
    """Return a function that trains with overrides, and gives the complaint."""

    def fail(*overrides: str, config: Path | None = None) -> str:
        place = tmp_path / "run"
        ended = rsmeta(
            "train", config or tiny_run.config, f"data.root={tiny_run.data}", *overrides,
            "--output", place,
        )  # fmt: skip
        assert ended.status == 1
        assert not place.exists(), "a failed start leaves nothing that stands in the way"
        return ended.complaint

    return fail


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("data.chip_pix=32", "unknown key 'data.chip_pix'; did you mean 'chip_px'?"),
        ("trainer.optimizer.lrr=1", "unknown key 'trainer.optimizer.lrr'; did you mean 'lr'?"),
        ("trainr.max_epochs=1", "unknown key 'trainr'; did you mean 'trainer'?"),
        ("trainer.max_epochs=soon", "trainer.max_epochs='soon': "),
        ("model=vit_nanno", "unknown model preset 'vit_nanno'; did you mean 'vit_nano'?"),
        ("model.head=fnp", "unknown head 'fnp'; did you mean 'fpn'?"),
        ("model.backbone=vit_tiny_patch16_225", "did you mean 'vit_tiny_patch16_224"),
        ("model.options.depht=1", "model.options holds 'depht'"),
        ("model.checkpoint=none.pt", "no checkpoint at none.pt"),
        ("tuner.method=lroa", "unknown tuner 'lroa'; did you mean 'lora'?"),
        ("loss.name=mse", "unknown loss 'mse'"),
        ("data.sensor=sentinel2_l2", "unknown sensor 'sentinel2_l2'; did you mean 'sentinel2_l"),
        ("noequals", "'noequals' is no override; write KEY=VALUE"),
        ("data.root=/nowhere", "no folder at data.root=/nowhere"),
        ("data.scenes=none.tif", "no scene at "),
        ("data.scenes=*.jp2", "no scene at "),
        ("data.labels=none.tif", "no labels at "),
        ("data.classes={1: bare, 3: water}", "holds the value 2, which is no class (1, 3)"),
        ("data.classes=[bare]", "give two or more"),
        ("data.use_bands=[blue, nir]", "lacks the band blue (blue is at 490 nm and"),
        ("data.bands=[green, red]", "data.bands names 2 bands, but "),
        ("data.scale=0", "data.scale: 0 would make all values equal"),
        ("data.chips_per_epoch=2", "less than one batch of data.batch_size=4"),
        ("data.split.by=files", None),  # two places, three parts
        ("trainer.strategy=unheard_of", "cannot train with trainer.accelerator=cpu"),
    ],
)
def test_setting_that_cannot_be_used(
    fails: Callable[..., str], override: str, told: str | None
) -> None:
    assert (told or "too few for split.by=files") in fails(override)


def test_configuration_that_is_none(fails: Callable[..., str], tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    assert f"no configuration at {file}" in fails(config=file)
    for content, told in (
        (b"data: [1, 2", "as YAML"),
        (b"- a list\n", "holds no settings"),
        (b"", "holds no settings"),
        (b"data: \xff", "as YAML"),
    ):
        file.write_bytes(content)
        assert told in fails(config=file)
    told = f"{tmp_path} is a folder; give a configuration file, such as {file}"
    assert told in fails(config=tmp_path)


def test_folder_without_scenes(fails: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert f"no scene at {tmp_path / 'empty'}" in fails(f"data.scenes={tmp_path / 'empty'}")


@pytest.mark.parametrize("kind", ["text", "half"])
def test_training_scene_that_is_ruined(
    fails: Callable[..., str], tiny_run: TinyRun, tmp_path: Path, kind: str
) -> None:
    bad = tmp_path / "bad.tif"
    whole = tiny_run.scene.read_bytes()
    bad.write_bytes(b"no raster" if kind == "text" else whole[: len(whole) // 2])
    assert f"cannot read {bad} as a raster" in fails(f"data.scenes={bad}")


def test_labels_that_do_not_fit(fails: Callable[..., str], tmp_path: Path) -> None:
    assert "do not overlap the scene" in fails(
        "data.scenes=west.tif", "data.labels=east_labels.tif"
    )
    assert "has 3 bands; a label raster has one" in fails("data.labels={stem}.tif")
    (tmp_path / "text.tif").write_text("no raster")
    assert "cannot read the labels" in fails(f"data.labels={tmp_path / 'text.tif'}")
    (tmp_path / "text.gpkg").write_text("no polygons")
    assert "as polygons" in fails(f"data.labels={tmp_path / 'text.gpkg'}")


def test_polygons_that_do_not_fit(
    fails: Callable[..., str], tmp_path: Path, make_polygons: MakePolygons
) -> None:
    file = make_polygons(tmp_path / "p.gpkg", kind=["bare", "meadow"], same=["bare", "meadow"])
    west = ("data.scenes=west.tif", f"data.labels={file}")
    assert "name the class column with data.class_column; it has: kind, same" in fails(*west)
    complaint = fails(*west, "data.class_column=knd")
    assert "has no column 'knd'; did you mean 'kind'?" in complaint
    complaint = fails(*west, "data.class_column=kind", "data.classes=[bare, medow]")
    assert "kind='meadow' is no class; did you mean 'medow'?" in complaint
    complaint = fails("data.scenes=east.tif", *west[1:], "data.class_column=kind")
    assert "do not overlap the scene" in complaint


def test_place_that_cannot_be_written(rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path) -> None:
    """Below a regular file nobody can write, not even root."""
    file = tmp_path / "file"
    file.write_text("mine")
    for place in (file / "run", file):
        ended = rsmeta("train", tiny_run.config, f"data.root={tiny_run.data}", "--output", place)
        assert ended.status == 1
        assert f"{file} is a file" in ended.complaint
    assert file.read_text() == "mine"


def test_folder_that_holds_a_run(rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_run.folder, tmp_path / "run"))
    before = (run / "config.yaml").read_text()
    words = ("train", tiny_run.config, f"data.root={tiny_run.data}", "--output", run)
    ended = rsmeta(*words)
    assert ended.status == 1
    assert "holds a run already; resume it with --resume" in ended.complaint
    for override in ("trainer.optimizer.lr=0.1", "seed=3", "tuner=lora", "data.chip_px=48"):
        ended = rsmeta(*words, override, "--resume")
        assert ended.status == 1
        assert "holds a run with another " in ended.complaint
        assert override.split(".")[0].split("=")[0] in ended.complaint
    assert (run / "config.yaml").read_text() == before
    other = ("data.classes={1: {name: bare, colour: '#123456'}, 2: meadow}", "data.chip_px=48")
    ended = rsmeta(*words, *other, "--resume")
    assert "with another data.chip_px" in ended.complaint, "colours may change"
