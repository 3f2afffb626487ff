"""Build a timm transformer by name: plain vision transformers, EVA, Swin."""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any

from rsmeta.errors import (
    CheckpointError,
    ConfigError,
    UnknownNameError,
    did_you_mean,
    enumerate_names,
    one_line,
)
from rsmeta.models.checkpoint import LoadReport, load_strictly, open_checkpoint
from rsmeta.models.dofa.generator import refuse_dofa
from rsmeta.models.names import TIMM_CLASSES, timm_modules, timm_names
from rsmeta.models.patch_stem import fit_patch_stem, own_bands
from rsmeta.models.records import BackboneRecord, own_record
from rsmeta.models.satmae.weights import refuse_satmae
from rsmeta.models.stem import random_stem
from rsmeta.models.timm.convert import fit_to_model, hub_source
from rsmeta.models.timm.swin import TimmSwin
from rsmeta.models.timm.vit import TimmViT
from rsmeta.models.weights import locate_weights

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rsmeta.config.model import ModelSpec
    from rsmeta.geo.bands import Band
    from rsmeta.models.stem import StemReport
    from rsmeta.models.weights import LocalWeights

logger = logging.getLogger(__name__)

#: Options of timm that rsmeta sets itself, or that are code and not values.
_NOT_OPTIONS = frozenset(
    {"self", "in_chans", "num_classes", "dynamic_img_size", "dynamic_img_pad", "strict_img_size",
     "device", "dtype", "embed_layer", "block_fn", "mlp_layer", "attn_layer", "norm_layer",
     "act_layer", "weight_init", "fix_init"}
)  # fmt: skip


def build_timm(spec: ModelSpec, bands: Sequence[Band] | None = None) -> TimmViT | TimmSwin:
    """Build a timm transformer, with its weights if some are named, for these bands.

    Args:
        spec: ``backbone`` (timm name, with or without tag), ``options``, ``checkpoint``,
            ``pretrained``, ``stem``.
        bands: Bands of the input, in its order; none: those of the weights.

    Raises:
        UnknownNameError: timm knows no such transformer, or no such tag.
        ConfigError: An option that it does not take, or a value that does not fit.
        CheckpointError: Weights that are unavailable or do not fit.
    """
    record = _record(spec)
    weights = _weights(spec, record)
    checkpoint = None if weights is None else open_checkpoint(weights.path)
    if checkpoint is not None:
        record = record.told_by(own_record(checkpoint.notes, spec.checkpoint or record.name))
    bands = own_bands(spec, record) if bands is None else bands
    net = create_network(spec, len(bands))
    if weights is None or checkpoint is None:
        image_px = int(net.patch_embed.img_size[0])
        bare = BackboneRecord(record.name, "timm", None, None, None, None, image_px, None)
        return _wrap(net, spec, bands, record=bare, stem_report=random_stem(bands))
    state, source = checkpoint.tensors, weights.source
    refuse_satmae(state, spec.backbone, source)
    refuse_dofa(state, spec.backbone, source)
    state, reshaped, dropped = fit_to_model(state, net)
    stem_report = fit_patch_stem(state, spec.stem, record.expected, bands, source=source)
    report = load_strictly(
        net,
        state,
        report=LoadReport(source, weights.sha256, 0, (), dropped, reshaped),
        optional=("patch_embed.", "head."),
    )
    logger.debug("%s", report.summary())
    return _wrap(net, spec, bands, record=record, stem_report=stem_report, load_report=report)


def _wrap(
    net: Any,
    spec: ModelSpec,
    bands: Sequence[Band],
    *,
    record: BackboneRecord,
    stem_report: StemReport,
    load_report: LoadReport | None = None,
) -> TimmViT | TimmSwin:
    again = bool(spec.options.get("grad_checkpointing"))
    if hasattr(net, "layers"):
        swin = TimmSwin(net, bands, record=record, stem_report=stem_report, load_report=load_report)
        swin.grad_checkpointing = again
        return swin
    net.set_grad_checkpointing(again)
    return TimmViT(net, bands, record=record, stem_report=stem_report, load_report=load_report)


