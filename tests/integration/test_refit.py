"""What is solved for is solved anew with the validation labels, once they have scored it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine

import rsmeta
from rsmeta.config.data import DataSettings
from rsmeta.data.datamodule import SceneDataModule

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene

SIDE = 80
SPLITS: dict[str, dict[str, Any]] = {
    "polygons": {"by": "polygons", "test": 0.25},
    "blocks": {"by": "blocks", "block_px": 16, "test": 0.2},
    "gap": {"by": "blocks", "block_px": 16, "gap_px": 3},
    "files": {"by": "files", "test": 0.25},
    "fold": {"folds": 3, "fold": 1},
    "areas": {"validation": "area.gpkg", "refit": True},
}


def configuration(folder: Path, make_scene: MakeScene, **split: Any) -> dict[str, Any]:
    """Four scenes of two noisy classes in small polygons, some of which are an area held out."""
    draw = np.random.default_rng(0)
    boxes, kinds = [], []
    for number in range(4):
        left = 500_000 + 20 * SIDE * number
        right = np.arange(SIDE)[None, :] >= SIDE // 2
        scene = draw.normal(np.where(right, 1100, 1000), 120, (2, SIDE, SIDE))
        make_scene(folder / f"s{number}.tif", scene.clip(1).astype(np.uint16), nodata=0,
                   descriptions=("red", "nir"),
                   transform=Affine(10, 0, left, 0, -10, 5_150_000))  # fmt: skip
        for place in range(6):
            x, y = left + 400 * (place % 2) + 120, 5_150_000 - 240 * (place // 2) - 40
            boxes.append(shapely.box(x, y - 160, x + 160, y))
            kinds.append(("left", "right")[place % 2])
    frame = geopandas.GeoDataFrame({"kind": kinds}, geometry=boxes, crs="EPSG:32633")
    frame.to_file(folder / "labels.gpkg")
    frame.iloc[::5].to_file(folder / "area.gpkg")
    return {
        "data": {"root": str(folder), "scenes": "s?.tif", "labels": "labels.gpkg", "chip_px": 16,
                 "classes": ["left", "right"], "scale": 1e-4, "split": split},
        "model": {"backbone": "pixels", "head": {"name": "logistic", "strength": 1.0}},
    }  # fmt: skip


def labelled(data: SceneDataModule, part: Any) -> set[tuple[str, int, int]]:
    """Return the labelled pixels of a part."""
    found = set()
    for one in data.parts[part]:
        scene = one.labelled.scene
        rows, cols = np.nonzero(one.labelled.read_labels(scene.grid.full_window) >= 0)
        found |= {(scene.name, row, col) for row, col in zip(rows, cols, strict=True)}
    return found


@pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)
def test_labels_of_validation_and_the_gap_beside_it_are_trained_on_and_no_others(
    split: dict[str, Any], make_scene: MakeScene, tmp_path: Path
) -> None:
    config = configuration(tmp_path, make_scene, **split)
    data = SceneDataModule(DataSettings.model_validate(config["data"]), seed=3)
    whole = data.with_validation_labels()
    test = labelled(data, "test")
    assert labelled(data, "validation")
    assert not whole.parts["validation"]
    assert labelled(whole, "test") == test
    before = labelled(data, "train") | labelled(data, "validation")
    assert before <= labelled(whole, "train")
    assert not labelled(whole, "train") & test
    if not test:
        config["data"]["split"] = {"validation": 0}
        everything = SceneDataModule(DataSettings.model_validate(config["data"]), seed=3)
        assert labelled(whole, "train") == labelled(everything, "train")
    assert len(labelled(whole, "train") - before) > 0 or "gap_px" not in split


def test_scores_are_of_labels_that_were_not_seen_and_the_bundle_has_seen_all(
    make_scene: MakeScene, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = configuration(tmp_path, make_scene)
    with caplog.at_level(logging.INFO, "rsmeta"):
        run = rsmeta.train(config, output=tmp_path / "run")
    assert "the bundle is trained on all labels" in caplog.text
    found = {}
    for validation in (0.2, 0):
        config["data"]["split"] = {"validation": validation}
        found[validation] = rsmeta.train(config, output=tmp_path / f"{validation}")
    assert run.metrics["validation"] == found[0.2].metrics["validation"]
    assert run.metrics["baseline"] == found[0.2].metrics["baseline"]
    assert run.metrics["class_counts"] == found[0].metrics["class_counts"]
    assert run.metrics["trained_on"] == ["train", "validation"]
    kept = {name: rsmeta.load_bundle(one.output / "bundle").network.state_dict()["head.weight"]
            for name, one in {"run": run, **found}.items()}  # fmt: skip
    assert kept["run"].equal(kept[0])
    assert not kept["run"].equal(kept[0.2])


def test_what_is_held_out_by_name_stays_so_and_test_labels_always(
    make_scene: MakeScene, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, split in enumerate(
        ({"validation": 0.25}, {"test": 0.25}, {"validation": 0.25, "refit": True})
    ):
        config = configuration(tmp_path, make_scene, **split)
        run = rsmeta.train(config, output=tmp_path / f"run{number}")
        part = "test" if "test" in split else "validation"
        caplog.clear()
        scores = rsmeta.evaluate(run.output / "bundle", config, split=part)  # type: ignore[arg-type]
        agrees = scores.as_dict() == run.metrics[part]
        flattered = "was solved with the validation labels" in caplog.text
        assert agrees != ("refit" in split)
        assert flattered == ("refit" in split)
