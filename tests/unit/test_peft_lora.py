"""LoRA: merges and comes back, changes nothing at first, and its scale acts and is learned."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rsmeta.config.model import ModelSpec
from rsmeta.config.tuner import TunerSpec
from rsmeta.geo.bands import generic_band
from rsmeta.models.timm.build import TimmViT, build_timm
from rsmeta.peft import AdaptedModule, LoRA, Site, apply_tuner, is_merged, merge, unmerge
from rsmeta.peft.dora import DoRA

RGB = tuple(generic_band(name) for name in ("red", "green", "blue"))
TINY = {"patch_size": 8, "embed_dim": 64, "depth": 3, "num_heads": 4, "img_size": 32}


def _tiny() -> TimmViT:
    return build_timm(ModelSpec(options=TINY), RGB)


def _adapted(backbone: TimmViT) -> dict[str, LoRA]:
    """Return the adapters by site name."""
    found = {}
    for module in backbone.modules():
        if isinstance(module, AdaptedModule):
            for position, site in module.sites.items():
                adapter = module.adapters[position]
                assert isinstance(adapter, LoRA)
                found[site.name] = adapter
    return found


def _randomise(backbone: TimmViT) -> None:
    for adapter in _adapted(backbone).values():
        torch.nn.init.normal_(adapter.up, std=0.1)


def test_changes_nothing_before_training_and_at_scale_zero() -> None:
    backbone = _tiny().eval()
    x = torch.randn(2, 3, 32, 32)
    before = backbone(x)
    apply_tuner(backbone, TunerSpec(scale=0.0))
    assert torch.equal(backbone(x).map, before.map)  # fresh
    _randomise(backbone)
    assert torch.equal(backbone(x).map, before.map)  # trained, but switched off


def test_scale_multiplies_the_delta_and_is_not_trained() -> None:
    torch.manual_seed(0)
    backbone = _tiny().eval()
    apply_tuner(backbone, TunerSpec(scale=2.5, blocks=[0]))
    _randomise(backbone)
    qkv = backbone.get_submodule("vit.blocks.0.attn.qkv")
    assert isinstance(qkv, AdaptedModule)
    x = torch.randn(2, 5, 64)
    q, v = _adapted(backbone)["0.q"], _adapted(backbone)["0.v"]
    zeros = torch.zeros(2, 5, 64)
    wanted = qkv.base(x) + 2.5 * torch.cat([q(x, zeros), zeros, v(x, zeros)], dim=-1)
    torch.testing.assert_close(qkv(x), wanted, atol=1e-5, rtol=1e-5)
    learning = {name.split(".")[-1] for name, p in backbone.named_parameters() if p.requires_grad}
    assert learning == {"down", "up"}


def test_modulator_gets_the_gradient_once_asked() -> None:
    backbone = _tiny()
    apply_tuner(backbone, TunerSpec(blocks=[1]))
    _randomise(backbone)
    rhos = [p for name, p in backbone.named_parameters() if name.endswith("rho")]
    assert [rho.shape for rho in rhos] == [torch.Size([])] * 2
    for rho in rhos:
        rho.requires_grad_(True)
    cls = backbone(torch.randn(1, 3, 32, 32)).cls
    (cls * torch.randn_like(cls)).sum().backward()
    assert all(rho.grad is not None and rho.grad != 0 for rho in rhos)


@pytest.mark.parametrize("positions", [("q", "v"), ("q", "k", "v", "out", "mlp1", "mlp2")])
def test_merges_and_comes_back_bit_for_bit(positions: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    backbone = _tiny().eval()
    apply_tuner(backbone, TunerSpec(positions=positions, scale=1.7))
    _randomise(backbone)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    x = torch.randn(2, 3, 32, 32)
    unmerged = backbone(x)
    report = merge(backbone)
    assert report.merged == tuple(f"lora {i}.{name}" for i in range(3) for name in positions)
    assert not report.left
    assert is_merged(backbone)
    merged = backbone(x)
    torch.testing.assert_close(merged.map, unmerged.map, atol=1e-5, rtol=0)
    assert not torch.equal(
        before["vit.blocks.0.attn.qkv.base.weight"],
        backbone.state_dict()["vit.blocks.0.attn.qkv.base.weight"],
    )
    merge(backbone)  # a second time changes nothing
    assert torch.equal(backbone(x).map, merged.map)
    unmerge(backbone)
    after = backbone.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert torch.equal(backbone(x).map, unmerged.map)


def test_dora_leaves_a_row_of_zeros_at_zero() -> None:
    """A zero row has no direction: 0 / 0 would be NaN from the first step on."""
    module = nn.Linear(6, 4)
    with torch.no_grad():
        module.weight[1] = 0.0
    site = Site(0, "q", 6, 4, "q")
    adapter = DoRA(module.weight, rank=2)
    adapted = AdaptedModule(module, {site: adapter})
    x = torch.randn(3, 6)
    torch.testing.assert_close(adapted(x), module(x))
    adapted(x).square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in adapter.parameters() if p.grad is not None)
    with torch.no_grad():
        adapter.up += 0.1
    expected = adapted(x).detach()
    assert torch.isfinite(expected).all()
    adapted.merge()
    torch.testing.assert_close(adapted(x), expected)
