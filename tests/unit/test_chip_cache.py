"""Chips out of kept blocks: the same as read anew, read once, within their memory."""

from __future__ import annotations

import pickle
from functools import partial
from typing import TYPE_CHECKING, Any

import geopandas
import numpy as np
import pytest
import shapely
import torch
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from rasterio.windows import Window

from rsmeta.config.data import AugmentSettings, DataSettings
from rsmeta.config.load import load_settings
from rsmeta.data.augment import Augment
from rsmeta.data.chip_cache import BLOCK_PX, ChipCache
from rsmeta.data.chips import sample_of
from rsmeta.data.datamodule import SceneDataModule
from rsmeta.data.images import ImageDataModule
from rsmeta.data.packing import KINDS, Packing, pack, unpack
from rsmeta.errors import SceneError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene

SHAPE = (300, 410)


@pytest.fixture(params=["raster", "finer raster", "polygons"])
def data_settings(request: Any, tmp_path: Path, make_scene: MakeScene) -> dict[str, Any]:
    """A scene of several blocks with missing pixels, and labels of a kind."""
    rng = np.random.default_rng(0)
    image = rng.integers(1, 900, (3, *SHAPE)).astype(np.uint16)
    image[:, 40:90, 100:140] = 0
    make_scene(
        tmp_path / "s.tif", image, descriptions=("red", "green", "nir"), nodata=0,
        compress="deflate", tiled=True, blockxsize=64, blockysize=64,
    )  # fmt: skip
    labels = "labels.tif"
    if request.param == "polygons":
        labels, (left, top) = "labels.gpkg", (500_000, 5_150_000)
        places = rng.uniform(0, 1, (40, 2)) * (4000, 2900)
        shapes = [shapely.Point(left + x, top - y).buffer(170) for x, y in places]
        names = ["low", "high"] * 20
        geopandas.GeoDataFrame({"kind": names}, geometry=shapes, crs="EPSG:32633").to_file(
            tmp_path / labels
        )
    elif request.param == "raster":
        make_scene(tmp_path / labels, rng.integers(0, 3, SHAPE).astype(np.uint8))
    else:
        finer = Affine(3.7, 0, 500_003, 0, -3.7, 5_149_994)
        numbers = rng.integers(0, 3, (780, 1080)).astype(np.uint8)
        make_scene(tmp_path / labels, numbers, transform=finer)
    return {
        "root": tmp_path, "scenes": "s.tif", "labels": labels, "classes": {1: "low", 2: "high"},
        "ignore": 0, "chip_px": 48, "batch_size": 4, "chips_per_epoch": 48,
        **({} if request.param == "raster" else {"scale": 3.3e-5, "offset": -0.1}),
    }  # fmt: skip


def epochs(data_settings: dict[str, Any], cache: str) -> list[dict[str, torch.Tensor]]:
    data = SceneDataModule(
        DataSettings.model_validate(data_settings | {"cache": cache}), seed=3, epochs=2
    )
    found = []
    for epoch in range(2):
        loader = data.train_dataloader()
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        found += list(loader)
    return found


def test_batches_are_the_same_bit_for_bit_whatever_is_kept(data_settings: dict[str, Any]) -> None:
    anew = epochs(data_settings, "none")
    for cache in ("auto", "3MB", "1MB"):
        kept = epochs(data_settings, cache)
        assert len(kept) == len(anew) == 24
        for one, other in zip(anew, kept, strict=True):
            assert all(torch.equal(one[name], other[name]) for name in ("image", "valid", "mask"))


class Numbers:
    """A scene without borders whose pixels say where they are; remembers what was read."""

    def __init__(self) -> None:
        self.windows: list[Window] = []

    def __call__(self, window: Window) -> dict[str, torch.Tensor]:
        self.windows.append(window)
        rows = torch.arange(window.row_off, window.row_off + window.height)
        cols = torch.arange(window.col_off, window.col_off + window.width)
        layer = rows[:, None] * 100_000 + cols
        return {"image": torch.stack([layer, -layer]), "mask": layer}


