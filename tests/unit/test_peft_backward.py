"""Methods with a backward pass of their own: the gradients of plain operations, in less memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

from rsmeta.config.model import ModelSpec
from rsmeta.config.tuner import TunerSpec
from rsmeta.models import build_backbone
from rsmeta.peft import AdaptedModule, apply_tuner, merge
from rsmeta.peft.mask import Masked
from rsmeta.peft.sites import Site
from rsmeta.peft.ssf import SSF

if TYPE_CHECKING:
    from rsmeta.peft import Adapter

WIDTH = 6
ROWS = {"q": (0, WIDTH), "v": (2 * WIDTH, 3 * WIDTH)}


def _adapter(method: str, seed: int) -> Adapter:
    draw = torch.Generator().manual_seed(seed)
    if method == "ssf":
        adapter: Adapter = SSF(WIDTH)
    else:
        places = torch.randperm(4 * WIDTH, generator=draw)[:9].sort().values
        adapter = Masked((WIDTH, 4), places, torch.tensor([1, 4]))
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draw))
    return adapter


def _fused(method: str, scale: float) -> AdaptedModule:
    torch.manual_seed(0)
    base = nn.Linear(4, 3 * WIDTH).requires_grad_(False)
    sites = {
        Site(0, position, 4, WIDTH, "qkv", rows): _adapter(method, seed)
        for seed, (position, rows) in enumerate(ROWS.items())
    }
    adapted = AdaptedModule(base, sites, scale)
    for modulator in adapted.modulators.values():
        modulator.rho.requires_grad_(True)
    return adapted


def _plain(adapted: AdaptedModule, x: Tensor) -> Tensor:
    """Return what the adapted module does, with its changed parameters as the merge has them."""
    changed = adapted.method.changed(adapted.bare()[1], adapted.parts())
    bias = changed.get("bias", adapted.bare()[1].bias)
    return nn.functional.linear(x, changed["weight"], bias)


@pytest.mark.parametrize("method", ["ssf", "mask"])
@pytest.mark.parametrize("scale", [1.0, 0.5, 30.0])
def test_first_and_second_derivatives_are_those_of_plain_operations(
    method: str, scale: float
) -> None:
    adapted = _fused(method, scale)
    x = torch.randn(2, 5, 4, requires_grad=True)
    inputs = [x, *(p for p in adapted.parameters() if p.requires_grad)]
    found = []
    for output in (adapted(x), _plain(adapted, x)):
        alone = torch.autograd.grad(output.square().sum(), inputs, retain_graph=True)
        first = torch.autograd.grad(output.square().sum(), inputs, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), inputs)
        found.append((output, *alone, *first, *second))
    for own, plain in zip(*found, strict=True):
        torch.testing.assert_close(
            own, plain, rtol=2e-4, atol=2e-5 * float(plain.detach().abs().max())
        )


@pytest.mark.parametrize("gamma", [0.0, 1e-6, -1e-3])
def test_a_factor_near_zero_gets_its_exact_gradient(gamma: float) -> None:
    """What was scaled cannot be found again from the output then."""
    base = nn.Linear(4, WIDTH).requires_grad_(False)
    adapter = SSF(WIDTH)
    with torch.no_grad():
        adapter.gamma[2] = gamma
        adapter.beta.fill_(3.0)
    adapted = AdaptedModule(base, {Site(0, "out", 4, WIDTH, "proj"): adapter})
    x = torch.randn(7, 4)
    adapted(x).sum().backward()
    assert adapter.gamma.grad is not None
    torch.testing.assert_close(adapter.gamma.grad, base(x).sum(dim=0), rtol=1e-6, atol=1e-6)


def _kept_bytes(method: str) -> int:
    """Return what one image's backward pass keeps, parameters apart."""
    options = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
    backbone = build_backbone(
        ModelSpec.model_validate({"backbone": "vit_tiny_patch16_224", "options": options})
    )
    apply_tuner(backbone, TunerSpec(method=method))
    held = {p.untyped_storage().data_ptr() for p in backbone.parameters()}
    seen: dict[int, tuple[int, Tensor]] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in held:
            seen[storage.data_ptr()] = storage.nbytes(), tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        backbone(torch.randn(1, 3, 32, 32)).cls.sum().backward()
    return sum(size for size, _ in seen.values())


def test_less_is_kept_than_by_full_training() -> None:
    full = _kept_bytes("full")
    assert _kept_bytes("ssf") < full
    assert _kept_bytes("mask") < 1.2 * full


@pytest.mark.parametrize("method", ["ssf", "mask"])
def test_merged_equals_unmerged_while_gradients_are_on(method: str) -> None:
    adapted = _fused(method, 1.5).eval()
    x = torch.randn(3, 4)
    unmerged = adapted(x)
    assert unmerged.requires_grad
    merge(adapted)
    torch.testing.assert_close(adapted(x), unmerged, rtol=1e-5, atol=1e-5)
