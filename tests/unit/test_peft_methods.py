"""Every registered method on every kind of backbone: what all of them must do.

A method that is registered is tested here by itself; a backbone kind is one line of ``KINDS``.
"""

from __future__ import annotations

import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

import pytest
import torch
from torch import Tensor, nn

from rsmeta.config.model import HeadSpec, ModelSpec
from rsmeta.config.tuner import TunerSpec
from rsmeta.errors import BundleError, TunerError
from rsmeta.models import build_backbone
from rsmeta.models.build import build_network
from rsmeta.peft import TUNERS, AdaptedModule, apply_tuner, is_merged, merge, unmerge
from tests.unit.backbone_kinds import KINDS as MORE_KINDS
from tests.unit.tiny_satmae import BANDS, spec_of

if TYPE_CHECKING:
    from rsmeta.models import Backbone, Network

_SIZES = {"embed_dim": 32, "depth": 2, "num_heads": 2, "patch_size": 8, "img_size": 32}
KINDS: dict[str, ModelSpec] = {
    "timm": ModelSpec(options=_SIZES),
    "clip": ModelSpec(backbone="vit_base_patch16_clip_quickgelu_224", options=_SIZES),
    "group": spec_of("group"),
    "rgb": spec_of("rgb"),
    **{kind: MORE_KINDS[kind] for kind in ("swin", "swinv2", "dinov3", "eva02", "eva fused")},
}
#: Kinds without one sequence of tokens (windows), or with positions that prompts have not.
PROMPTLESS = ("swin", "swinv2", "dinov3", "eva02")
#: Kinds without one convolution that sees all bands.
STEMLESS = ("group",)
METHODS = TUNERS.names()
#: Methods that insert no adapter but train what is there.
IN_PLACE = {"full": 1.0, "partial": 0.5, "head": 0.0}
SITED = [name for name in METHODS if name not in IN_PLACE]


def _fits(method: str, kind: str) -> bool:
    lacking = {"vpt_deep": PROMPTLESS, "vpt_shallow": PROMPTLESS, "deflect": STEMLESS}
    return kind not in lacking.get(method, ())


#: Every method on every kind that takes it.
FITTING = [(m, k) for k in KINDS for m in SITED if _fits(m, k)]
fitting = pytest.mark.parametrize(("method", "kind"), FITTING)
#: One that is timm's whole network, and those that are ours around timm's blocks.
FEW = [(m, k) for m, k in FITTING if k in ("timm", "group") or (m, k) == ("deflect", "rgb")]
few_kinds = pytest.mark.parametrize(("method", "kind"), FEW)
sited = pytest.mark.parametrize("method", SITED)


def _bands(kind: str) -> Any:
    return BANDS["group" if kind == "group" else "rgb"]


def _backbone(kind: str, **options: Any) -> Backbone:
    torch.manual_seed(0)
    spec = KINDS[kind]
    spec = spec.model_copy(update={"options": spec.options | options})
    backbone = build_backbone(spec, _bands(kind)).eval()
    with torch.no_grad():
        for parameter in backbone.parameters():
            if parameter.abs().max() < 1e-3:  # some networks begin with branches that do nothing
                parameter.normal_(std=0.2)
    return backbone


def _tuned(kind: str, *methods: str, **settings: Any) -> Backbone:
    backbone = _backbone(kind)
    torch.manual_seed(1)
    apply_tuner(backbone, [TunerSpec(method=m, **_small(m), **settings) for m in methods])
    return backbone


def _small(method: str) -> dict[str, Any]:
    options: dict[str, Any] = {"length": 3} if method.startswith("vpt") else {}
    if method == "deflect":
        options = {"width": 4}
    if method in ("lora", "dora"):
        options = {"rank": 4, "positions": ["attn", "mlp"]}
    return options


def _image(kind: str, batch: int = 2) -> Tensor:
    return torch.randn(batch, len(_bands(kind)), 32, 24, generator=torch.Generator().manual_seed(5))


def _probed(backbone: Backbone, kind: str) -> Tensor:
    """Return a number that every part of the features bears on."""
    output = backbone(_image(kind).to(next(backbone.parameters()).dtype))
    generator = torch.Generator().manual_seed(6)
    probes = [torch.randn(value.shape, generator=generator) for value in output]
    return sum((value * p).sum() for value, p in zip(output, probes, strict=True))


