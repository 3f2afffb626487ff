"""Invariant 8 of the design: a meta step changes scales and their optimizer, nothing else."""

from __future__ import annotations

import copy
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision

from rsmeta.training import fit as fitting
from rsmeta.training.fit import fit
from rsmeta.training.meta import MetaStep
from tests.integration.conftest import write_data
from tests.integration.meta_runs import STRATEGIES, make_module, settings_of

if TYPE_CHECKING:
    from pathlib import Path

    from lightning import Trainer

    from rsmeta.training.module import TaskModule
    from tests.conftest import MakeScene


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory, make_scene: MakeScene) -> Path:
    return write_data(tmp_path_factory.mktemp("meta") / "data", make_scene)


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested dictionaries and sequences by their paths."""
    if isinstance(tree, dict):
        pairs = [(str(key), value) for key, value in tree.items()]
    elif isinstance(tree, list | tuple):
        pairs = [(str(i), value) for i, value in enumerate(tree)]
    else:
        return {prefix: copy.deepcopy(tree.detach()) if isinstance(tree, torch.Tensor) else tree}
    return {k: v for key, value in pairs for k, v in flat(value, f"{prefix}/{key}").items()}


def everything(trainer: Trainer, module: TaskModule) -> dict[str, Any]:
    """Return all that training depends on."""
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    optimizer = trainer.optimizers[0]
    return flat(
        {
            "state": module.state_dict(),
            "buffers": dict(module.named_buffers()),
            "gradients": {name: p.grad for name, p in module.named_parameters()},
            "asked": {name: p.requires_grad for name, p in module.named_parameters()},
            "modes": {name: m.training for name, m in module.named_modules()},
            "optimizer": optimizer.state_dict(),
            "moments": [optimizer.state[p] for g in optimizer.param_groups for p in g["params"]],
            "schedules": [c.scheduler.state_dict() for c in trainer.lr_scheduler_configs],
            "scaler": None if scaler is None else scaler.state_dict(),
            "loops": trainer.fit_loop.state_dict(),
            "step": trainer.global_step,
            "torch": torch.get_rng_state(),
            "numpy": np.random.get_state()[1:],  # noqa: NPY002 the global generator is watched
            "python": random.getstate(),
        }
    )


def differences(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    assert before.keys() == after.keys()
    found = set()
    for name, value in before.items():
        if isinstance(value, torch.Tensor | np.ndarray):
            same = np.array_equal(np.asarray(value), np.asarray(after[name]), equal_nan=True)
        else:
            same = value == after[name]
        found |= set() if same else {name}
    return found


def half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train in float16 with a gradient scaler, which Lightning would refuse on a CPU."""
    build = fitting.Trainer

    def trainer(**keys: Any) -> Any:
        plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=256.0))
        keys["plugins"].append(plugin)
        return build(**{k: v for k, v in keys.items() if k != "precision"})

    monkeypatch.setattr(fitting, "Trainer", trainer)


#: The default way of moving, with the gate open, so that every scale moves.
DEFAULT = ("meta.lr=null", "meta.gate=0")


