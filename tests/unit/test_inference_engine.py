"""The engine itself: full batches, no tile twice, little memory, and errors that come out."""

from __future__ import annotations

import itertools
import threading
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.env import get_gdal_config
from rasterio.windows import Window

from rsmeta.errors import OutputError, RsmetaError, SceneUnreadableError
from rsmeta.geo import handles
from rsmeta.geo.grid import Grid
from rsmeta.geo.scene import Scene, open_scene
from rsmeta.geo.sparse import may_hold_data
from rsmeta.geo.tiling import TilePlan
from rsmeta.inference import sizing
from rsmeta.inference.engine import Engine
from rsmeta.inference.lanes import Lanes
from rsmeta.inference.pipeline import Pipeline
from rsmeta.inference.test_time_augmentation import augmented
from tests.unit.mapping_bundles import random_scene

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from rsmeta.inference.engine import Block
    from tests.conftest import MakeScene


@pytest.fixture(params=[1, 3], ids="{} lanes".format)
def lanes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    count: int = request.param
    monkeypatch.setattr(sizing, "choose_lanes", lambda device: count)
    return count


@pytest.fixture
def scene(tmp_path: Path, make_scene: MakeScene) -> Scene:
    random_scene(make_scene, tmp_path / "s.tif", (150, 211), 3, holes=False)
    return open_scene(tmp_path / "s.tif")


def blocks_of(
    model: Any, scene: Scene, plan: TilePlan, *, batch_size: int = 8,
    finished: Collection[Window] = (), spill_folder: Path | None = None,
) -> list[Block]:  # fmt: skip
    engine = Engine(model, scores=2, batch_size=batch_size)
    left = (block for block in plan.blocks() if block not in finished)
    return list(engine.run(plan, left, scene, spill_folder=spill_folder))


def plan_of(scene: Scene, block_px: int = 48, *, overlap_px: int = 8) -> TilePlan:
    return TilePlan(
        scene_grid=scene.grid, extent=scene.grid.full_window, tile_px=32, overlap_px=overlap_px,
        block_px=block_px,
    )  # fmt: skip


def large_plan(side_px: int, block_px: int, overlap_px: int = 32) -> TilePlan:
    grid = Grid(None, Affine.identity(), side_px, side_px)
    return TilePlan(
        scene_grid=grid, extent=grid.full_window, tile_px=224, overlap_px=overlap_px,
        block_px=block_px,
    )  # fmt: skip


class Recorder:
    """Returns its input, and remembers the sizes of batches."""

    def __init__(self, most: int = 1000, error: type[Exception] | None = None) -> None:
        self.most = most
        self.error = error or torch.OutOfMemoryError
        self.sizes: list[int] = []

    def __call__(self, image: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        if len(image) > self.most:
            raise self.error("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate")
        self.sizes.append(len(image))
        return image


@pytest.mark.usefixtures("lanes")
def test_batches_are_full_across_blocks_and_no_tile_is_computed_twice(scene: Scene) -> None:
    model, plan = Recorder(), plan_of(scene)
    blocks = blocks_of(model, scene, plan, batch_size=7)
    assert len(blocks) == 4 * 5
    smallest, *others = sorted(model.sizes)  # the last one, which may end before another
    assert set(others) == {7}
    assert smallest <= 7
    assert sum(model.sizes) == len(plan.row_starts) * len(plan.col_starts)
    assert sum(block.tiles for block in blocks) == sum(model.sizes)


def test_narrow_strips_compute_the_tiles_between_them_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, narrow = Recorder(), Recorder()
    blocks = blocks_of(whole, scene, plan_of(scene))
    monkeypatch.setattr(sizing, "choose_strip_blocks", lambda plan, scores: 2)
    others = {block.window: block for block in blocks_of(narrow, scene, plan_of(scene))}
    assert sum(narrow.sizes) > sum(whole.sizes)
    for block in blocks:
        assert np.array_equal(block.scores, others[block.window].scores)


def test_finished_blocks_are_left_out(scene: Scene) -> None:
    everything = blocks_of(Recorder(), scene, plan_of(scene))
    finished = {block.window for block in everything[:7]}
    rest = blocks_of(Recorder(), scene, plan_of(scene), finished=finished)
    assert [block.window for block in rest] == [block.window for block in everything[7:]]
    for block, again in zip(everything[7:], rest, strict=True):
        assert np.array_equal(block.scores, again.scores)


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 150), st.integers(1, 150)),
    block_px=st.sampled_from([9, 16, 40, 48]),
    strip_blocks=st.sampled_from([1, 2, 100]),
    overlap_px=st.sampled_from([0, 8, 25]),
    left_out=st.sets(st.integers(0, 60)),
    lanes=st.sampled_from([1, 2, 5]),
    seed=st.integers(0, 1000),
)
def test_any_blocks_may_be_left_out(
    make_scene: MakeScene, tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, int],
    block_px: int, strip_blocks: int, overlap_px: int, left_out: set[int], lanes: int, seed: int,
) -> None:  # fmt: skip
    """Blocks smaller than a tile too, and large holes: sums skip rows of blocks on their way."""
    path = tmp_path_factory.mktemp("scene") / "s.tif"
    random_scene(make_scene, path, shape, seed, holes=True)
    scene = open_scene(path)
    plan = plan_of(scene, block_px, overlap_px=overlap_px)
    whole = blocks_of(Recorder(), scene, plan, batch_size=3)
    finished = {b.window for i, b in enumerate(whole) if i in left_out}
    with (
        mock.patch.object(sizing, "choose_strip_blocks", return_value=strip_blocks),
        mock.patch.object(sizing, "choose_lanes", return_value=lanes),
    ):
        rest = {
            b.window: b for b in blocks_of(Recorder(), scene, plan, batch_size=5, finished=finished)
        }
    assert rest.keys() == {b.window for b in whole} - finished
    for block in whole:
        if block.window in rest:
            again = rest[block.window].scores
            assert (again is None) == (block.scores is None)
            assert again is None or np.array_equal(block.scores, again)


