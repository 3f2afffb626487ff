"""Names of backbones, and a line on each: needs no torch, so that a list of them comes at once."""

from __future__ import annotations

import ast
import itertools
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from rsmeta.models.satmae.options import FAMILIES, PUBLISHED_SIZES, SIZES
from rsmeta.models.weights.known import known_weights, weights_of

if TYPE_CHECKING:
    from collections.abc import Iterator

SATMAE, DOFA, SCALEMAE = "satmae_vit_", "dofa_vit_", "scalemae_vit_"
PANOPTICON, COPERNICUS = "panopticon_vit_", "copernicus_vit_"
PRITHVI, PRITHVI_TL = "prithvi_vit_", "_tl"
TORCHGEO, PIXELS = "torchgeo:", "pixels"

SATMAE_LICENCE, DOFA_LICENCE, SCALEMAE_LICENCE = "CC BY-NC 4.0", "CC-BY-4.0", "CC-BY-NC-4.0"
PRITHVI_LICENCE = "Apache-2.0"
PANOPTICON_LICENCE = COPERNICUS_LICENCE = "CC-BY-4.0"

#: The sizes of Prithvi-EO-2.0.
PRITHVI_SIZES = ("tiny", "100m", "300m", "600m")

#: The bands of Harmonised Landsat and Sentinel-2 that Prithvi was trained on, in its order.
PRITHVI_BANDS = ("blue", "green", "red", "nir08", "swir16", "swir22")

#: The network of timm that is built like each DOFA.
DOFA_NETWORKS = {
    f"{DOFA}b16": "vit_base_patch16_224",
    f"{DOFA}l16": "vit_large_patch16_224",
}

#: The network of timm that is built like each Copernicus-FM.
COPERNICUS_NETWORKS = {f"{COPERNICUS}b16": "vit_base_patch16_224"}

#: timm's modules whose networks rsmeta takes, and the class of each.
TIMM_CLASSES = {
    "vision_transformer": "VisionTransformer",
    "deit": "VisionTransformer",
    "eva": "Eva",
    "swin_transformer": "SwinTransformer",
    "swin_transformer_v2": "SwinTransformerV2",
}


def satmae_names() -> tuple[str, ...]:
    """Return the names of all SatMAE backbones, sorted."""
    published = [f"{SATMAE}{size}_{kind}" for size in PUBLISHED_SIZES for kind in FAMILIES]
    return tuple(sorted([*published, f"{SATMAE}nano_group"]))


def satmae_line(name: str) -> str:
    """Return one line on what a backbone's name means."""
    size, kind = name.split("_")[2:]
    what = {
        "group": "channel groups of Sentinel-2",
        "rgb": "red, green, blue",
        "temporal": "red, green, blue at three dates",
    }[kind]
    own = "rsmeta's own, with weights: pretrained: true"
    whose = own if size == "nano" else _published(name)
    return f"SatMAE {SIZES[size].label}: {what} ({whose})"


def _published(name: str, licence: str = SATMAE_LICENCE) -> str:
    """Return the tags of the published weights, the default first, and their licence."""
    found = sorted(weights_of(name), key=lambda known: not known.entry.default)
    tags = ", ".join(f".{known.name.partition('.')[2]}" for known in found)
    return f"published weights {tags}: {licence}" if tags else "no published weights"


def dofa_names() -> tuple[str, ...]:
    """Return the names of all DOFA backbones, sorted."""
    return tuple(sorted(DOFA_NETWORKS))


def dofa_line(name: str) -> str:
    """Return one line on what a backbone's name means."""
    size = "base" if name.endswith("b16") else "large"
    return f"DOFA {size}: any bands, by wavelength (published weights .mae: {DOFA_LICENCE})"


def scalemae_names() -> tuple[str, ...]:
    """Return the names of all ScaleMAE backbones."""
    return (f"{SCALEMAE}l16",)


def scalemae_line(name: str) -> str:
    """Return one line on what a backbone's name means."""
    return (
        f"ScaleMAE large: red, green, blue at any pixel size "
        f"(published weights {name}.fmow_rgb: {SCALEMAE_LICENCE})"
    )


def prithvi_names() -> tuple[str, ...]:
    """Return the names of all Prithvi backbones, sorted."""
    return tuple(
        sorted(f"{PRITHVI}{size}{end}" for size in PRITHVI_SIZES for end in ("", PRITHVI_TL))
    )


