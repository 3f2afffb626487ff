"""Finished files: complete or absent, on the exact grid, and valid COGs."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.errors import RasterioIOError
from rasterio.windows import Window
from rio_cogeo.cogeo import cog_validate

from rsmeta.errors import OutputError
from rsmeta.geo.block_vrt import RasterSpec, write_block_vrt
from rsmeta.geo.grid import Grid
from rsmeta.geo.writer import RasterWriter, check_output
from rsmeta.gis.outputs.cog import publish_cog

if TYPE_CHECKING:
    from collections.abc import Callable

PUBLISH = partial(publish_cog, overviews="nearest")
PALETTE = {0: (10, 20, 30), 1: (40, 50, 60)}


def grid_of(height: int, width: int) -> Grid:
    return Grid(
        CRS.from_epsg(32633), Affine(9.9948, 0, 5e5 + 1 / 3, 0, -9.9974, 5e6), height, width
    )


def writer(
    path: Path, grid: Grid, *, overwrite: bool = False, resume: bool = False,
    publish: Callable[[Path, Path], None] = PUBLISH,
    **look: object,
) -> RasterWriter:  # fmt: skip
    given = {"count": 1, "dtype": "uint8", "nodata": 255, **look}
    raster = RasterSpec(grid, **given)  # type: ignore[arg-type]
    return RasterWriter(path, raster, publish=publish, overwrite=overwrite, resume=resume)


def write_map(path: Path, pixels: np.ndarray, **options: object) -> Grid:
    grid = grid_of(*pixels.shape[-2:])
    given = {"count": len(pixels), "dtype": pixels.dtype.name, **options}
    with writer(path, grid, **given) as file:  # type: ignore[arg-type]
        for row in range(0, grid.height_px, 300):
            part = pixels[:, row : row + 300]
            file.write(part, Window(0, row, grid.width_px, part.shape[1]))
    return grid


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(("side", "head"), [(1_000, b"II*\0"), (17_000, b"II+\0")])
def test_files_that_may_pass_4_gb_are_bigtiffs(tmp_path: Path, side: int, head: bytes) -> None:
    """2.3 GB of numbers, all of them nodata: how far they can be compressed is not foreseen."""
    look = RasterSpec(Grid(None, Affine.identity(), side, side), 1, "float64", 0)
    write_block_vrt(tmp_path / "m.vrt", look, [])
    publish_cog(tmp_path / "m.vrt", tmp_path / "m.tif", overviews="nearest")
    assert (tmp_path / "m.tif").read_bytes()[:4] == head
    assert (tmp_path / "m.tif").stat().st_size < 1e6


def test_the_name_appears_when_the_file_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "map.tif"
    pixels = np.arange(12, dtype=np.uint8).reshape(1, 3, 4)
    with writer(
        path, grid_of(3, 4), colormap=PALETTE, descriptions=["class"], tags={"RSMETA_MODEL": "abc"}
    ) as file:
        file.write(pixels, Window(0, 0, 4, 3))
        assert names_in(path.parent) == [".map.tif.partial"]
    assert names_in(path.parent) == ["map.tif"]
    with rasterio.open(path) as written:
        np.testing.assert_array_equal(written.read(), pixels)
        assert Grid(written.crs, written.transform, *written.shape) == grid_of(3, 4)
        assert written.nodata == 255
        assert written.colormap(1)[1] == (40, 50, 60, 255)
        assert written.descriptions == ("class",)
        assert written.tags()["RSMETA_MODEL"] == "abc"


def test_what_no_block_holds_is_nodata_and_takes_no_room(tmp_path: Path) -> None:
    path = tmp_path / "map.tif"
    with writer(path, grid_of(3000, 4000)) as file:
        file.write(np.ones((1, 100, 100), np.uint8), Window(2000, 1000, 100, 100))
    with rasterio.open(path) as written:
        pixels = written.read(1)
        stored = written.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1)
    assert stored is None
    assert (pixels == 1).sum() == 100 * 100
    assert (pixels[1000:1100, 2000:2100] == 1).all()
    assert (pixels == 255).sum() == 3000 * 4000 - 100 * 100


def test_after_an_error_nothing_is_left_where_nothing_was_finished(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), writer(tmp_path / "map.tif", grid_of(3, 4)):
        raise ZeroDivisionError
    assert names_in(tmp_path) == []


def begin(path: Path) -> None:
    """Write the upper of two blocks, then stop with an error."""
    with writer(path, grid_of(4, 4)) as file:
        file.write(np.ones((1, 2, 4), np.uint8), Window(0, 0, 4, 2))
        raise ZeroDivisionError


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A map of which the upper half is finished."""
    with pytest.raises(ZeroDivisionError):
        begin(tmp_path / "map.tif")
    return tmp_path / "map.tif"