def test_a_full_disk_for_waiting_sums_is_said(scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot keep sums of tiles in .*No such file"):
        blocks_of(Recorder(), scene, plan_of(scene), spill_folder=tmp_path / "gone")
    assert own_threads() == []


@pytest.mark.usefixtures("lanes")
@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_where_memory_ends_batches_become_smaller_and_this_is_said_once(
    scene: Scene, caplog: pytest.LogCaptureFixture, error: type[Exception]
) -> None:
    """Whether torch's allocator finds no memory, or a library of CUDA that takes its own."""
    scarce = Recorder(most=3, error=error)
    blocks = blocks_of(scarce, scene, plan_of(scene), batch_size=8)
    assert max(scarce.sizes) == 2
    assert [r.getMessage() for r in caplog.records] == [
        "cpu ran out of memory; continuing with 2 tiles at once"
    ]
    for block, other in zip(blocks, blocks_of(Recorder(), scene, plan_of(scene)), strict=True):
        assert np.array_equal(block.scores, other.scores)


@pytest.mark.usefixtures("lanes")
def test_no_memory_for_one_tile_is_an_error(scene: Scene) -> None:
    with pytest.raises(RsmetaError, match="not enough memory for a single tile"):
        blocks_of(Recorder(most=0), scene, plan_of(scene))


def own_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("rsmeta")]


