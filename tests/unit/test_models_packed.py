"""Packed weights: what a network gives and learns stays what it was, whatever happens to it."""

from __future__ import annotations

import copy
import pickle
import platform
from typing import TYPE_CHECKING, Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional

from rsmeta.config.model import ModelSpec
from rsmeta.config.tuner import TunerSpec
from rsmeta.geo.bands import generic_band
from rsmeta.models import build_backbone, packed
from rsmeta.models.packed import PackedLinear, PatchProduct, frozen, pack_frozen
from rsmeta.peft import TUNERS, apply_tuner, merge, unmerge

if TYPE_CHECKING:
    from collections.abc import Callable

    from rsmeta.models import Backbone

WIDTH, OUT = 320, 256
BANDS = tuple(generic_band(name) for name in ("red", "green", "blue"))
SPEC = ModelSpec(
    options={"embed_dim": 32, "depth": 2, "num_heads": 2, "patch_size": 8, "img_size": 32}
)

pytestmark = pytest.mark.skipif(
    platform.machine().lower() not in {"x86_64", "amd64"}, reason="packs are for x86-64 processors"
)


def pair(*, bias: bool = True) -> tuple[nn.Linear, PackedLinear]:
    """Return a frozen map as torch has it, and the same map packed."""
    plain = nn.Linear(WIDTH, OUT, bias=bias).requires_grad_(False)
    other = nn.Sequential(copy.deepcopy(plain))
    pack_frozen(other)
    return plain, cast("PackedLinear", other[0])


def is_packed(layer: nn.Module) -> bool:
    """Return whether a layer holds a pack at present."""
    return cast("Any", layer)._pack is not None


def close(found: Tensor, wanted: Tensor) -> None:
    """Check that two results differ by rounding alone."""
    assert found.shape == wanted.shape
    assert (found - wanted).norm() <= 1e-5 * wanted.norm() + 1e-12


