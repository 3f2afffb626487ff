"""A trained model is never lost: to pictures, to a moved folder, to Ctrl-C, to a damaged file."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
import safetensors.torch
import torch
from affine import Affine

import rsmeta
from rsmeta.bundle import load_bundle
from rsmeta.errors import RsmetaError, TrainingError
from rsmeta.training.fit import fit
from rsmeta.training.module import TaskModule
from rsmeta.workflows.train import train
from tests.integration.meta_runs import make_module, settings_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import MakeScene
    from tests.integration.conftest import Rsmeta, TinyRun


def short(run: TinyRun, output: Path, *more: str, **options: Any) -> Any:
    overrides = [f"data.root={run.data}", "trainer.max_epochs=1", *more]
    return train(run.config, overrides, output=output, **options)


@pytest.fixture(scope="module")
def done(tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; tests work on copies."""
    folder = tmp_path_factory.mktemp("done") / "run"
    short(tiny_run, folder)
    return folder


def weights(run: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(run / "bundle" / "weights.safetensors")


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "history.csv").open(newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


# -- ornaments -----------------------------------------------------------------------------------


def broken(*_: Any, **__: Any) -> Any:
    raise OSError(28, "No space left on device")


ORNAMENTS = (
    "matplotlib.figure.Figure.savefig", "rsmeta.workflows.model_record.footprint_of",
    "rsmeta.bundle.bundle.model_item",
)  # fmt: skip


def test_failing_ornaments_are_warnings_and_the_run_resumes(
    tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    with monkeypatch.context() as patched:
        for ornament in ORNAMENTS:
            patched.setattr(ornament, broken)
        made = short(tiny_run, tmp_path / "run")
    for what in ("chips.png", "curves.png", "footprint", "mlm.json"):
        assert re.search(f"could not make .*{what}.*Errno 28.*the trained model is complete",
                         caplog.text)  # fmt: skip
    assert load_bundle(tmp_path / "run" / "bundle").record.training["steps"] == 4
    assert (tmp_path / "run" / "metrics.json").exists()
    again = short(tiny_run, tmp_path / "run", resume=True)
    assert again.metrics["validation"] == made.metrics["validation"]
    assert (tmp_path / "run" / "plots" / "chips.png").exists()
    assert load_bundle(tmp_path / "run" / "bundle").record.footprint is not None
    assert (tmp_path / "run" / "bundle" / "mlm.json").exists()


def test_a_matplotlib_that_cannot_be_imported_costs_the_pictures_alone(
    done: Path, tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, "rsmeta.training.plots", None)
    short(tiny_run, shutil.copytree(done, tmp_path / "run"), resume=True)
    assert "could not make the pictures of the run" in caplog.text


def test_the_model_is_saved_before_it_is_scored(
    tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("rsmeta.workflows.final_metrics.score_as_mapped", broken)
        with pytest.raises(OSError, match="No space"):
            short(tiny_run, tmp_path / "run")
    load_bundle(tmp_path / "run" / "bundle")
    assert short(tiny_run, tmp_path / "run", resume=True).metrics["validation"]["pixels"] > 0


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        pytest.param("EPSG:3413", Affine(10, 0, -480, 0, -10, 480), id="pole"),
        pytest.param('LOCAL_CS["site",UNIT["metre",1]]', Affine(1, 0, 100, 0, -1, 100), id="site"),
    ],
)
def test_a_place_that_cannot_be_drawn_on_a_map_trains(
    crs: str | None, transform: Affine, tiny_run: TinyRun, tmp_path: Path, make_scene: MakeScene
) -> None:
    with rasterio.open(tiny_run.scene) as scene, rasterio.open(tiny_run.labels) as labels:
        names = scene.descriptions
        make_scene(tmp_path / "west.tif", scene.read(), crs=crs, transform=transform,
                   descriptions=names, nodata=scene.nodata)  # fmt: skip
        make_scene(tmp_path / "west_labels.tif", labels.read(1), crs=crs, transform=transform)
    short(tiny_run, tmp_path / "run", f"data.root={tmp_path}", "data.scenes=[west.tif]")
    load_bundle(tmp_path / "run" / "bundle")


def test_bf16_true_trains_saves_and_predicts(tiny_run: TinyRun, tmp_path: Path) -> None:
    made = short(tiny_run, tmp_path / "run", "trainer.precision=bf16-true", "trainer.max_epochs=3")
    assert (tmp_path / "run" / "plots" / "chips.png").exists()
    bundle = load_bundle(tmp_path / "run" / "bundle")
    assert {t.dtype for t in bundle.network.state_dict().values() if t.is_floating_point()} == {
        torch.float32
    }
    exact = bundle.network.normalisation
    torch.testing.assert_close(bundle.network.prepare.mean.flatten(), torch.tensor(exact.mean))
    rsmeta.predict(tiny_run.scene, tmp_path / "run" / "bundle", output=tmp_path / "m.tif")
    scores = rsmeta.evaluate(
        tmp_path / "run" / "bundle", tiny_run.config, [f"data.root={tiny_run.data}"],
        split="validation",
    )  # fmt: skip
    assert scores.as_dict()["accuracy"] == pytest.approx(made.metrics["validation"]["accuracy"])


def test_bf16_true_scores_images_too(image_run: Path, tmp_path: Path) -> None:
    overrides = [f"data.root={image_run / 'data'}", "trainer.precision=bf16-true",
                 "trainer.max_epochs=1"]  # fmt: skip
    made = train(image_run / "config.yaml", overrides, output=tmp_path / "run")
    assert 0 <= made.metrics["validation"]["calibration_error"] <= 1


# -- folders that were moved, files that were damaged ----------------------------------------------


def test_a_moved_run_resumes_from_its_own_files(
    tiny_run: TinyRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # The best weights are those of the first epoch: later ones are ruined.
    steady = ("trainer.optimizer={schedule: constant, warmup: 0}", "trainer.max_epochs=2")
    short(tiny_run, tmp_path / "a", *steady)
    shutil.copytree(tmp_path / "a", tmp_path / "copied" / "b")
    whole = short(tiny_run, tmp_path / "whole", *steady, "trainer.max_epochs=3")
    # Another run now lies where the copy came from.
    shutil.rmtree(tmp_path / "a")
    short(tiny_run, tmp_path / "a", *steady, "seed=7")
    again = short(tiny_run, tmp_path / "copied" / "b", *steady, "trainer.max_epochs=3", resume=True)
    assert again.metrics["best_epoch"] == whole.metrics["best_epoch"]
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "copied" / "b")
    assert all(torch.equal(one[name], other[name]) for name in one)
    # Done already: nothing is trained, and the same weights are kept.
    (tmp_path / "copied" / "b").rename(tmp_path / "c")
    short(tiny_run, tmp_path / "c", *steady, "trainer.max_epochs=3", resume=True)
    assert all(torch.equal(one[name], weights(tmp_path / "c")[name]) for name in one)
    assert "missing" not in caplog.text


@pytest.mark.parametrize("size", [0, 1000])
def test_a_damaged_last_checkpoint_is_one_line_and_a_way_on(
    size: int, done: Path, tiny_run: TinyRun, tmp_path: Path
) -> None:
    shutil.copytree(done, tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:size])
    with pytest.raises(TrainingError, match=r"last.ckpt is damaged .*; delete it, and --resume"):
        short(tiny_run, tmp_path / "run", resume=True)
    last.unlink()
    if size:  # once will do
        short(tiny_run, tmp_path / "run", resume=True)


