"""Outputs: where they are made and where they end up."""

from __future__ import annotations

from pathlib import Path

import pytest

from rsmeta.errors import OutputError
from rsmeta.gis.outputs.destinations import Output
from rsmeta.gis.outputs.products import Products


def test_a_local_file_is_made_where_it_is_wanted() -> None:
    output = Output.at("maps/west.tif")
    assert output == Output(Path("maps/west.tif"), "maps/west.tif")
    assert not output.is_delivered


@pytest.mark.parametrize("given", ["s3://bucket/a/west.tif", Path("s3://bucket/a/west.tif")])
def test_an_object_is_made_elsewhere_and_its_sidecars_go_with_it(given: str | Path) -> None:
    output = Output.at(given)
    assert output.destination == "s3://bucket/a/west.tif"
    assert output.is_delivered
    assert output.local.name == "west.tif"
    sidecar = output.sidecar(output.local.with_suffix(".qml"))
    assert sidecar.destination == "s3://bucket/a/west.qml"


def test_an_array_file_is_made_as_a_geotiff_and_its_sidecars_stay() -> None:
    output = Output.at(Path("maps/west.nc"))
    assert output.destination == "maps/west.nc"
    assert output.local.suffix == ".tif"
    assert not output.sidecar(output.local.with_suffix(".qml")).is_delivered


def test_a_local_folder_that_is_named_like_a_converted_one_is_not_delivered() -> None:
    """Nothing is read out of path names."""
    assert not Output.at(".west.nc.made/west.tif").is_delivered


def test_a_folder_in_a_store_gets_a_file_per_scene() -> None:
    wanted = Products("s3://bucket/maps", stac="s3://bucket/items")
    placed = wanted.of_scene("west", scenes=2)
    assert placed.map == "s3://bucket/maps/west_map.tif"
    assert placed.outputs["stac"].destination == "s3://bucket/items/west_map.json"


@pytest.mark.parametrize("given", ["s3://", "s3://b/../c.tif", "s3://b/c.zarr", "gs://b/c.tif"])
def test_what_cannot_be_written_is_refused(given: str) -> None:
    with pytest.raises(OutputError, match=given):
        Output.at(given)
