"""Images with one label each: what a batch holds, which images a part has, what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from rsmeta.config.load import load_settings
from rsmeta.config.meta import MetaSettings
from rsmeta.data.images import ImageDataModule

if TYPE_CHECKING:
    from pathlib import Path

#: Classes of the folders that the tests write, with their images.
COUNTS = {"field": 12, "forest": 6, "water": 3}


def settings(root: Path, kind: str = "folder", **keys: Any) -> Any:
    small = {"kind": kind, "root": str(root), "chip_px": 32, "batch_size": 4}
    return load_settings({"data": small | keys}).data


def opened(root: Path, *, task: Any = "classification", **keys: Any) -> ImageDataModule:
    return ImageDataModule(settings(root, **keys), seed=0, task=task)


def write_picture(path: Path, colour: int, size: tuple[int, int] = (40, 50)) -> None:
    """Write a noisy picture around one grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(colour).normal(colour, 5, (*size, 3))
    Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(path)


def write_folders(root: Path, counts: dict[str, int] | None = None) -> Path:
    for i, (name, count) in enumerate((counts or COUNTS).items()):
        for j in range(count):
            write_picture(root / name / f"{j:03}.{'png' if j % 2 else 'jpg'}", 60 + 60 * i)
    return root


def test_folders_give_batches_of_every_part(tmp_path: Path) -> None:
    data = opened(write_folders(tmp_path), test=0.2)
    assert [spec.name for spec in data.classes] == list(COUNTS)
    assert [band.name for band in data.bands] == ["red", "green", "blue"]
    assert data.class_counts.tolist() == [8, 4, 1]
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (4, 3, 32, 32)
    assert batch["image"].dtype == torch.float32
    assert batch["valid"].shape == (4, 32, 32)
    assert batch["valid"].all()
    assert batch["label"].dtype == torch.int64
    for loader in (data.val_dataloader(), data.test_dataloader()):
        for some in loader:
            grey = some["image"].mean(dim=(1, 2, 3))
            assert torch.equal(((grey - 60) / 60).round().long(), some["label"])
    mean, _ = data.statistics
    assert mean.shape == (3,)


def test_held_out_images_count_in_no_class(tmp_path: Path) -> None:
    root = write_folders(tmp_path)
    meta = MetaSettings(strategy="first_order", source="held_out", held_out=0.25)
    plain = ImageDataModule(settings(root), seed=0)
    data = ImageDataModule(settings(root), seed=0, meta=meta)
    assert (data.class_counts <= plain.class_counts).all()
    assert data.class_counts.sum() < plain.class_counts.sum()
    trained = len(data.train_dataloader().dataset)
    batches = iter(data.outer_dataloader(meta, inner_batches=1))
    assert next(batches)["image"].shape == next(batches)["image"].shape
    keys = iter(data.outer_dataloader(meta, inner_batches=1).batch_sampler)
    for _ in range(5):
        assert all(key.image < trained for key in next(keys))
        assert all(key.image >= trained for key in next(keys))


@pytest.mark.parametrize("colour", ["as_is", "rgb"])
def test_an_index_lists_images_with_labels(tmp_path: Path, colour: str) -> None:
    write_folders(tmp_path / "pictures")
    lines = [f"{name}/{j:03}.jpg {i}" for i, name in enumerate(COUNTS) for j in (0, 2)]
    (tmp_path / "train.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "val.txt").write_text("field/001.png field\nwater/001.png water\n")
    (tmp_path / "names.txt").write_text("field\nforest\nwater\n")
    data = opened(
        tmp_path, kind="index", train="train.txt", validation="val.txt", images="pictures",
        class_names="names.txt", colour=colour,
    )  # fmt: skip
    assert data.class_counts.tolist() == [2, 2, 2]
    (batch,) = data.val_dataloader()
    assert batch["label"].tolist() == [0, 2]