def test_a_lost_best_checkpoint_is_said_and_the_run_goes_on(
    done: Path, tiny_run: TinyRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(done, tmp_path / "run")
    best = tmp_path / "run" / "checkpoints" / "best.ckpt"
    best.write_bytes(best.read_bytes()[:500])
    with pytest.raises(TrainingError, match=r"best.ckpt is damaged .*keeps the last weights"):
        short(tiny_run, tmp_path / "run", resume=True)
    best.unlink()
    assert short(tiny_run, tmp_path / "run", resume=True).metrics["best_epoch"] is None
    assert "best.ckpt is missing" in caplog.text


# -- max_steps -------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [2, 6, 9])
def test_more_steps_after_max_steps_equal_one_run(
    first: int, tiny_run: TinyRun, tmp_path: Path
) -> None:
    def trained(output: Path, steps: int, *, resume: bool = False) -> dict[str, torch.Tensor]:
        settings = settings_of(
            tiny_run.data, f"trainer.max_steps={steps}", "trainer.max_epochs=100",
            "trainer.optimizer.schedule=constant", "trainer.optimizer.warmup=0",
        )  # fmt: skip
        module, data = make_module(settings)
        fit(module, data, output=output, resume=resume)
        return module.network.trained_state()

    whole = trained(tmp_path / "whole", 14)
    trained(tmp_path / "parts", first)
    parts = trained(tmp_path / "parts", 14, resume=True)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert rows(tmp_path / "whole") == rows(tmp_path / "parts")
    assert [row["step"] for row in rows(tmp_path / "whole")] == ["6", "12"]
    assert not any("nan" in row.values() for row in rows(tmp_path / "whole"))


# -- interruption ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at_step", "by", "status"),
    [(2, signal.SIGINT, 130), (6, signal.SIGINT, 130), (6, signal.SIGTERM, 143)],
)
def test_ctrl_c_says_interrupted_and_the_run_resumes(
    at_step: int, by: signal.Signals, status: int, rsmeta: Rsmeta, tiny_run: TinyRun,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    step: Callable[..., torch.Tensor] = TaskModule.training_step

    def interrupted(module: TaskModule, *batch: Any) -> torch.Tensor:
        if module.global_step == at_step:
            os.kill(os.getpid(), by)
        return step(module, *batch)

    before = signal.getsignal(signal.SIGINT)
    arguments = ("train", tiny_run.config, f"data.root={tiny_run.data}", "trainer.max_epochs=2",
                 "--output", tmp_path / "run")  # fmt: skip
    with monkeypatch.context() as patched:
        patched.setattr(TaskModule, "training_step", interrupted)
        ended = rsmeta(*arguments)
    assert ended.status == status
    assert "interrupted" in ended.err
    assert "--resume" in ended.err
    assert "Traceback" not in ended.err
    assert signal.getsignal(signal.SIGINT) is before
    resumed = rsmeta(*arguments, "--resume")
    assert resumed.status == 0, resumed.err
    assert (tmp_path / "run" / "bundle").exists()


# -- divergence ------------------------------------------------------------------------------------


def test_divergence_in_the_last_epoch_is_an_error_and_never_the_best(
    tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = TaskModule.validation_step

    def diverging(module: TaskModule, batch: Any, index: int) -> None:
        if module.current_epoch == 1:
            with torch.no_grad():
                next(iter(module.network.head.parameters())).fill_(torch.nan)
        forward(module, batch, index)

    monkeypatch.setattr(TaskModule, "validation_step", diverging)
    with pytest.raises(TrainingError, match="training diverged: the validation loss is nan"):
        short(tiny_run, tmp_path / "run", "trainer.max_epochs=2")
    best = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["epoch"] == 0
    assert all(torch.isfinite(t).all() for t in best["state_dict"].values())


@pytest.mark.parametrize("validation", ["0", "0.2"])
def test_a_last_step_that_ruins_the_weights_is_an_error(
    validation: str, tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss before the step was finite: only the weights can tell."""

    def ruin(module: TaskModule, *_: Any) -> None:
        with torch.no_grad():
            next(iter(module.network.head.parameters())).fill_(torch.nan)

    monkeypatch.setattr(TaskModule, "on_train_batch_end", ruin)
    only = ("data.chips_per_epoch=4", f"data.split.validation={validation}")
    with pytest.raises(TrainingError, match="training diverged"):
        short(tiny_run, tmp_path / "run", *only)
    assert not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()
    assert not (tmp_path / "run" / "bundle").exists()


def test_what_was_not_learned_is_said_at_the_end(
    tiny_run: TinyRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    still = ("trainer.optimizer.lr=1.0e-30", "trainer.max_epochs=2", "model.head=linear", "seed=1")
    made = short(tiny_run, tmp_path / "run", *still)
    confusion = np.array(made.metrics["validation"]["confusion"])
    names = list(made.metrics["validation"]["classes"])
    never = [names[i] for i in np.flatnonzero(confusion.sum(axis=0) == 0)]
    for name in never:
        assert f"never predicted in the validation part: {name}" in caplog.text
    losses = [float(row["train_loss"]) for row in rows(tmp_path / "run")]
    assert ("the training loss did not fall" in caplog.text) is (losses[-1] >= losses[0])
    assert never or losses[-1] >= losses[0], "the test must show one of them"


def test_a_full_disk_under_a_checkpoint_is_one_line(
    tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rsmeta.training.checkpoints.TorchCheckpointIO.save_checkpoint", broken)
    with pytest.raises(RsmetaError, match=r"cannot write the checkpoint .*free some space"):
        short(tiny_run, tmp_path / "run")