@pytest.mark.usefixtures("lanes")
def test_an_error_in_the_network_comes_out_and_ends_all_threads(scene: Scene) -> None:
    def wrong(image: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        raise ZeroDivisionError("in the network")

    with pytest.raises(ZeroDivisionError, match="in the network"):
        blocks_of(wrong, scene, plan_of(scene))
    assert own_threads() == []


def test_an_error_while_reading_comes_out_and_ends_all_threads(scene: Scene) -> None:
    with rasterio.open(scene.source.path) as file:
        end = file.width * file.height * 4
    with open(scene.source.path, "r+b") as file:  # noqa: PTH123 - truncated in place
        file.truncate(end)
    with pytest.raises(SceneUnreadableError, match="is it complete"):
        blocks_of(Recorder(), scene, plan_of(scene))
    assert own_threads() == []


def test_lanes_compute_side_by_side_and_keep_the_order(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first batch ends after the second has begun; each has its share of the threads."""
    second_begun, turns, threads = threading.Event(), itertools.count(), set()

    def model(image: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        threads.add(torch.get_num_threads())
        if next(turns) == 0:
            assert second_begun.wait(60)
        else:
            second_begun.set()
        return image

    expected = blocks_of(Recorder(), scene, plan_of(scene))
    monkeypatch.setattr(sizing, "choose_lanes", lambda device: 2)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        found = blocks_of(model, scene, plan_of(scene), batch_size=3)
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)
    assert threads == {2}
    for block, other in zip(expected, found, strict=True):
        assert block.window == other.window
        assert np.array_equal(block.scores, other.scores)
    assert own_threads() == []


@pytest.mark.parametrize(
    ("threads", "lanes", "batch"), [(1, 1, 8), (2, 2, 4), (6, 6, 1), (11, 5, 1), (64, 8, 1)]
)
def test_lanes_leave_few_threads_over_and_share_the_tiles_at_once(
    monkeypatch: pytest.MonkeyPatch, threads: int, lanes: int, batch: int
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert sizing.choose_lanes(cpu) == lanes
    assert sizing.choose_batch_size(cpu) == batch
    assert (sizing.choose_lanes(gpu), sizing.choose_batch_size(gpu)) == (1, 64)
    small = [sizing.choose_batch_size(cpu, tile_px) for tile_px in (8, 32, 112, 448)]
    assert small == [max(8 * tiles // lanes, 1) for tiles in (16, 16, 4, 1)]


@pytest.mark.parametrize(
    ("cores", "threads", "readers"), [(1, 1, 1), (2, 1, 1), (2, 2, 1), (16, 3, 4), (16, 16, 4)]
)
def test_readers_leave_the_cores_to_the_network(
    monkeypatch: pytest.MonkeyPatch, cores: int, threads: int, readers: int
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    assert sizing.choose_readers(torch.device("cpu")) == readers
    assert sizing.choose_readers(torch.device("cuda")) == min(cores, 16)


def test_a_single_lane_computes_while_the_next_batch_is_filled() -> None:
    filled = threading.Event()
    with Lanes[bool](1) as lanes:
        assert list(lanes.call(partial(filled.wait, 60))) == []
        filled.set()
        assert list(lanes.call(filled.is_set)) == [True]
        assert list(lanes.rest()) == [True]
    with Lanes[bool](1, beside=False) as lanes:  # a GPU computes beside by itself
        assert list(lanes.call(filled.is_set)) == [True]


@pytest.mark.parametrize("empty_px", [0, 40, 300])
@pytest.mark.usefixtures("lanes")
def test_the_first_tiles_are_scored_while_their_block_is_read(
    tmp_path: Path, make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch, empty_px: int
) -> None:
    """The rest of the block is read once the network has been asked; the map is the same."""
    pixels = np.random.default_rng(0).integers(1, 255, (2, 600, 700)).astype(np.uint8)
    pixels[:, :empty_px] = 0
    names = ("red", "nir")
    make_scene(tmp_path / "s.tif", pixels, descriptions=names, nodata=0, tiled=True)
    scene = open_scene(tmp_path / "s.tif")
    plan = plan_of(scene, 1024)
    [expected] = blocks_of(Recorder(), scene, plan)
    asked, read_into = threading.Event(), Scene.read_into

    def late(self: Scene, part: Window, *arrays: Any) -> None:
        if part.row_off > 0:
            assert asked.wait(60), "the network waits for the whole block"
        read_into(self, part, *arrays)

    def model(image: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        asked.set()
        return image

    monkeypatch.setattr(Scene, "read_into", late)
    [found] = blocks_of(model, scene, plan)
    assert (found.tiles, found.skipped) == (expected.tiles, expected.skipped)
    assert np.array_equal(found.scores, expected.scores)
    assert np.array_equal(found.valid, expected.valid)


@pytest.mark.usefixtures("lanes")
def test_who_leaves_ends_all_threads(scene: Scene) -> None:
    plan = plan_of(scene, 16)
    blocks = Engine(Recorder(), scores=2).run(plan, plan.blocks(), scene)
    next(blocks)
    assert len(own_threads()) >= 3
    blocks.close()
    assert own_threads() == []


def test_a_stage_is_ahead_by_its_depth_and_no_more() -> None:
    made = []

    def numbers() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    with Pipeline() as pipeline:
        taken = pipeline.ahead("numbers", (n for n in numbers()), 3)
        assert next(taken) == 0
        while len(made) < 4:
            threading.Event().wait(0.01)
        threading.Event().wait(0.1)
        assert made == [0, 1, 2, 3]  # one taken, three ahead of it
        assert list(taken) == list(range(1, 100))
    assert pipeline.seconds.keys() == {"numbers"}


# -- sparse scenes -----------------------------------------------------------------------------


@pytest.fixture
def sparse(tmp_path: Path) -> Scene:
    """A scene of 2048 x 2048 pixels that stores one tile of 128 x 128, at (640, 1280)."""
    path = tmp_path / "sparse.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=2048, height=2048, count=2, dtype="uint16", nodata=0,
        crs="EPSG:32633", transform=rasterio.transform.from_origin(5e5, 5e6, 10, 10), tiled=True,
        blockxsize=128, blockysize=128, sparse_ok=True, interleave="band",
    ) as file:  # fmt: skip
        pixels = np.ones((2, 128, 128), np.uint16)
        pixels[:, :64] = 0
        file.write(pixels, window=Window(1280, 640, 128, 128))
        file.descriptions = ("red", "nir")
    return open_scene(path)


def test_where_a_sparse_file_may_hold_data(sparse: Scene) -> None:
    held = [
        (col, row)
        for row in range(0, 2048, 64)
        for col in range(0, 2048, 64)
        if may_hold_data(sparse, Window(col, row, 64, 64))
    ]
    assert held == [(1280, 640), (1344, 640), (1280, 704), (1344, 704)]
    assert not may_hold_data(sparse, Window(-50, -50, 40, 40))
    assert may_hold_data(sparse, Window(-50, -50, 4000, 4000))


def test_a_file_whose_unwritten_tiles_read_as_data_may_hold_data(
    tmp_path: Path, make_scene: MakeScene
) -> None:
    path = make_scene(
        tmp_path / "s.tif", np.zeros((2, 64, 64), np.uint8), descriptions=("red", "nir"),
        tiled=True, blockxsize=16, blockysize=16, sparse_ok=True,
    )  # fmt: skip
    assert may_hold_data(open_scene(path), Window(0, 0, 16, 16))


def test_blocks_that_nothing_is_stored_for_are_not_read(
    sparse: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Window] = []
    really = Scene.read_into

    def watched(scene: Scene, window: Window, *arrays: np.ndarray) -> None:
        read.append(window)
        really(scene, window, *arrays)

    monkeypatch.setattr(Scene, "read_into", watched)
    model, plan = Recorder(), plan_of(sparse, 256)
    blocks = blocks_of(model, sparse, plan)
    assert len(blocks) == 64
    assert sum(window.width * window.height for window in read) < 500 * 500
    assert [b.window for b in blocks if b.scores is not None] == [Window(1280, 512, 256, 256)]
    valid = np.zeros((2048, 2048), bool)
    valid[704:768, 1280:1408] = True
    full = [tile for tile in plan.tiles(Window(0, 0, 2048, 2048)) if valid[tile.toslices()].any()]
    assert sum(model.sizes) == len(full)
    total = len(plan.row_starts) * len(plan.col_starts)
    assert sum(block.skipped for block in blocks) == total - len(full)


# -- sizes and views ---------------------------------------------------------------------------


def test_blocks_fit_into_a_part_of_the_free_memory() -> None:
    def chosen(device: str, gigabytes: float) -> int:
        return sizing.choose_block_px(
            torch.device(device),
            bands=13,
            scores=10,
            tile_px=224,
            free_bytes=int(gigabytes * 2**30),
        )

    free = (64, 8, 2, 0.1)
    assert [chosen("cuda", gigabytes) for gigabytes in free] == [2048, 2048, 1024, 512]
    assert [chosen("cpu", gigabytes) for gigabytes in free] == [1024, 1024, 1024, 512]


def test_gdal_keeps_what_one_block_leaves_to_the_next(tmp_path: Path) -> None:
    def kept(bands: int) -> int:
        path = tmp_path / f"{bands}.tif"
        with rasterio.open(
            path, "w", driver="GTiff", width=4096, height=4096, count=bands, dtype="uint16",
            crs="EPSG:32633", transform=rasterio.transform.from_origin(5e5, 5e6, 10, 10),
            tiled=True, blockxsize=512, blockysize=512, sparse_ok=True,
        ) as file:  # fmt: skip
            file.descriptions = ("red", "nir", "blue", "green", "swir16", "swir22")[:bands]
        plan = large_plan(4096, 1024)
        return sizing.choose_cache_bytes(open_scene(path), plan)

    two_columns = 2 * 4 * 512 * 512 * 2  # of one band: four tiles each, 2 bytes a pixel
    assert kept(6) == 6 * two_columns
    assert kept(2) == 16 * 2**20
    path = tmp_path / "6.tif"
    with handles.bounded_cache(kept(6)), rasterio.open(path):
        assert get_gdal_config("GDAL_CACHEMAX") == kept(6)


def test_strips_are_as_wide_as_the_tiles_kept_for_them_allow() -> None:
    plan = large_plan(100_000, 2048)
    few, many = (sizing.choose_strip_blocks(plan, classes) for classes in (2, 1000))
    assert few > 4
    assert many == 1


def test_free_memory_is_that_of_the_machine_or_less() -> None:
    assert 0 < sizing.free_memory_bytes() < 2**50


@pytest.mark.parametrize(("views", "count"), [("none", 1), ("flips", 4), ("all", 8)])
def test_views_are_put_back_before_they_are_averaged(views: Any, count: int) -> None:
    seen = []

    def model(image: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        assert torch.equal(valid, image[:, 0] > 0)
        seen.append(image)
        return image

    image = torch.arange(-20.0, 30.0).reshape(1, 2, 5, 5)
    torch.testing.assert_close(augmented(model, views)(image, image[:, 0] > 0), image)
    assert len({view.numpy().tobytes() for view in seen}) == len(seen) == count
