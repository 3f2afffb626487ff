"""Every method equals the published reference: features, gradients, counts, on both backbones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rsmeta.config.model import ModelSpec
from rsmeta.config.tuner import TunerSpec
from rsmeta.geo.bands import generic_band
from rsmeta.models.timm.build import TimmViT, build_timm
from rsmeta.peft import AdaptedModule, apply_tuner, merge
from rsmeta.peft.mask import Masked

if TYPE_CHECKING:
    from pathlib import Path

RGB = tuple(generic_band(name) for name in ("red", "green", "blue"))
TINY = {"patch_size": 8, "embed_dim": 64, "depth": 3, "num_heads": 4, "img_size": 32}
KINDS = {"timm": "vit_tiny_patch16_224", "clip": "vit_base_patch16_clip_quickgelu_224"}
CLOSE = {"atol": 2e-5, "rtol": 1e-4}

ALL = ["q", "k", "v", "out", "mlp1", "mlp2"]
_ONE: dict[str, Any] = {"method": "lora", "rank": 4, "alpha": 1}
_FLORA: dict[str, Any] = {"method": "lora", "rank": 4, "positions": ALL, "out_reads": "output"}

#: Case of the reference -> our settings; its strength is alpha = 1 unless it says otherwise.
CASES: dict[str, list[dict[str, Any]]] = {
    "none": [{"method": "head"}],
    "vpt_shallow": [{"method": "vpt_shallow", "length": 3}],
    "vpt_deep": [{"method": "vpt_deep", "length": 3}],
    "adapter": [{"method": "adapter", "rank": 4, "alpha": 1}],
    "adapter_alpha2": [{"method": "adapter", "rank": 4, "alpha": 2}],
    "adaptformer": [{"method": "adaptformer", "rank": 4, "alpha": 1}],
    "partial_0_2_adaptformer": [
        {"method": "adaptformer", "rank": 4, "alpha": 1, "blocks": "0-1"}  # its [0, 2) of blocks
    ],
    "lora": [_ONE],
    "lora_alpha_rank": [{**_ONE, "alpha": "rank"}],
    "lora_mlp": [{**_ONE, "positions": "mlp"}],
    "partial1_lora": [{**_ONE, "blocks": 2}],
    "flora": [{**_FLORA, "alpha": "rank"}],
    "flora_alpha1": [{**_FLORA, "alpha": 1}],
    "flora_qv_layer1": [{"method": "lora", "rank": 2, "alpha": 4, "blocks": [1]}],
    "ssf_attn": [{"method": "ssf", "positions": "attn"}],
    "ssf_mlp": [{"method": "ssf", "positions": "mlp"}],
    "ssf_ln": [{"method": "ssf", "positions": "ln"}],
    "mask": [{"method": "mask"}],
    "bias_tuning": [{"method": "bias"}],
    "ln_tuning": [{"method": "ln"}],
    "combo": [
        {"method": "ssf"},
        {**_ONE, "rank": 2, "positions": ["q", "v", "mlp"]},
        {"method": "adaptformer", "rank": 2, "alpha": 1},
        {"method": "adapter", "rank": 2, "alpha": 1},
        {"method": "vpt_deep", "length": 2},
    ],
}  # fmt: skip

#: Our name of a position -> where the reference keeps it, and which third of a fused map it is.
_FUSED = {"q": 0, "k": 1, "v": 2}
_SSF = {
    **dict.fromkeys(_FUSED, ("ssf_attn_list", "attn_in")), "out": ("ssf_attn_list", "attn_out"),
    "mlp1": ("ssf_mlp_list", "mlp_in"), "mlp2": ("ssf_mlp_list", "mlp_out"),
    "norm1": ("ssf_ln_list", "ln_1"), "norm2": ("ssf_ln_list", "ln_2"),
}  # fmt: skip


#: In which order the reference counts the biases of a block.
_BIASES = {
    "timm": ["norm1", "qkv", "out", "norm2", "mlp1", "mlp2"],
    "clip": ["qkv", "out", "norm1", "mlp1", "mlp2", "norm2"],
}


class Reference:
    """The tensors of one case by our names; values and gradients alike."""

    def __init__(self, kind: str, state: dict[str, Tensor], backbone: TimmViT) -> None:
        self.state = state
        self.biases = _BIASES[kind]
        self.original = {n: p.detach().clone() for n, p in backbone.named_parameters()}

    def of(self, kind: str, method: str, site: str, name: str) -> Tensor:
        """Return ``tuner`` or ``grad`` of an adapter's parameter."""
        block, position = site.split(".")
        return getattr(self, f"_{method.lower()}")(kind, block, position, name)

    def _lora(self, kind: str, block: str, position: str, name: str) -> Tensor:
        leaf = {"down": "lora_A", "up": "lora_B"}[name]
        spelled = {"mlp1": "1", "mlp2": "2"}.get(position, position)
        for key in (f"lora_list.{block}.{position}", f"flora_list.{block}.{position}",
                    f"lora_mlp_list.{block}.{spelled}"):  # fmt: skip
            if f"{kind}.{key}.{leaf}" in self.state:
                return self.state[f"{kind}.{key}.{leaf}"]
        raise KeyError((block, position, name))

    _loraonoutput = _lora

    def _bottleneck(self, kind: str, block: str, position: str, name: str) -> Tensor:
        return self.state[f"{kind}.adapter_list.{block}.{_spelled(name)}"]

    def _parallelbottleneck(self, kind: str, block: str, position: str, name: str) -> Tensor:
        key = f"{kind}.adaptformer_list.{block}.{_spelled(name)}"
        return self.state.get(key, torch.empty(0))  # its factor has none in the meta step

    def _prompts(self, kind: str, block: str, position: str, name: str) -> Tensor:
        return self.state[f"{kind}.vpt_list.{block}.prompt"]

    def _ssf(self, kind: str, block: str, position: str, name: str) -> Tensor:
        part, place = _SSF[position]
        leaf = {"gamma": "scale", "beta": "shift"}[name]
        whole = self.state[f"{kind}.{part}.{block}.{place}.{leaf}"]
        return whole.chunk(3)[_FUSED[position]] if position in _FUSED else whole

    def _bias(self, kind: str, block: str, position: str, name: str) -> Tensor:
        place = self.biases.index("qkv" if position in _FUSED else position)
        whole = self.state[f"{kind}.bias_tuned.{int(block) * 6 + place}"]
        if kind == "tuner":
            whole = whole - self.original[f"{_path(block, position)}.bias"]
        return whole.chunk(3)[_FUSED[position]] if position in _FUSED else whole

    def _norm(self, kind: str, block: str, position: str, name: str) -> Tensor:
        leaf = {"gain": "weight", "shift": "bias"}[name]
        index = int(block) * 2 + ("norm1", "norm2").index(position)
        found = self.state[f"{kind}.ln_tuned.{index}.{leaf}"]
        before = self.original[f"{_path(block, position)}.{leaf}"]
        return found - before if kind == "tuner" else found

    def masked(self, block: str, position: str, leaf: str) -> tuple[Tensor, Tensor, Tensor]:
        """Return places within the site, values (differences) and gradients."""
        place = {**dict.fromkeys(_FUSED, "attn_in"), "out": "attn_out", "mlp1": "mlp_in",
                 "mlp2": "mlp_out"}[position]  # fmt: skip
        chosen = self.state[f"mask.{block}.{place}.{leaf}"].bool()
        original = self.original[f"{_path(block, position)}.{leaf}"]
        spread = []
        for kind in ("tuner", "grad"):
            key = f"{kind}.masked_linear_list.{block}.{place}.optimized_{leaf}"
            values = self.state.get(key, torch.empty(0))  # no gradient where nothing was drawn
            spread.append(torch.zeros_like(original).masked_scatter(chosen, values))
        values, grads = spread
        values = torch.where(chosen, values - original, 0.0)
        if position in _FUSED:
            third = _FUSED[position]
            chosen, values, grads = (t.chunk(3)[third] for t in (chosen, values, grads))
        return chosen.flatten().nonzero()[:, 0], values[chosen], grads[chosen]