def _adapted(module: nn.Module) -> list[AdaptedModule]:
    return [one for one in module.modules() if isinstance(one, AdaptedModule)]


def _train_a_little(module: nn.Module) -> None:
    """Move every adapter away from its start, as training would."""
    torch.manual_seed(2)
    for one in _adapted(module):
        for parameter in one.adapters.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)


def _set_scale(module: nn.Module, value: float) -> None:
    for one in _adapted(module):
        for modulator in one.modulators.values():
            cast("Any", modulator).set(value)


def _network(kind: str, *methods: str) -> Network:
    torch.manual_seed(0)
    bands = _bands(kind)
    spec = KINDS[kind].model_copy(update={"head": HeadSpec(name="linear")})
    tuner = [TunerSpec(method=m, **_small(m)) for m in methods]
    return build_network(
        spec, tuner, bands=bands, classes=3, mean=[0.1] * len(bands), std=[0.3] * len(bands)
    ).eval()


# -- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PROMPTLESS)
@pytest.mark.parametrize("method", ["vpt_shallow", "vpt_deep"])
def test_prompts_are_refused_where_there_is_no_sequence(method: str, kind: str) -> None:
    with pytest.raises(TunerError, match="sequence of any length"):
        _tuned(kind, method)


@pytest.mark.parametrize("kind", STEMLESS)
def test_a_deflection_is_refused_where_no_convolution_sees_all_bands(kind: str) -> None:
    with pytest.raises(TunerError, match="one convolution of all bands"):
        _tuned(kind, "deflect")


# -- forward ---------------------------------------------------------------------------------------


@fitting
def test_changes_nothing_before_training(method: str, kind: str) -> None:
    before = _backbone(kind)(_image(kind))
    backbone = _tuned(kind, method)
    if method.startswith("vpt"):  # a prompt is random from the start: only its absence is nothing
        assert not torch.allclose(backbone(_image(kind)).map, before.map, atol=1e-4)
        return
    torch.testing.assert_close(backbone(_image(kind)).map, before.map, atol=1e-6, rtol=0)


@fitting
def test_scale_zero_leaves_the_backbone_as_it_is_frozen_bit_for_bit(method: str, kind: str) -> None:
    before = _backbone(kind).requires_grad_(False)(_image(kind))
    backbone = _tuned(kind, method, scale=0.0)
    _train_a_little(backbone)
    after = backbone(_image(kind))
    assert torch.equal(after.map, before.map)
    assert torch.equal(after.cls, before.cls)
    _set_scale(backbone, 1.0)
    assert not torch.allclose(backbone(_image(kind)).map, before.map, atol=1e-4)


@sited
def test_a_site_is_its_base_and_scale_times_a_change(method: str) -> None:
    """The output is affine in the scale; prompts alone are not: theirs is a share of attention."""
    backbone = _tuned("timm", method)
    _train_a_little(backbone)
    x = torch.randn(2, 9, 32)
    for one in _adapted(backbone):
        if method.startswith("vpt") or method == "adaptformer":
            continue
        site = next(iter(one.sites.values()))
        given = x if site.in_features == 32 else torch.randn(2, 9, site.in_features)
        given = _image("timm") if site.position == "stem" else given
        outputs = []
        for scale in (0.0, 1.0, 2.5):
            _set_scale(one, scale)
            outputs.append(one(given))
        assert torch.equal(outputs[0], one.base(given))
        wanted = outputs[0] + 2.5 * (outputs[1] - outputs[0])
        torch.testing.assert_close(outputs[2], wanted, atol=1e-4, rtol=1e-4)


@sited
def test_a_small_scale_does_little(method: str) -> None:
    before = _backbone("timm")(_image("timm")).map
    backbone = _tuned("timm", method)
    _train_a_little(backbone)
    _set_scale(backbone, 1e-6)
    torch.testing.assert_close(backbone(_image("timm")).map, before, atol=2e-5, rtol=0)


