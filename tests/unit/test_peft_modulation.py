"""Scales: in every form, shared for real, merged, dropped, and the same wherever they act."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save
from torch import Tensor

from rsmeta.config.meta import MetaSettings
from rsmeta.config.model import ModelSpec
from rsmeta.config.tuner import TunerSpec
from rsmeta.errors import BundleError, TunerError
from rsmeta.geo.bands import generic_band
from rsmeta.models.build import build_network
from rsmeta.peft import (
    AdaptedModule,
    LoRA,
    Modulator,
    merge,
    scales_of,
    site_modulators,
    unmerge,
)

if TYPE_CHECKING:
    from rsmeta.models.network import Network

BANDS = tuple(generic_band(name) for name in ("red", "green", "blue"))
OPTIONS = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 2}
BACKBONES = {
    "timm": ModelSpec(options=OPTIONS, head="linear"),
    "satmae": ModelSpec(
        backbone="satmae_vit_b16_rgb", head="linear",
        options={"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 2},
    ),
}  # fmt: skip
TUNER = {"rank": 2, "positions": ("q", "v", "mlp1")}
GRANULARITIES = ("hierarchical", "site", "block", "position", "channel")


def tuned(
    backbone: str = "timm", sites: Any = None, tuner: dict[str, Any] | None = None, **meta: Any
) -> Network:
    """Return a network whose adapters do something."""
    torch.manual_seed(0)
    network = build_network(
        BACKBONES[backbone], TunerSpec(**(tuner or TUNER)), bands=BANDS, classes=2,
        mean=[0.0] * 3, std=[1.0] * 3,
        meta=MetaSettings(**{"strategy": "first_order", **meta}),
    ).eval()  # fmt: skip
    if sites is not None:
        network.keep_sites(sites)
    for module in network.modules():
        if isinstance(module, LoRA):
            torch.nn.init.normal_(module.up, std=0.2)
    return network


def images() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 32, 32, generator=generator), torch.ones(2, 32, 32, dtype=torch.bool)


def vary(network: Network) -> None:
    """Give every scale a value of its own."""
    generator = torch.Generator().manual_seed(1)
    for rho in network.scale_parameters():
        rho.data += torch.randn(rho.shape, generator=generator)


@pytest.mark.parametrize("form", ["softplus", "exp", "sigmoid", "raw"])
@pytest.mark.parametrize("value", [0.0, 1e-3, 0.3, 1.0, 1.9])
def test_every_form_holds_its_value(form: Any, value: float) -> None:
    for channels in (None, 5):
        modulator = Modulator(value, form=form, channels=channels)
        assert modulator().shape == (() if channels is None else (5,))
        assert modulator.mean() == pytest.approx(value, rel=1e-5)
        modulator.set(0.7)
        assert modulator.mean() == pytest.approx(0.7, rel=1e-5)
    assert modulator.strength() == pytest.approx(0.7, rel=1e-5)


def test_values_that_a_form_cannot_have() -> None:
    assert Modulator(-2.0, form="raw").mean() == -2.0
    assert Modulator(-2.0, form="raw").strength() == 2.0
    for form in ("softplus", "exp", "sigmoid"):
        with pytest.raises(ValueError, match="must be at least 0, not -2"):
            Modulator(-2.0, form=form)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"must be below its maximum 1.5, not 1.5"):
        Modulator(1.5, form="sigmoid", maximum=1.5)
    with pytest.raises(ValueError, match="must be finite, not inf"):
        Modulator(float("inf"))


def test_settings_that_leave_nothing_to_learn() -> None:
    with pytest.raises(
        TunerError, match=r"tuner.scale=2 does not fit meta.parametrisation=sigmoid"
    ):
        tuned(tuner={"scale": 2.0}, parametrisation="sigmoid")
    with pytest.raises(TunerError, match=r"tuner.scale=0 gives meta.strategy=joint no gradient"):
        tuned(tuner={"scale": 0.0}, strategy="joint")
    tuned(tuner={"scale": 0.0}, strategy="joint", parametrisation="raw")
    with pytest.raises(TunerError, match="first_order has no scales to learn, because this tuner"):
        tuned(tuner={"method": "head"}, strategy="first_order")


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize(
    ("granularity", "count", "numbers"),
    [("hierarchical", 16, 16), ("site", 9, 9), ("block", 3, 3), ("position", 3, 3),
     ("channel", 9, 3 * (32 + 32 + 128))],
)  # fmt: skip
def test_sites_share_one_parameter_that_is_saved_once(
    backbone: str, granularity: str, count: int, numbers: int
) -> None:
    network = tuned(backbone, granularity=granularity)
    assert len(network.scale_parameters()) == count
    assert sum(rho.numel() for rho in network.scale_parameters()) == numbers
    assert len(site_modulators(network.backbone)) == 9
    saved = [name for name in network.trained_state() if name.endswith("rho")]
    assert len(saved) == count
    vary(network)
    other = tuned(backbone, granularity=granularity)
    assert not torch.equal(other(*images()), network(*images()))
    state = load_safetensors(save({k: v.contiguous() for k, v in network.trained_state().items()}))
    other.load_trained_state(state)
    assert torch.equal(other(*images()), network(*images()))
    assert scales_of(other.backbone) == scales_of(network.backbone)
    del state[saved[0]]
    with pytest.raises(BundleError, match="lack 1 tensors"):
        other.load_trained_state(state)


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_the_optimizer_of_the_weights_never_holds_a_scale(granularity: str) -> None:
    network = tuned(granularity=granularity)
    held = {id(p) for p in network.trainable_parameters()}
    for rho in network.scale_parameters():
        rho.requires_grad_(True)
    assert {id(p) for p in network.trainable_parameters()} == held
    assert not held & {id(rho) for rho in network.scale_parameters()}
    network(*images()).square().sum().backward()
    for rho in network.scale_parameters():
        assert rho.grad is not None
        assert rho.grad.abs().sum() > 0


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_merging_uses_the_scales(backbone: str, granularity: str) -> None:
    network = tuned(backbone, granularity=granularity)
    vary(network)
    x = images()
    unmerged = network(*x)
    merge(network)
    torch.testing.assert_close(network(*x), unmerged, atol=1e-5, rtol=0)
    unmerge(network)
    assert torch.equal(network(*x), unmerged)


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_dropped_sites_are_as_if_their_scale_were_zero(granularity: str) -> None:
    network = tuned(granularity=granularity, parametrisation="raw")
    kept = ["0.q", "1.v", "1.mlp1", "2.mlp1"]
    pruned = tuned(granularity=granularity, parametrisation="raw")
    pruned.keep_sites(kept)
    assert list(scales_of(pruned.backbone)) == kept
    assert [site.name for site in pruned.tuned.sites] == kept
    assert pruned.tuned.adapter_parameters == 2 * (64 + 64 + 160 + 160)
    dropped = [site for site in network.tuned.sites if site.name not in kept]
    for module in network.modules():
        for position in module.adapters if isinstance(module, AdaptedModule) else ():
            if module.sites[position] in dropped:
                module.modulators[position] = Modulator(0.0)
    torch.testing.assert_close(pruned(*images()), network(*images()), atol=1e-6, rtol=0)
    rebuilt = tuned(granularity=granularity, parametrisation="raw", sites=kept)
    rebuilt.load_trained_state(pruned.trained_state())
    assert torch.equal(rebuilt(*images()), pruned(*images()))
    assert len(pruned.trained_state()) < len(network.trained_state())
    wrapped = [path for path, m in pruned.named_modules() if isinstance(m, AdaptedModule)]
    assert len(wrapped) == 4, "a module without sites is the backbone's own again"


def test_a_site_that_carries_nothing_cannot_be_kept_and_merged_ones_not_dropped() -> None:
    network = tuned()
    merge(network)
    with pytest.raises(TunerError, match="are merged; unmerge it before dropping sites"):
        network.keep_sites(["0.q"])
    with pytest.raises(TunerError, match=r"no adapter at site 7.q; there are 0.mlp1, 0.q"):
        tuned(sites=["0.q", "7.q"])


def test_methods_side_by_side_have_scales_of_their_own() -> None:
    """Also at one site; pruned sites leave, the others and what stands around them stay."""
    tuner = [TunerSpec(method="lora", rank=2, positions=["q"], blocks="0-1"),
             TunerSpec(method="ssf", positions=["q"], scale=0.5, blocks="0-1")]  # fmt: skip
    network = build_network(
        BACKBONES["timm"], tuner, bands=BANDS, classes=2,
        mean=[0.0] * 3, std=[1.0] * 3,
    )  # fmt: skip
    scales = scales_of(network.backbone)
    assert scales == pytest.approx({"0.q lora": 1, "0.q ssf": 0.5, "1.q lora": 1, "1.q ssf": 0.5})
    for parameter in network.backbone.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn_like(parameter)
    kept = ["0.q ssf", "1.q lora"]
    for label, modulator in site_modulators(network.backbone).items():
        if label not in kept:
            modulator.set(0.0)
    network.eval()
    x = torch.randn(1, 3, 32, 32), torch.ones(1, 32, 32, dtype=torch.bool)
    with torch.no_grad():
        wanted = network(*x)
        network.keep_sites(kept)
        torch.testing.assert_close(network(*x), wanted)
    assert list(scales_of(network.backbone)) == kept


def test_prompts_that_pass_through_go_together() -> None:
    network = build_network(
        BACKBONES["timm"], TunerSpec(method="vpt_shallow", length=3),
        bands=BANDS, classes=2, mean=[0.0] * 3, std=[1.0] * 3,
    )  # fmt: skip
    with pytest.raises(TunerError, match=r"0\.block cannot be dropped alone"):
        network.keep_sites(["1.block"])
    network.keep_sites([])
    assert scales_of(network.backbone) == {}


def test_hierarchical_scales_start_where_told_and_share_what_moves_them() -> None:
    network = tuned(tuner={**TUNER, "scale": 0.3}, granularity="hierarchical")
    modulators = site_modulators(network.backbone)
    assert scales_of(network.backbone) == pytest.approx(dict.fromkeys(modulators, 0.3))
    everything, position, block = modulators["1.q"].levels
    for level, sites, weight in (
        (everything, set(modulators), 0.475),
        (position, {"0.q", "1.q", "2.q"}, 0.2375),
        (block, {"1.q", "1.v", "1.mlp1"}, 0.2375),
    ):
        before = scales_of(network.backbone)
        level.rho.data += 1.0
        after = scales_of(network.backbone)
        assert {site for site in after if after[site] != before[site]} == sites
        for site in sites:
            assert after[site] / before[site] == pytest.approx(math.exp(weight), rel=1e-5)
    own = scales_of(network.backbone)
    modulators["1.q"].rho.data += 1.0
    assert scales_of(network.backbone)["1.q"] / own["1.q"] == pytest.approx(
        math.exp(0.05), rel=1e-5
    )


@pytest.mark.parametrize("value", [0.0, 0.02, 1.0, 7.0])
def test_a_scale_that_shares_levels_can_be_set(value: float) -> None:
    network = tuned(granularity="hierarchical")
    vary(network)
    before = scales_of(network.backbone)
    site_modulators(network.backbone)["2.v"].set(0.0)  # from where no mean leads back
    site_modulators(network.backbone)["2.v"].set(value)
    after = scales_of(network.backbone)
    assert after.pop("2.v") == pytest.approx(value, rel=1e-4)
    assert before.pop("2.v") != value
    assert after == before


def test_no_level_is_made_where_scales_are_fixed() -> None:
    network = tuned(granularity="hierarchical", strategy="fixed")
    assert len(network.scale_parameters()) == 9


@pytest.mark.parametrize("out_reads", ["input", "output"])
@pytest.mark.parametrize("norm", [0.01, 0.5, 100.0])
def test_a_normalised_change_is_as_strong_as_its_scale_says(norm: float, out_reads: str) -> None:
    tuner = {"rank": 3, "positions": ("q", "out", "mlp1"), "out_reads": out_reads}
    network, plain = (tuned(tuner={**tuner, "norm": n}).requires_grad_(False) for n in (norm, None))
    for module, other in zip(network.modules(), plain.modules(), strict=True):
        if isinstance(module, AdaptedModule) and isinstance(other, AdaptedModule):
            weight = module.bare()[1].get_parameter("weight")
            for position, site in module.sites.items():
                delta = module.adapters[position].weight_delta()
                unlimited = other.adapters[position].weight_delta()
                rows = slice(*site.rows) if site.rows else slice(None)
                largest = norm * float(weight[rows].norm())
                assert float(delta.norm()) == pytest.approx(
                    min(float(unlimited.norm()), largest), rel=1e-4
                )
                cosine = torch.cosine_similarity(delta.flatten(), unlimited.flatten(), dim=0)
                assert float(cosine) == pytest.approx(1, abs=1e-5)
    x = images()
    unmerged = network(*x)
    merge(network)
    torch.testing.assert_close(network(*x), unmerged, atol=1e-5, rtol=1e-5)


def test_a_normalised_change_can_be_trained_from_zero() -> None:
    network = build_network(
        BACKBONES["timm"], TunerSpec(rank=2, norm=0.1), bands=BANDS, classes=2,
        mean=[0.0] * 3, std=[1.0] * 3,
    )  # fmt: skip
    optimizer = torch.optim.SGD(network.trainable_parameters(), lr=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        network(*images()).square().mean().backward()
        optimizer.step()
    ups = [module.up for module in network.modules() if isinstance(module, LoRA)]
    assert all(torch.isfinite(up).all() for up in ups)
    assert all(up.abs().max() > 0 for up in ups)


@pytest.mark.parametrize("rank", [1, 4, 16])
def test_the_rank_stabilised_strength_falls_with_the_root_of_the_rank(rank: int) -> None:
    for stabilised, expected in ((False, 8 / rank), (True, 8 / math.sqrt(rank))):
        tuner = {"rank": rank, "positions": ("q",), "rank_stabilised": stabilised}
        network = tuned(tuner=tuner)
        found = [m.scaling for m in network.modules() if isinstance(m, LoRA)]
        assert found == pytest.approx([expected] * 3)
