"""Parts of pictures that are kept: the same pixels as read anew, within their memory."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from rsmeta.config.load import load_settings
from rsmeta.data.images import ImageDataModule
from rsmeta.data.images.image_set import Pixels
from rsmeta.data.images.window_cache import WindowCache
from rsmeta.errors import SceneError

if TYPE_CHECKING:
    from pathlib import Path

SIDE_PX = 200


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two noisy pictures with six objects each, from the bottom to the top."""
    (tmp_path / "train" / "images").mkdir(parents=True)
    (tmp_path / "train" / "labelTxt").mkdir()
    rng = np.random.default_rng(0)
    for number in range(2):
        noise = rng.integers(0, 255, (SIDE_PX, SIDE_PX, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "train" / "images" / f"P{number}.png")
        lines = [
            f"{x} {y} {x + 14} {y + 5} {x + 12} {y + 11} {x - 2} {y + 6} {name} 0"
            for x, y, name in zip(range(0, 180, 30), range(180, 0, -30), "ababab", strict=True)
        ]
        (tmp_path / "train" / "labelTxt" / f"P{number}.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def opened(root: Path) -> Any:
    tree = {"kind": "boxes", "root": str(root), "validation": 0, "scale": 1 / 255}
    data = load_settings({"data": tree}).data
    return ImageDataModule(data, seed=0, to_train=False).parts["train"]


def same(one: Pixels, other: Pixels) -> bool:
    return np.array_equal(one.data, other.data) and np.array_equal(one.valid, other.valid)


def test_kept_parts_are_what_would_be_read(root: Path) -> None:
    anew, kept = opened(root), opened(root)
    anew.cache = WindowCache(0)
    some = np.array([11, 3, 8, 0])
    for images in (kept, kept, kept.take(some), pickle.loads(pickle.dumps(kept))):
        which = range(12) if len(images) == 12 else some
        assert all(same(images.read(i), anew.read(int(k))) for i, k in enumerate(which))


def test_a_picture_is_read_once_for_all_its_objects(root: Path) -> None:
    images = opened(root)
    images.read(7)
    (root / "train/images/P1.png").unlink()
    assert all(images.read(i).valid.any() for i in range(6, 12))
    (root / "train/images/P0.png").unlink()
    with pytest.raises(SceneError):
        images.read(0)


def test_memory_for_parts_is_bounded(root: Path) -> None:
    images = opened(root)
    images.cache = WindowCache(3000)
    anew = opened(root)
    assert all(same(images.read(i), anew.read(i)) for i in range(12))
    assert images.cache.full
    held = [images.cache.get(number) is not None for number in range(12)]
    assert 0 < sum(held) < 6


def test_what_of_a_broken_picture_is_whole_is_read(root: Path) -> None:
    picture = root / "train/images/P0.png"
    raw = picture.read_bytes()
    picture.write_bytes(raw[: len(raw) // 2])
    images = opened(root)
    assert images.read(5).valid.any(), "the object at the top"
    with pytest.raises(SceneError, match=r"P0\.png"):
        images.read(0)
    assert all(images.read(i).valid.any() for i in range(6, 12))


@pytest.mark.parametrize("values", [5, 256, 257])
def test_parts_are_kept_without_loss(values: int) -> None:
    rng = np.random.default_rng(0)
    data = (rng.permutation(2 * 33 * 35) % values / 7).astype(np.float32).reshape(2, 33, 35)
    valid = rng.random((33, 35)) > 0.3
    store = WindowCache()
    store.keep(1, Pixels(data, valid))
    found = store.get(1)
    assert found is not None
    assert same(found, Pixels(data, valid))
    assert found.data.dtype == np.float32
    assert store.get(2) is None
