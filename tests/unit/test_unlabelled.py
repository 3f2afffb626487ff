"""Chips on unlabelled ground: enough valid pixels, the same for a seed, never a whole scene."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from rsmeta.config.pretrain import GroundSettings
from rsmeta.data.unlabelled_chips import UnlabelledChips, UnlabelledSampler, index_unlabelled
from rsmeta.data.unlabelled_datamodule import UnlabelledDataModule
from rsmeta.errors import TrainingError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene

CHIP_PX = 32


@pytest.fixture
def settings(tmp_path: Path, make_scene: MakeScene) -> GroundSettings:
    """Two scenes: one with an oblique empty half, one smaller than two chips."""
    rng = np.random.default_rng(0)
    row, col = np.mgrid[:150, :170]
    for name, shape in (("a", (150, 170)), ("b", (40, 35))):
        image = rng.uniform(0.1, 0.4, (2, *shape)).astype(np.float32)
        if name == "a":
            image[:, col > row] = -9
        make_scene(tmp_path / f"{name}.tif", image, descriptions=("red", "nir"), nodata=-9)
    return GroundSettings(
        root=tmp_path, scenes=("a.tif", "b.tif"), chip_px=CHIP_PX, chips_per_epoch=200,
        batch_size=8,
    )  # fmt: skip


def test_every_chip_has_enough_valid_pixels(settings: GroundSettings) -> None:
    data = UnlabelledDataModule(settings, seed=0)
    samples = [data.dataset[key] for key in data.train_sampler()]
    shares = [float(sample["valid"].float().mean()) for sample in samples]
    assert min(shares) >= 0.5
    assert min(shares) < 0.9, "ground along the edge is seen too"
    for sample in samples:
        assert sample["image"].shape == (2, CHIP_PX, CHIP_PX)
        assert not sample["image"][:, ~sample["valid"]].any()


def test_chips_differ_by_epoch_and_repeat_by_seed(settings: GroundSettings) -> None:
    samplers = [UnlabelledDataModule(settings, seed=seed).train_sampler() for seed in (0, 0, 1)]
    first = [list(sampler) for sampler in samplers]
    assert first[0] == first[1] != first[2]
    samplers[0].set_epoch(1)
    assert list(samplers[0]) != first[0]
    assert {key.scene for key in first[0]} == {0, 1}
    starts = {(key.row, key.col) for key in first[0] if key.scene == 0}
    assert len(starts) > 50, "chips are no fixed grid"


def test_batches_hold_image_and_validity(settings: GroundSettings) -> None:
    batch: dict[str, torch.Tensor] = next(
        iter(UnlabelledDataModule(settings, seed=0).train_dataloader())
    )
    assert batch["image"].shape == (8, 2, CHIP_PX, CHIP_PX)
    assert batch["valid"].dtype == torch.bool
    mean, std = UnlabelledDataModule(settings, seed=0).statistics
    assert np.allclose(mean, 0.25, atol=0.02), "nodata has no part in the statistics"
    assert (std < 0.12).all()


def test_ground_without_enough_valid_pixels(settings: GroundSettings) -> None:
    strict = settings.model_copy(update={"scenes": ("a.tif",), "nodata": 0.0, "min_valid": 1.0})
    UnlabelledDataModule(strict, seed=0)
    small = settings.model_copy(update={"scenes": ("b.tif",), "chip_px": 64})
    with pytest.raises(TrainingError, match=r"lower data\.min_valid or data\.chip_px"):
        UnlabelledDataModule(small, seed=0)


@dataclass
class _Huge:
    """A scene of terabytes that counts how often it is read."""

    grid: Any = field(default_factory=lambda: SimpleNamespace(height_px=500_000, width_px=400_000))
    reads: int = 0

    def read(self, window: Any) -> Any:
        self.reads += 1
        shape = (int(window.height), int(window.width))
        valid = np.full(shape, window.col_off < 200_000)
        return SimpleNamespace(data=np.zeros((1, *shape), np.float32), valid=valid)


def test_a_huge_scene_is_never_read_whole() -> None:
    scene: Any = _Huge()
    index = index_unlabelled(scene, 64, min_valid=0.5, rng=np.random.default_rng(0))
    assert scene.reads <= 1024
    assert 400 < len(index.corners) < 625
    sampler = UnlabelledSampler([index], [(500_000, 400_000)], chip_px=64, length=50, seed=0)
    dataset = UnlabelledChips([scene], 64, 0.5)
    assert all(dataset[key]["valid"].all() for key in sampler)