def _record(spec: ModelSpec) -> BackboneRecord:
    """Return what timm knows of the named weights; the name gets its full tag.

    Raises:
        UnknownNameError: No such transformer, or no weights of that tag.
        CheckpointError: Weights are wanted from the hub, and the name fits several.
    """
    from timm.models import get_pretrained_cfg

    name, _, tag = spec.backbone.partition(".")
    if name not in timm_names():
        raise UnknownNameError("backbone", name, timm_names())
    tags = _tags(name)
    if tag and tag not in tags:
        raise UnknownNameError(f"weights of {name}", tag, tags)
    if spec.pretrained and not tag and len(tags) > 1:
        raise CheckpointError(
            f"model.backbone={name} has several weights; name those that you want: "
            f"{enumerate_names([f'{name}.{each}' for each in tags])}"
        )
    wanted = [get_pretrained_cfg(f"{name}.{each}") for each in ([tag] if tag else tags)]
    known = [config for config in wanted if config is not None]
    if not known:
        return BackboneRecord(name, "timm", spec.checkpoint, None, None, None, 224, None)
    first = known[0]
    told = len({(config.input_size[0], config.mean, config.std) for config in known}) == 1
    full = f"{name}.{first.tag}" if len(known) == 1 and first.tag else name
    return BackboneRecord(
        name=full,
        family="timm",
        source=spec.checkpoint or (hub_source(full) if spec.pretrained else None),
        bands=("red", "green", "blue") if first.input_size[0] == 3 else None,
        mean=tuple(first.mean) if told else None,
        std=tuple(first.std) if told else None,
        image_px=int(first.input_size[1]),
        licence=first.license if len({config.license for config in known}) == 1 else None,
        unit="display",
    )


def _tags(name: str) -> list[str]:
    import timm

    full = timm.list_pretrained(f"{name}.*") if name in timm_names() else []
    return [entry.partition(".")[2] for entry in full]


def create_network(spec: ModelSpec, channels: int) -> Any:
    """Create a network of timm with random weights and without classifier.

    Args:
        spec: ``backbone`` and ``options``.
        channels: Bands of its input.

    Raises:
        ConfigError: An option that it does not take, or a value that does not fit.
    """
    import timm

    name = spec.backbone.partition(".")[0]
    kind = getattr(timm.models, TIMM_CLASSES[timm_modules()[name]])
    known = sorted({*inspect.signature(kind).parameters, "grad_checkpointing"} - _NOT_OPTIONS)
    for key in spec.options:
        if key not in known:
            raise ConfigError(
                f"model.options holds {key!r}, which {spec.backbone} does not take"
                f"{did_you_mean(key, known) or '; it takes ' + enumerate_names(known)}"
            )
    swin = "strict_img_size" in inspect.signature(kind).parameters
    any_size: dict[str, Any] = {"strict_img_size": False} if swin else {"dynamic_img_size": True}
    options = {key: value for key, value in spec.options.items() if key != "grad_checkpointing"}
    try:
        net = timm.create_model(name, in_chans=channels, num_classes=0, **any_size, **options)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise ConfigError(
            f"timm cannot build {name} with model.options={_shown(spec.options)} "
            f"({one_line(error) or type(error).__name__})"
        ) from error
    return _checked(net, name)


def _checked(net: Any, name: str) -> Any:
    """Refuse what has no plain patch embedding; let adapters act on fused projections."""
    from timm.layers.patch_embed import PatchEmbed

    if not isinstance(net.patch_embed, PatchEmbed):
        raise ConfigError(
            f"model.backbone={name} has no plain patch embedding; choose one of: "
            f"rsmeta list backbones"
        )
    if net.patch_embed.patch_size[0] != net.patch_embed.patch_size[1]:
        raise ConfigError(f"model.options.patch_size={net.patch_embed.patch_size} must be square")
    if net.global_pool == "map":  # attention pooling is a classifier's: dense maps bypass it
        net.reset_classifier(0, "avg")
    for module in net.modules():
        if hasattr(module, "qkv_bias_separate"):  # else the projection's weight is used past it
            module.qkv_bias_separate = True
    return net


def _shown(options: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in options.items()) + "}"


def _weights(spec: ModelSpec, record: BackboneRecord) -> LocalWeights | None:
    if spec.checkpoint is None and not spec.pretrained:
        return None
    return locate_weights(spec.checkpoint or hub_source(record.name), sha256=spec.checkpoint_sha256)