@few_kinds
def test_maps_at_every_depth_have_their_size(method: str, kind: str) -> None:
    backbone = _tuned(kind, method)
    first, second = backbone.dense(_image(kind), (0, 1))
    assert first.shape == second.shape == (2, backbone.dim, 4, 3)
    torch.testing.assert_close(second, backbone(_image(kind)).map)


# -- backward --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "kind"), [*FITTING, *((method, kind) for method in IN_PLACE for kind in KINDS)]
)
def test_only_what_should_move_moves(method: str, kind: str) -> None:
    backbone = _tuned(kind, method)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    free = {name: p for name, p in backbone.named_parameters() if p.requires_grad}
    if not free:
        assert method == "head"
        return
    optimizer = torch.optim.SGD(free.values(), lr=0.1)
    for _ in range(2):  # what is behind a zero gets its gradient in the second step
        _probed(backbone, kind).backward()
        optimizer.step()
    moved = {n for n, value in backbone.state_dict().items() if not torch.equal(value, before[n])}
    assert moved <= set(free)
    if method != "full":  # parts of a whole backbone may lie beside these outputs
        assert moved == set(free)
    assert all(p.grad is None for n, p in backbone.named_parameters() if n not in free)


@fitting
def test_every_modulator_gets_a_gradient_once_asked(method: str, kind: str) -> None:
    backbone = _tuned(kind, method)
    _train_a_little(backbone)
    rhos = [p for one in _adapted(backbone) for p in one.modulators.parameters()]
    assert rhos
    assert not any(rho.requires_grad for rho in rhos)
    for rho in rhos:
        rho.requires_grad_(True)
    _probed(backbone, kind).backward()
    assert all(rho.grad is not None and torch.isfinite(rho.grad).all() for rho in rhos)
    assert all((rho.grad != 0).all() for rho in rhos)


@sited
def test_the_gradient_of_a_scale_is_the_slope(method: str) -> None:
    backbone = _tuned("timm", method).double()
    _train_a_little(backbone)
    modulator = cast("Any", next(iter(_adapted(backbone)[0].modulators.values())))
    modulator.rho.requires_grad_(True)
    _probed(backbone, "timm").backward()
    slope = modulator.rho.grad.item()
    step, sides = 1e-4, []
    for sign in (1, -1):
        with torch.no_grad():
            modulator.rho += sign * step
            sides.append(_probed(backbone, "timm").item())
            modulator.rho -= sign * step
    assert slope == pytest.approx((sides[0] - sides[1]) / (2 * step), rel=1e-3)


@few_kinds
def test_gradient_checkpointing_changes_no_gradient(method: str, kind: str) -> None:
    gradients = []
    for again in (False, True):
        backbone = _tuned(kind, method).train()
        _train_a_little(backbone)
        _set_checkpointing(backbone, on=again)
        values = [_probed(backbone, kind) for _ in range(2)]  # two passes must not mix
        torch.stack(values).sum().backward()
        gradients.append([p.grad for p in backbone.parameters() if p.requires_grad])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed)


def _set_checkpointing(backbone: Backbone, *, on: bool) -> None:
    vit = cast("Any", backbone).vit
    if hasattr(vit, "set_grad_checkpointing"):
        vit.set_grad_checkpointing(on)
    else:
        vit.grad_checkpointing = on


# -- side by side ----------------------------------------------------------------------------------


@few_kinds
def test_batches_side_by_side_do_not_mix(method: str, kind: str) -> None:
    """Two threads pass through one network in step, as the lanes of a map may happen to."""
    backbone = _tuned(kind, method)
    _train_a_little(backbone)
    merge(backbone)  # as before every map
    images = [_image(kind), 2 + _image(kind).flip(0)]
    with torch.inference_mode():
        alone = [backbone(image).map for image in images]
    barrier = threading.Barrier(2)

    def in_step(*_: Any) -> None:
        barrier.wait()

    for module in backbone.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.LayerNorm):
            module.register_forward_pre_hook(in_step)

    def through(image: Tensor) -> Tensor:
        try:
            with torch.inference_mode():
                return backbone(image).map
        except BaseException:
            barrier.abort()  # or the other would wait for ever
            raise

    with ThreadPoolExecutor(2) as pool:
        for found, wanted in zip(pool.map(through, images), alone, strict=True):
            torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("method", ["adaptformer", "deflect"])
