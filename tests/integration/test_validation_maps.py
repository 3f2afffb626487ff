"""The score that chooses the weights is the score of the map."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import pytest

import rsmeta
from rsmeta.workflows.evaluate import evaluate

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import TinyRun


@pytest.mark.parametrize(
    "more",
    [
        ["tuner=full"],
        ["tuner={method: lora, rank: 2}", "model.pretrained=false", "predict.overlap=0.5"],
        ["tuner={method: vpt_deep, length: 2}", "model.pretrained=false", "predict.augment=flips"],
    ],
)
def test_the_best_epoch_scores_as_its_maps_do(
    tiny_run: TinyRun, tmp_path: Path, more: list[str]
) -> None:
    words = [f"data.root={tiny_run.data}", "trainer.max_epochs=3", "trainer.optimizer.lr=0.01",
             "data.split={validation: 0.4, test: 0}", *more]  # fmt: skip
    run = rsmeta.train(tiny_run.config, words, output=tmp_path / "run")
    with (tmp_path / "run/history.csv").open() as file:
        rows = list(csv.DictReader(file))
    best = rows[run.metrics["best_epoch"] - 1]
    assert float(best["validation_miou"]) == max(float(row["validation_miou"]) for row in rows)
    mapped = evaluate(tmp_path / "run/bundle", tiny_run.config, words, split="validation")
    for score in ("miou", "accuracy", "macro_f1"):
        assert float(best[f"validation_{score}"]) == pytest.approx(getattr(mapped, score), abs=1e-6)
    assert run.metrics["validation"] == json.loads(json.dumps(mapped.as_dict()))


def test_numbers_are_validated_as_they_are_mapped(biomass: Path) -> None:
    with (biomass / "run/history.csv").open() as file:
        rows = list(csv.DictReader(file))
    metrics = json.loads((biomass / "run/metrics.json").read_text())
    best = rows[metrics["best_epoch"] - 1]
    for score in ("rmse", "mae", "r2"):
        assert float(best[f"validation_{score}"]) == pytest.approx(metrics["validation"][score])
    assert float(best["validation_loss"]) > 0