def test_finished_blocks_are_gone_on_with(begun: Path) -> None:
    assert names_in(begun.parent) == [".map.tif.partial"]
    with writer(begun, grid_of(4, 4), resume=True) as file:
        assert file.has(Window(0, 0, 4, 2))
        assert not file.has(Window(0, 2, 4, 2))
        file.write(np.full((1, 2, 4), 2, np.uint8), Window(0, 2, 4, 2))
    assert names_in(begun.parent) == ["map.tif"]
    with rasterio.open(begun) as written:
        assert written.read(1)[:, 0].tolist() == [1, 1, 2, 2]


def test_finished_blocks_are_forgotten_without_resume(begun: Path) -> None:
    with writer(begun, grid_of(4, 4)) as file:
        file.write(np.full((1, 2, 4), 2, np.uint8), Window(0, 2, 4, 2))
    assert names_in(begun.parent) == ["map.tif"]
    with rasterio.open(begun) as written:
        assert written.read(1)[:, 0].tolist() == [255, 255, 2, 2]


@pytest.mark.parametrize("resume", [False, True])
def test_two_writers_of_one_file(tmp_path: Path, resume: bool) -> None:
    path = tmp_path / "map.tif"
    with writer(path, grid_of(2, 4)) as file:
        file.write(np.ones((1, 2, 4), np.uint8), Window(0, 0, 4, 2))
        second = writer(path, grid_of(2, 4), resume=resume)
        with pytest.raises(OutputError, match="another process is writing"), second:
            pass
    with rasterio.open(path) as written:
        assert (written.read() == 1).all()


def test_an_error_while_publishing_keeps_the_old_file_and_the_blocks(tmp_path: Path) -> None:
    path = tmp_path / "map.tif"
    path.write_text("old")

    def fail(_: Path, finished: Path) -> None:
        finished.write_text("half")
        raise RasterioIOError("the disk made a noise")

    with (
        pytest.raises(OutputError, match=r"noise.*kept for --resume"),
        writer(path, grid_of(3, 4), overwrite=True, publish=fail) as file,
    ):
        file.write(np.ones((1, 3, 4), np.uint8), Window(0, 0, 4, 3))
    assert path.read_text() == "old"
    assert "finished.tif" not in names_in(tmp_path / ".map.tif.partial")
    with writer(path, grid_of(3, 4), overwrite=True, resume=True):
        pass
    assert names_in(tmp_path) == ["map.tif"]
    with rasterio.open(path) as written:
        assert (written.read() == 1).all()


def test_a_replaced_map_takes_its_old_statistics_along(tmp_path: Path) -> None:
    path = tmp_path / "map.tif"
    write_map(path, np.ones((1, 3, 4), np.uint8))
    (tmp_path / "map.tif.aux.xml").write_text("<PAMDataset/>")
    write_map(path, np.zeros((1, 3, 4), np.uint8), overwrite=True)
    assert names_in(tmp_path) == ["map.tif"]


def test_places_that_cannot_be_written_are_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "old.tif").touch()
    with pytest.raises(OutputError, match="--overwrite"):
        writer(tmp_path / "old.tif", grid_of(1, 1))
    with pytest.raises(OutputError, match="is a folder"):
        writer(tmp_path, grid_of(1, 1), overwrite=True)
    with pytest.raises(OutputError, match="cannot write in"):
        check_output(tmp_path / "old.tif" / "map.tif", overwrite=False)
    with pytest.raises(OutputError, match="cannot write in"):
        check_output(Path("/proc/map.tif"), overwrite=False)


