"""Labels are counted in memory that grows with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine

from rsmeta.config.data import DataSettings
from rsmeta.data.datamodule import SceneDataModule

if TYPE_CHECKING:
    from tests.conftest import MakeScene


def test_a_coarse_scene_is_counted_in_the_blocks_of_a_fine_one(
    tmp_path: Path, make_scene: MakeScene
) -> None:
    """Of one place: its pixels lie in few of the fine scene's blocks, and those far apart."""
    rng = np.random.default_rng(0)
    for name, pixel_m in (("a_fine", 0.01), ("b_coarse", 1000.0)):
        place = Affine(pixel_m, 0, 500_000, 0, -pixel_m, 5_150_000)
        image = rng.uniform(0.1, 0.4, (2, 96, 96)).astype(np.float32)
        labels = rng.integers(1, 3, (96, 96)).astype(np.uint8)
        make_scene(tmp_path / f"{name}.tif", image, descriptions=("red", "nir"), transform=place)
        make_scene(tmp_path / f"{name}_labels.tif", labels, transform=place)
    settings = DataSettings.model_validate({
        "root": tmp_path, "scenes": ["a_fine.tif", "b_coarse.tif"], "labels": "{stem}_labels.tif",
        "classes": {1: "a", 2: "b"}, "chip_px": 32,
    })  # fmt: skip
    trained = SceneDataModule(settings, seed=0).parts["train"]
    names = [Path(one.labelled.scene.name).name for one in trained]
    assert names == ["a_fine.tif", "b_coarse.tif"]