@settings(max_examples=60)
@given(
    side=st.integers(16, 300),
    limit=st.sampled_from([0, 1, 2 * 24 * BLOCK_PX**2, 10**9]),
    places=st.lists(st.tuples(st.integers(-300, 700), st.integers(-300, 700)), max_size=6),
)
def test_any_window_is_what_would_be_read_and_memory_is_bounded(
    side: int, limit: int, places: list[tuple[int, int]]
) -> None:
    cache, read = ChipCache(limit), Numbers()
    for row, col in [*places, *places]:
        found = cache.read(0, row, col, side, read)
        first = row * 100_000 + col
        assert found["mask"].shape == (side, side)
        assert found["mask"][0, 0] == first
        assert found["mask"][-1, -1] == first + (side - 1) * 100_001
        assert torch.equal(found["image"][1], -found["mask"])
        assert cache.nbytes <= limit
    if limit == 10**9:
        assert len(read.windows) <= len(set(places)), "what is kept is not read again"


def test_scenes_are_told_apart_and_processes_begin_with_nothing() -> None:
    cache, one, other = ChipCache(10**9), Numbers(), Numbers()
    cache.read(0, 0, 0, 32, one)
    cache.read(1, 0, 0, 32, other)
    cache.read(1, 30, 40, 32, other)
    assert (len(one.windows), len(other.windows)) == (1, 1)
    anew = pickle.loads(pickle.dumps(cache))
    assert (anew.nbytes, anew.limit_bytes) == (0, 10**9)


@settings(max_examples=30)
@given(
    dtype=st.sampled_from(["uint8", "int16", "uint16"]),
    scale=st.floats(1e-6, 10),
    offset=st.floats(-5, 5),
    seed=st.integers(0, 99),
)
def test_packed_values_are_the_same_bit_for_bit(
    dtype: str, scale: float, offset: float, seed: int
) -> None:
    draw, limits = np.random.default_rng(seed), np.iinfo(dtype)
    raw = draw.integers(limits.min, limits.max, (2, 9, 9), np.int64, endpoint=True)
    values = raw.astype(dtype) * np.float32(scale) + np.float32(offset)
    valid = torch.from_numpy(draw.random((9, 9)) < 0.9)
    image = torch.where(valid, torch.from_numpy(values), 0.0)
    packing = Packing(*KINDS[dtype], torch.full((2, 1, 1), scale), torch.full((2, 1, 1), offset))
    mask = torch.from_numpy(draw.integers(-1, 9, (9, 9)))
    block = {"image": image, "valid": valid, "mask": mask}
    packed = pack(block, packing)
    found = unpack(packed, packing)
    assert all(torch.equal(found[name], block[name]) for name in block)
    assert {name: layer.dtype for name, layer in found.items()} == {
        name: layer.dtype for name, layer in block.items()
    }
    if abs(offset) < scale:  # else adding the offset may cost raw numbers their last digits
        assert sum(v.nbytes for v in packed.values()) < 0.5 * sum(v.nbytes for v in block.values())


def test_twice_as_much_is_kept_once_memory_is_short(data_settings: dict[str, Any]) -> None:
    loaded = SceneDataModule(DataSettings.model_validate(data_settings), seed=3)
    labelled = loaded.parts["train"][0].labelled
    blocks = [(row, col) for row in range(0, 256, BLOCK_PX) for col in range(0, 384, BLOCK_PX)]
    limit = 3 * BLOCK_PX**2 * (3 * 4 + 1 + 8)
    for packings in ((), (Packing.of(labelled.scene),)):
        cache = ChipCache(limit, packings)
        for row, col in blocks:
            cache.read(0, row, col, BLOCK_PX, partial(sample_of, labelled))
        assert cache.nbytes <= limit
        assert cache.full == (not packings)
    for row, col in blocks:
        found = cache.read(0, row + 3, col - 7, 40, partial(sample_of, labelled))
        anew = sample_of(labelled, Window(col - 7, row + 3, 40, 40))
        assert all(torch.equal(found[name], anew[name]) for name in anew)


