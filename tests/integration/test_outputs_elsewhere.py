"""Maps as Zarr and NetCDF, and in object stores; scenes from there."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyogrio
import pytest
import rasterio
import rioxarray
import xarray as xr

from rsmeta.gis.outputs import object_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.conftest import Rsmeta, TinyRun


@pytest.fixture
def expected(rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path) -> np.ndarray:
    """The map of the tiny run's scene as a GeoTIFF holds it."""
    path = tmp_path / "expected.tif"
    ended = rsmeta("predict", tiny_run.scene, "--model", tiny_run.bundle, "--output", path)
    assert ended.status == 0, ended.err
    with rasterio.open(path) as dataset:
        return dataset.read(1)


@pytest.fixture
def cube(tiny_run: TinyRun) -> xr.DataArray:
    array = rioxarray.open_rasterio(tiny_run.scene)
    assert isinstance(array, xr.DataArray)
    named = array.assign_coords(band=["green", "red", "nir"])
    del named.attrs["long_name"]
    return named


def written(cube: xr.DataArray, path: Path) -> Path:
    dataset = cube.to_dataset(name="reflectance")
    if path.suffix == ".zarr":
        dataset.chunk(x=40).to_zarr(path, zarr_format=2)
    else:
        dataset.to_netcdf(path, engine="h5netcdf")
    return path


def opened(path: Path) -> xr.Dataset:
    engine: Any = "zarr" if path.suffix == ".zarr" else "h5netcdf"
    return xr.open_dataset(path, engine=engine, mask_and_scale=False, decode_coords="all")


@pytest.mark.parametrize(("scene", "result"), [("s.zarr", "m.zarr"), ("s.nc", "m.nc")])
def test_zarr_and_netcdf_in_and_out(
    rsmeta: Rsmeta, tiny_run: TinyRun, cube: xr.DataArray, expected: np.ndarray, tmp_path: Path,
    scene: str, result: str,
) -> None:  # fmt: skip
    source = written(cube, tmp_path / scene)
    words = ("predict", source, "--model", tiny_run.bundle, "--output", tmp_path / result)
    ended = rsmeta(*words)
    assert ended.status == 0, ended.err
    with opened(tmp_path / result) as dataset:
        classes = dataset["map"]
        np.testing.assert_array_equal(classes.values, expected)
        assert classes.dtype == np.uint8
        assert classes.rio.crs == cube.rio.crs
        assert classes.rio.transform() == cube.rio.transform()
        assert classes.rio.nodata == 255
        assert classes.attrs["flag_meanings"] == "bare meadow"
        assert list(classes.attrs["flag_values"]) == [1, 2]
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")], "nothing is left over"
    assert "exists already" in rsmeta(*words).complaint
    again = rsmeta(*words, "--resume")
    assert again.status == 0, again.err
    assert "was finished already" in again.out
    assert rsmeta(*words, "--overwrite").status == 0


def test_probabilities_as_netcdf(
    rsmeta: Rsmeta, tiny_run: TinyRun, expected: np.ndarray, tmp_path: Path
) -> None:
    ended = rsmeta(
        "predict", tiny_run.scene, "--model", tiny_run.bundle, "--output", tmp_path / "m.tif",
        "--probabilities", tmp_path / "p.nc",
    )  # fmt: skip
    assert ended.status == 0, ended.err
    with opened(tmp_path / "p.nc") as dataset:
        shares = dataset["probabilities"]
        assert list(shares.coords["band"].values) == ["bare", "meadow"]
        valid = expected != 255
        np.testing.assert_array_equal(np.isfinite(shares.values).all(0), valid)
        best = np.array([1, 2])[shares.values[:, valid].argmax(0)]
        np.testing.assert_array_equal(best, expected[valid])


