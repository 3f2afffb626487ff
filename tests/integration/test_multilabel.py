"""Images with any number of labels, and images with a number each."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from rsmeta.bundle import load_bundle
from tests.integration.image_data import BANDS, MODEL

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene
    from tests.integration.conftest import Rsmeta

COMMON = f"""\
  images: images
  chip_px: 32
  resize: none
  crop: centre
  batch_size: 4
  augment: {{gain: 0.0, band_gain: 0.0}}
model: {MODEL}
tuner: full
trainer: {{max_epochs: 4, accelerator: cpu, optimizer: {{lr: 0.003}}}}
"""

LABELS = """\
task: multilabel
data:
  kind: index
  train: train.txt
  test: test.txt
  classes: [wet, green]
"""

NUMBERS = """\
task: regression
data:
  kind: index
  train: heights.txt
  test: 0.2
  target: {name: height, unit: m}
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, make_scene: MakeScene) -> Path:
    """Dark images are wet, those bright in nir green; the nir also tells the height."""
    folder = tmp_path_factory.mktemp("several")
    rng = np.random.default_rng(0)
    lines: dict[str, list[str]] = {"train": [], "test": [], "heights": []}
    for i in range(48):
        wet, green = i % 2, i // 2 % 2
        level = np.array([900 - 500 * wet, 600, 300 + 900 * green + 5 * i])
        image = rng.normal(level[:, None, None], 30, (3, 32, 32)).clip(1).astype(np.uint16)
        make_scene(folder / f"images/{i}.tif", image, descriptions=BANDS, nodata=0)
        labels = ",".join(str(k) for k, has in enumerate((wet, green)) if has)
        if labels:
            lines["test" if i % 6 == 5 else "train"].append(f"{i}.tif {labels}")
        lines["heights"].append(f"{i}.tif {level[2] / 50:.2f}")
    for name, found in lines.items():
        (folder / f"{name}.txt").write_text("\n".join(found) + "\n", encoding="utf-8")
    (folder / "labels.yaml").write_text(LABELS + COMMON, encoding="utf-8")
    (folder / "numbers.yaml").write_text(NUMBERS + COMMON, encoding="utf-8")
    return folder


def test_any_number_of_labels(
    images: Path, rsmeta: Rsmeta, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    words = (images / "labels.yaml", f"data.root={images}")
    ended = rsmeta("--quiet", "train", *words, "model.head.init=class_mean", "--output",
                   tmp_path / "run")  # fmt: skip
    assert ended.status == 0, ended.err
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["test"]["mean_average_precision"] > 0.8
    assert set(metrics["test"]["labels"]) == {"wet", "green"}
    again = rsmeta("--quiet", "evaluate", "--model", tmp_path / "run/bundle", *words, "--json")
    assert json.loads(again.out)["labels"] == metrics["test"]["labels"]
    shown = rsmeta("--quiet", "evaluate", "--model", tmp_path / "run/bundle", *words).out
    assert shown.startswith("mAP ")
    table = rsmeta("--quiet", "predict", images / "images", "--model", tmp_path / "run/bundle",
                   "--output", tmp_path / "labels.csv")  # fmt: skip
    assert table.status == 0, table.err
    with (tmp_path / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["labels"] for row in rows} >= {"wet", "green"}
    mapped = rsmeta("predict", images / "images/0.tif", "--model", tmp_path / "run/bundle",
                    "--output", tmp_path / "map.tif")  # fmt: skip
    assert mapped.status == 1
    assert "--output LABELS.csv" in mapped.complaint


@pytest.mark.parametrize("loss", ["asymmetric", "bce"])
def test_learned_scales_and_other_losses(
    images: Path, rsmeta: Rsmeta, tmp_path: Path, loss: str
) -> None:
    ended = rsmeta("--quiet", "train", images / "labels.yaml", f"data.root={images}",
                   f"loss={loss}", "tuner=lora", "meta.strategy=first_order",
                   "meta.every_n_steps=2", "trainer.max_epochs=1", "--output",
                   tmp_path / "run")  # fmt: skip
    assert ended.status == 0, ended.err


def test_a_number_per_image(images: Path, rsmeta: Rsmeta, tmp_path: Path) -> None:
    words = (images / "numbers.yaml", f"data.root={images}")
    ended = rsmeta("--quiet", "train", *words, "trainer.max_epochs=8", "--output",
                   tmp_path / "run")  # fmt: skip
    assert ended.status == 0, ended.err
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["test"]["unit"] == "m"
    assert metrics["test"]["rmse"] < metrics["target"]["std"]
    record = load_bundle(tmp_path / "run/bundle").record
    assert (record.task, record.per) == ("regression", "image")
    table = rsmeta("--quiet", "predict", images / "images", "--model", tmp_path / "run/bundle",
                   "--output", tmp_path / "heights.csv")  # fmt: skip
    assert table.status == 0, table.err
    with (tmp_path / "heights.csv").open() as file:
        assert 0 < float(next(csv.DictReader(file))["height"]) < 60
