"""Training that cannot go on says why, in a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from rsmeta.errors import TrainingError
from rsmeta.workflows.train import train

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import TinyRun


def test_loss_that_is_not_finite_stops_with_the_learning_rate(
    tiny_run: TinyRun, tmp_path: Path
) -> None:
    wild = [
        "trainer.optimizer={name: sgd, lr: 1.0e+30, warmup: 0}",
        "trainer.gradient_clip_val=null",
    ]
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) at step \d+; lower trainer"):
        train(tiny_run.config, [f"data.root={tiny_run.data}", *wild], output=tmp_path / "run")
    assert not (tmp_path / "run" / "bundle").exists()


def test_input_that_is_not_finite_stops_with_the_nodata_key() -> None:
    from rsmeta.training.module import check_finite

    image = torch.ones(2, 3, 4, 4)
    check_finite(image, step=0)
    image[1, 2, 3, 3] = torch.nan
    with pytest.raises(TrainingError, match=r"step 7 holds values that are not finite.*nodata"):
        check_finite(image, step=7)


def test_less_than_one_batch_is_refused(tiny_run: TinyRun, tmp_path: Path) -> None:
    few = [f"data.root={tiny_run.data}", "data.chips_per_epoch=2"]
    with pytest.raises(TrainingError, match="chips_per_epoch=2 is less than one batch"):
        train(tiny_run.config, few, output=tmp_path / "run")


def test_short_epochs_do_not_end_training_before_it_has_begun(
    tiny_run: TinyRun, tmp_path: Path
) -> None:
    more = [f"data.root={tiny_run.data}", "trainer.max_epochs=8", "trainer.optimizer.lr=1.0e-9",
            "trainer.baseline=false", "data.chips_per_epoch=4", "data.batch_size=4"]  # fmt: skip
    run = train(tiny_run.config, more, output=tmp_path / "run")
    assert run.metrics["epochs"] == 8  # not after 6 without a better score, which are 6 steps


def test_early_stopping_and_lora_bundle_stay_small(tiny_run: TinyRun, tmp_path: Path) -> None:
    """A frozen backbone with LoRA still saves and maps; stopping ends before max_epochs."""
    more = [
        f"data.root={tiny_run.data}", "tuner={method: lora, rank: 2}", "trainer.max_epochs=30",
        "trainer.early_stopping=1", "trainer.optimizer.lr=1.0e-9",
    ]  # fmt: skip
    run = train(tiny_run.config, more, output=tmp_path / "run")
    assert run.metrics["epochs"] < 30
    assert run.metrics["trained_parameters"] < run.metrics["parameters"]