def test_what_holds_no_scene_is_said(rsmeta: Rsmeta, tmp_path: Path) -> None:
    (tmp_path / "empty.zarr").mkdir()
    (tmp_path / "text.nc").write_text("no NetCDF", encoding="utf-8")
    xr.Dataset({"t": ("time", [1.0, 2.0])}).to_netcdf(tmp_path / "t.nc", engine="h5netcdf")
    assert "cannot read" in rsmeta("inspect", tmp_path / "empty.zarr").complaint
    assert "cannot read" in rsmeta("inspect", tmp_path / "text.nc").complaint
    assert "holds no raster" in rsmeta("inspect", tmp_path / "t.nc").complaint
    assert "check the path" in rsmeta("inspect", tmp_path / "gone.zarr").complaint


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Address of a made-up S3 store."""
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def store(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A client of the store, with a bucket ``maps``; the environment points to it."""
    import boto3

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", None)
    client = boto3.client("s3")
    client.create_bucket(Bucket="maps")
    yield client
    for entry in client.list_objects_v2(Bucket="maps").get("Contents", []):
        client.delete_object(Bucket="maps", Key=entry["Key"])
    client.delete_bucket(Bucket="maps")


def test_from_a_store_and_back(
    rsmeta: Rsmeta, tiny_run: TinyRun, expected: np.ndarray, store: Any, tmp_path: Path
) -> None:
    store.upload_file(str(tiny_run.scene), "maps", "in/scene.tif")
    words = (
        "predict", "s3://maps/in/scene.tif", "--model", tiny_run.bundle,
        "--output", "s3://maps/out/map.tif", "--confidence", "s3://maps/out/sure.tif",
    )  # fmt: skip
    ended = rsmeta(*words)
    assert ended.status == 0, ended.err
    assert "s3://maps/out/map.tif" in ended.out
    keys = [entry["Key"] for entry in store.list_objects_v2(Bucket="maps")["Contents"]]
    assert {"in/scene.tif", "out/map.tif", "out/map.qml", "out/sure.tif"} <= set(keys)
    store.download_file("maps", "out/map.tif", str(tmp_path / "back.tif"))
    with rasterio.open(tmp_path / "back.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(1), expected)
    assert not list((tmp_path / "temporary").rglob("map*"))
    assert "exists already" in rsmeta(*words).complaint
    again = rsmeta(*words, "--resume")
    assert "was finished already" in again.out, again.err


def test_polygons_and_items_go_to_a_store_and_the_map_comes_last(
    rsmeta: Rsmeta, tiny_run: TinyRun, store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are called alike, and the links between them hold where they are then."""
    arrived, upload = [], object_store.upload
    with monkeypatch.context() as watched:
        watched.setattr(
            object_store, "upload", lambda file, to: (arrived.append(to), upload(file, to))
        )
        ended = rsmeta(
            "predict", tiny_run.scene, "--model", tiny_run.bundle, "--output", "s3://maps/a/m.tif",
            "--vector", "s3://maps/a/m.gpkg", "--stac", "s3://maps/m.json",
            "--confidence", tmp_path / "sure.tif",
        )  # fmt: skip
    assert ended.status == 0, ended.err
    keys = [entry["Key"] for entry in store.list_objects_v2(Bucket="maps")["Contents"]]
    assert sorted(arrived) == sorted(f"s3://maps/{key}" for key in keys)
    assert arrived[-1] == "s3://maps/a/m.tif"
    assert {"a/m.tif", "a/m.tif.aux.xml", "a/m.qml", "a/m.sld", "a/m.gpkg", "m.json"} == set(keys)
    store.download_file("maps", "a/m.gpkg", str(tmp_path / "back.gpkg"))
    assert len(pyogrio.read_dataframe(tmp_path / "back.gpkg", layer="m")) > 1
    store.download_file("maps", "m.json", str(tmp_path / "back.json"))
    item = json.loads((tmp_path / "back.json").read_text())
    assert {name: asset["href"] for name, asset in item["assets"].items()} == {
        "map": "./a/m.tif", "polygons": "./a/m.gpkg", "confidence": (tmp_path / "sure.tif").as_uri()
    }  # fmt: skip
    assert item["links"][0]["href"] == tiny_run.scene.absolute().as_uri()
    assert not list((tmp_path / "temporary").rglob("m.*"))


def test_an_item_here_names_what_lies_in_a_store(
    rsmeta: Rsmeta, tiny_run: TinyRun, store: Any, tmp_path: Path
) -> None:
    ended = rsmeta(
        "predict", tiny_run.scene, "--model", tiny_run.bundle, "--output", tmp_path / "m.tif",
        "--vector", "s3://maps/v.parquet", "--stac", tmp_path / "m.json",
    )  # fmt: skip
    assert ended.status == 0, ended.err
    item = json.loads((tmp_path / "m.json").read_text())
    assert item["assets"]["polygons"]["href"] == "s3://maps/v.parquet"
    assert item["assets"]["map"]["href"] == "./m.tif"
    assert store.head_object(Bucket="maps", Key="v.parquet")["ContentLength"] > 0
    again = rsmeta(
        "predict", tiny_run.scene, "--model", tiny_run.bundle, "--output", tmp_path / "n.tif",
        "--vector", "s3://maps/v.parquet",
    )  # fmt: skip
    assert "s3://maps/v.parquet exists already" in again.complaint
    assert not (tmp_path / "n.tif").exists()


@pytest.mark.parametrize("result", ["m.nc", "m.zarr"])
def test_polygons_beside_netcdf_and_zarr(
    rsmeta: Rsmeta, tiny_run: TinyRun, expected: np.ndarray, tmp_path: Path, result: str
) -> None:
    words = ("predict", tiny_run.scene, "--model", tiny_run.bundle, "--output", tmp_path / result)
    refused = rsmeta(*words, "--vector", tmp_path / f"v{Path(result).suffix}")
    assert f"--vector {tmp_path / 'v'}{Path(result).suffix}: such a file ends in" in (
        refused.complaint
    )
    assert not (tmp_path / result).exists()
    ended = rsmeta(*words, "--vector", tmp_path / "m.gpkg", "--sieve", 5)
    assert ended.status == 0, ended.err
    frame = pyogrio.read_dataframe(tmp_path / "m.gpkg", layer="m")
    assert frame["pixels"].sum() == np.count_nonzero(expected != 255)
    with opened(tmp_path / result) as dataset:
        assert (dataset["map"].values == 1).sum() == frame[frame["value"] == 1]["pixels"].sum()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")], "nothing is left over"


def test_a_failed_upload_is_made_up_for_by_resume(
    rsmeta: Rsmeta, tiny_run: TinyRun, store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from boto3.exceptions import S3UploadFailedError
    from boto3.s3.transfer import S3Transfer

    def refused(*_: object, **__: object) -> None:
        raise S3UploadFailedError("the network went away")

    words = ("predict", tiny_run.scene, "--model", tiny_run.bundle, "--output", "s3://maps/m.tif")
    with monkeypatch.context() as broken:
        broken.setattr(S3Transfer, "upload_file", refused)
        complaint = rsmeta(*words).complaint
    assert "s3://maps/m." in complaint
    assert "--resume uploads it" in complaint
    assert list((tmp_path / "temporary").rglob("m.tif"))
    ended = rsmeta(*words, "--resume")
    assert ended.status == 0, ended.err
    assert store.head_object(Bucket="maps", Key="m.tif")["ContentLength"] > 0


def test_faults_of_a_store_are_said(
    rsmeta: Rsmeta, tiny_run: TinyRun, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("predict", tiny_run.scene, "--model", tiny_run.bundle, "--output")
    assert "bucket" in rsmeta(*words, "s3://no-such-bucket/m.tif").complaint
    assert "name a local file" in rsmeta(*words, "https://maps.invalid/m.tif").complaint
    assert "no scene at s3://maps/gone.tif" in rsmeta("inspect", "s3://maps/gone.tif").complaint
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert "no credentials" in rsmeta("inspect", "s3://maps/other.tif").complaint
    assert "credentials" in rsmeta(*words, "s3://maps/m.tif").complaint