@pytest.mark.parametrize(
    ("shape", "dtype", "window"),
    [
        ((1, 3, 3), "uint8", Window(0, 0, 4, 3)),
        ((1, 3, 4), "int16", Window(0, 0, 4, 3)),
        ((1, 3, 4), "uint8", Window(1, 0, 4, 3)),
        ((1, 3, 4), "uint8", Window(0, -1, 4, 3)),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    tmp_path: Path, shape: tuple[int, ...], dtype: str, window: Window
) -> None:
    with writer(tmp_path / "map.tif", grid_of(3, 4)) as file, pytest.raises(ValueError):  # noqa: PT011
        file.write(np.zeros(shape, dtype), window)


# The limit on the size of a file stands in for a full disk; it also hits whatever pytest writes,
# so a child process has it to itself.
_SMALL_DISK = """
import resource, sys
from functools import partial
from pathlib import Path
import numpy as np
from affine import Affine
from rasterio.windows import Window
from rsmeta.errors import OutputError
from rsmeta.geo.grid import Grid
from rsmeta.geo.block_vrt import RasterSpec, write_block_vrt
from rsmeta.geo.writer import RasterWriter
from rsmeta.gis.outputs.cog import publish_cog
step, limit = int(sys.argv[2]), int(sys.argv[3])
noise = np.random.default_rng(0).integers(0, 255, (1, 600, 600), dtype=np.uint8)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
try:
    with RasterWriter(
        Path(sys.argv[1]), RasterSpec(Grid(None, Affine.identity(), 600, 600), 1, "uint8", None),
        publish=partial(publish_cog, overviews="nearest"),
    ) as file:
        for row in range(0, 600, step):
            file.write(noise[:, row:row + step], Window(0, row, 600, step))
except OutputError as error:
    print("said:", error)
"""


@pytest.mark.parametrize(
    ("step", "limit", "kept"), [(600, 50_000, False), (100, 50_000, False), (100, 150_000, True)]
)
def test_a_disk_that_fills_up_is_said(tmp_path: Path, step: int, limit: int, kept: bool) -> None:
    """It is met by the first block, or by the whole file when all blocks are written."""
    path = tmp_path / "map.tif"
    child = subprocess.run(
        [sys.executable, "-c", _SMALL_DISK, str(path), str(step), str(limit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"said: cannot write {path}" in child.stdout, child.stderr
    assert ("kept for --resume" in child.stdout) == kept
    assert names_in(tmp_path) == ([".map.tif.partial"] if kept else [])


@settings(max_examples=12, deadline=None)
@given(
    height=st.sampled_from([1, 2, 37, 512, 513, 1100]),
    width=st.sampled_from([1, 2, 41, 512, 513, 768, 1023, 1100]),
    kind=st.sampled_from(["classes", "probabilities", "heights"]),
)
def test_cogs_are_valid_and_keep_everything(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, kind: str
) -> None:
    path = tmp_path_factory.mktemp("cog") / "map.tif"
    count, dtype, overviews = {
        "classes": (1, "uint8", "mode"),
        "probabilities": (4, "uint8", "average"),
        "heights": (2, "float32", "average"),
    }[kind]
    pixels = np.random.default_rng(0).integers(0, 4, (count, height, width)).astype(dtype)
    grid = write_map(
        path,
        pixels,
        colormap=PALETTE if kind == "classes" else None,
        descriptions=[f"band {i}" for i in range(count)],
        tags={"RSMETA_MODEL": "abc"},
        publish=partial(publish_cog, overviews=overviews),
    )
    valid, errors, warned = cog_validate(path, quiet=True)
    assert valid, errors
    # No file of a single column satisfies the validator: it measures overviews by width.
    assert not warned or (width == 1 and height > 512)
    with rasterio.open(path) as written:
        np.testing.assert_array_equal(written.read(), pixels)
        assert Grid(written.crs, written.transform, *written.shape) == grid
        assert written.nodata == 255
        assert written.descriptions[0] == "band 0"
        assert written.tags()["RSMETA_MODEL"] == "abc"
        assert written.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        if kind == "classes":
            assert written.colormap(1)[0] == (10, 20, 30, 255)


def test_overviews_of_classes_hold_classes_only(tmp_path: Path) -> None:
    pixels = np.zeros((1, 1024, 1024), np.uint8)
    pixels[:, ::4] = 200
    path = tmp_path / "map.tif"
    write_map(path, pixels, publish=partial(publish_cog, overviews="mode"))
    with rasterio.open(path, overview_level=0) as overview:
        assert set(np.unique(overview.read())) <= {0, 200}