def test_it_compiles_into_one_graph(method: str) -> None:
    backbone = _tuned("timm", method)
    _train_a_little(backbone)
    compiled = torch.compile(backbone, backend="eager", fullgraph=True)
    with torch.no_grad():
        assert torch.equal(compiled(_image("timm")).map, backbone(_image("timm")).map)


# -- merging ---------------------------------------------------------------------------------------


@fitting
def test_merges_where_it_can_and_comes_back_bit_for_bit(method: str, kind: str) -> None:
    backbone = _tuned(kind, method, scale=1.3)
    _train_a_little(backbone)
    image = _image(kind)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    with torch.no_grad():
        unmerged = backbone(image)
        report = merge(backbone)
        merged = backbone(image)
    mergeable = {one.method.mergeable for one in _adapted(backbone)}
    assert len(mergeable) == 1
    assert bool(report.merged) == (True in mergeable)
    assert bool(report.left) == (False in mergeable)
    assert is_merged(backbone) == (True in mergeable)
    torch.testing.assert_close(merged.map, unmerged.map, atol=1e-5, rtol=1e-5)
    merge(backbone)  # a second time changes nothing
    assert torch.equal(backbone(image).map, merged.map)
    unmerge(backbone)
    after = backbone.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert torch.equal(backbone(image).map, unmerged.map)


@pytest.mark.parametrize("bias", [True, False])
def test_ssf_merges_into_maps_without_bias(bias: bool) -> None:
    backbone = _backbone("timm", qkv_bias=bias)
    apply_tuner(backbone, TunerSpec(method="ssf"))
    _train_a_little(backbone)
    image = _image("timm")
    names = set(backbone.state_dict())
    unmerged = backbone(image).map
    assert not merge(backbone).left
    torch.testing.assert_close(backbone(image).map, unmerged, atol=1e-5, rtol=1e-5)
    unmerge(backbone)
    assert set(backbone.state_dict()) == names
    assert torch.equal(backbone(image).map, unmerged)


# -- saving ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "kind"), [*FEW, *((m, k) for m in IN_PLACE for k in ("timm", "group"))]
)
def test_saved_and_loaded_gives_the_same(method: str, kind: str) -> None:
    network, fresh = _network(kind, method), _network(kind, method)
    for one in (network, fresh):  # as if the weights were a checkpoint's
        cast("Any", one.backbone).load_report = object()
        one._trained = one._names_to_save()
    _train_a_little(network)
    for parameter in network.trainable_parameters():
        parameter.data += 0.01
    state = network.trained_state()
    frozen = {n for n, p in network.named_parameters() if not p.requires_grad}
    kept = {n for n in state if n in frozen}
    stem = {n for n in frozen if n.startswith("backbone.") and "patch_embed" in n}
    assert all(n in stem or n.endswith(".rho") for n in kept)
    fresh.load_trained_state(state)
    image, valid = _image(kind), torch.ones(2, 32, 24, dtype=torch.bool)
    assert torch.equal(fresh(image, valid), network(image, valid))
    some = sorted(state)[0]
    with pytest.raises(BundleError, match="lack 1 tensors"):
        fresh.load_trained_state({k: v for k, v in state.items() if k != some})
    with pytest.raises(BundleError, match="hold unknown 1 tensors"):
        fresh.load_trained_state(state | {"left.over": torch.zeros(1)})


@sited
def test_a_copy_is_on_its_own(method: str) -> None:
    backbone = _tuned("timm", method)
    _train_a_little(backbone)
    image = _image("timm")
    wanted = backbone(image).map
    other = copy.deepcopy(backbone)
    for parameter in backbone.parameters():
        parameter.data.zero_()
    assert torch.equal(other(image).map, wanted)


# -- counts and combinations -----------------------------------------------------------------------

