"""Build a SatMAE by name, with or without a published checkpoint."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from rsmeta.config.load import validate
from rsmeta.errors import CheckpointError, ConfigError, UnknownNameError
from rsmeta.models.checkpoint import LoadReport, file_sha256, load_strictly, open_checkpoint
from rsmeta.models.patch_stem import fit_patch_stem
from rsmeta.models.records import own_record
from rsmeta.models.satmae.backbone import OneDateSatmae, TemporalSatmae
from rsmeta.models.satmae.encoder import GroupEncoder, ImageEncoder, TemporalEncoder
from rsmeta.models.satmae.groups import assign_bands, fit_group_stems, report_groups
from rsmeta.models.satmae.layout import settle_layout
from rsmeta.models.satmae.options import (
    PUBLISHED_SIZES,
    GroupOptions,
    SatmaeOptions,
    TemporalOptions,
)
from rsmeta.models.satmae.records import LICENCE, RGB_BANDS, make_record
from rsmeta.models.satmae.weights import (
    FAMILIES,
    encoder_state,
    explain_mismatch,
    read_layout,
    without_wrapper,
)
from rsmeta.models.stem import random_stem

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

logger = logging.getLogger(__name__)

PREFIX = "satmae_vit_"

Satmae: TypeAlias = "OneDateSatmae | TemporalSatmae"

Options = TypeVar("Options", bound=SatmaeOptions)


def satmae_names() -> tuple[str, ...]:
    """Return the names of all SatMAE backbones, sorted."""
    published = [f"{PREFIX}{size}_{kind}" for size in PUBLISHED_SIZES for kind in FAMILIES]
    return tuple(sorted([*published, f"{PREFIX}nano_group"]))


def build_satmae(spec: ModelSpec, bands: Sequence[Band]) -> Satmae:
    """Build a SatMAE, with its weights if a checkpoint is named, for these bands.

    Args:
        spec: ``backbone`` (``satmae_vit_l16_group``), ``options``, ``checkpoint``, ``stem``.
        bands: Bands of the input, in its order.

    Raises:
        UnknownNameError: No SatMAE of that name.
        ConfigError: An option that it does not take, a value that does not fit, or a band that
            no channel group knows.
        CheckpointError: Weights that cannot be had, or that do not fit.
    """
    if spec.backbone not in satmae_names():
        raise UnknownNameError("backbone", spec.backbone, satmae_names())
    if spec.pretrained:
        raise CheckpointError(
            f"the weights of {spec.backbone} are on no hub; download a checkpoint from the links "
            f"at https://github.com/sustainlab-group/SatMAE (CC BY-NC 4.0) and set "
            f"model.checkpoint= to the file"
        )
    kind = _kind(spec.backbone)
    return _BUILDERS[kind](_Order(spec, bands, kind))


class _Order:
    """What is to be built, and the checkpoint for it, read and recognised.

    Args:
        spec: As the user gave it.
        bands: Bands of the input, in its order.
        kind: Which family.
    """

    def __init__(self, spec: ModelSpec, bands: Sequence[Band], kind: Kind) -> None:
        self.spec = spec
        self.kind = kind
        self.bands = tuple(bands)
        self.source = spec.checkpoint or "random weights"
        self.state: StateDict | None = None
        self.found: Recognised | None = None
        self.licence: str | None = None
        self.own: OwnRecord | None = None
        if spec.checkpoint is not None:
            checkpoint = open_checkpoint(spec.checkpoint)
            self.own = own_record(checkpoint.notes, self.source)
            self.licence = None if self.own else checkpoint.notes.get("licence", LICENCE)
            self.state = without_wrapper(checkpoint.tensors)
            self.found = read_layout(self.state)
            if self.found is None or self.found.kind != kind:
                raise explain_mismatch(self.state, spec.backbone, self.source)

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

    def patch_stem(self, record: BackboneRecord) -> StemReport:
        """Fit the one patch embedding of the checkpoint to the bands."""
        if self.state is None:
            return random_stem(self.bands)
        named = self.spec.stem.bands
        return fit_patch_stem(self.state, named, record.bands, self.bands, source=self.source)

    def load(self, vit: Encoder, options: SatmaeOptions) -> LoadReport | None:
        """Fill the encoder from the checkpoint; its stems have been fitted before."""
        if self.state is None or self.found is None:
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
            report=LoadReport(self.source, file_sha256(self.source), 0, (), dropped, reshaped),
            # The pooling's normalisation belongs to the classifier; pretraining has no use for
            # the class token's group embedding.
            optional=("channel_cls_embed", *(("fc_norm.",) if not self.found.global_pool else ())),
        )
        logger.info("%s", report.summary())
        return report


def _build_group(order: _Order) -> OneDateSatmae:
    options = order.options(GroupOptions)
    if order.spec.stem.bands is not None:
        raise ConfigError(
            f"model.stem.bands does not apply to {order.spec.backbone}, whose bands stand in "
            f"channel groups; name them with model.options.groups=[[...], ...]"
        )
    groups = assign_bands(order.bands, options.groups, order.spec.backbone)
    _check_groups(order, options)
    layout = order.layout(options)
    if order.state is not None:
        fit_group_stems(order.state, groups)
    vit = GroupEncoder(
        layout,
        groups,
        len(options.groups),
        resampling=options.pos_embed,
        grad_checkpointing=options.grad_checkpointing,
    )
    report = report_groups(groups, order.bands, options.groups, copied=order.state is not None)
    load_report = order.load(vit, options)
    logger.info("%s", report.summary())
    backbone = OneDateSatmae(
        vit,
        order.bands,
        merge=options.merge,
        record=order.record(layout, [name for group in options.groups for name in group]),
        stem_report=report,
        load_report=load_report,
    )
    backbone.group_names = options.groups
    return backbone


def _build_rgb(order: _Order) -> OneDateSatmae:
    options = order.options(SatmaeOptions)
    layout = order.layout(options)
    record = order.record(layout, RGB_BANDS)
    stem_report = order.patch_stem(record)
    vit = ImageEncoder(
        layout,
        len(order.bands),
        resampling=options.pos_embed,
        grad_checkpointing=options.grad_checkpointing,
    )
    report = order.load(vit, options)
    return OneDateSatmae(
        vit, order.bands, record=record, stem_report=stem_report, load_report=report
    )


def _build_temporal(order: _Order) -> TemporalSatmae:
    options = order.options(TemporalOptions)
    layout = order.layout(options)
    record = order.record(layout, RGB_BANDS)
    stem_report = order.patch_stem(record)
    vit = TemporalEncoder(
        layout,
        len(order.bands),
        options.dates,
        resampling=options.pos_embed,
        grad_checkpointing=options.grad_checkpointing,
    )
    report = order.load(vit, options)
    return TemporalSatmae(
        vit,
        order.bands,
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
