"""Tuners: what they freeze, what they refuse, and that a refusal changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from rsmeta.config.tuner import TunerSpec
from rsmeta.errors import TunerError, UnknownNameError
from rsmeta.peft import (
    TUNERS,
    AdaptedModule,
    Adapter,
    MergeReport,
    Modulator,
    Site,
    Sited,
    apply_tuner,
    merge,
)


class Toy(Sited):
    """Two blocks of a fused map and a plain one: no transformer, but it has sites."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.ModuleDict({"qkv": nn.Linear(8, 24), "fc": nn.Linear(24, 8)}) for _ in range(2)
        )

    @property
    def depth(self) -> int:
        return 2

    def sites(self) -> tuple[Site, ...]:
        found = []
        for i in range(2):
            found += [
                Site(i, "q", 8, 8, f"blocks.{i}.qkv", (0, 8)),
                Site(i, "v", 8, 8, f"blocks.{i}.qkv", (16, 24)),
                Site(i, "mlp1", 24, 8, f"blocks.{i}.fc"),
                Site(i, "block", 8, 8, f"blocks.{i}"),
            ]
        return tuple(found)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block["fc"](block["qkv"](x).relu())
        return x


def _learning(module: nn.Module) -> set[str]:
    return {name for name, p in module.named_parameters() if p.requires_grad}


def test_head_freezes_and_full_frees_everything() -> None:
    toy = Toy()
    report = apply_tuner(toy, TunerSpec(method="head"))
    assert not _learning(toy)
    assert report.sites == ()
    report = apply_tuner(toy, TunerSpec(method="full"))
    assert _learning(toy) == {name for name, _ in toy.named_parameters()}
    assert report.trained_parameters == report.backbone_parameters


def test_lora_reports_its_sites() -> None:
    toy = Toy()
    report = apply_tuner(toy, TunerSpec(blocks=["1"], rank=2))
    assert [site.name for site in report.sites] == ["1.q", "1.v"]
    assert report.adapter_parameters == 2 * (8 * 2 + 2 * 8)
    assert "2 sites" in report.summary()
    assert toy.sites() == Toy().sites()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"blocks": [2]}, "2 blocks; use numbers from 0 to 1"),
        ({"blocks": ["0-5"]}, "use numbers from 0 to 1"),
        ({"positions": ["q", "k"]}, "names 'k', which this backbone does not offer"),
        ({"positions": ["block"]}, "names 'block', which lora does not take; it takes q, v, k"),
        ({"rank": 9}, "choose at most 8"),
    ],
)
def test_refusal_changes_nothing(settings: dict[str, Any], sentence: str) -> None:
    toy = Toy()
    names = [name for name, _ in toy.named_parameters()]
    with pytest.raises(TunerError, match=sentence):
        apply_tuner(toy, TunerSpec(**settings))
    assert [name for name, _ in toy.named_parameters()] == names
    assert _learning(toy) == set(names)


def test_a_second_tuner_is_refused() -> None:
    toy = Toy()
    apply_tuner(toy, TunerSpec())
    with pytest.raises(TunerError, match="carries adapters already"):
        apply_tuner(toy, TunerSpec())


def test_unknown_method_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'lora'"):
        apply_tuner(Toy(), TunerSpec(method="lorra"))
    assert {"full", "head", "lora"} <= set(TUNERS.names())


@pytest.mark.parametrize(
    "settings",
    [{"blocks": "a-b"}, {"blocks": ["5-2"]}, {"positions": []}, {"rank": 0}, {"scale": -1},
     {"ranks": 3}],
)  # fmt: skip
def test_unreadable_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TunerSpec(**settings)


class Shift(Adapter):
    """A method that is neither linear nor stacked: the base class's own way is taken."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.bias.expand(*x.shape[:-1], -1)


def test_any_method_adds_scaled_to_its_rows_and_may_stay_unmerged() -> None:
    toy = Toy()
    q, v = toy.sites()[:2]
    base = toy.blocks[0]["qkv"]
    adapted = AdaptedModule(base, {q: Shift(8), v: Shift(8)}, scale=3.0)
    x = torch.randn(4, 8)
    change = adapted(x) - base(x)
    wanted = torch.tensor([3.0] * 8 + [0.0] * 8 + [3.0] * 8).expand(4, -1)
    torch.testing.assert_close(change, wanted, atol=1e-5, rtol=0)
    assert merge(adapted) == MergeReport(merged=(), left=("Shift 0.q", "Shift 0.v"))
    torch.testing.assert_close(adapted(x) - base(x), change)


def test_merged_is_not_trained() -> None:
    toy = Toy().eval()
    apply_tuner(toy, TunerSpec())
    merge(toy)
    with pytest.raises(TunerError, match="unmerge it first"):
        toy.train()


@pytest.mark.parametrize("value", [0.0, 1e-6, 0.1, 1.0, 10.0, 200.0])
def test_modulator_holds_its_value(value: float) -> None:
    modulator = Modulator(value)
    assert float(modulator()) == pytest.approx(value, rel=1e-5)
    assert not modulator.rho.requires_grad
    modulator.set(2.0)
    assert float(modulator()) == pytest.approx(2.0)


def test_modulator_refuses_a_negative_scale() -> None:
    with pytest.raises(ValueError, match="at least 0"):
        Modulator(-0.5)
