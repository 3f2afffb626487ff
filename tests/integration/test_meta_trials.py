"""Trials in a run: it starts from the best of a few scales, and from nothing else than without."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import pytest
import torch

from rsmeta.errors import ConfigError
from rsmeta.peft import scales_of
from rsmeta.training.fit import fit
from rsmeta.training.meta import callback, judge_scales
from rsmeta.training.meta.trials import try_scales
from tests.integration.conftest import write_data
from tests.integration.meta_runs import killed_and_resumed, make_module, settings_of
from tests.integration.test_meta_isolation import differences, everything

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene

#: Two trials of 5 steps, of 12; nothing else moves scales, and weights hardly move.
TRIED = (
    "meta.lr=null", "meta.travel=1.0000001", "meta.trial_share=1", "meta.trial_scales=[1, 10]",
    "meta.every_n_steps=6", "meta.until=0.5", "trainer.max_epochs=2", "data.split.validation=0",
    "trainer.optimizer={name: sgd, lr: 0.00001}",
)  # fmt: skip


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory, make_scene: MakeScene) -> Path:
    return write_data(tmp_path_factory.mktemp("trials") / "data", make_scene)


def test_a_run_is_the_same_whatever_scale_is_given(scenes: Path, tmp_path: Path) -> None:
    ends = []
    for start in (0.3, 1.0):
        settings = settings_of(scenes, *TRIED, f"tuner.scale={start}")
        module, data = make_module(settings)
        course = fit(module, data, output=tmp_path / f"{start}").scales
        assert course is not None
        assert course.scales[0] == pytest.approx([start] * len(course.sites))
        assert course.scales[-1] == pytest.approx([10.0] * len(course.sites))
        assert course.scales[-1] == pytest.approx(list(scales_of(module.network).values()))
        assert course.steps.count(0) == 2
        assert judge_scales(course, settings.meta, "sgd") == [], "trials are no rise"
        with (tmp_path / f"{start}" / "gamma_history.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == len(course.sites) * len(course.steps)
        assert not any(rho.requires_grad for rho in module.network.scale_parameters()), "frozen"
        ends.append(module.network.trained_state())
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


class Enough(Exception):
    """Ends a run whose trials are over."""


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
        raise Enough

    monkeypatch.setattr(callback, "try_scales", watched)
    settings = settings_of(scenes, *TRIED, "tuner.scale=2", *more)
    module, data = make_module(settings, disturbed=True)
    names = {name for name in module.network.state_dict() if name.endswith("rho")}
    with pytest.raises(Enough):
        fit(module, data, output=tmp_path / "run")
    assert changed == [{f"/state/network.{name}" for name in names}]


def test_a_resumed_run_tries_nothing_again(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = []

    def counted(*given: Any) -> None:
        trials.append(1)
        try_scales(*given)

    monkeypatch.setattr(callback, "try_scales", counted)
    whole, resumed = killed_and_resumed(settings_of(scenes, *TRIED), tmp_path, after=8)
    assert len(trials) == 2
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


@pytest.mark.parametrize("given", ["[0]", "[1, -1]"])
def test_scales_that_cannot_be_tried_are_refused(given: str, scenes: Path) -> None:
    with pytest.raises(ConfigError, match=r"must be above 0, e\.g"):
        settings_of(scenes, "meta.lr=null", f"meta.trial_scales={given}")
