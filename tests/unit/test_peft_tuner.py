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
from rsmeta.peft.tuner import auto_rank


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
     {"ranks": 3}, {"rank": "all"}, {"alpha": 0}, {"sites": {"q": {}}}, {"sites": {"*.w": {}}},
     {"sites": {"5-2.q": {}}}, {"sites": {"*.q": {"ranks": 2}}}],
)  # fmt: skip
def test_unreadable_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TunerSpec(**settings)


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("*.q", {"0.q", "1.q", "2.q"}),
        ("1.*", {"1.q", "1.v", "1.mlp1"}),
        ("0,2.q,mlp", {"0.q", "0.mlp1", "2.q", "2.mlp1"}),
        ("1-2.attn", {"1.q", "1.v", "2.q", "2.v"}),
    ],
)
def test_patterns_of_sites(pattern: str, meant: set[str]) -> None:
    spec = TunerSpec(sites={pattern: {"rank": 3}})
    found = {
        f"{block}.{position}"
        for block in range(3)
        for position in ("q", "v", "mlp1")
        if spec.at(block, position).rank == 3
    }
    assert found == meant


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"method": "vpt_deep"}, "needs blocks that take a sequence of any length with a mask"),
        ({"method": "vpt_shallow"}, "block 0 of this backbone"),
        ({"method": "ln"}, r"offers none of the positions of tuner.method=ln \(norm1, norm2\)"),
        ({"method": "adaptformer", "positions": "mlp2"}, "names 'mlp2', which this backbone"),
        ({"method": "mask", "positions": "block"}, "names 'block', which mask does not take"),
    ],
)
def test_a_method_that_a_backbone_cannot_take_is_refused(
    settings: dict[str, Any], sentence: str
) -> None:
    toy = Toy()
    with pytest.raises(TunerError, match=sentence):
        apply_tuner(toy, TunerSpec(**settings))
    assert _learning(toy) == {name for name, _ in toy.named_parameters()}


class Bare(Toy):
    """The same with other sites: an MLP that ends no branch, maps without bias, no blocks."""

    def __init__(self) -> None:
        super().__init__()
        for block in self.blocks:
            block["fc"].bias = None

    def sites(self) -> tuple[Site, ...]:
        return tuple(Site(i, "mlp2", 24, 8, f"blocks.{i}.fc") for i in range(2))


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        ("adaptformer", "site 0.mlp2 ends no branch of its block"),
        ("bias", "finds nothing to act on at 0.mlp2, 1.mlp2"),
        ("partial", "names no blocks as a whole"),
    ],
)
def test_what_a_site_lacks_is_said(method: str, sentence: str) -> None:
    with pytest.raises(TunerError, match=sentence):
        apply_tuner(Bare(), TunerSpec(method=method))


def test_lora_needs_linear_maps() -> None:
    toy = Toy()
    toy.blocks[0]["qkv"] = nn.Sequential(nn.Linear(8, 24))
    with pytest.raises(TunerError, match="'q', which is no linear map in this backbone"):
        apply_tuner(toy, TunerSpec())


@pytest.mark.parametrize(
    ("classes", "depth", "rank"), [(1, 12, 1), (24, 12, 1), (100, 12, 4), (1000, 12, 32)]
)
def test_automatic_rank(classes: int, depth: int, rank: int) -> None:
    assert auto_rank(classes, depth) == rank


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