def _spelled(name: str) -> str:
    return name.replace("norm.", "ln.").replace("down.", "down_proj.").replace("up.", "up_proj.")


def _path(block: str, position: str) -> str:
    inner = {**dict.fromkeys(_FUSED, "attn.qkv"), "out": "attn.proj", "mlp1": "mlp.fc1",
             "mlp2": "mlp.fc2"}.get(position, position)  # fmt: skip
    return f"vit.blocks.{block}.{inner}"


@pytest.fixture(scope="module")
def weights(fixtures_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the backbones' weights; CLIP's by the names of a whole CLIP, as they are published."""
    towers = load_file(fixtures_dir / "metalora_clip" / "backbone.weights.safetensors")
    clip = tmp_path_factory.mktemp("clip") / "clip.safetensors"
    save_file({f"visual.{name}": value for name, value in towers.items()}, clip)
    return {
        "timm": fixtures_dir / "metalora_timm" / "backbone.weights.safetensors",
        "clip": clip,
    }


def _build(kind: str, checkpoint: Path) -> TimmViT:
    spec = ModelSpec(backbone=KINDS[kind], options=TINY, checkpoint=str(checkpoint))
    return build_timm(spec, RGB).eval()


def _adapters(backbone: nn.Module) -> list[tuple[str, nn.Module]]:
    return [
        (site.name, cast("nn.Module", module.adapters[position]))
        for module in backbone.modules() if isinstance(module, AdaptedModule)
        for position, site in module.sites.items()
    ]  # fmt: skip


def _set(adapter: nn.Module, site: str, reference: Reference) -> dict[str, Tensor]:
    """Give an adapter the reference's values; return the gradients that it must get."""
    block, position = site.split(".")
    if isinstance(adapter, Masked):
        wanted = {}
        for leaf in ("weight", "bias"):
            places, values, grads = reference.masked(block, position, leaf)
            adapter.register_buffer(f"{leaf}_places", places.int())
            adapter.register_parameter(f"{leaf}_values", nn.Parameter(values))
            wanted[f"{leaf}_values"] = grads
        return wanted
    method = type(adapter).__name__
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            parameter.copy_(reference.of("tuner", method, site, name))
    return {
        name: reference.of("grad", method, site, name) for name, _ in adapter.named_parameters()
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES)
def test_equals_the_published_reference(
    case: str, kind: str, fixtures_dir: Path, weights: dict[str, Path]
) -> None:
    folder = fixtures_dir / f"metalora_{kind}"
    state = load_file(folder / f"{case}.io.safetensors")
    backbone = _build(kind, weights[kind])
    reference = Reference(kind, state, backbone)
    report = apply_tuner(backbone, [TunerSpec(**settings) for settings in CASES[case]])
    known = json.loads((folder / "meta.json").read_text())["cases"][case]
    adapters = _adapters(backbone)
    wanted = [_set(adapter, site, reference) for site, adapter in adapters]
    counted = sum(p.numel() for _, adapter in adapters for p in adapter.parameters())
    assert counted == known["tuner_params"]
    if case != "mask":  # where the reference draws each weight by itself, and we a fixed number
        assert report.adapter_parameters == counted

    cls = backbone(state["input"]).cls
    torch.testing.assert_close(cls, state["expected.features"], **CLOSE)
    if adapters:
        (cls * state["probe"]).sum().backward()
    for (site, adapter), gradients in zip(adapters, wanted, strict=True):
        for name, gradient in gradients.items():
            found = adapter.get_parameter(name).grad
            torch.testing.assert_close(
                found, gradient, **CLOSE, msg=lambda m, w=(site, name): f"{w}: {m}"
            )
    merge(backbone)
    torch.testing.assert_close(backbone(state["input"]).cls, state["expected.features"], **CLOSE)


class Given(nn.Module):
    """A modulator that holds the scale itself, per site or per channel, as the reference does."""

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.scale = nn.Parameter(scale.clone())

    def forward(self) -> Tensor:
        return self.scale


#: Case -> settings with the scale at work, and without; where the reference keeps the scale.
SCALED = {
    "lora_meta": ({"method": "lora", "alpha": 1}, {"alpha": 1}, "lora_list.{0}.{1}.meta_alpha"),
    "adapter_meta": (
        {"method": "adapter", "alpha": "rank"}, {"alpha": 1}, "adapter_list.{0}.meta_scale",
    ),
    "adaptformer_meta": (
        {"method": "adaptformer", "alpha": 1}, {}, "adaptformer_list.{0}.meta_scale",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", SCALED)
def test_a_scale_acts_and_is_learned_as_in_the_reference_meta_step(
    case: str, kind: str, fixtures_dir: Path, weights: dict[str, Path]
) -> None:
    """In its meta step; in training the reference leaves the scale out, where ours acts, too."""
    state = load_file(fixtures_dir / f"metalora_{kind}" / f"{case}.io.safetensors")
    settings, otherwise, key = SCALED[case]
    for scaled in (False, True):
        backbone = _build(kind, weights[kind])
        reference = Reference(kind, state, backbone)
        apply_tuner(backbone, TunerSpec(rank=4, **settings | ({} if scaled else otherwise)))
        wanted = [_set(adapter, site, reference) for site, adapter in _adapters(backbone)]
        if not scaled:
            close = state["expected.features_normal"]
            torch.testing.assert_close(backbone(state["input"]).cls, close, **CLOSE)
            continue
        scales = _scale(backbone, state, key)
        cls = backbone(state["input"]).cls
        torch.testing.assert_close(cls, state["expected.features_meta"], **CLOSE)
        (cls * state["probe"]).sum().backward()
        for name, modulator in scales.items():
            torch.testing.assert_close(modulator.scale.grad, state[f"grad.{name}"], **CLOSE)
        for (_, adapter), gradients in zip(_adapters(backbone), wanted, strict=True):
            for name, gradient in gradients.items():
                if name != "scaling":  # there the reference has the scale in its place
                    torch.testing.assert_close(adapter.get_parameter(name).grad, gradient, **CLOSE)


def _scale(backbone: TimmViT, state: dict[str, Tensor], key: str) -> dict[str, Given]:
    """Give every site the reference's scale; return them by the reference's names."""
    scales = {}
    for one in backbone.modules():
        if isinstance(one, AdaptedModule):
            for position, site in one.sites.items():
                name = key.format(site.block, position)
                one.modulators[position] = scales[name] = Given(state[f"tuner.{name}"])
                if "adaptformer" in key:
                    nn.init.ones_(cast("nn.Module", one.adapters[position]).scaling)
    return scales
