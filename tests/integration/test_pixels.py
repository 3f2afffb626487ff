"""``model: pixels``: from a few labels to a map, without a network and without gradient steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
import torch

import rsmeta
from rsmeta.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene

SIDE = 60


def configuration(folder: Path, make_scene: MakeScene, **model: Any) -> dict[str, Any]:
    """Two classes by texture and brightness, labelled here and there."""
    draw = np.random.default_rng(0)
    rough = np.arange(SIDE)[:, None] < SIDE // 2
    noise = draw.normal(size=(2, SIDE, SIDE)) * np.where(rough, 300, 60)
    scene = (3000 + noise + np.where(rough, 0, 150)).clip(1).astype(np.uint16)
    make_scene(folder / "scene.tif", scene, descriptions=("red", "nir"), nodata=0)
    labels = np.where(draw.random((SIDE, SIDE)) < 0.2, np.where(rough, 1, 2), 0).astype(np.uint8)
    make_scene(folder / "labels.tif", labels, nodata=0)
    return {
        "data": {
            "root": str(folder), "scenes": ["scene.tif"], "labels": "labels.tif",
            "classes": [{"name": "rough", "value": 1}, {"name": "smooth", "value": 2}],
            "chip_px": 16, "scale": 1.0, "split": {"block_px": 16},
        },
        "model": {"backbone": "pixels", **model},
    }  # fmt: skip


@pytest.mark.parametrize("head", ["forest", "extra_trees", "logistic", "mlp"])
def test_a_map_is_what_the_whole_scene_at_once_gives(
    head: str, make_scene: MakeScene, tmp_path: Path
) -> None:
    options = {"context": [3, 7], "indices": True}
    config = configuration(tmp_path, make_scene, head={"name": head}, options=options)
    if head == "forest":  # the scene in many small tiles
        config["predict"] = {"tile_px": 32}
    result = rsmeta.train(config, output=tmp_path / "run")
    assert result.metrics["validation"]["accuracy"] > 0.8
    bundle = rsmeta.load_bundle(tmp_path / "run" / "bundle")
    with rasterio.open(tmp_path / "scene.tif") as scene:
        image = torch.from_numpy(scene.read().astype(np.float32))[None]
    with torch.inference_mode():
        whole = bundle.network(image, (image > 0).all(1)).softmax(1)[0]
    products = rsmeta.Products(tmp_path / "map.tif", probabilities=tmp_path / "p.tif")
    rsmeta.predict(
        tmp_path / "scene.tif", bundle, output=products, execution="cpu",
        settings=["block_px=16", "batch_size=3"] if head == "forest" else [],
    )  # fmt: skip
    with rasterio.open(tmp_path / "p.tif") as made:
        np.testing.assert_allclose(made.read(), whole.numpy(), atol=1e-5)


def test_adapters_do_not_go_with_a_head_that_is_solved_for(
    make_scene: MakeScene, tmp_path: Path
) -> None:
    config = configuration(tmp_path, make_scene, head="forest") | {"tuner": {"method": "full"}}
    with pytest.raises(ConfigError, match=r"tuner=full trains the backbone.*model\.head=forest"):
        rsmeta.train(config, output=tmp_path / "run")


def test_features_of_a_network_can_be_solved_for(make_scene: MakeScene, tmp_path: Path) -> None:
    config = configuration(
        tmp_path, make_scene, head="logistic",
    ) | {"model": {
        "backbone": "vit_tiny_patch16_224", "head": "logistic", "pretrained": False,
        "options": {"img_size": 16, "patch_size": 4, "embed_dim": 12, "depth": 4, "num_heads": 2},
    }}  # fmt: skip
    result = rsmeta.train(config, output=tmp_path / "run")
    again = rsmeta.load_bundle(tmp_path / "run" / "bundle")
    image, valid = torch.rand(1, 2, 16, 16) * 3000, torch.ones(1, 16, 16, dtype=torch.bool)
    with torch.inference_mode():
        said, kept = (one.network(image, valid) for one in (result.bundle, again))
    torch.testing.assert_close(said, kept, rtol=0, atol=0)


def test_labels_of_one_class_are_refused(make_scene: MakeScene, tmp_path: Path) -> None:
    config = configuration(tmp_path, make_scene, head="forest")
    labels = np.where(np.random.default_rng(0).random((SIDE, SIDE)) < 0.1, 1, 0).astype(np.uint8)
    make_scene(tmp_path / "labels.tif", labels, nodata=0)
    with pytest.raises(rsmeta.errors.LabelsError, match="only the class rough"):
        rsmeta.train(config, output=tmp_path / "run")
