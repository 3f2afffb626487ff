"""Cross-validation by polygons: each is held out once per repeat, and all are trained on."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import geopandas
import numpy as np
import pytest
import shapely

from rsmeta.config.load import load_settings
from rsmeta.errors import ConfigError
from rsmeta.workflows.report import report
from rsmeta.workflows.train import train

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene


@pytest.fixture
def config(tmp_path: Path, make_scene: MakeScene) -> dict[str, Any]:
    """A scene whose left half is dark, with four squares in each half."""
    image = np.full((2, 96, 96), 0.1, np.float32)
    image[:, :, 48:] = 0.4
    make_scene(tmp_path / "s.tif", image, descriptions=("red", "nir"))
    boxes = [
        shapely.box(x, 5_150_000 - y - 100, x + 100, 5_150_000 - y)
        for x in (500_200, 500_600) for y in (50, 250, 450, 650)
    ]  # fmt: skip
    kinds = ["dark"] * 4 + ["light"] * 4
    frame = geopandas.GeoDataFrame({"kind": kinds}, geometry=boxes, crs="EPSG:32633")
    frame.to_file(tmp_path / "l.gpkg")
    return {
        "data": {"root": str(tmp_path), "scenes": "s.tif", "labels": "l.gpkg", "chip_px": 32,
                 "classes": ["dark", "light"], "chips_per_epoch": 8, "batch_size": 4,
                 "split": {"folds": 2, "repeats": 2, "validation": 0}},
        "model": {"backbone": "pixels", "head": {"name": "logistic"}},
        "trainer": {"baseline": False},
    }  # fmt: skip


def test_every_polygon_is_held_out_once_per_repeat_and_all_are_trained_on(
    config: dict[str, Any], tmp_path: Path
) -> None:
    output = tmp_path / "run"
    result = train(config, output=output)
    found = result.metrics["cross_validation"]
    assert found["runs"] == 4
    assert np.sum(found["pooled"]["confusion"]) == 2 * 8 * 100
    held = [
        set(frame.loc[frame["part"] == "test", "polygon"])
        for frame in (geopandas.read_file(output / f"folds/{i:02d}/split.gpkg") for i in range(4))
    ]
    assert held[0] | held[1] == held[2] | held[3] == set(range(8))
    assert not held[0] & held[1]
    values = [one["miou"] for one in found["folds"]]
    assert found["miou"]["mean"] == pytest.approx(np.mean(values))
    assert found["miou"]["standard_error"] == pytest.approx(np.std(values, ddof=1) / 2)
    assert "test" not in result.metrics
    assert result.metrics["class_counts"] == {"dark": 400, "light": 400}
    assert json.loads((output / "metrics.json").read_text())["cross_validation"] == found


def words_of(page: Path) -> str:
    text = page.read_text(encoding="utf-8").split("</style>")[1]
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())


def test_baselines_are_compared_on_the_same_polygons_and_the_report_shows_it(
    config: dict[str, Any], tmp_path: Path
) -> None:
    config["trainer"]["baseline"] = True
    config["data"]["split"] = {"folds": 2, "validation": 0.25}
    output = tmp_path / "run"
    result = train(config, output=output)
    found = result.metrics["cross_validation"]
    for name in ("forest", "logistic"):
        folds = [json.loads((output / f"folds/{i:02d}/metrics.json").read_text()) for i in range(2)]
        scores = [one["baseline"][name]["test"]["macro_f1"] for one in folds]
        own = [one["test"]["macro_f1"] for one in folds]
        baseline = found["baseline"][name]
        assert baseline["macro_f1"]["mean"] == pytest.approx(np.mean(scores))
        assert baseline["difference"]["macro_f1"]["mean"] == pytest.approx(
            np.mean(np.subtract(own, scores))
        )
    words = words_of(report(output))
    mean, error = found["macro_f1"].values()
    assert f"{mean:.3f} ± {error:.3f}" in words
    assert "Cross-validation 2 runs, each on polygons that it held out" in words
    assert "random forest 1.000 ± 0.000" in words
    assert "dark 100 % 400 0 % 0 light 0 % 0 100 % 400" in words  # pooled confusion matrix
    words = words_of(report(output / "folds/00"))
    assert words.count("Beside simple models") == 2
    assert "this model 1.000 1.000 1.000 random forest 1.000" in words
    assert "dark: 100 pixels of one polygon: no figure." in words
    assert "only one polygon of dark, light" in words


def test_finished_runs_are_not_repeated(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(config, output=tmp_path / "whole").metrics["cross_validation"]
    with monkeypatch.context() as patched:
        patched.setattr("rsmeta.workflows.train.describe", _broken_after(3))
        with pytest.raises(OSError, match="pulled the plug"):
            train(config, output=tmp_path / "cut")
    before = (tmp_path / "cut/folds/00/metrics.json").stat().st_mtime_ns
    resumed = train(config, output=tmp_path / "cut", resume=True).metrics["cross_validation"]
    assert (tmp_path / "cut/folds/00/metrics.json").stat().st_mtime_ns == before
    assert resumed["pooled"] == whole["pooled"]


def _broken_after(times: int) -> Any:
    from rsmeta.workflows.model_record import describe

    calls = iter(range(times))

    def broken(*given: Any) -> Any:
        if next(calls, None) is None:
            raise OSError("somebody pulled the plug")
        return describe(*given)

    return broken


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ({"folds": 1}, "split.folds=1"),
        ({"folds": 3, "by": "blocks"}, "goes by polygons"),
        ({"folds": 3, "test": 0.2}, "takes the place of split.test"),
        ({"folds": 3, "fold": 3}, "split.fold=3 is none of"),
        ({"fold": 0}, "split.fold=0 is none of"),
    ],
)
def test_what_cannot_be_is_refused(
    config: dict[str, Any], split: dict[str, Any], words: str
) -> None:
    config["data"]["split"] = split
    with pytest.raises(ConfigError, match=words):
        load_settings(config)