def test_damage_beside_a_chip_does_not_stop_it() -> None:
    whole = Numbers()

    def read(window: Window) -> dict[str, torch.Tensor]:
        if window.col_off + window.width > 100:
            raise SceneError("damaged")
        return whole(window)

    cache = ChipCache(10**9)
    assert cache.read(0, 10, 20, 32, read)["mask"][0, 0] == 1_000_020
    with pytest.raises(SceneError, match="damaged"):
        cache.read(0, 10, 90, 32, read)


@pytest.mark.parametrize(
    ("given_size", "expected"),
    [("auto", 10**9), (None, 0), ("none", 0), (4096, 4096), ("512MB", 512 * 10**6),
     ("1.5 gb", 1.5 * 10**9), ("2G", 2 * 10**9), ("0", 0)],
)  # fmt: skip
def test_size_of_the_cache(given_size: Any, expected: float) -> None:
    for workers in (0, 1, 3):
        tree = {"scenes": "a.tif", "labels": "b.tif", "classes": ["a", "b"], "workers": workers}
        found = DataSettings.model_validate(tree | {"cache": given_size}).cache_bytes
        assert found == expected // max(workers, 1)


@pytest.mark.parametrize("given_size", ["much", "-1", "4 GBit", "", "1e9", True])
def test_what_is_no_size_is_refused(given_size: Any) -> None:
    tree = {"scenes": "a.tif", "labels": "b.tif", "classes": ["a", "b"], "cache": given_size}
    with pytest.raises(ValidationError, match="is no size; write none, auto, or such as 512MB"):
        DataSettings.model_validate(tree)


def test_an_image_file_is_decoded_once(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(3):
            noise = rng.integers(0, 255, (32, 32, 3), np.uint8)
            Image.fromarray(noise).save(tmp_path / name / f"{i}.png")
    tree = {"kind": "folder", "root": str(tmp_path), "validation": 0, "chip_px": 32,
            "batch_size": 6, "chips_per_epoch": 6}  # fmt: skip
    batches = {}
    for cache in ("none", "auto"):
        loaded = load_settings({"task": "classification", "data": tree | {"cache": cache}})
        loader = ImageDataModule(loaded.data, seed=0).train_dataloader()
        next(iter(loader))
        batches[cache] = [batch["image"] for batch in loader]
    assert all(torch.equal(*pair) for pair in zip(*batches.values(), strict=True))
    for file in tmp_path.glob("*/*.png"):
        file.unlink()
    again = [batch["image"] for batch in loader]
    assert len(again) == 1


@pytest.mark.parametrize(
    ("flip", "rotate", "ways"),
    [(True, True, 8), (False, True, 4), (True, False, 4), ("horizontal", False, 2),
     ("horizontal", True, 8), (False, False, 1)],
)  # fmt: skip
def test_augmentation_draws_every_way_and_changes_no_value(
    flip: Any, rotate: bool, ways: int
) -> None:
    torch.manual_seed(0)
    one = torch.arange(9.0).view(1, 1, 3, 3)
    one[0, 0, 0, 0] = float("nan")
    image = one.expand(200, 2, 3, 3)
    valid, target = image[:, 0].isnan(), image[:, 0]
    moved, seen, labels = Augment(AugmentSettings(flip=flip, rotate=rotate))(image, valid, target)
    assert torch.equal(moved[:, 0].nan_to_num(-1), labels.nan_to_num(-1))
    assert torch.equal(seen, labels.isnan())
    found, counts = labels.nan_to_num(-1).flatten(1).unique(dim=0, return_counts=True)
    assert len(found) == ways
    assert counts.min() > 0.5 * 200 / ways