def prithvi_line(name: str) -> str:
    """Return one line on what a backbone's name means."""
    size = name.removeprefix(PRITHVI).removesuffix(PRITHVI_TL)
    context = "; date and location optional" if name.endswith(PRITHVI_TL) else ""
    what = f"{', '.join(PRITHVI_BANDS)} of one date{context}"
    return f"Prithvi-EO-2.0 {size}: {what} ({_published(name, PRITHVI_LICENCE)})"


def panopticon_names() -> tuple[str, ...]:
    """Return the names of all Panopticon backbones."""
    return (f"{PANOPTICON}b14",)


def panopticon_line(name: str) -> str:
    """Return one line on what a backbone's name means."""
    published = _published(name, PANOPTICON_LICENCE)
    return f"Panopticon base: any bands, by wavelength or polarisation ({published})"


def copernicus_names() -> tuple[str, ...]:
    """Return the names of all Copernicus-FM backbones."""
    return tuple(COPERNICUS_NETWORKS)


def copernicus_line(name: str) -> str:
    """Return one line on what a backbone's name means."""
    published = _published(name, COPERNICUS_LICENCE)
    return f"Copernicus-FM base: any bands, by wavelength and width ({published})"


def pixels_names() -> tuple[str, ...]:
    """Return the name of the backbone."""
    return (PIXELS,)


def pixels_line(name: str) -> str:
    """Say in one line what the backbone is."""
    return "no network: bands, local means and deviations, spectral indices (with head forest, …)"


def torchgeo_names() -> tuple[str, ...]:
    """Return the names of all backbones with TorchGeo's weights, sorted."""
    return tuple(sorted(name for name in known_weights() if name.startswith(TORCHGEO)))


def torchgeo_line(name: str) -> str:
    """Return one line on what a backbone's name means."""
    known = known_weights()[name]
    bands = ", ".join(known.input.bands)
    return f"{known.entry.backbone}: {bands}; {known.entry.training} ({known.entry.licence})"


def timm_names() -> tuple[str, ...]:
    """Return the timm names of all transformers that rsmeta takes, sorted."""
    return tuple(sorted(timm_modules()))


def timm_line(name: str) -> str:
    """Return one line on what a backbone's name means, and the tags of its weights."""
    module = timm_modules()[name]
    tags = sorted(_timm_tags(module).get(name, ()), key=_natural)
    weights = f"; published weights: {', '.join(tags)}" if tags else ""
    return f"timm {TIMM_CLASSES[module]}{weights}"


@cache
def timm_modules() -> dict[str, str]:
    """Return the module of timm that each name belongs to."""
    return {
        name: module
        for module in TIMM_CLASSES
        for name in re.findall(r"^@register_model\ndef (\w+)\(", _timm_text(module), re.MULTILINE)
    }


@cache
def _timm_tags(module: str) -> dict[str, set[str]]:
    """Return the tags of each name that has weights, as a module's ``default_cfgs`` says."""
    tags: dict[str, set[str]] = {}
    for key, value in itertools.chain(*map(_default_entries, _timm_source(module).body)):
        name, _, tag = ast.literal_eval(key).partition(".")
        said = {word.arg: ast.unparse(word.value) for word in value.keywords}
        if any(said.get(where, "''") != "''" for where in ("url", "file", "hf_hub_id")):
            tags.setdefault(name, set()).add(tag)
            if "quickgelu" in said.get("notes", ""):  # timm derives a second name from these
                tags.setdefault(name.replace("_clip_", "_clip_quickgelu_"), set()).add(tag)
    return tags


def _natural(text: str) -> list[int | str]:
    """Return what sorts 2 before 10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text)]


def _default_entries(node: ast.stmt) -> Iterator[tuple[ast.expr, ast.Call]]:
    """Yield keys and values of ``default_cfgs = {…}``, also as an argument of a call."""
    if not isinstance(node, ast.Assign) or ast.unparse(node.targets[0]) != "default_cfgs":
        return
    for mapping in node.value.args if isinstance(node.value, ast.Call) else [node.value]:
        if isinstance(mapping, ast.Dict):
            for key, value in zip(mapping.keys, mapping.values, strict=True):
                if key is not None and isinstance(value, ast.Call):
                    yield key, value


@cache
def _timm_source(module: str) -> ast.Module:
    """Return the syntax of one of timm's modules."""
    return ast.parse(_timm_text(module))


def _timm_text(module: str) -> str:
    """Return the source of one of timm's modules; importing it would import torch as well."""
    spec = find_spec("timm")
    places = spec.submodule_search_locations if spec else None
    if not places:
        raise ModuleNotFoundError("timm is not installed; reinstall rsmeta", name="timm")
    return (Path(places[0]) / "models" / f"{module}.py").read_text(encoding="utf-8")
