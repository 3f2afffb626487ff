"""Trials: a run starts from the best of a few scales, and from nothing else than without them."""

from __future__ import annotations

import csv
import logging
from typing import TYPE_CHECKING, Any

import pytest
import torch

from rsmeta.config.meta import MetaSettings
from rsmeta.errors import ConfigError
from rsmeta.peft import scales_of
from rsmeta.training.fit import fit
from rsmeta.training.meta import build_strategy, callback, judge_scales
from rsmeta.training.meta.trials import steps_of_a_trial, try_scales
from rsmeta.training.module import TaskModule
from tests.integration.conftest import write_data
from tests.integration.meta_runs import make_module, settings_of
from tests.integration.test_meta_isolation import differences, everything

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene

#: Trials of 6 steps each (of 18) are all that moves scales; what is learned is easy.
TRIED = (
    "meta.lr=null", "meta.gate=1000", "meta.trial_share=1", "trainer.max_epochs=3",
    "data.split.validation=0",
)  # fmt: skip


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory, make_scene: MakeScene) -> Path:
    return write_data(tmp_path_factory.mktemp("trials") / "data", make_scene)


def tried(scenes: Path, output: Path, *overrides: str) -> Any:
    """Return the history of the scales of a run, after a look into its file."""
    module, data = make_module(settings_of(scenes, *TRIED, *overrides))
    result = fit(module, data, output=output)
    assert result.scales is not None
    assert result.scales.scales[-1] == pytest.approx(list(scales_of(module.network).values()))
    with (output / "gamma_history.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len(result.scales.sites) * len(
            result.scales.steps
        )
    return result.scales


#: Steps that are long for the adapters, and far too short.
LONG = "trainer.optimizer={name: adamw, lr: 1, head_lr_scale: 0.01}"
SHORT = "trainer.optimizer={name: sgd, lr: 0.00001}"


@pytest.mark.parametrize(("rate", "best"), [(LONG, 1.0), (SHORT, 10.0)])
def test_a_run_starts_from_the_same_scale_whatever_scale_is_given(
    rate: str, best: float, scenes: Path, tmp_path: Path
) -> None:
    for start in (3.0, 10.0):
        course = tried(scenes, tmp_path / f"{start}", rate, f"tuner.scale={start}")
        assert course.scales[0] == pytest.approx([start] * len(course.sites))
        assert course.scales[-1] == pytest.approx([best] * len(course.sites))
        assert course.steps.count(0) == (1 if start == best else 2)


@pytest.mark.parametrize("more", [(), ("meta.objective=tail", "meta.batches=2"),
                                  ("meta.source=held_out", "meta.granularity=site")])  # fmt: skip
def test_trials_change_the_scales_and_nothing_else(
    more: tuple[str, ...], scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed: list[set[str]] = []

    def watched(module: Any, trainer: Any, *given: Any) -> None:
        before = everything(trainer, module)
        try_scales(module, trainer, *given)
        changed.append(differences(before, everything(trainer, module)))

    monkeypatch.setattr(callback, "try_scales", watched)
    module, data = make_module(settings_of(scenes, *TRIED, SHORT, *more), disturbed=True)
    names = {name for name in module.network.state_dict() if name.endswith("rho")}
    fit(module, data, output=tmp_path / "run")
    assert changed == [{f"/state/network.{name}" for name in names}]


@pytest.mark.parametrize(
    ("more", "trials"),
    [(("meta.trial_share=0.1",), 0), (("meta.lr=0.1",), 0),
     (("meta.trial_scales=[2, 2]",), 0), (("meta.strategy=evolution",), 0),
     (("meta.parametrisation=sigmoid",), 2), ((), 3)],
)  # fmt: skip
def test_scales_are_tried_where_there_is_time_and_reason(
    more: tuple[str, ...], trials: int, scenes: Path, tmp_path: Path, caplog: Any
) -> None:
    with caplog.at_level(logging.INFO, "rsmeta.training.meta.trials"):
        tried(scenes, tmp_path / "run", SHORT, *more)
    said = [record.getMessage() for record in caplog.records if "tried" in record.getMessage()]
    assert len(said) == bool(trials)
    assert [line.count(": ") for line in said] == [trials] * bool(trials)


@pytest.mark.parametrize(
    ("share", "total", "trials", "steps"),
    [(0.15, 150, 3, 15), (0.15, 300, 3, 15), (0.15, 400, 3, 20), (0.15, 100, 3, 10),
     (0.15, 49, 3, 0), (0, 10_000, 3, 0), (0.15, 300, 0, 0), (0.3, 10_000, 2, 1500)],
)  # fmt: skip
def test_trials_take_their_share_and_twice_that_in_short_runs(
    share: float, total: int, trials: int, steps: int
) -> None:
    meta = MetaSettings(strategy="first_order", trial_share=share)
    options = build_strategy(meta, [torch.nn.Parameter(torch.zeros(()))]).options
    assert steps_of_a_trial(options, total, trials) == steps


def test_a_scale_that_ends_in_no_number_is_never_chosen(scenes: Path, tmp_path: Path) -> None:
    course = tried(scenes, tmp_path / "run", SHORT, "meta.trial_scales=[1e30, 2]")
    assert course.scales[-1] == pytest.approx([2.0] * len(course.sites))


def test_where_no_scale_ends_in_a_number_the_given_one_stays(scenes: Path, tmp_path: Path) -> None:
    course = tried(scenes, tmp_path / "run", SHORT, "meta.trial_scales=[1e30, 1e31]")
    assert course.scales[-1] == pytest.approx([1.0] * len(course.sites))


def test_a_resumed_run_tries_nothing_again(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(scenes, *TRIED, SHORT)
    step, trials, ends = TaskModule.training_step, [], []

    def killed(self: TaskModule, *given: Any) -> Any:
        if self.global_step == 8:
            raise RuntimeError("killed")
        return step(self, *given)

    def counted(*given: Any) -> None:
        trials.append(1)
        try_scales(*given)

    monkeypatch.setattr(callback, "try_scales", counted)
    for folder in ("whole", "killed"):
        if folder == "killed":
            module, data = make_module(settings)
            with monkeypatch.context() as patch:
                patch.setattr(TaskModule, "training_step", killed)
                with pytest.raises(RuntimeError, match="killed"):
                    fit(module, data, output=tmp_path / folder)
        module, data = make_module(settings)
        fit(module, data, output=tmp_path / folder, resume=True)
        ends.append(module.network.trained_state())
    assert len(trials) == 2
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


def test_what_trials_changed_is_no_sign_of_scales_that_still_rise(
    scenes: Path, tmp_path: Path
) -> None:
    course = tried(scenes, tmp_path / "run", SHORT)
    assert course.scales[-1] != course.scales[0]
    settings = settings_of(scenes, *TRIED).meta
    assert judge_scales(course, settings, "sgd") == []


@pytest.mark.parametrize("given", ["[0]", "[1, -1]"])
def test_scales_that_cannot_be_tried_are_refused(given: str, scenes: Path) -> None:
    with pytest.raises(ConfigError, match=r"must be above 0, e\.g"):
        settings_of(scenes, "meta.lr=null", f"meta.trial_scales={given}")