#: Numbers that learn, for a block of width D with an MLP of 4·D and settings of ``_small``.
COUNTS = {
    "lora": lambda d: 4 * (2 * 4 * d) + 2 * (4 * 5 * d),
    "dora": lambda d: 4 * (2 * 4 * d) + 2 * (4 * 5 * d) + 9 * d,
    "adapter": lambda d: 2 * d + (8 * d + 8) + (8 * d + d),
    "adaptformer": lambda d: 2 * d + (8 * d + 8) + (8 * d + d) + 1,
    "vpt_deep": lambda d: 3 * d,
    "vpt_shallow": lambda d: 3 * d / 2,
    "ssf": lambda d: 2 * (3 * d + d + 4 * d + d + 2 * d),
    "bias": lambda d: 3 * d + d + 4 * d + d + 2 * d,
    "ln": lambda d: 4 * d,
    "deflect": lambda d: (4 * 6 + 4 + (4 + 1) * d) / 2,
    "mask": lambda d: (
        sum(round(0.05 * n) for n in [d * d] * 4 + [4 * d * d] * 2 + [d] * 5) + round(0.05 * 4 * d)
    ),
}


@sited
def test_as_many_parameters_as_the_formula_says(method: str) -> None:
    backbone = _backbone("timm")
    report = apply_tuner(backbone, TunerSpec(method=method, **_small(method)))
    if method in COUNTS:  # a method of another package has no formula here
        assert report.adapter_parameters == 2 * COUNTS[method](32)
    learning = {n: p for n, p in backbone.named_parameters() if p.requires_grad}
    assert sum(p.numel() for p in learning.values()) == report.adapter_parameters
    assert sum(place.parameters for place in report.places) == report.adapter_parameters
    assert report.rates.keys() == learning.keys()
    every = (backbone.stem_site(), *backbone.sites())
    assert report.sites == tuple(s for s in every if s in set(report.sites))


def test_several_methods_act_together_in_whatever_order_they_are_named() -> None:
    methods = [name for name in SITED if name not in ("vpt_shallow", "dora")]
    image = _image("timm")
    outputs = []
    for order in (methods, methods[::-1]):
        backbone = _tuned("timm", *order)
        for one in _adapted(backbone):
            for name, parameter in one.adapters.named_parameters():
                torch.manual_seed(len(name))
                parameter.data = 0.05 * torch.randn_like(parameter)
        outputs.append(backbone(image).map)
        before = {name: value.clone() for name, value in backbone.state_dict().items()}
        report = merge(backbone)
        torch.testing.assert_close(backbone(image).map, outputs[-1], atol=2e-5, rtol=1e-5)
        stay = {label.split()[0] for label in report.left}
        assert stay == {"adapter", "adaptformer", "deflect", "vpt_deep"}
        unmerge(backbone)
        after = backbone.state_dict()
        assert all(torch.equal(value, after[name]) for name, value in before.items())
    torch.testing.assert_close(outputs[0], outputs[1])


@pytest.mark.parametrize("first", [name for name in SITED if name != "dora"])
def test_dora_merges_beside_every_other(first: str) -> None:
    backbone = _tuned("timm", first, "dora")
    _train_a_little(backbone)
    image = _image("timm")
    unmerged = backbone(image).map
    merge(backbone)
    torch.testing.assert_close(backbone(image).map, unmerged, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("specs", "sentence"),
    [
        ([{"method": "full"}, {}], "full trains every weight and combines with no other"),
        ([{}, {"rank": 4}], r"names lora twice for site 0\.q"),
        ([{"method": "ln"}, {"method": "vpt_deep"}, {"rank": 64}], "choose at most 32"),
        ([{"method": "vpt_shallow", "blocks": [0, 2]}], "leaves gaps"),
        ([{"method": "vpt_shallow", "sites": {"1.block": {"length": 3}}}], "use one length"),
        ([{"sites": {"*.out": {"rank": 2}}}], r"'\*\.out', which is none of the adapted sites"),
        ([{"rank": "auto"}], "needs the number of classes"),
        ([{"method": "ln", "positions": "q"}], "names 'q', which ln does not take"),
    ],
)
def test_a_refused_tuner_changes_nothing(specs: list[dict[str, Any]], sentence: str) -> None:
    backbone = _backbone("timm", depth=3)
    names = [name for name, _ in backbone.named_parameters()]
    with pytest.raises(TunerError, match=sentence):
        apply_tuner(backbone, [TunerSpec(**spec) for spec in specs])
    assert [name for name, _ in backbone.named_parameters()] == names
    assert all(p.requires_grad for p in backbone.parameters())
