"""A source is one value: what messages, records, --resume and GDAL call it."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from rsmeta.geo.raster_source import RasterSource


def test_a_file_is_itself_whatever_folder_it_is_named_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    near, far = RasterSource.of("scene.tif"), RasterSource.of(tmp_path / "scene.tif")
    assert near.identity == far.identity == str(tmp_path / "scene.tif")
    assert (near.name, near.path, near.is_remote) == ("scene.tif", Path("scene.tif"), False)
    assert near.absolute().path == tmp_path / "scene.tif"


def test_credentials_reach_gdal_and_nobody_else() -> None:
    source = RasterSource.of("https://me:secret@host/a.tif?token=secret")
    assert source.gdal_name == "/vsicurl/https://me:secret@host/a.tif?token=secret"
    for told in (source.name, source.uri, source.identity):
        assert told == "https://host/a.tif"
    assert source.is_remote
    assert source.path is None


@pytest.mark.parametrize(
    ("given", "gdal_name"),
    [
        ("s3://bucket/a.tif", "/vsis3/bucket/a.tif"),
        ("gs://bucket/a.tif", "/vsigs/bucket/a.tif"),
        ("/vsizip/a.zip/b.tif", "/vsizip/a.zip/b.tif"),
        ("NETCDF:a.nc:b", "NETCDF:a.nc:b"),
    ],
)
def test_what_only_gdal_finds_is_no_path(given: str, gdal_name: str) -> None:
    source = RasterSource.of(given)
    assert source.gdal_name == gdal_name
    assert source.path is None
    assert source.absolute() == source


def test_a_vrt_of_signed_addresses_stays_the_same_when_they_are_signed_anew() -> None:
    xml = (
        "<VRTDataset><SourceFilename>/vsicurl/https://h/a.tif?sig={}</SourceFilename></VRTDataset>"
    )
    first, second = (RasterSource.of_vrt(xml.format(n), "item", "s/item.json") for n in (1, 2))
    assert first.identity == second.identity
    assert first.gdal_name != second.gdal_name
    assert (first.name, first.uri, first.is_remote) == ("item", "s/item.json", True)
    assert pickle.loads(pickle.dumps(first)) == first
