"""Numbers per pixel: trained, evaluated and recorded through the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import rasterio
import yaml

from rsmeta.bundle import load_bundle
from tests.stac_items import check_item

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene
    from tests.integration.conftest import Rsmeta


def test_a_model_of_numbers_is_in_the_labels_unit(biomass: Path) -> None:
    metrics = json.loads((biomass / "run/metrics.json").read_text())
    assert metrics["target"]["name"] == "biomass"
    assert 100 < metrics["target"]["mean"] < 250
    assert metrics["test"]["rmse"] < 0.6 * metrics["target"]["std"]
    assert metrics["test"]["r2"] > 0.5
    assert (biomass / "run/plots/chips.png").exists()
    assert not (biomass / "run/plots/confusion.png").exists()
    record = yaml.safe_load((biomass / "run/bundle/bundle.yaml").read_text())
    assert (record["task"], record["per"], record["target"]["unit"]) == (
        "regression", "pixel", "t/ha",
    )  # fmt: skip
    output = load_bundle(biomass / "run/bundle").record.output
    assert (output.dtype, output.unit, output.name) == ("float32", "t/ha", "biomass")
    assert np.isnan(output.nodata or 0)


def test_evaluating_the_bundle_gives_the_run_s_numbers(biomass: Path, rsmeta: Rsmeta) -> None:
    words = ("evaluate", "--model", biomass / "run/bundle", biomass / "config.yaml",
             f"data.root={biomass / 'data'}", "--json")  # fmt: skip
    metrics = json.loads((biomass / "run/metrics.json").read_text())
    for part in ("test", "validation"):
        ended = rsmeta("--quiet", *words, "--split", part)
        assert ended.status == 0, ended.err
        assert json.loads(ended.out)["rmse"] == pytest.approx(metrics[part]["rmse"], rel=1e-4)
    assert json.loads(rsmeta("--quiet", *words, "--split", "train").out)["count"] > 5000
    shown = rsmeta("--quiet", *words[:-1]).out
    assert shown.startswith("biomass: RMSE")
    assert "t/ha" in shown


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (("task=segmentation",), "needs classes"),
        (("data.target=null", "data.classes=[a, b]"), "needs a quantity to estimate"),
        (("data.classes=[a, b]",), "both classes and a target"),
        (("loss=ce",), "unknown regression loss 'ce'; known: huber, mae, mse"),
        (("data.target.scale=0",), "scale"),
        (("model.head.init=class_mean",), "model.head.init"),
    ],
)
def test_settings_that_do_not_fit(
    biomass: Path, rsmeta: Rsmeta, overrides: tuple[str, ...], says: str
) -> None:
    ended = rsmeta("train", biomass / "config.yaml", f"data.root={biomass / 'data'}", *overrides,
                   "--output", biomass / "never")  # fmt: skip
    assert ended.status == 1
    assert says in ended.complaint


def test_labels_that_are_all_equal(biomass: Path, rsmeta: Rsmeta, make_scene: MakeScene,
                                   tmp_path: Path) -> None:  # fmt: skip
    image = np.arange(2 * 64 * 64, dtype=np.uint16).reshape(2, 64, 64)
    make_scene(tmp_path / "west.tif", image, descriptions=("red", "nir"))
    make_scene(tmp_path / "west_biomass.tif", np.full((64, 64), 50, np.int16))
    ended = rsmeta("train", biomass / "config.yaml", f"data.root={tmp_path}",
                   "data.scenes=[west.tif]", "data.split={validation: 0, test: null}",
                   "--output", tmp_path / "run")  # fmt: skip
    assert ended.status == 1
    assert "training labels are 5; there is nothing to learn" in ended.complaint


@pytest.mark.parametrize("loss", ["mae", "huber", "[{name: mse}, {name: mae, weight: 0.5}]"])
def test_other_losses_and_learned_scales(
    biomass: Path, rsmeta: Rsmeta, tmp_path: Path, loss: str
) -> None:
    ended = rsmeta("--quiet", "train", biomass / "config.yaml", f"data.root={biomass / 'data'}",
                   f"loss={loss}", "tuner=lora", "meta.strategy=first_order",
                   "meta.every_n_steps=2", "trainer.max_epochs=1", "data.chips_per_epoch=16",
                   "--output", tmp_path / "run")  # fmt: skip
    assert ended.status == 0, ended.err
    assert len((tmp_path / "run/gamma_history.csv").read_text().splitlines()) > 2


def test_a_map_of_numbers_has_unit_statistics_and_style(
    biomass: Path, rsmeta: Rsmeta, tmp_path: Path, stac_schemas: Path
) -> None:
    words = (
        "predict", biomass / "data/west.tif", "--model", biomass / "run/bundle", "--output",
        tmp_path / "m.tif",
    )  # fmt: skip
    ended = rsmeta(*words, "--stac", tmp_path / "m.json", "--summary", tmp_path / "s.json")
    assert ended.status == 0, ended.err
    with (
        rasterio.open(tmp_path / "m.tif") as raster,
        rasterio.open(biomass / "data/west_biomass.tif") as truth,
    ):
        assert raster.units == ("t/ha",)
        assert raster.descriptions == ("biomass",)
        mapped, wanted = raster.read(1), truth.read(1) * 0.1
    assert np.isnan(mapped[:6, :9]).all()
    known = np.isfinite(mapped) & (wanted > 0)
    assert np.abs(mapped - wanted)[known].mean() < 0.5 * wanted[known].std()
    told = json.loads((tmp_path / "s.json").read_text())["scenes"][0]["quantity"]
    assert (told["name"], told["unit"]) == ("biomass", "t/ha")
    assert told["pixels"] == np.isfinite(mapped).sum()
    assert told["mean"] == pytest.approx(np.nanmean(mapped), rel=1e-5)
    assert f"mean {told['mean']:.4g}" in ended.out
    assert " t/ha" in (tmp_path / "m.qml").read_text()
    item = check_item(tmp_path / "m.json", stac_schemas)
    assert item["assets"]["map"]["bands"][0]["unit"] == "t/ha"
    check_item(biomass / "run/bundle/mlm.json", stac_schemas)
    ended = rsmeta(*words, "--overwrite", "--confidence", tmp_path / "c.tif")
    assert ended.status == 1
    assert "omit --confidence" in ended.complaint
