"""Ctrl-C says so, says how to go on, and ends with status 130, whatever the command is doing."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from rsmeta.geo.writer import RasterWriter
from rsmeta.gis.class_map import ClassMap
from rsmeta.inference.engine import Engine
from rsmeta.training.module import TaskModule
from rsmeta.training.pretrain import PretrainModule

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conftest import Ended, Rsmeta, TinyRun

RESUME = "rsmeta: interrupted; run the same command with --resume to continue"
AGAIN = "rsmeta: interrupted; run the same command to start over"


pytestmark = pytest.mark.usefixtures("heard")


def pressed_in(
    monkeypatch: pytest.MonkeyPatch, owner: type, method: str, call: int = 1
) -> Callable[[], int]:
    """Let Ctrl-C be pressed in a call of a method; return how often it was called."""
    real, calls = getattr(owner, method), 0

    def interrupted(self: Any, *given: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise KeyboardInterrupt
        return real(self, *given, **named)

    monkeypatch.setattr(owner, method, interrupted)
    return lambda: calls


def check(ended: Ended, line: str) -> None:
    assert (ended.status, ended.complaint) == (130, line)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("step", ["training_step", "validation_step"])
def test_training(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    given = ("train", tiny_run.config, f"data.root={tiny_run.data}", "trainer.max_epochs=2",
             "data.chips_per_epoch=4", "--output", tmp_path / "run")  # fmt: skip
    with monkeypatch.context() as patch:
        pressed_in(patch, TaskModule, step, call=2)
        check(rsmeta(*given), RESUME)
    ended = rsmeta(*given, "--resume")
    assert ended.status == 0, ended.err
    assert (tmp_path / "run" / "bundle" / "bundle.yaml").exists()


def test_pretraining(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "pretrain.yaml"
    config.write_text(
        f"data: {{scenes: ['{tiny_run.scene}'], chip_px: 32, chips_per_epoch: 4, batch_size: 2}}\n"
        "model: {backbone: satmae_vit_nano_group, options: {img_size: 32, patch_size: 8, "
        "embed_dim: 16, channel_embed: 8, depth: 2, num_heads: 2}}\n"
        "trainer: {max_epochs: 1, accelerator: cpu}\n",
        encoding="utf-8",
    )
    given = ("pretrain", config, "--output", tmp_path / "run")
    with monkeypatch.context() as patch:
        pressed_in(patch, PretrainModule, "training_step")
        check(rsmeta(*given), RESUME)
    ended = rsmeta(*given, "--resume")
    assert ended.status == 0, ended.err


def test_mapping(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("predict", tiny_run.scene, "--model", tiny_run.bundle, "--output", tmp_path / "m.tif")
    with monkeypatch.context() as patch:
        pressed_in(patch, RasterWriter, "write")
        check(rsmeta(*given), RESUME)
    assert rsmeta(*given, "--resume").status == 0


def test_scoring_a_model(
    rsmeta: Rsmeta, tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    pressed_in(monkeypatch, Engine, "run")
    root = f"data.root={tiny_run.data}"
    check(rsmeta("evaluate", "--model", tiny_run.bundle, tiny_run.config, root), AGAIN)


def test_scoring_a_map_and_its_report(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.tif"
    assert (
        rsmeta("predict", tiny_run.scene, "--model", tiny_run.bundle, "--output", path).status == 0
    )
    labels = tiny_run.scene.with_name(f"{tiny_run.scene.stem}_labels.tif")
    for words in (("evaluate", "--map", path, "--reference", labels), ("report", path)):
        with monkeypatch.context() as patch:
            pressed_in(patch, ClassMap, "cover")
            check(rsmeta(*words), AGAIN)
    assert not path.with_suffix(".html").exists()
