"""Defaults follow the data: what is trained, for how many steps, and with which changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from rsmeta.config import load_settings
from rsmeta.config.data import AugmentSettings
from rsmeta.config.settings import SOLVED_HEADS
from rsmeta.config.trainer import TrainerSettings
from rsmeta.data.augment import Augment
from rsmeta.data.datamodule import SceneDataModule
from rsmeta.errors import ConfigError
from rsmeta.heads import HEADS, SolvedHead
from rsmeta.workflows.dry_run import dry_run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene

SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}


@pytest.fixture
def config(tmp_path: Path, make_scene: MakeScene) -> dict[str, Any]:
    draw = np.random.default_rng(0)
    make_scene(tmp_path / "s.tif", draw.integers(100, 900, (2, 64, 64)).astype(np.uint16),
               descriptions=("red", "nir"))  # fmt: skip
    make_scene(tmp_path / "l.tif", draw.integers(0, 2, (64, 64)).astype(np.uint8))
    return {
        "data": {"root": str(tmp_path), "scenes": "s.tif", "labels": "l.tif",
                 "classes": ["bare", "meadow"], "chip_px": 32},
        "model": {"backbone": "vit_tiny_patch16_224", "options": SMALL},
    }  # fmt: skip


@pytest.mark.parametrize(
    "changed",
    [
        {"tuner": "lora"}, {"tuner": "head"}, {"tuner": "bias"}, {"tuner": "vpt_deep"},
        {"tuner": ["lora", "ln"]}, {"tuner": {"method": "partial", "blocks": 1}},
    ],
    ids=str,
)  # fmt: skip
def test_random_weights_are_not_frozen_unless_asked_for(
    config: dict[str, Any], changed: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=r"random weights.*pretrained=true.*tuner=full") as error:
        dry_run({**config, **changed})
    assert "\n" not in str(error.value)
    asked_for = {**config["model"], "pretrained": False}
    assert dry_run({**config, **changed, "model": asked_for}).trained > 0


def test_a_solved_head_needs_weights_before_it(config: dict[str, Any]) -> None:
    config["model"]["head"] = "logistic"
    with pytest.raises(ConfigError, match=r"random weights, and model\.head=logistic leaves"):
        dry_run(config)


def test_what_is_trained_follows_from_the_weights(config: dict[str, Any]) -> None:
    def method(**model: Any) -> str:
        return load_settings({**config, "model": model}).tuner.method

    assert method(**config["model"]) == "full"
    assert method(backbone="satmae_vit_nano_group", pretrained=True) == "lora"
    assert method(backbone="vit_tiny_patch16_224", checkpoint="w.pth") == "lora"
    solved = {name for name in HEADS.names() if issubclass(HEADS.get(name), SolvedHead)}
    assert solved == SOLVED_HEADS


@pytest.mark.parametrize("batch_size", [2, 16, 300])
@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 1.0])
def test_steps_grow_with_the_labelled_area(
    make_scene: MakeScene, tmp_path: Path, share: float, batch_size: int
) -> None:
    side = 320
    draw = np.random.default_rng(1)
    make_scene(tmp_path / "s.tif", draw.integers(1, 9, (1, side, side)).astype(np.uint8),
               descriptions=("red",))  # fmt: skip
    labels = np.zeros((side, side), np.uint8)
    labels[: max(int(share * side), 1)] = draw.integers(1, 3, side)
    make_scene(tmp_path / "l.tif", labels, nodata=0)
    settings = load_settings({"data": {
        "root": str(tmp_path), "scenes": "s.tif", "labels": "l.tif", "classes": {1: "a", 2: "b"},
        "batch_size": batch_size, "split": {"validation": 0}, "scale": 1.0,
    }}).scenes  # fmt: skip
    data = SceneDataModule(settings, seed=0)
    steps = len(data.train_dataloader())
    cells = len(data.parts["train"][0].index.cells)
    assert steps == min(max(int(np.ceil(2 * np.sqrt(cells))), 10), 200)
    assert data.chips_per_epoch == steps * batch_size


def test_brightness_changes_for_transfer_only() -> None:
    image, valid = torch.rand(4, 3, 8, 8) + 0.1, torch.ones(4, 8, 8, dtype=torch.bool)
    target = torch.zeros(4, 8, 8, dtype=torch.long)
    still = {"flip": False, "rotate": False}

    def spread(**given: Any) -> float:
        changed, _, _ = Augment(AugmentSettings(**still, **given))(image, valid, target)
        return float((changed / image).std())

    assert spread() == 0
    assert spread(transfer=True) > 0.02
    assert spread(gain=0.5) > 0.05
    assert spread(transfer=True, gain=0, band_gain=0) == 0


@pytest.mark.parametrize(
    ("given", "patience"),
    [({}, 6), ({"keep": "last"}, None), ({"early_stopping": 2, "keep": "last"}, 2),
     ({"early_stopping": None}, None)],
)  # fmt: skip
def test_training_stops_early_where_the_best_weights_are_kept(
    given: dict[str, Any], patience: int | None
) -> None:
    assert TrainerSettings(**given).patience == patience


def test_a_dry_run_estimates_the_time_and_changes_nothing(
    config: dict[str, Any], tmp_path: Path
) -> None:
    before = sorted(tmp_path.iterdir())
    found = dry_run({**config, "trainer": {"max_epochs": 4, "accelerator": "cpu"}})
    assert found.steps == 4 * 10
    assert found.seconds is not None
    assert 0 < found.seconds < 600
    limited = dry_run({**config, "trainer": {"max_steps": 7, "max_minutes": 1e-9}})
    assert (limited.steps, round(limited.seconds or 0)) == (7, 0)
    assert dry_run({**config, "model": "pixels"}).seconds is None
    assert sorted(tmp_path.iterdir()) == before
