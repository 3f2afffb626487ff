"""Which scenes show one place: those that share pixels, not those that share an edge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rasterio.crs import CRS

from rsmeta.config.data import DataSettings
from rsmeta.data.datamodule import SceneDataModule
from rsmeta.data.places import same_place
from rsmeta.errors import SplitError
from rsmeta.geo.grid import Grid

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene

CRSS = {
    "EPSG:32633": (10.0, 500_000.0, 5_150_000.0),
    "EPSG:4326": (1e-4, 12.0, 46.0),
    "EPSG:3413": (40.0, 1_000_000.0, -1_000_000.0),
    "EPSG:3857": (30.0, 1_500_000.0, 6_000_000.0),
    "": (1.0, 7.0, 3.0),
}


def tile(crs: str, col: int, row: int, size: int, turned: bool = False) -> Grid:
    pixel, x, y = CRSS[crs]
    cos, sin = (0.8, 0.6) if turned else (1.0, 0.0)
    there = Affine(pixel * cos, pixel * sin, x, pixel * sin, -pixel * cos, y)
    left, top = there.c + there.a * col + there.b * row, there.f + there.d * col + there.e * row
    moved = Affine(there.a, there.b, left, there.d, there.e, top)
    return Grid(CRS.from_string(crs) if crs else None, moved, size, size)


@given(
    crs=st.sampled_from(sorted(CRSS)),
    size=st.integers(1, 400),
    overlap=st.integers(0, 3),
    down=st.integers(-1, 1),
    turned=st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_neighbours_are_places_of_their_own_unless_they_share_pixels(
    crs: str, size: int, overlap: int, down: int, turned: bool
) -> None:
    overlap = min(overlap, size)
    grids = [tile(crs, 0, 0, size, turned), tile(crs, size - overlap, down * size, size, turned)]
    shared = overlap > 0 and down == 0
    assert len(same_place(grids, touching=False)) == (1 if shared else 2)
    assert len(same_place(grids)) == 1, "a gap between parts reaches over a shared edge"


@pytest.mark.parametrize("labels", ["{stem}_labels.tif", "{stem}_labels.png"])
def test_files_without_georeferencing_are_places_of_their_own(tmp_path: Path, labels: str) -> None:
    rng = np.random.default_rng(0)
    for i in range(4):
        values = rng.integers(1, 3, (48, 48)).astype(np.uint8)
        Image.fromarray(values * 100).save(tmp_path / f"s{i}.png")
        Image.fromarray(values).save(tmp_path / labels.replace("{stem}", f"s{i}"))
    settings_ = DataSettings.model_validate(
        {"root": tmp_path, "scenes": [f"s{i}.png" for i in range(4)], "labels": labels,
         "bands": ["grey"], "classes": {1: "a", 2: "b"}, "chip_px": 16, "split": "files"}
    )  # fmt: skip
    data = SceneDataModule(settings_, seed=0)
    assert [len(data.parts[part]) for part in ("train", "validation")] == [3, 1]


@pytest.mark.parametrize(("step", "places"), [(48, 4), (47, 1)])
def test_a_mosaic_of_tiles_can_be_divided_by_files(
    make_scene: MakeScene, tmp_path: Path, step: int, places: int
) -> None:
    rng = np.random.default_rng(0)
    for i in range(4):
        there = Affine(10, 0, 500_000 + 10 * step * (i % 2), 0, -10, 5e6 - 10 * step * (i // 2))
        values = rng.integers(1, 3, (48, 48)).astype(np.uint8)
        make_scene(tmp_path / f"s{i}.tif", values, descriptions=("red",), transform=there)
        make_scene(tmp_path / f"s{i}_labels.tif", values, transform=there)
    settings_ = DataSettings.model_validate(
        {"root": tmp_path, "scenes": "s?.tif", "labels": "{stem}_labels.tif",
         "classes": {1: "a", 2: "b"}, "chip_px": 16, "split": "files"}
    )  # fmt: skip
    if places == 1:
        with pytest.raises(SplitError, match="cover 1 separate place"):
            SceneDataModule(settings_, seed=0)
    else:
        assert len(SceneDataModule(settings_, seed=0).parts["validation"]) == 1