@pytest.mark.parametrize(
    ("strategy", "precision", "more"),
    [*((strategy, "32-true", ()) for strategy in STRATEGIES),
     ("first_order", "bf16-mixed", ()), ("unrolled", "bf16-mixed", ()),
     ("first_order", "16-mixed", ()), ("finite_difference", "16-mixed", ()),
     ("first_order", "32-true", DEFAULT), ("first_order", "16-mixed", DEFAULT),
     ("first_order", "32-true", (*DEFAULT, "meta.objective=tail", "meta.batches=3",
                                 "meta.source=held_out"))],
)  # fmt: skip
def test_invariant_8_a_meta_step_changes_the_scales_and_nothing_else(
    strategy: str, precision: str, more: tuple[str, ...], scenes: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    changed: list[set[str]] = []
    step = MetaStep.step

    def watched(self: MetaStep, trainer: Trainer, module: TaskModule) -> None:
        random.random()
        np.random.rand()  # noqa: NPY002 the global generator is what is watched
        before = everything(trainer, module)
        step(self, trainer, module)
        changed.append(differences(before, everything(trainer, module)))

    monkeypatch.setattr(MetaStep, "step", watched)
    if precision == "16-mixed":
        half_precision(monkeypatch)
    settings = settings_of(
        scenes, f"meta.strategy={strategy}", "meta.population=4", "data.split.validation=0",
        f"trainer.precision={precision if precision != '16-mixed' else 'auto'}", *more,
    )  # fmt: skip
    module, data = make_module(settings, disturbed=True)
    scales = {
        f"/state/network.{name}" for name in module.network.state_dict()
        if name.endswith("rho")
    }  # fmt: skip
    fit(module, data, output=tmp_path / "run")
    assert len(changed) == 3
    assert changed == [scales] * 3


@pytest.mark.parametrize(
    ("strategy", "more"),
    [
        ("first_order", ()),
        ("first_order", ("trainer.precision=bf16-mixed",)),
        ("first_order", ("meta.lr=null", "meta.gate=1000")),
        ("unrolled", ("trainer.accumulate_grad_batches=2",)),
        ("finite_difference", ("trainer.optimizer={name: sgd, lr: 0.01}",)),
    ],
    ids=["plain", "bf16", "gated", "accumulated", "sgd"],
)
def test_scales_that_do_not_move_leave_the_run_of_fixed_ones(
    strategy: str, more: tuple[str, ...], scenes: Path, tmp_path: Path
) -> None:
    states = []
    for name in ("fixed", strategy):
        settings = settings_of(
            scenes, f"meta.strategy={name}", "meta.lr=0", "meta.every_n_steps=1", *more
        )
        module, data = make_module(settings, disturbed=True)
        result = fit(module, data, output=tmp_path / name)
        states.append((module.state_dict(), result.history))
    (one, history), (other, again) = states
    assert history == again
    assert all(name.endswith("rho") for name in one.keys() ^ other.keys())
    assert all(torch.equal(one[name], other[name]) for name in one)


def steps_taken(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Return a list that fills with (batch, optimizer step) of every meta step."""
    taken: list[tuple[int, int]] = []
    monkeypatch.setattr(
        MetaStep,
        "step",
        lambda _, trainer, __: taken.append((trainer.fit_loop.batch_idx, trainer.global_step)),
    )
    return taken


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ((), [(1, 2), (3, 4), (5, 6)]),
        (("meta.warmup_steps=1",), [(2, 3), (4, 5)]),
        (("meta.every_n_steps=1", "trainer.accumulate_grad_batches=2"), [(1, 1), (3, 2), (5, 3)]),
        (("trainer.accumulate_grad_batches=3",), [(5, 2)]),
    ],
    ids=["every second", "after warm-up", "accumulated by 2", "accumulated by 3"],
)
def test_steps_are_counted_in_optimizer_steps(
    overrides: tuple[str, ...], expected: list[tuple[int, int]], scenes: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    taken = steps_taken(monkeypatch)
    module, data = make_module(settings_of(scenes, *overrides))
    fit(module, data, output=tmp_path / "run")
    assert taken == expected


@pytest.mark.parametrize("strategy", STRATEGIES[:3])
def test_gradient_checkpointing_changes_nothing(
    strategy: str, scenes: Path, tmp_path: Path
) -> None:
    ends = []
    for checkpointing in (False, True):
        settings = settings_of(scenes, f"meta.strategy={strategy}", "data.split.validation=0")
        module, data = make_module(settings)
        vit: Any = module.network.backbone.get_submodule("vit")
        vit.set_grad_checkpointing(checkpointing)
        fit(module, data, output=tmp_path / str(checkpointing))
        assert vit.grad_checkpointing is checkpointing
        ends.append(torch.stack([rho.detach() for rho in module.network.scale_parameters()]))
    torch.testing.assert_close(*ends, atol=1e-6, rtol=1e-5)
    assert not torch.equal(ends[0], torch.full_like(ends[0], ends[0][0].item()))


def test_the_iterator_of_meta_batches_is_made_once(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(scenes, "trainer.max_epochs=3", "meta.every_n_steps=1")
    module, data = make_module(settings)
    made = []
    make = data.meta_dataloader

    def counted(*given: Any, **keys: Any) -> Any:
        made.append(keys["first_step"])
        return make(*given, **keys)

    monkeypatch.setattr(data, "meta_dataloader", counted)
    fit(module, data, output=tmp_path / "run")
    assert made == [0]
