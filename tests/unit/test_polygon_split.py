"""Whole polygons are held out, class by class; imagery around them stays."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import geopandas
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from rsmeta.config.data import DataSettings
from rsmeta.data.datamodule import SceneDataModule
from rsmeta.data.label_range import label_range_px
from rsmeta.data.polygon_labels import PolygonLabels
from rsmeta.data.polygon_split import PolygonKey, choose_polygons
from rsmeta.data.split_table import write_split
from rsmeta.errors import SplitError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import MakeScene

SIDE = 160


@pytest.fixture
def make_data(tmp_path: Path, make_scene: MakeScene) -> Callable[..., SceneDataModule]:
    """Return a function that makes data of dates of one place, with squares as polygons."""

    def make(
        counts: tuple[int, ...] = (10, 6, 4), dates: int = 1, seed: int = 0, **given_: Any
    ) -> SceneDataModule:
        rng = np.random.default_rng(0)
        for i in range(dates):
            image = rng.uniform(0.1, 0.4, (2, SIDE, SIDE)).astype(np.float32)
            make_scene(tmp_path / f"s{i}.tif", image, descriptions=("red", "nir"))
        kinds = [f"c{k}" for k, count in enumerate(counts) for _ in range(count)]
        boxes = []
        for i in range(len(kinds)):
            x, y = 500_000 + 300 * (i % 5) + 20, 5_150_000 - 300 * (i // 5) - 20
            boxes.append(shapely.box(x, y - 100, x + 100, y))
        frame = geopandas.GeoDataFrame({"kind": kinds}, geometry=boxes, crs="EPSG:32633")
        frame.to_crs("EPSG:4326").to_file(tmp_path / "fields.gpkg")
        settings_ = DataSettings.model_validate(
            {"root": tmp_path, "scenes": "s?.tif", "labels": "fields.gpkg", "chip_px": 32,
             "classes": [f"c{k}" for k in range(len(counts))], "class_column": "kind"} | given_
        )  # fmt: skip
        return SceneDataModule(settings_, seed=seed)

    return make


def polygons(data: SceneDataModule, part: Any) -> list[set[int]]:
    """Return the polygons that label each scene of a part."""
    found = []
    for one in data.parts[part]:
        labels, window = one.labelled.labels, one.labelled.scene.grid.full_window
        assert isinstance(labels, PolygonLabels)
        owners = labels.read_owners(window)[one.labelled.read_labels(window) >= 0]
        found.append(set(labels.shapes.index[np.unique(owners)]))
    return found


@pytest.mark.parametrize("split", [{}, {"by": "polygons"}, {"test": 0.25, "validation": 0.25}])
def test_whole_polygons_of_every_class_are_held_out(
    make_data: Callable[..., SceneDataModule], split: dict[str, Any]
) -> None:
    data = make_data(dates=2, split=split)
    parts = {part: polygons(data, part) for part in ("train", "validation", "test")}
    held = [part for part in ("validation", "test") if parts[part]]
    assert held == (["validation", "test"] if "test" in split else ["validation"])
    everything: Counter[int] = Counter()
    for scenes in parts.values():
        assert all(scene == scenes[0] for scene in scenes), "dates of one place are divided alike"
        everything.update(scenes[0] if scenes else ())
    assert everything == Counter(range(20)), "each polygon is in one part, as a whole"
    for part in held:
        counts = sum(one.index.class_counts for one in data.parts[part])
        assert (counts > 0).all()
        assert (counts % 200 == 0).all(), "whole squares of 100 pixels on two dates"


def test_the_seed_decides(make_data: Callable[..., SceneDataModule]) -> None:
    found = [polygons(make_data(seed=seed), "validation") for seed in (0, 0, 1, 2)]
    assert found[0] == found[1]
    assert found[0] != found[2] or found[0] != found[3]


def test_a_class_with_one_polygon_is_said_and_trained_on(
    make_data: Callable[..., SceneDataModule], caplog: pytest.LogCaptureFixture
) -> None:
    data = make_data(counts=(6, 1, 4))
    assert "one polygon only" in caplog.text
    assert "c1" in caplog.text
    assert data.class_counts[1] == 100
    assert "no labels in the validation part: c1" in caplog.text


def test_one_polygon_per_class_is_divided_by_blocks_unless_polygons_are_asked_for(
    make_data: Callable[..., SceneDataModule], tmp_path: Path
) -> None:
    with pytest.raises(SplitError, match="no class has enough polygons to keep a validation part"):
        make_data(counts=(1, 1), split="polygons")
    assert make_data(counts=(1, 1), split={"block_px": 8, "gap_px": 0}).validates


def test_rasters_have_no_polygons_to_hold_out(
    make_data: Callable[..., SceneDataModule], make_scene: MakeScene, tmp_path: Path
) -> None:
    make_scene(tmp_path / "l.tif", np.indices((SIDE, SIDE))[0].astype(np.uint8) // 80)
    words = {"labels": "l.tif", "class_column": None, "classes": ["a", "b"]}
    with pytest.raises(SplitError, match=r"labels are rasters; use split\.by=blocks"):
        make_data(split="polygons", **words)
    assert make_data(**words).validates


@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    shares=st.tuples(st.floats(0.01, 0.6), st.floats(0.01, 0.6)),
    seed=st.integers(0, 99),
)
@settings(max_examples=200, deadline=None)
def test_every_class_keeps_a_polygon_and_gives_one_where_it_can(
    counts: list[int], shares: tuple[float, float], seed: int
) -> None:
    classes = {
        PolygonKey("a", 100 * k + i): k for k, count in enumerate(counts) for i in range(count)
    }
    rng = np.random.default_rng(seed)
    chosen = choose_polygons(classes, {"validation": shares[0], "test": shares[1]}, rng)
    assert not chosen["validation"] & chosen["test"]
    for k, count in enumerate(counts):
        held = [sum(classes[key] == k for key in keys) for keys in chosen.values()]
        assert sum(held) < count
        assert held[0] >= min(1, count - 1)
        assert held[1] >= (1 if held[0] < count - 1 else 0)
        assert held[0] <= max(1, round(shares[0] * count))


# -- context -----------------------------------------------------------------------------------


@pytest.mark.parametrize("context", ["keep", "hide"])
@pytest.mark.parametrize("by", ["polygons", "blocks"])
def test_imagery_around_held_out_labels_stays_unless_hidden(
    make_data: Callable[..., SceneDataModule], context: str, by: str
) -> None:
    data = make_data(split={"context": context, "by": by})
    hidden = 0
    for loader in (data.val_dataloader(), data.train_dataloader()):
        for batch in loader:
            hidden += int((~batch["valid"]).sum())
            assert (batch["mask"][~batch["valid"]] == -1).all()
    assert (hidden > 0) == (context == "hide")
    seen = {
        part: np.logical_or.reduce(
            [one.labelled.read_labels(one.labelled.scene.grid.full_window) >= 0
             for one in data.parts[part]]  # type: ignore[index]
        )
        for part in ("train", "validation")
    }  # fmt: skip
    assert not (seen["train"] & seen["validation"]).any(), "labels are never shared"


# -- gaps --------------------------------------------------------------------------------------


@pytest.mark.parametrize("patch_px", [1, 4, 16])
def test_the_gap_is_as_wide_as_labels_resemble_each_other(
    make_data: Callable[..., SceneDataModule], make_scene: MakeScene, tmp_path: Path, patch_px: int
) -> None:
    side = SIDE // patch_px
    patches = np.random.default_rng(0).integers(0, 3, (side, side)).astype(np.uint8)
    labels = np.kron(patches, np.ones((patch_px, patch_px), np.uint8))
    make_scene(tmp_path / "l.tif", labels)
    words = {"labels": "l.tif", "class_column": None, "classes": ["a", "b", "c"]}
    data = make_data(split={"validation": 0}, **words)
    scenes = [one.labelled for one in data.parts["train"]]
    found = label_range_px(scenes, 64)
    assert patch_px / 2 <= found <= patch_px + 1
    assert label_range_px(scenes, 2) <= 2
    divided = make_data(split={"block_px": 40}, **words)
    train, validation = (
        divided.parts[part][0].labelled.region
        for part in ("train", "validation")  # type: ignore[index]
    )
    assert train is not None
    assert validation is not None
    gap = shapely.distance(validation.geometry, train.geometry.boundary) / 10
    assert gap == pytest.approx(min(max(2, found), 10))


def test_numbers_have_a_range_too(
    make_data: Callable[..., SceneDataModule], make_scene: MakeScene, tmp_path: Path
) -> None:
    rows = np.indices((SIDE, SIDE))[0]
    make_scene(tmp_path / "l.tif", np.sin(rows / 16).astype(np.float32))
    words = {"labels": "l.tif", "class_column": None, "classes": (), "target": {"name": "height"}}
    data = make_data(split={"validation": 0}, **words)
    smooth = label_range_px([one.labelled for one in data.parts["train"]], 64)
    noise = np.random.default_rng(0).normal(size=(SIDE, SIDE)).astype(np.float32)
    make_scene(tmp_path / "l.tif", noise)
    data = make_data(split={"validation": 0}, **words)
    assert label_range_px([one.labelled for one in data.parts["train"]], 64) == 1 < smooth


# -- the file ----------------------------------------------------------------------------------


def test_the_split_is_a_file_of_polygons_with_part_and_class(
    make_data: Callable[..., SceneDataModule], tmp_path: Path
) -> None:
    data = make_data()
    write_split(data.parts, data.classes, tmp_path / "split.gpkg")
    frame = geopandas.read_file(tmp_path / "split.gpkg")
    fields = geopandas.read_file(tmp_path / "fields.gpkg")
    assert sorted(frame["polygon"]) == list(range(20))
    for row in frame.itertuples():
        assert row.polygon in polygons(data, row.part)[0]
        own = fields.iloc[row.polygon]
        assert own["kind"] == frame.loc[row.Index, "class"]
        assert row.geometry.intersection(own.geometry).area == pytest.approx(
            own.geometry.area, rel=0.02
        )


def test_the_split_of_rasters_is_a_file_of_areas(
    make_data: Callable[..., SceneDataModule], make_scene: MakeScene, tmp_path: Path
) -> None:
    make_scene(tmp_path / "l.tif", np.indices((SIDE, SIDE))[0].astype(np.uint8) // 80)
    data = make_data(labels="l.tif", class_column=None, classes=["a", "b"])
    write_split(data.parts, data.classes, tmp_path / "split.gpkg")
    frame = geopandas.read_file(tmp_path / "split.gpkg").to_crs("EPSG:32633")
    assert list(frame["part"]) == ["train", "validation"]
    assert frame["class"].isna().all()
    one, other = frame.geometry
    assert one.intersection(other).area < 1
    assert one.area + other.area < (10 * SIDE) ** 2, "a gap belongs to no part"
