"""Every loss trains a segmentation network through the command line."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import pytest
import yaml

from rsmeta.config import load_settings
from rsmeta.config.loss import LossSpec
from rsmeta.losses import LOSSES, MULTILABEL_LOSSES, REGRESSION_LOSSES

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Rsmeta, TinyRun

#: Two steps on a few chips.
SHORT = (
    "trainer.max_epochs=1", "trainer.max_steps=2", "data.chips_per_epoch=8",
    "data.split.test=null", "trainer.keep=last",
)  # fmt: skip


def train(rsmeta: Rsmeta, tiny_run: TinyRun, folder: Path, loss: str) -> dict[str, object]:
    """Train two steps with a loss; return the run's metrics."""
    ended = rsmeta(
        "--quiet", "train", tiny_run.config, f"data.root={tiny_run.data}", *SHORT, loss,
        "--output", folder,
    )  # fmt: skip
    assert ended.status == 0, ended.err
    metrics: dict[str, object] = json.loads((folder / "metrics.json").read_text())
    return metrics


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES.names())
def test_every_loss_trains(rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path, name: str) -> None:
    metrics = train(rsmeta, tiny_run, tmp_path / "run", f"loss.name={name}")
    assert metrics["steps"] == 2
    value = metrics["train_loss"]
    assert isinstance(value, float)
    assert math.isfinite(value)
    assert value > 0


def test_a_weighted_sum_trains_and_is_recorded(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path
) -> None:
    """All there are: each one's gradient, and no trouble between them."""
    terms = [{"name": name, "weight": 0.5} for name in LOSSES.names()]
    train(rsmeta, tiny_run, tmp_path / "run", f"loss={terms}")
    resolved = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert resolved["loss"]["terms"] == terms
    assert load_settings(tmp_path / "run" / "config.yaml").loss == LossSpec(terms=terms)


def test_a_wrong_option_is_said_before_labels_are_read(rsmeta: Rsmeta, tiny_run: TinyRun) -> None:
    ended = rsmeta(
        "train", tiny_run.config, "data.root=nowhere", "loss=focal", "loss.gama=1",
        "--output", "never",
    )  # fmt: skip
    assert ended.status == 1
    assert ended.complaint.startswith("rsmeta: loss (focal): unknown key 'gama'; did you mean")


def test_losses_are_listed_with_their_options(rsmeta: Rsmeta) -> None:
    out = rsmeta("list", "losses").out
    assert "(gamma: 2.0)" in out
    assert {line.split()[0] for line in out.splitlines()} == {
        *LOSSES.names(), *MULTILABEL_LOSSES.names(), *REGRESSION_LOSSES.names()
    }  # fmt: skip
