"""The made-up landscape: the same for a seed, and in its numbers a landscape."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas
import numpy as np
import pytest
import rasterio

from rsmeta.sample_data import BANDS, CLASSES, SampleData, make_landscape
from rsmeta.sample_data.__main__ import main
from rsmeta.sample_data.materials import SPECTRA, material

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


def test_the_script_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["folder", "seed"], ["folder", "1", "2"]):
        assert main(arguments) == 2
        assert "usage" in capsys.readouterr().err
