"""Every preset of data and models is built and trained for two steps, on made-up files."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from rsmeta.config.load import load_settings, preset_comment, preset_names
from rsmeta.config.resources import config_dir
from rsmeta.errors import ImagesError
from rsmeta.models.families import list_backbones
from rsmeta.workflows.train import train
from tests.integration.made_up_data import WRITERS, write_dota, write_fusrs

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Rsmeta

#: A ViT that is quick on a CPU.
SMALL = {
    "backbone": "vit_tiny_patch16_224",
    "pretrained": False,
    "options": {"img_size": 32, "patch_size": 16, "embed_dim": 32, "depth": 2, "num_heads": 2},
}
SMALL_DATA = ["data.chip_px=32", "data.batch_size=4"]
TWO_STEPS = ["trainer.max_steps=2", "trainer.accelerator=cpu"]


def images_only() -> list[str]:
    """Return the presets of models that name no head, so that they go with any task."""
    named = [
        name
        for name in preset_names("model")
        if name.startswith(
            (
                "in21k",
                "clip",
                "copernicus",
                "dofa",
                "panopticon",
                "prithvi",
                "satmae_vit",
                "scalemae",
            )
        )
    ]
    assert len(named) >= 7
    return named


def test_every_preset_of_data_has_made_up_files() -> None:
    assert set(preset_names("data")) == set(WRITERS)


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_every_preset_of_data_trains(tmp_path: Path, name: str) -> None:
    write, classes = WRITERS[name]
    root = tmp_path / "data"
    root.mkdir()
    write(root)
    config = {"data": {"preset": name, "root": str(root)}, "model": SMALL, "tuner": "lora",
              "loss": "logit_adjusted", "trainer": "metapeft"}  # fmt: skip
    result = train(config, [*SMALL_DATA, *TWO_STEPS], output=tmp_path / "run")
    assert result.metrics["steps"] == 2
    assert len(result.metrics["class_counts"]) == classes
    assert result.metrics["bands"] == ["red", "green", "blue"]
    loss = result.metrics["train_loss"]
    assert loss is None or math.isfinite(loss)  # none where two steps end no epoch
    assert 0 <= result.metrics["test"]["accuracy"] <= 1
    assert result.bundle is not None


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_missing_files_say_where_to_get_them(tmp_path: Path, name: str) -> None:
    loaded = load_settings({"data": {"preset": name, "root": str(tmp_path)}})
    with pytest.raises(ImagesError) as caught:
        train(loaded, output=tmp_path / "run")
    text = str(caught.value)
    assert "the data come from https://" in text or "the data come from http://" in text
    assert "lay them out as" in text
    assert "\n" not in text


def shrunk(name: str) -> tuple[list[str], int]:
    """Return overrides that make a preset's network small, and the side of its images."""
    options = "{embed_dim: 48, depth: 2, num_heads: 4, patch_size: 8, img_size: 32"
    if "group" in name:
        options += ", channel_embed: 16"
    return [f"model.options={options}}}", "model.pretrained=false"], 32


@pytest.mark.parametrize("name", images_only())
def test_every_preset_of_models_trains(tmp_path: Path, name: str) -> None:
    root = tmp_path / "data"
    root.mkdir()
    write_fusrs(root, "v17")
    smaller, side = shrunk(name)
    config: dict[str, Any] = {"data": {"preset": "fusrs_v17", "root": str(root)}, "model": name,
                              "tuner": "lora", "trainer": "metapeft"}  # fmt: skip
    overrides = [f"data.chip_px={side}", "data.batch_size=4", *smaller, *TWO_STEPS]
    result = train(config, overrides, output=tmp_path / "run")
    assert result.metrics["steps"] == 2


@pytest.mark.parametrize("name", images_only())
def test_the_weights_that_a_preset_names_are_published(name: str) -> None:
    model = load_settings({"data": {"preset": "dota"}, "model": name}).model
    assert model.pretrained
    backbone, _, tag = model.backbone.partition(".")
    known = dict(list_backbones())
    if backbone in known:
        assert tag in known[backbone], model.backbone
    else:
        assert model.backbone in known


def test_the_published_recipe_trains(tmp_path: Path) -> None:
    write_dota(tmp_path / "data")
    options = "{embed_dim: 32, depth: 2, num_heads: 2, img_size: 32}"
    result = train(
        config_dir() / "experiments" / "metapeft.yaml",
        [f"data.root={tmp_path / 'data'}", *SMALL_DATA, f"model.options={options}",
         "model.pretrained=false", "meta.every_n_steps=1", *TWO_STEPS],
        output=tmp_path / "run",
    )  # fmt: skip
    assert result.metrics["steps"] == 2
    assert (tmp_path / "run" / "gamma_history.csv").exists()


def test_presets_are_listed_with_a_line_each(rsmeta: Rsmeta) -> None:
    ended = rsmeta("list", "presets")
    assert ended.status == 0
    for section in ("data", "model", "trainer"):
        for name in preset_names(section):
            assert preset_comment(section, name)
            assert f"{section}: {name}" in ended.out


def test_kinds_of_data_and_torchgeo_datasets_are_listed(rsmeta: Rsmeta) -> None:
    ended = rsmeta("list", "datasets")
    for name in ("scenes", "folder", "boxes", "torchgeo: EuroSAT100", "torchgeo: So2Sat"):
        assert name in ended.out


def test_images_that_are_left_out_are_counted_in_the_metrics(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    write_fusrs(root, "v17")
    (root / "train" / "00000.png").write_bytes(b"no picture")
    config = {"data": {"preset": "fusrs_v17", "root": str(root), "corrupt": "skip"},
              "model": SMALL, "tuner": "full"}  # fmt: skip
    result = train(config, [*SMALL_DATA, *TWO_STEPS], output=tmp_path / "run")
    assert result.metrics["unreadable_images"] == {"train": 1, "test": 0}
    assert sum(result.metrics["class_counts"].values()) == 7
