"""A network's scores stand beside those of simple classifiers on the same pixels."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import numpy as np

import rsmeta

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.conftest import MakeScene

SIDE = 48


def configuration(folder: Path, make_scene: MakeScene, **trainer: Any) -> dict[str, Any]:
    """Two classes that one band tells apart: a forest cannot fail, a network of 2 steps will."""
    draw = np.random.default_rng(0)
    truth = draw.random((SIDE, SIDE)) < 0.5
    scene = np.stack([np.where(truth, 60, 40), draw.integers(1, 99, truth.shape)])
    make_scene(folder / "scene.tif", scene.astype(np.uint8), descriptions=("red", "nir"), nodata=0)
    make_scene(folder / "labels.tif", np.where(truth, 1, 2).astype(np.uint8), nodata=0)
    return {
        "data": {
            "root": str(folder), "scenes": ["scene.tif"], "labels": "labels.tif",
            "classes": [{"name": "a", "value": 1}, {"name": "b", "value": 2}],
            "chip_px": 16, "batch_size": 2, "chips_per_epoch": 4, "scale": 1.0,
            "split": {"block_px": 16},
        },
        "model": {
            "backbone": "vit_tiny_patch16_224", "head": "linear",
            "options": {"img_size": 16, "patch_size": 8, "embed_dim": 12, "depth": 1,
                        "num_heads": 2},
        },
        "tuner": "full",
        "trainer": {"max_epochs": 1, "accelerator": "cpu", **trainer},
    }  # fmt: skip


def test_scores_stand_beside_baselines_and_a_worse_network_is_said(
    make_scene: MakeScene, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "rsmeta"):
        rsmeta.train(configuration(tmp_path, make_scene), output=tmp_path / "run")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    forest = metrics["baseline"]["forest"]["validation"]
    assert forest["macro_f1"] > 0.99
    assert forest["pixels"] == metrics["validation"]["pixels"]
    assert metrics["validation"]["macro_f1"] < 0.9
    [warning] = [r.message for r in caplog.records if "better than this model" in r.message]
    assert "random forest" in warning
    assert "model=auto" in warning
    assert any("on the bands of single pixels: forest 1.000" in r.message for r in caplog.records)


def test_baselines_can_be_left_out(make_scene: MakeScene, tmp_path: Path) -> None:
    config = configuration(tmp_path, make_scene, baseline=False)
    assert "baseline" not in rsmeta.train(config, output=tmp_path / "run").metrics


def test_without_a_part_to_score_there_is_nothing_to_compare(
    make_scene: MakeScene, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = configuration(tmp_path, make_scene)
    config["data"]["split"] = {"validation": 0}
    with caplog.at_level(logging.WARNING, "rsmeta"):
        assert rsmeta.train(config, output=tmp_path / "run").metrics["baseline"] == {}
