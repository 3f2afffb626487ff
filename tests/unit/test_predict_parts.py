"""A map in parts: files whose pixels are those of the whole map, and that a VRT joins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
import torch

import rsmeta
from rsmeta.errors import ConfigError, OutputError, RsmetaError
from tests.unit.mapping_bundles import bundle_of, random_scene

if TYPE_CHECKING:
    from pathlib import Path

    from rsmeta.bundle import ModelBundle
    from tests.conftest import MakeScene

SHAPE = (1300, 40)  # three rows of the file's tiles


class Neighbourhood(torch.nn.Module):
    """Its bands, smoothed: a pixel depends on those around it, and on its place in the tile."""

    def forward(self, image: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        ramp = torch.linspace(0, 0.1, image.shape[-2])[:, None]
        return torch.nn.functional.avg_pool2d(image, 5, 1, 2) * 3 + ramp * image[:, :1]


@pytest.fixture
def scene(tmp_path: Path, make_scene: MakeScene) -> Path:
    random_scene(make_scene, tmp_path / "s.tif", SHAPE, 3, holes=True)
    return tmp_path / "s.tif"


@pytest.fixture
def bundle() -> ModelBundle:
    return bundle_of(Neighbourhood(), classes=2, tile_px=64, block_px=256)


def mapped(scene: Path, bundle: ModelBundle, output: Any, part: str | None, **more: Any) -> None:
    rsmeta.predict(scene, bundle, output=output, aoi=rsmeta.AreaOfInterest(part=part), **more)


def test_parts_are_the_whole_map_in_files_that_a_vrt_joins(
    tmp_path: Path, scene: Path, bundle: ModelBundle
) -> None:
    whole, parts = (
        rsmeta.Products(tmp_path / f"{name}.tif", probabilities=tmp_path / f"{name}_shares.tif")
        for name in ("whole", "map")
    )
    mapped(scene, bundle, whole, None)
    joined = tmp_path / "map.vrt", tmp_path / "map_shares.vrt"
    for number in (2, 3, 1):
        assert not any(path.exists() for path in joined)
        mapped(scene, bundle, parts, f"{number}/3")
    heights = []
    for number in (1, 2, 3):
        with rasterio.open(tmp_path / f"map_{number}of3.tif") as part:
            assert part.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            heights.append(part.height)
    assert heights == [512, 512, 276]
    for path, file in zip(joined, (whole.files["map"], whole.files["probabilities"]), strict=True):
        with rasterio.open(path) as found, rasterio.open(file) as expected:
            assert np.array_equal(found.read(), expected.read(), equal_nan=True)
            for what in ("transform", "crs", "shape", "dtypes", "descriptions", "nodata"):
                same = getattr(found, what), getattr(expected, what)
                assert same[0] == same[1] or np.isnan(same).all(), what
    with rasterio.open(joined[0]) as found, rasterio.open(whole.files["map"]) as expected:
        for value in (0, 10, 255):  # two classes, and no data
            assert found.colormap(1)[value] == expected.colormap(1)[value]


def test_parts_of_another_model_or_size_are_not_joined(
    tmp_path: Path, scene: Path, bundle: ModelBundle
) -> None:
    record = bundle.record.model_copy(update={"weights_sha256": "1" * 64})
    other = rsmeta.ModelBundle(record, bundle.network)
    output, joined = tmp_path / "map.tif", tmp_path / "map.vrt"
    mapped(scene, other, output, "1/2")
    mapped(scene, bundle, output, "2/2")
    assert not joined.exists()
    mapped(scene, bundle, output, "1/2", if_exists="overwrite")
    assert joined.exists()
    joined.unlink()
    mapped(scene, bundle, output, "1/2", if_exists="resume")  # kept, and joined again
    assert joined.exists()
    with pytest.raises(OutputError, match=r"map\.vrt exists already"):
        mapped(scene, bundle, output, "1/3")


@pytest.mark.parametrize("part", ["0/2", "3/2", "2", "a/b", "1/2/3", "-1/2", ""])
def test_a_part_is_written_as_a_number_of_a_count(part: str) -> None:
    with pytest.raises(ConfigError, match=r"write I/N, with I from 1 to N, e\.g\. 2/8"):
        rsmeta.AreaOfInterest(part=part)


def test_what_has_no_parts_says_so_before_any_work(
    tmp_path: Path, scene: Path, bundle: ModelBundle
) -> None:
    def refused(message: str, output: str = "m.tif", part: str = "1/2", **more: Any) -> None:
        with pytest.raises(RsmetaError, match=message):
            mapped(scene, more.pop("bundle", bundle), tmp_path / output, part, **more)

    refused("the map has only 1300 rows of pixels; make at most 3 parts", part="1/4")
    refused("knows nothing of its neighbours", postprocess=rsmeta.Postprocess(sieve_px=3))
    refused("name a local .tif", "m.zarr")
    images = bundle_of(Neighbourhood(), classes=2, per="image")
    refused("models of pixels, not of whole images", bundle=images)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.tif"]