@pytest.fixture
def every_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let layers be packed that are too small to gain by it."""
    monkeypatch.setattr(packed, "_FEWEST_WEIGHTS", 1)
    monkeypatch.setattr(packed, "_SMALLEST_PATCH_PX", 2)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "given",
    [
        lambda: torch.randn(WIDTH),
        lambda: torch.randn(7, WIDTH),
        lambda: torch.randn(2, 3, 5, WIDTH),
        lambda: torch.randn(WIDTH, 6).T,
        lambda: torch.randn(4, 6, WIDTH)[:, ::2],
        lambda: torch.randn(1, WIDTH).expand(5, WIDTH),
        lambda: torch.randn(0, WIDTH),
    ],
    ids=["one", "rows", "deep", "transposed", "strided", "expanded", "none"],
)
def test_packed_map_and_its_gradient_are_those_of_the_plain_one(
    given: Callable[[], Tensor], bias: bool
) -> None:
    plain, layer = pair(bias=bias)
    x = given()
    found, wanted = (one.requires_grad_() for one in (x.clone(), x.clone()))

    close(layer(found), plain(wanted))
    for one, of in ((layer, found), (plain, wanted)):
        one(of).sum().backward()  # its gradient is one number, expanded

    close(cast("Tensor", found.grad), cast("Tensor", wanted.grad))
    assert is_packed(layer) == bool(len(x))


def test_what_comes_out_may_be_changed_in_place() -> None:
    plain, layer = pair()
    x = torch.randn(3, 5, WIDTH, requires_grad=True)

    def gradient(one: nn.Module) -> Tensor:
        y = one(x)
        y.add_(1.0)
        y[..., :7].mul_(2.0)
        return torch.autograd.grad(y.square().sum(), x)[0]

    close(gradient(layer), gradient(plain))


def test_second_derivatives_are_those_of_the_plain_map() -> None:
    plain, layer = pair()
    x = torch.randn(3, WIDTH, requires_grad=True)

    def second(one: nn.Module) -> Tensor:
        (first,) = torch.autograd.grad(one(x).pow(3).sum(), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), x)[0]

    close(second(layer), second(plain))


def test_bias_learns_beside_a_frozen_weight() -> None:
    plain, layer = pair()
    x = torch.randn(3, WIDTH)
    for one in (plain, layer):
        one.bias.requires_grad_()
        one(x).square().sum().backward()

    close(cast("Tensor", layer.bias.grad), cast("Tensor", plain.bias.grad))
    assert is_packed(layer)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # forward derivatives use it
@pytest.mark.parametrize("kind", ["vmap", "grad", "forward", "bfloat16", "autocast"])
def test_what_packs_do_not_know_is_computed_without(kind: str) -> None:
    plain, layer = pair()
    x = torch.randn(3, WIDTH)

    def result(one: nn.Module) -> Tensor:
        if kind == "vmap":
            return torch.func.vmap(one)(x)
        if kind == "grad":
            return torch.func.grad(lambda given: one(given).square().sum())(x)
        if kind == "bfloat16":
            return cast("Tensor", copy.deepcopy(one).bfloat16()(x.bfloat16()))
        if kind == "autocast":
            with torch.autocast("cpu", torch.bfloat16):
                return cast("Tensor", one(x))
        with forward_ad.dual_level():
            told = forward_ad.unpack_dual(one(forward_ad.make_dual(x, x)))
            return cast("Tensor", told.tangent)

    assert torch.equal(result(layer), result(plain))


@pytest.mark.parametrize("change", ["in place", "data", "parameter", "state", "functional"])
def test_a_changed_weight_is_packed_anew(change: str) -> None:
    plain, layer = pair()
    x, new = torch.randn(3, WIDTH), torch.randn(OUT, WIDTH)
    layer(x)
    wanted = functional.linear(x, new, plain.bias)
    given: dict[str, Any] = {"weight": new}
    if change == "in place":
        layer.weight.copy_(new)
    elif change == "data":
        layer.weight.data = new
    elif change == "parameter":
        layer.weight = nn.Parameter(new, requires_grad=False)
    elif change == "state":
        layer.load_state_dict({"weight": new, "bias": plain.bias})
    else:
        close(torch.func.functional_call(layer, given, (x,)), wanted)
        given["weight"] = new * 2
        close(torch.func.functional_call(layer, given, (x,)), 2 * wanted - plain.bias)
        wanted = plain(x)

    close(layer(x), wanted)


@pytest.mark.parametrize("fused", [True, False])
def test_a_weight_that_learns_is_packed_only_while_it_is_frozen(fused: bool) -> None:
    _, layer = pair()
    layer.requires_grad_(True)
    network = nn.Sequential(layer)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, fused=fused)
    x = torch.randn(3, WIDTH)
    for _ in range(2):
        wanted = functional.linear(x, layer.weight, layer.bias)
        with frozen(network):
            assert not layer.weight.requires_grad
            close(network(x), wanted)
            assert is_packed(layer)
        network(x).square().sum().backward()
        assert not is_packed(layer)
        optimizer.step()  # the fused one leaves no trace in what torch counts


def test_copies_files_and_other_types_go_without_packs() -> None:
    plain, layer = pair()
    x = torch.randn(3, WIDTH)
    layer(x)
    assert is_packed(layer)

    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert not is_packed(other)
        close(other(x), plain(x))
    assert layer.state_dict().keys() == plain.state_dict().keys()
    assert not is_packed(layer.double())


def test_small_maps_and_huge_networks_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def kinds() -> list[type]:
        network = nn.Sequential(
            nn.Linear(WIDTH, OUT), nn.Linear(8, 8), nn.Conv2d(32, 256, 3), nn.Conv2d(4, 256, 8, 8)
        )
        pack_frozen(network)
        return [type(one) for one in network]

    assert kinds() == [PackedLinear, nn.Linear, nn.Conv2d, PatchProduct]
    monkeypatch.setattr(packed, "_MOST_BYTES", 10_000)
    assert kinds() == [nn.Linear, nn.Linear, nn.Conv2d, nn.Conv2d]


@pytest.mark.parametrize("learns", [True, False])
@pytest.mark.parametrize("size", [(16, 24), (19, 31), (8, 8)])
def test_patches_times_filters_are_their_convolution(size: tuple[int, int], learns: bool) -> None:
    plain = nn.Conv2d(13, 128, 8, 8).requires_grad_(learns)
    network = nn.Sequential(copy.deepcopy(plain))
    pack_frozen(network)
    x = torch.randn(2, 13, *size)
    found, wanted = (one.requires_grad_() for one in (x.clone(), x.clone()))
    close(network(found), plain(wanted))
    close(network(found[0]), plain(wanted[0]))

    for one, of in ((network, found), (plain, wanted)):
        one(of).square().sum().backward()

    close(cast("Tensor", found.grad), cast("Tensor", wanted.grad))
    for mine, theirs in zip(network.parameters(), plain.parameters(), strict=True):
        if learns:
            close(cast("Tensor", mine.grad), cast("Tensor", theirs.grad))


def tuned(method: str) -> Backbone:
    """Return a small backbone whose adapters have learned something."""
    torch.manual_seed(3)
    backbone = build_backbone(SPEC, BANDS)
    apply_tuner(backbone, TunerSpec(method=method))
    with torch.no_grad():
        for one in backbone.parameters():
            if one.requires_grad:
                one += 0.01 * torch.randn_like(one)
    return backbone


@pytest.mark.usefixtures("every_layer")
@pytest.mark.parametrize("method", TUNERS.names())
def test_every_method_learns_the_same_on_packed_weights(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without:
        without.setattr(packed, "_MOST_BYTES", -1)
        plain = tuned(method)
    backbone = tuned(method)
    assert any(isinstance(one, PackedLinear) for one in backbone.modules())
    image = torch.randn(2, len(BANDS), 32, 32)

    def gradients(one: Backbone) -> Tensor:
        found = one(image)
        if found.cls.requires_grad:
            (found.cls.sum() + found.map.square().mean()).backward()
        kept = [p.grad.flatten() for p in one.parameters() if p.grad is not None]
        return torch.cat([found.cls.detach().flatten(), *kept])

    close(gradients(backbone), gradients(plain))


@pytest.mark.usefixtures("every_layer")
def test_merged_adapters_are_packed_with_the_weights() -> None:
    backbone = tuned("lora")
    image = torch.randn(2, len(BANDS), 32, 32)
    with torch.inference_mode():
        before = backbone(image).map
        for strength in (1.0, 3.0):
            for name, one in backbone.named_parameters():
                if name.endswith(".up"):
                    one.mul_(strength)
            wanted = backbone(image).map
            merge(backbone)
            close(backbone(image).map, wanted)
            unmerge(backbone)
            close(backbone(image).map, wanted)
    assert not torch.allclose(before, wanted)
