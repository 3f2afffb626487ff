"""ScaleMAE: a masked autoencoder's ViT whose positions are in units of the pixel size."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from pydantic import Field

from rsmeta.config.load import validate
from rsmeta.errors import CheckpointError, UnknownNameError
from rsmeta.models.checkpoint import LoadReport, load_strictly, open_checkpoint
from rsmeta.models.names import SCALEMAE, SCALEMAE_LICENCE, scalemae_names
from rsmeta.models.patch_stem import fit_patch_stem, own_bands
from rsmeta.models.records import BackboneRecord, own_record
from rsmeta.models.satmae.backbone import OneDateSatmae
from rsmeta.models.satmae.encoder import ImageEncoder
from rsmeta.models.satmae.layout import settle_layout
from rsmeta.models.satmae.options import SatmaeOptions
from rsmeta.models.satmae.positions import sincos_2d
from rsmeta.models.satmae.weights import encoder_state, read_layout, without_wrapper
from rsmeta.models.stem import random_stem
from rsmeta.models.weights import named_weights, pick_weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from rsmeta.config.model import ModelSpec
    from rsmeta.geo.bands import Band
    from rsmeta.models.satmae.options import Layout
    from rsmeta.models.satmae.weights import Recognised
    from rsmeta.models.stem import StemReport
    from rsmeta.models.weights import LocalWeights

logger = logging.getLogger(__name__)

(NAME,) = scalemae_names()
RGB = ("red", "green", "blue")
_GSD_M = "gsd_m"


class ScaleOptions(SatmaeOptions):
    """Options of a ScaleMAE."""

    gsd_m: float | None = Field(
        default=None,
        gt=0,
        description="pixel size of the images, m; none: of the training scenes, else of the bands",
    )


class ScaleEncoder(ImageEncoder):
    """An encoder whose positions are those of its formula at a pixel size.

    Args:
        layout: Its measures.
        channels: Bands C.
        gsd_m: Pixel size, as the network sees it.
        grad_checkpointing: Compute blocks again in the backward pass.

    Source: "Scale-MAE: A Scale-Aware Masked Autoencoder for Multiscale Geospatial Representation
    Learning", Reed et al., ICCV 2023, section 3.1, with a reference pixel of 1 m.
    """

    def __init__(
        self, layout: Layout, channels: int, gsd_m: float, *, grad_checkpointing: bool = False
    ) -> None:
        super().__init__(layout, channels, grad_checkpointing=grad_checkpointing)
        self.gsd_m = gsd_m
        self.pos_embed = sincos_2d(*layout.grid, layout.dim, step=gsd_m)

    def places(self, rows: int, cols: int) -> Tensor:
        """Return the position embeddings (1, 1 + rows · cols, D) of a grid of patches."""
        if (rows, cols) == self.layout.grid:
            return self.pos_embed
        device, dim = self.pos_embed.device, self.layout.dim
        place = sincos_2d(rows, cols, dim, device=device, step=self.gsd_m)
        return place.to(self.pos_embed.dtype)


class ScaleMae(OneDateSatmae):
    """A ScaleMAE encoder as a backbone."""

    #: Pixel size of the scenes, before ``model.zoom``.
    scene_gsd_m: float = 1.0

    @property
    def standalone_options(self) -> dict[str, Any]:
        """The measures that a checkpoint may have settled, and the pixel size."""
        return {**super().standalone_options, _GSD_M: self.scene_gsd_m}


def at_pixel_size(spec: ModelSpec, gsd_m: tuple[float, float] | None) -> ModelSpec:
    """Return settings with the pixel size of the scenes, for a backbone that depends on it.

    Args:
        spec: Names the backbone.
        gsd_m: Smallest and largest pixel of the scenes; none: unknown.
    """
    if gsd_m is None or not spec.backbone.startswith(SCALEMAE) or spec.options.get(_GSD_M):
        return spec
    mean = (gsd_m[0] * gsd_m[1]) ** 0.5
    return spec.model_copy(update={"options": {**spec.options, _GSD_M: mean}})


def build_scalemae(spec: ModelSpec, bands: Sequence[Band] | None = None) -> ScaleMae:
    """Build a ScaleMAE, with its weights if some are named, for these bands.

    Args:
        spec: ``backbone``, ``options``, ``checkpoint``, ``pretrained``, ``stem``, ``zoom``.
        bands: Bands of the input, in its order; none: those of the weights.

    Raises:
        UnknownNameError: No ScaleMAE of that name, or no weights of that tag.
        ConfigError: An option that it does not take.
        CheckpointError: Weights that are unavailable or do not fit.
    """
    name = spec.backbone.partition(".")[0]
    if name != NAME:
        raise UnknownNameError("backbone", name, scalemae_names())
    options = validate(ScaleOptions, spec.options, f"model.options ({spec.backbone})")
    full, weights = named_weights(spec)
    plain = spec.model_copy(update={"backbone": name})
    if weights is None:
        layout = settle_layout(plain, options, "rgb", None)
        record = BackboneRecord(
            name, "scalemae", None, None, None, None, layout.image_px, None
        )  # fmt: skip
        bands = own_bands(spec, _published(name, None, layout)) if bands is None else bands
        net = _encoder(spec, layout, options, bands)
        return _wrapped(net, spec, bands, record=record, stem_report=random_stem(bands))
    return _loaded(plain, options, full, weights, bands)


def _loaded(
    spec: ModelSpec,
    options: ScaleOptions,
    full: str,
    weights: LocalWeights,
    bands: Sequence[Band] | None,
) -> ScaleMae:
    checkpoint, source = open_checkpoint(weights.path), weights.source
    state = without_wrapper(checkpoint.tensors)
    found = _recognised(state, spec.backbone, source)
    layout = settle_layout(spec.model_copy(update={"checkpoint": source}), options, "rgb", found)
    record = _published(full, source, layout).told_by(own_record(checkpoint.notes, source))
    bands = own_bands(spec, record) if bands is None else bands
    net = _encoder(spec, layout, options, bands)
    stem_report = fit_patch_stem(state, spec.stem, record.expected, bands, source=source)
    state, reshaped, dropped = encoder_state(state, layout, "recompute")
    state["pos_embed"] = net.pos_embed  # of the file's pixel size, not of this one
    report = load_strictly(
        net,
        state,
        report=LoadReport(source, weights.sha256, 0, (), dropped, reshaped),
        optional=("patch_embed.",) if spec.stem.strategy == "random" else (),
    )
    logger.debug("%s", report.summary())
    return _wrapped(net, spec, bands, record=record, stem_report=stem_report, load_report=report)


def _recognised(state: Any, backbone: str, source: str) -> Recognised:
    found = read_layout(state)
    if found is None or found.kind != "rgb":
        raise CheckpointError(
            f"{source} is no ScaleMAE checkpoint for model.backbone={backbone}; see what it is "
            f"with: rsmeta inspect {source}"
        )
    return found


def _encoder(
    spec: ModelSpec, layout: Layout, options: ScaleOptions, bands: Sequence[Band]
) -> ScaleEncoder:
    own = [band.gsd_m for band in bands if band.gsd_m is not None]
    gsd_m = options.gsd_m or min(own, default=None)
    if gsd_m is None:
        gsd_m = 1.0
        logger.warning(
            "%s depends on the pixel size, which is unknown here: taking 1 m; set "
            "model.options.gsd_m",
            spec.backbone,
        )
    return ScaleEncoder(
        layout, len(bands), gsd_m / spec.fixed_zoom, grad_checkpointing=options.grad_checkpointing
    )


def _published(name: str, source: str | None, layout: Layout) -> BackboneRecord:
    """Describe the published weights, which were normalised as photographs are."""
    known = pick_weights(NAME).record("scalemae", source)
    mean, std = known.mean, known.std
    return BackboneRecord(
        name, "scalemae", source, RGB, mean, std, layout.image_px, SCALEMAE_LICENCE, unit="display"
    )


def _wrapped(
    net: ScaleEncoder,
    spec: ModelSpec,
    bands: Sequence[Band],
    *,
    record: BackboneRecord,
    stem_report: StemReport,
    load_report: LoadReport | None = None,
) -> ScaleMae:
    found = ScaleMae(net, bands, record=record, stem_report=stem_report, load_report=load_report)
    found.scene_gsd_m = net.gsd_m * spec.fixed_zoom
    return found
