"""The made-up landscape: the same for a seed, and in its numbers a landscape."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas
import numpy as np
import pytest
import rasterio

from rsmeta.geo.scene import ReadRules, open_scene
from rsmeta.sample_data import BANDS, CLASSES, SampleData, make_landscape
from rsmeta.sample_data.__main__ import main
from rsmeta.sample_data.materials import SPECTRA, material
from rsmeta.sample_data.places import draw_place

if TYPE_CHECKING:
    from numpy.typing import NDArray


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SampleData:
    return make_landscape(tmp_path_factory.mktemp("landscape"))


def read(path: Path) -> NDArray[Any]:
    with rasterio.open(path) as file:
        values: NDArray[Any] = np.squeeze(file.read())
    return values


def ndvi(reflectance: NDArray[Any]) -> NDArray[Any]:
    red, nir = reflectance[BANDS.index("B04")], reflectance[BANDS.index("B08")]
    index: NDArray[Any] = (nir - red) / (nir + red)
    return index


def test_the_script_writes_the_same_pixels(made: SampleData, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rsmeta.sample_data", str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert {Path(line) for line in done.stdout.splitlines()} == set(tmp_path.iterdir())
    for path in (*made.scenes, *made.labels, made.classes):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_another_seed_gives_another_landscape(made: SampleData, tmp_path: Path) -> None:
    other = make_landscape(tmp_path, seed=1)
    for first, second in zip(
        (*made.scenes, *made.labels), (*other.scenes, *other.labels), strict=True
    ):
        assert not np.array_equal(read(first), read(second))


def test_scenes_are_what_a_sentinel_2_stack_is(made: SampleData) -> None:
    for scene, labels in zip(made.scenes, made.labels, strict=True):
        with rasterio.open(scene) as image, rasterio.open(labels) as truth:
            assert image.descriptions == BANDS
            assert set(image.dtypes) == {"uint16"}
            assert image.nodata == 0
            assert image.scales == (1e-4,) * 13
            assert image.res == (10, 10)
            assert image.crs.to_epsg() == 32633
            assert (truth.crs, truth.transform, truth.shape) == (
                image.crs,
                image.transform,
                image.shape,
            )
            assert truth.colormap(1)[1] == (*CLASSES[0].rgb, 255)


def test_places_do_not_overlap(made: SampleData) -> None:
    west, east = (rasterio.open(path).bounds for path in made.scenes)
    assert west.right < east.left


def test_classes_have_a_long_tail(made: SampleData) -> None:
    for path in made.labels:
        counts = np.bincount(read(path).ravel(), minlength=len(CLASSES) + 1)[1:]
        shares = np.sort(counts / counts.sum())[::-1]
        assert counts.min() >= 300, "every class can be learned"
        assert shares[:3].sum() > 0.45
        assert shares[-1] < 0.02
        assert shares[0] / shares[-1] > 10


def test_no_data_is_an_oblique_edge_without_labels(made: SampleData) -> None:
    for scene, labels in zip(made.scenes, made.labels, strict=True):
        image, truth = read(scene), read(labels)
        empty = (image == 0).all(axis=0)
        assert 0.05 < empty.mean() < 0.25
        widths = empty.sum(axis=1)
        assert widths.min() > 0
        assert widths.max() > 1.5 * widths.min()
        assert ((image == 0).any(axis=0) & ~empty).any(), "bands end at different places"
        assert not truth[(image == 0).any(axis=0)].any()


def test_indices_are_those_of_the_materials(made: SampleData) -> None:
    values = {c.name: c.value for c in CLASSES}
    for scene, labels in zip(made.scenes, made.labels, strict=True):
        reflectance, truth = read(scene) / 1e4, read(labels)
        with np.errstate(invalid="ignore"):  # 0 / 0 beyond the swath
            index = ndvi(reflectance)

        def typical(name: str, of: NDArray[Any], truth: NDArray[Any] = truth) -> float:
            return float(np.median(of[truth == values[name]]))

        assert typical("broadleaf forest", index) > 0.6
        assert typical("conifer forest", index) > 0.5
        assert typical("green crop", index) > 0.6
        assert typical("bare soil", index) < 0.3
        assert typical("water", index) < 0
        swir = reflectance[BANDS.index("B11")]
        assert typical("water", swir) < 0.05 < typical("built-up", swir)
        blue = reflectance[BANDS.index("B02")]
        assert typical("cloud", blue) > 0.3 > 0.15 > typical("cloud shadow", blue)
        cirrus = reflectance[BANDS.index("B10")]
        assert np.median(cirrus[truth > 0]) < 0.02


def test_spectra_are_physical() -> None:
    assert ((SPECTRA > 0) & (SPECTRA < 1)).all()
    for name in ("broadleaf", "conifer", "grass", "green crop"):
        spectrum = SPECTRA[material(name)]
        green, red, edge, nir = (spectrum[BANDS.index(b)] for b in ("B03", "B04", "B06", "B08"))
        assert red < green < edge < nir


def test_polygons_lie_on_their_classes_in_another_crs(made: SampleData) -> None:
    frame = geopandas.read_file(made.polygons)
    assert frame.crs.to_epsg() == 4326
    assert set(frame["class"]) <= {c.name for c in CLASSES}
    assert len(frame) > 30
    truth, values = read(made.labels[0]), {c.name: c.value for c in CLASSES}
    with rasterio.open(made.labels[0]) as file:
        points = frame.to_crs(file.crs).representative_point()
        found = [int(truth[file.index(point.x, point.y)]) for point in points]
    assert np.mean(np.array(found) == frame["class"].map(values)) > 0.9


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SampleData]:
    folder = tmp_path_factory.mktemp("sensors")
    return {sensor: make_landscape(folder, sensor=sensor) for sensor in ("landsat8", "sentinel1")}


def test_the_named_places_never_change(made: SampleData) -> None:
    """Pictures, documentation and benchmarks show these very pixels."""
    digests = [hashlib.sha256(read(path).tobytes()).hexdigest()[:16] for path in made.scenes]
    assert digests == ["86d3e18a7a7cd21f", "196526522610b516"]


def test_landsat_has_its_own_grid_and_counts(others: dict[str, SampleData]) -> None:
    for path, labels in zip(others["landsat8"].scenes, others["landsat8"].labels, strict=True):
        scene = open_scene(path)
        assert [band.common_name for band in scene.bands] == [
            "coastal", "blue", "green", "red", "nir08", "swir16", "swir22",
        ]  # fmt: skip
        named = open_scene(path, ReadRules(sensor="landsat_oli"))
        assert [band.name for band in named.bands] == [f"B{i}" for i in range(1, 8)]
        assert named.scale == scene.scale == (0.0000275,) * 7
        assert named.offset == scene.offset == (-0.2,) * 7
        transform = scene.grid.transform
        assert scene.grid.pixel_size == (30, 30)
        assert (transform.c % 30, transform.f % 30) == (15, 15)
        with rasterio.open(labels) as truth:
            assert (truth.transform, truth.shape) == (transform, (159, 159))


def test_sensors_see_the_same_ground(made: SampleData, others: dict[str, SampleData]) -> None:
    """Where Landsat knows a class, most of the Sentinel-2 pixels beneath are of that class."""
    forest, water = 3, 1
    for sentinel, landsat in zip(made.labels, others["landsat8"].labels, strict=True):
        with rasterio.open(sentinel) as fine, rasterio.open(landsat) as coarse:
            known = coarse.read(1)
            beneath = fine.read(1)[1:478, 1:478].reshape(159, 3, 159, 3)[:, 1, :, 1]
            offset = (coarse.transform.c - fine.transform.c, fine.transform.f - coarse.transform.f)
        assert max(offset) <= 25
        for value in (forest, water):
            both = (known == value) & (beneath > 0) & (beneath < 10)
            assert (beneath[both] == value).mean() > 0.85


def test_landsat_is_surface_reflectance(others: dict[str, SampleData]) -> None:
    path, labels = others["landsat8"].scenes[0], others["landsat8"].labels[0]
    scene, truth = open_scene(path), read(labels)
    chip = scene.read(scene.grid.full_window)
    red, nir = chip.data[3], chip.data[4]
    conifer, water = truth == 3, truth == 1
    assert np.median((nir - red)[conifer] / (nir + red)[conifer]) > 0.6
    assert np.median(nir[water]) < 0.05
    assert np.median(chip.data[1][conifer]) < 0.04, "no light of the air is left in blue"
    assert not truth[~chip.valid].any()


def test_radar_is_backscatter_with_speckle_and_no_clouds(others: dict[str, SampleData]) -> None:
    path, labels = others["sentinel1"].scenes[0], others["sentinel1"].labels[0]
    scene, truth = open_scene(path), read(labels)
    assert scene.sensor == "sentinel1_grd"
    chip = scene.read(scene.grid.full_window)
    values = {c.name: c.value for c in CLASSES}
    assert not np.isin(truth, [values["cloud"], values["cloud shadow"]]).any()
    vv, vh = chip.data
    assert (vv > vh)[chip.valid].mean() > 0.9
    lake = 10 ** (vv[truth == values["water"]] / 10)
    town = 10 ** (vv[truth == values["built-up"]] / 10)
    assert 10 * np.log10(np.median(lake)) < -16 < -9 < 10 * np.log10(np.median(town))
    forest = truth == values["conifer forest"]
    steps = (vh[:, 1:] - vh[:, :-1])[forest[:, 1:] & forest[:, :-1]]
    # Two gamma variables of 4.4 looks differ by 3.1 dB (a variance of 2 trigamma(4.4)).
    assert 3.0 < steps.std() < 3.5, "the looks of a GRD product"
    assert 0.02 < (~chip.valid).mean() < 0.2


@pytest.mark.slow
def test_varied_places_are_seen_in_light_air_and_contrast_of_their_own(tmp_path: Path) -> None:
    made = make_landscape(tmp_path, sensor="varied", seed=1, places=2)
    scenes = [open_scene(path) for path in made.scenes]
    for scene, labels in zip(scenes, made.labels, strict=True):
        assert [band.name for band in scene.bands] == [
            name for name in BANDS if name not in ("B01", "B09", "B10")
        ]
        truth = read(labels)
        assert truth.shape == scene.grid.shape
        assert len(np.unique(truth)) > 8
    assert {scene.grid.pixel_size[0] for scene in scenes} <= {10, 20, 30}
    values = [scene.read(scene.grid.full_window).data for scene in scenes]
    assert all(np.isfinite(one).all() for one in values)
    centres = np.array([one.mean(axis=(1, 2)) for one in values])
    assert np.ptp(centres, axis=0).max() > 0.02, "no two places have the same light"


def test_places_are_drawn_by_seed(tmp_path: Path) -> None:
    drawn = [
        [draw_place(np.random.default_rng([seed, number]), number) for number in range(40)]
        for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    spots = {(place.west_m, place.north_m) for place in drawn[0]}
    assert len(spots) == 40, "no place lies on another"
    days = {place.acquired[:10] for place in drawn[0]}
    assert len(days) > 20, "several seasons"
    assert all(15 < place.sun_elevation_deg < 70 for place in drawn[0])
    made = make_landscape(tmp_path, seed=5, places=1)
    assert [path.name for path in made.scenes] == ["place000.tif"]
    assert set(np.unique(read(made.labels[0]))) >= set(range(10))


def test_the_script_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        [], ["folder", "seed"], ["f", "--sensor", "spot"], ["f", "--places", "0"],
        ["f", "--seed", "-1"],
    ):  # fmt: skip
        assert main(arguments) == 2
        assert "usage" in capsys.readouterr().err
    assert main(["--help"]) == 0
