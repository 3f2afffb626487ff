"""Build a SatMAE by name, with or without a published checkpoint."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from rsmeta.config.load import validate
from rsmeta.errors import CheckpointError, ConfigError, UnknownNameError
from rsmeta.geo.sensors import known_band
from rsmeta.models.checkpoint import LoadReport, load_strictly, open_checkpoint
from rsmeta.models.names import SATMAE_LICENCE as LICENCE
from rsmeta.models.names import satmae_names
from rsmeta.models.patch_stem import fit_patch_stem
from rsmeta.models.records import own_record
from rsmeta.models.satmae.backbone import OneDateSatmae, TemporalSatmae
from rsmeta.models.satmae.encoder import GroupEncoder, ImageEncoder, TemporalEncoder
from rsmeta.models.satmae.groups import (
    add_channel_kinds,
    assign_bands,
    fit_group_stems,
    report_groups,
)
from rsmeta.models.satmae.layout import settle_layout
from rsmeta.models.satmae.options import (
    FAMILIES,
    GroupOptions,
    SatmaeOptions,
    TemporalOptions,
)
from rsmeta.models.satmae.records import RGB_BANDS, make_record
from rsmeta.models.satmae.weights import (
    encoder_state,
    explain_mismatch,
    read_layout,
    without_wrapper,
)
from rsmeta.models.shipped import shipped_weights
from rsmeta.models.stem import random_stem
from rsmeta.models.weights import locate_weights, pick_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rsmeta.config.model import ModelSpec
    from rsmeta.geo.bands import Band
    from rsmeta.models.checkpoint import StateDict
    from rsmeta.models.records import BackboneRecord, OwnRecord
    from rsmeta.models.satmae.encoder import Encoder
    from rsmeta.models.satmae.options import Kind, Layout
    from rsmeta.models.satmae.weights import Recognised
    from rsmeta.models.stem import StemReport
    from rsmeta.models.weights import LocalWeights

logger = logging.getLogger(__name__)

Satmae: TypeAlias = "OneDateSatmae | TemporalSatmae"

Options = TypeVar("Options", bound=SatmaeOptions)


def build_satmae(spec: ModelSpec, bands: Sequence[Band] | None = None) -> Satmae:
    """Build a SatMAE, with its weights if a checkpoint is named, for these bands.

    Args:
        spec: ``backbone`` (``satmae_vit_l16_group``, with or without a tag for its weights),
            ``options``, ``checkpoint``, ``pretrained``, ``stem``.
        bands: Bands of the input, in its order; none: those of the weights.

    Raises:
        UnknownNameError: No SatMAE of that name, or no weights of that tag.
        ConfigError: An option that it does not take, a value that does not fit, or a band that
            no channel group contains.
        CheckpointError: Weights that are unavailable or do not fit.
    """
    name, _, tag = spec.backbone.partition(".")
    if name not in satmae_names():
        raise UnknownNameError("backbone", name, satmae_names())
    given: dict[str, object] = {"backbone": name}
    shipped = shipped_weights(spec.backbone) if spec.pretrained else None
    if shipped is not None:
        given |= {"checkpoint": str(shipped), "pretrained": False}
    known = pick_weights(spec.backbone) if (tag or spec.pretrained) and not shipped else None
    if known is not None and spec.pretrained:
        given |= {"checkpoint": known.entry.source, "pretrained": False}
        given["checkpoint_sha256"] = spec.checkpoint_sha256 or known.entry.sha256
    kind = _kind(name)
    satmae = _BUILDERS[kind](_Order(spec.model_copy(update=given), bands, kind))
    if known is not None and satmae.has_weights:
        satmae.record = replace(satmae.record, name=known.name)
    return satmae


class _Order:
    """What is to be built, and the checkpoint for it, read and recognised.

    Args:
        spec: As the user gave it.
        bands: Bands of the input, in its order; none: those of the weights.
        kind: Which family.
    """

    def __init__(self, spec: ModelSpec, bands: Sequence[Band] | None, kind: Kind) -> None:
        self.spec = spec
        self.kind = kind
        self._bands = bands
        self.source = spec.checkpoint or "random weights"
        self.state: StateDict | None = None
        self.found: Recognised | None = None
        self.licence: str | None = None
        self.own: OwnRecord | None = None
        self.weights: LocalWeights | None = None
        if spec.checkpoint is not None:
            self.weights = locate_weights(spec.checkpoint, sha256=spec.checkpoint_sha256)
            checkpoint = open_checkpoint(self.weights.path)
            self.own = own_record(checkpoint.notes, self.source)
            self.licence = None if self.own else checkpoint.notes.get("licence", LICENCE)
            self.state = without_wrapper(checkpoint.tensors)
            self.found = read_layout(self.state)
            if self.found is None or self.found.kind != kind:
                raise explain_mismatch(self.state, spec.backbone, self.source)

    def bands(self, expected: Sequence[str]) -> tuple[Band, ...]:
        """Return the bands of the input, by default those that the weights expect."""
        named = self.spec.stem.bands or expected
        return tuple(map(known_band, named) if self._bands is None else self._bands)

    def layout(self, options: SatmaeOptions) -> Layout:
        """Settle the measures: options, else the checkpoint's, else the published ones."""
        return settle_layout(self.spec, options, self.kind, self.found)

    def record(self, layout: Layout, bands: Sequence[str]) -> BackboneRecord:
        """Describe the weights, which expect ``bands`` in this order."""
        record = make_record(self.spec, layout, kind=self.kind, bands=bands, licence=self.licence)
        return record.told_by(self.own)

    def options(self, kind: type[Options]) -> Options:
        """Check the backbone's options; channel groups that are not given are the file's own."""
        given = dict(self.spec.options)
        if self.own is not None and self.own.groups is not None:
            given.setdefault("groups", self.own.groups)
        return validate(kind, given, f"model.options ({self.spec.backbone})")

    def patch_stem(self, record: BackboneRecord, bands: Sequence[Band]) -> StemReport:
        """Fit the one patch embedding of the checkpoint to the bands."""
        if self.state is None:
            return random_stem(bands)
        return fit_patch_stem(
            self.state, self.spec.stem, record.expected, bands, source=self.source
        )

    def load(self, vit: Encoder, options: SatmaeOptions) -> LoadReport | None:
        """Fill the encoder from the checkpoint; its stems have been fitted before."""
        if self.state is None or self.found is None or self.weights is None:
            return None
        state, reshaped, dropped = encoder_state(self.state, vit.layout, options.pos_embed)
        if not self.found.sincos:
            logger.warning(
                "the position embeddings of %s were learned; for images of other than %d px they "
                "are %s: set model.options.pos_embed to change that",
                self.source,
                self.found.image_px,
                f"{options.pos_embed}d",
            )
        report = load_strictly(
            vit,
            state,
            report=LoadReport(self.source, self.weights.sha256, 0, (), dropped, reshaped),
            optional=self._optional(self.found),
        )
        logger.debug("%s", report.summary())
        return report

    def _optional(self, found: Recognised) -> tuple[str, ...]:
        """Return what the checkpoint may lack."""
        # Pretraining has no use for the class token's group embedding; the pooling's
        # normalisation belongs to the classifier.
        pooling = () if found.global_pool else ("fc_norm.",)
        stem = ("patch_embed.",) if self.spec.stem.strategy == "random" else ()
        return ("channel_cls_embed", *pooling, *stem)


