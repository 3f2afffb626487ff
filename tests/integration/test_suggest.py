"""``rsmeta suggest``: the next places to label are uncertain, differ, and are not labelled yet."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine

import rsmeta as library
from rsmeta.gis import suggesting
from rsmeta.gis.quantity_map import open_quantity_map

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene
    from tests.integration.conftest import Rsmeta, TinyRun


def confidence(
    make_scene: MakeScene, path: Path, sure: np.ndarray, name: str = "confidence"
) -> Path:
    """Write the confidence of a map on the grid of the western scene."""
    place = Affine(10.0, 0.0, 500_000.0, 0.0, -10.0, 5_150_000.0)
    return make_scene(path, sure.astype(np.float32), nodata=np.nan, descriptions=(name,),
                      transform=place)  # fmt: skip


def test_a_scene_is_mapped_for_it(rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path) -> None:
    output = tmp_path / "nächste Orte.gpkg"
    words = ("suggest", tiny_run.scene, "--model", tiny_run.folder, "--output", output)
    ended = rsmeta(*words, "--count", 4)
    assert ended.status == 0, ended.err
    assert f"{output}: 4 places of 15 x 15 px, uncertainty " in ended.out
    assert [file.name for file in tmp_path.iterdir()] == [output.name]
    found = geopandas.read_file(output, layer="places")
    assert found["place"].tolist() == [1, 2, 3, 4]
    assert found["uncertainty"].is_monotonic_decreasing
    assert found["class"].isna().all()
    assert found.crs == "EPSG:32633"
    assert (found.area / 100 == 15 * 15).all()
    with closing(sqlite3.connect(output)) as database:
        [(layer, column, is_default, qml)] = database.execute(
            "SELECT f_table_name, f_geometry_column, useAsDefault, styleQML FROM layer_styles"
        )
        [(own,)] = database.execute("SELECT column_name FROM gpkg_geometry_columns")
    assert (layer, column, is_default) == ("places", own, 1)
    assert 'fieldName="place"' in qml
    assert "exists already" in rsmeta(*words).complaint
    assert rsmeta(*words, "--overwrite").status == 0


def test_the_most_uncertain_places_that_nobody_has_labelled(
    tiny_run: TinyRun, make_scene: MakeScene, tmp_path: Path
) -> None:
    sure = np.ones((96, 96))
    unclear = [(0, 24), (48, 48), (72, 0)]
    for strength, (row, col) in enumerate(unclear, 1):
        sure[row : row + 24, col : col + 24] = 0.9 - 0.1 * strength
    sure[50:90, 70:90] = np.nan
    path = confidence(make_scene, tmp_path / "sure.tif", sure)
    found = library.suggest(
        tiny_run.scene, tiny_run.bundle, output=tmp_path / "a.geojson", count=3, confidence=path
    )
    assert found.uncertainty == pytest.approx(sorted(found.uncertainty, reverse=True))
    assert found.uncertainty[0] == pytest.approx(0.4)
    assert repr(found) == f"Suggestions(output={tmp_path / 'a.geojson'}, places=3, size_px=17)"
    drawn = shapely.box(500_000, 5_150_000 - 960, 500_100, 5_150_000 - 720)
    geopandas.GeoDataFrame(geometry=[drawn], crs="EPSG:32633").to_crs(4326).to_file(
        tmp_path / "labels.gpkg"
    )
    others = library.suggest(
        tiny_run.scene, tiny_run.bundle, output=tmp_path / "b.gpkg", count=3, confidence=path,
        labels=tmp_path / "labels.gpkg",
    )  # fmt: skip
    places = geopandas.read_file(others.output, layer="places")
    assert not places.intersects(drawn).any()
    assert others.uncertainty[0] == pytest.approx(0.3)


@pytest.mark.parametrize("step_px", [8, 24, 2048])
def test_windows_make_no_difference(
    make_scene: MakeScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step_px: int
) -> None:
    rng = np.random.default_rng(1)
    sure = rng.uniform(0.3, 1, (61, 83))
    sure[:20, 11:40] = np.nan
    path = confidence(make_scene, tmp_path / "sure.tif", sure)
    monkeypatch.setattr(suggesting, "STEP_PX", step_px)
    found = suggesting.most_uncertain(open_quantity_map(path), 2, size_px=8)
    means = {}
    for row in range(0, 61, 8):
        for col in range(0, 83, 8):
            patch = 1 - sure[row : row + 8, col : col + 8].astype(np.float32)
            if np.isfinite(patch).sum() >= 32:
                means[row, col] = np.nanmean(patch.astype(np.float64))
    expected: list[tuple[int, int]] = []
    for row, col in sorted(means, key=lambda place: -means[place])[:80]:
        if all(max(abs(row - r), abs(col - c)) > 8 for r, c in expected):
            expected.append((row, col))
    assert list(zip(found.rows.tolist(), found.cols.tolist(), strict=True)) == expected
    assert found.uncertainty == pytest.approx([means[place] for place in expected])


def test_entropy_is_uncertainty_itself(make_scene: MakeScene, tmp_path: Path) -> None:
    path = confidence(make_scene, tmp_path / "e.tif", np.full((8, 8), 0.75), "entropy")
    found = suggesting.most_uncertain(open_quantity_map(path), 1, size_px=8)
    assert found.uncertainty.tolist() == [0.75]


def test_one_place_of_each_kind() -> None:
    """Forty patches of one unclear field do not hide the two that show something else."""
    size = 42
    order = np.arange(size)
    patches = suggesting.Patches(8 * order, 0 * order, 0.9 - order / 100, 8)
    features = np.zeros((size, 4))
    features[20:30] = 50
    features[30:] = -50
    found = suggesting.differing(patches, features, 3)
    assert found.rows.tolist() == [0, 160, 240]
    same = suggesting.differing(patches, np.zeros((size, 4)), 3)
    assert same.rows.tolist() == [0, 8, 16]
    assert len(suggesting.differing(patches, features, 100)) == size


def test_complaints(
    rsmeta: Rsmeta, tiny_run: TinyRun, make_scene: MakeScene, tmp_path: Path
) -> None:
    words = ("suggest", tiny_run.scene, "--model", tiny_run.folder)
    output = tmp_path / "n.gpkg"
    assert "places go into a file of .gpkg" in rsmeta(*words, "--output", "n.shp").complaint
    height = confidence(make_scene, tmp_path / "h.tif", np.ones((96, 96)), "height")
    said = rsmeta(*words, "--output", output, "--confidence", height).complaint
    assert "holds 'height', not confidence or entropy" in said
    empty = confidence(make_scene, tmp_path / "e.tif", np.full((96, 96), np.nan))
    said = rsmeta(*words, "--output", output, "--confidence", empty).complaint
    assert f"{empty} has no place to suggest: nothing is mapped" in said
    said = rsmeta(*words, "--output", output, "--labels", tmp_path / "none.gpkg").complaint
    assert "no polygons at" in said
    said = rsmeta(*words, "--output", tiny_run.scene.with_suffix(".gpkg"), "--count", 0)
    assert said.status == 2
    assert not output.exists()
