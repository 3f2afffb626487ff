"""Pretraining on the command line: what it leaves, what it refuses, what a kill costs."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import safetensors.torch
import torch

from rsmeta.config.model import ModelSpec
from rsmeta.geo.scene import open_scene
from rsmeta.models import build_backbone

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import MakeScene
    from tests.integration.conftest import Rsmeta

BANDS = ("B02", "B03", "B04", "B08", "B11")
EPOCHS = 5
CONFIG = """\
licence: CC0-1.0
data: {scenes: ["scene?.tif"], chip_px: 32, chips_per_epoch: 8, batch_size: 4}
model:
  options: {img_size: 32, patch_size: 8, embed_dim: 32, channel_embed: 8, depth: 2, num_heads: 2}
  decoder: {dim: 32, channel_embed: 8}
trainer: {max_epochs: 1, accelerator: cpu, keep_checkpoints: true}
"""


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory, make_scene: MakeScene) -> Path:
    """Folder with a configuration and two scenes of five bands; one is half empty."""
    folder = tmp_path_factory.mktemp("pretrain")
    rng = np.random.default_rng(0)
    for i, shape in enumerate(((96, 120), (50, 40))):
        image = rng.integers(500, 4000, (len(BANDS), *shape)).astype(np.uint16)
        if i == 0:
            image[:, :, :60] = 0
        make_scene(folder / f"scene{i}.tif", image, descriptions=BANDS, nodata=0)
    (folder / "config.yaml").write_text(CONFIG, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def run(scenes: Path, run_to_end: Callable[..., None]) -> Path:
    """A finished run."""
    output = scenes / "run"
    run_to_end("pretrain", scenes / "config.yaml", f"data.root={scenes}", "--output", output)
    return output


def rows(output: Path) -> list[dict[str, str]]:
    file = output / "history.csv"
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


def test_run_folder_holds_what_is_promised(run: Path) -> None:
    for name in (
        "backbone.safetensors", "checkpoints/last.ckpt", "metrics.json", "history.csv",
        "config.yaml", "plots/curves.png", "plots/reconstructions.png",
    ):  # fmt: skip
        assert (run / name).stat().st_size > 0, name
    assert not list(run.rglob(".*")), "something unfinished is left"
    metrics = json.loads((run / "metrics.json").read_text())
    assert (metrics["steps"], metrics["scenes"], metrics["bands"]) == (2, 2, list(BANDS))
    (row,) = rows(run)
    assert set(row) == {"epoch", "step", "lr", "train_loss"}
    assert float(row["train_loss"]) == pytest.approx(metrics["train_loss"])


def test_the_backbone_is_a_checkpoint_that_says_what_it_wants(
    run: Path, scenes: Path, rsmeta: Rsmeta
) -> None:
    spec = ModelSpec(
        backbone="satmae_vit_nano_group", checkpoint=str(run / "backbone.safetensors"),
        options={"embed_dim": 32, "depth": 2, "num_heads": 2},
    )  # fmt: skip
    bands = open_scene(scenes / "scene0.tif").bands
    backbone = build_backbone(spec, bands)
    assert backbone.record.bands == BANDS
    assert (backbone.record.form, backbone.record.unit) == ("standard", "reflectance")
    assert backbone.record.licence == "CC0-1.0"
    metrics = json.loads((run / "metrics.json").read_text())
    assert backbone.record.mean == pytest.approx(metrics["mean"])
    assert 0.1 < metrics["mean"][0] < 0.4, "reflectance, not counts"
    told = json.loads(rsmeta("inspect", run / "backbone.safetensors", "--json").out)
    assert told["bands"] == ["B02+B03+B04+B08", "B11"]
    assert (told["licence"], told["training_stage"]) == ("CC0-1.0", "encoder alone")
    whole = json.loads(rsmeta("inspect", run / "checkpoints" / "last.ckpt", "--json").out)
    assert whole["training_stage"] == "masked autoencoding"


def test_pretraining_goes_on_from_a_backbone(run: Path, scenes: Path, rsmeta: Rsmeta) -> None:
    ended = rsmeta(
        "pretrain", scenes / "config.yaml", f"data.root={scenes}",
        f"model.checkpoint={run / 'backbone.safetensors'}", "data.scenes=scene1.tif",
        "store=float16", "normalise=false", "mask.spatial=consistent", "--output", scenes / "more",
    )  # fmt: skip
    assert ended.status == 0, ended.err
    first, more = (json.loads((p / "metrics.json").read_text()) for p in (run, scenes / "more"))
    assert more["mean"] == pytest.approx(first["mean"]), "the weights keep their normalisation"
    state = safetensors.torch.load_file(scenes / "more" / "backbone.safetensors")
    assert state["norm.weight"].dtype == torch.float16
    assert state["pos_embed"].dtype == torch.float32


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("data.chip_pix=32", "unknown key 'data.chip_pix'; did you mean 'chip_px'?"),
        ("data.scenes=none.tif", "no scene at "),
        ("data.root=/nowhere", "no folder at data.root=/nowhere"),
        ("data.min_valid=1.5", "data.min_valid=1.5: "),
        ("data.chip_px=36", "data.chip_px=36 is no multiple of the backbone's patch of 8 pixels"),
        ("data.chips_per_epoch=2", "less than one batch of data.batch_size=4"),
        ("mask.ratio=0.99", "mask.ratio=0.99 leaves none of the 32 tokens of a chip to see"),
        ("mask.ratio=1", "mask.ratio=1: "),
        ("model.backbone=satmae_vit_b16_rgb", "has no channel groups"),
        ("model.backbone=satmae_vit_nano_grop", "did you mean 'satmae_vit_nano_group'?"),
        ("model.options.global_pool=true", "global_pool=true has no place in pretraining"),
        (
            "model.options={groups: [[B02, B03]], extra_bands: refuse}",
            "has no channel group for the bands B04",
        ),
        ("model.decoder.heads=3", "decoder.dim=32 must be a multiple of heads=3"),
        ("model.checkpoint=none.pt", "no checkpoint at none.pt"),
        ("trainer.early_stopping=3", "trainer.early_stopping=3 needs a validation score"),
    ],
)
def test_setting_that_cannot_be_used(
    rsmeta: Rsmeta, scenes: Path, tmp_path: Path, override: str, told: str
) -> None:
    ended = rsmeta(
        "pretrain", scenes / "config.yaml", f"data.root={scenes}", override,
        "--output", tmp_path / "run",
    )  # fmt: skip
    assert ended.status == 1
    assert told in ended.complaint
    assert not (tmp_path / "run").exists()


def test_scenes_without_a_valid_pixel(
    rsmeta: Rsmeta, scenes: Path, tmp_path: Path, make_scene: MakeScene
) -> None:
    make_scene(tmp_path / "empty.tif", np.zeros((5, 64, 64), np.uint16), descriptions=BANDS)
    ended = rsmeta(
        "pretrain", scenes / "config.yaml", f"data.root={tmp_path}", "data.scenes=empty.tif",
        "data.nodata=0", "--output", tmp_path / "run",
    )  # fmt: skip
    assert "no window of 32 x 32 pixels in 1 scene is valid" in ended.complaint


def test_folder_that_holds_a_run(rsmeta: Rsmeta, scenes: Path, run: Path) -> None:
    words = ("pretrain", scenes / "config.yaml", f"data.root={scenes}", "--output", run)
    assert "holds a run already; resume it with --resume" in rsmeta(*words).complaint
    changed = rsmeta(*words, "mask.ratio=0.5", "--resume")
    assert "holds a run with another mask.ratio" in changed.complaint


def test_help_shows_every_key(rsmeta: Rsmeta) -> None:
    assert "rsmeta help pretrain all" in rsmeta("pretrain", "--help").out
    ended = rsmeta("help", "pretrain", "all")
    for key in ("data.min_valid", "mask.ratio", "model.decoder.dim", "trainer.optimizer.lr"):
        assert key in ended.out


def start(scenes: Path, output: Path, *more: str) -> subprocess.Popen[bytes]:
    words = [
        sys.executable, "-m", "rsmeta_cli.main", "pretrain", str(scenes / "config.yaml"),
        f"data.root={scenes}", f"trainer.max_epochs={EPOCHS}", "--output", str(output), *more,
    ]  # fmt: skip
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX's")
def test_resumed_run_equals_the_uninterrupted_one(scenes: Path, tmp_path: Path) -> None:
    killed = start(scenes, tmp_path / "killed")
    deadline = time.monotonic() + 120
    while len(rows(tmp_path / "killed")) < 2 and killed.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "killed" / "backbone.safetensors").exists()
    assert start(scenes, tmp_path / "killed", "--resume").wait() == 0
    assert start(scenes, tmp_path / "whole").wait() == 0
    one, other = rows(tmp_path / "killed"), rows(tmp_path / "whole")
    assert len(one) == EPOCHS
    assert one == other, "the same chips, masks and losses"
    weights = [
        safetensors.torch.load_file(tmp_path / name / "backbone.safetensors")
        for name in ("killed", "whole")
    ]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[1])