def _build_group(order: _Order) -> OneDateSatmae:
    options = order.options(GroupOptions)
    if order.spec.stem.bands is not None:
        raise ConfigError(
            f"model.stem.bands does not apply to {order.spec.backbone}, whose bands are in "
            f"channel groups; name them with model.options.groups=[[...], ...]"
        )
    names = [name for group in options.groups for name in group]
    bands = order.bands(names)
    groups = assign_bands(bands, options.groups, order.spec.backbone, extra=options.extra_bands)
    _check_groups(order, options)
    layout = order.layout(options)
    fitted = {}
    if order.state is not None:
        fitted = fit_group_stems(order.state, groups, order.spec.stem.strategy)
    vit = GroupEncoder(
        layout,
        groups,
        max(len(options.groups), groups[-1].index + 1),
        resampling=options.pos_embed,
        grad_checkpointing=options.grad_checkpointing,
    )
    if order.state is not None:
        add_channel_kinds(order.state, vit.channel_embed)
    load_report = order.load(vit, options)
    backbone = OneDateSatmae(
        vit,
        bands,
        merge=options.merge,
        record=order.record(layout, names),
        stem_report=report_groups(groups, fitted, options.groups),
        load_report=load_report,
    )
    backbone.group_names = options.groups
    return backbone


def _build_rgb(order: _Order) -> OneDateSatmae:
    options = order.options(SatmaeOptions)
    layout = order.layout(options)
    record = order.record(layout, RGB_BANDS)
    bands = order.bands(RGB_BANDS)
    stem_report = order.patch_stem(record, bands)
    vit = ImageEncoder(
        layout,
        len(bands),
        resampling=options.pos_embed,
        grad_checkpointing=options.grad_checkpointing,
    )
    report = order.load(vit, options)
    return OneDateSatmae(vit, bands, record=record, stem_report=stem_report, load_report=report)


def _build_temporal(order: _Order) -> TemporalSatmae:
    options = order.options(TemporalOptions)
    layout = order.layout(options)
    record = order.record(layout, RGB_BANDS)
    bands = order.bands(RGB_BANDS)
    stem_report = order.patch_stem(record, bands)
    vit = TemporalEncoder(
        layout,
        len(bands),
        options.dates,
        resampling=options.pos_embed,
        grad_checkpointing=options.grad_checkpointing,
    )
    report = order.load(vit, options)
    return TemporalSatmae(
        vit,
        bands,
        merge=options.merge,
        record=record,
        stem_report=stem_report,
        load_report=report,
    )


_BUILDERS: dict[Kind, Callable[[_Order], Satmae]] = {
    "group": _build_group,
    "rgb": _build_rgb,
    "temporal": _build_temporal,
}


def _check_groups(order: _Order, options: GroupOptions) -> None:
    sizes = tuple(len(group) for group in options.groups)
    if order.found is not None and order.found.channels != sizes:
        raise CheckpointError(
            f"{order.source} has channel groups of {_listed(order.found.channels)} bands, "
            f"model.options.groups of {_listed(sizes)}; name the bands of its groups, in its order"
        )


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(str(number) for number in numbers)


def _kind(name: str) -> Kind:
    return next(kind for kind in FAMILIES if name.endswith(f"_{kind}"))
