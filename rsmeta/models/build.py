"""Build a network from settings: backbone for the bands, tuner, head for the classes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from rsmeta.config.meta import MetaSettings
from rsmeta.config.tuner import TunerSpec
from rsmeta.errors import ConfigError
from rsmeta.heads import (
    CLASSIFIERS,
    HEADS,
    Classifier,
    Head,
    HeadInput,
    LinearPixelHead,
    SolvedHead,
    build_head,
)
from rsmeta.models.average import AverageBackbone, AverageNetwork, GivenScores
from rsmeta.models.families import build_backbone
from rsmeta.models.network import ImageNetwork, Network
from rsmeta.models.normalise import choose_normalisation, settled_normalisation
from rsmeta.peft import Adapter, apply_tuner, modulate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.config.model import ModelSpec
    from rsmeta.geo.bands import Band
    from rsmeta.models.backbone import Backbone
    from rsmeta.models.prepare import BandValues
    from rsmeta.models.records import InputForm
    from rsmeta.registry import Registry

logger = logging.getLogger(__name__)


def build_network(
    model: ModelSpec,
    tuner: TunerSpec | Sequence[TunerSpec],
    *,
    bands: Sequence[Band],
    classes: int,
    mean: BandValues,
    std: BandValues,
    meta: MetaSettings | None = None,
    form: InputForm | None = None,
    per_pixel: bool = True,
) -> Network:
    """Build the network that settings describe.

    Args:
        model: Backbone, stem and head.
        tuner: What is trained, and how: one method, or several that act together.
        bands: Bands of the images, in their order, C.
        classes: Number of classes K.
        mean: Mean of each band over training pixels, physical units, (C,); what the network
            uses is ``Network.normalisation``.
        std: Standard deviation likewise.
        meta: How the scales of the adapters are made; none: one per site.
        form: In which form, with just this mean and deviation, bands are normalised, as a
            bundle has it; none: that is still to be chosen.
        per_pixel: Score every pixel; else every image, with a classifier as its head.

    Raises:
        UnknownNameError: A backbone, tuner or head of that name does not exist.
        ConfigError: An option that does not fit.
        CheckpointError: Weights that are unavailable or do not fit.
        TunerError: The backbone cannot take the tuner.
    """
    if model.average:
        settings: dict[str, Any] = {"bands": bands, "classes": classes, "mean": mean, "std": std}
        members = [build_network(one, tuner, **settings) for one in model.average]
        return average_network(model, tuner, members, **settings)
    backbone = build_backbone(model, bands)
    if backbone.dates != 1:
        raise ConfigError(
            f"model.backbone={model.backbone} takes {backbone.dates} images of one place with "
            f"their dates, and the scenes here hold one each; choose a satmae_vit_..._rgb or "
            f"satmae_vit_..._group, or build it from Python for its features"
        )
    registry: Registry[Any] = HEADS if per_pixel else CLASSIFIERS
    head: Head = build_head(model.head, head_input(backbone), classes=classes, registry=registry)
    _check_start(head, model)
    if isinstance(head, SolvedHead):
        tuner = _frozen(tuner, model)
    tuned = apply_tuner(backbone, tuner, classes=classes)
    modulate(backbone, meta or MetaSettings())
    _set_stem(backbone, model)
    normalisation = (
        choose_normalisation(backbone.record, bands, mean, std, choice=model.normalise)
        if form is None
        else settled_normalisation(mean, std, form)
    )
    parts: dict[str, Any] = {"tuned": tuned, "zoom": model.fixed_zoom}
    if isinstance(head, Classifier):
        return ImageNetwork(normalisation, backbone, head, pool=model.head.pool, **parts)
    return Network(normalisation, backbone, head, **parts)


def average_network(
    model: ModelSpec,
    tuner: TunerSpec | Sequence[TunerSpec],
    members: Sequence[Network],
    *,
    bands: Sequence[Band],
    classes: int,
    mean: BandValues,
    std: BandValues,
) -> AverageNetwork:
    """Build the average of several networks, each with its own head.

    Args:
        model: With ``average``.
        tuner: That the members stay as they are.
        members: The networks of ``model.average``, in its order.
        bands: Bands of the images, in their order, C.
        classes: Number of classes K.
        mean: Mean of each band over training pixels, physical units, (C,).
        std: Standard deviation likewise.

    Raises:
        ConfigError: The head of a member takes gradient steps.
    """
    for number, member in enumerate(members):
        if not member.solvable:
            raise ConfigError(
                f"model.average: the head {model.average[number].head.name} takes gradient steps; "
                f"take one that is solved for: forest, extra_trees, logistic or mlp"
            )
    backbone = AverageBackbone(bands, members, classes)
    tuned = apply_tuner(backbone, _frozen(TunerSpec(), model), classes=classes)
    normalisation = settled_normalisation(mean, std, "physical")
    return AverageNetwork(
        normalisation, backbone, GivenScores(head_input(backbone), classes), tuned=tuned
    )


def _check_start(head: Head, model: ModelSpec) -> None:
    """Check that a head of pixels can start from a solution, if it shall.

    Raises:
        ConfigError: It cannot.
    """
    if model.head.init == "solved" and not isinstance(head, Classifier | LinearPixelHead):
        raise ConfigError(
            f"model.head.init=solved needs a head that is one linear layer, and "
            f"{model.head.name} is not; use model.head={{name: linear, init: solved}}"
        )


def _frozen(tuner: TunerSpec | Sequence[TunerSpec], model: ModelSpec) -> TunerSpec:
    """Return what leaves the backbone as it is, where nothing else is asked for.

    Raises:
        ConfigError: Something else is.
    """
    frozen = TunerSpec(method="head")
    if tuner not in (TunerSpec(), frozen):
        several = (tuner,) if isinstance(tuner, TunerSpec) else tuner
        methods = ", ".join(one.method for one in several)
        raise ConfigError(
            f"tuner={methods} trains the backbone by gradient steps, and model.head="
            f"{model.head.name} is solved for in one go; omit tuner, or take the head linear or fpn"
        )
    return frozen


def head_input(backbone: Backbone) -> HeadInput:
    """Return what a head needs to know of a backbone."""
    return HeadInput(
        dims=backbone.dims,
        strides_px=backbone.strides_px,
        levels=backbone.levels,
        channels=len(backbone.bands),
    )


def _set_stem(backbone: Backbone, model: ModelSpec) -> None:
    """Let the stem learn as the settings say; by default where a band had no filter."""
    if backbone.projection is not None and backbone.reduces_by is not None:
        backbone.projection.requires_grad_(backbone.reduces_by == "learned")
    wanted = model.stem.trainable
    if wanted == "auto":
        if backbone.stem_report.all_matched or _deflected(backbone):
            return  # as the tuner left it
        wanted = True
    for parameter in backbone.stem_parameters():
        parameter.requires_grad_(bool(wanted))


def _deflected(backbone: Backbone) -> bool:
    """Whether an adapter of the stem learns, before filters that did not come from chance."""
    adapted = any(isinstance(module, Adapter) for module in backbone.stem.modules())
    return adapted and not any(one.origin == "random" for one in backbone.stem_report.filters)


def report_network(network: Network) -> None:
    """Log what of a network is trained."""
    backbone, tuned = network.backbone, network.tuned
    for line in model_notes(network):
        logger.debug("%s", line)
    if isinstance(network, AverageNetwork):
        for member in network.members:
            report_network(member)
        return
    if not any(True for _ in backbone.parameters()):
        return
    weights = "random weights" if backbone.load_report is None else backbone.load_report.source
    logger.info("backbone %s (%s), tuner %s", backbone.record.name, weights, tuned.summary())


def check_not_random_and_frozen(network: Network, model: ModelSpec) -> None:
    """Refuse a backbone whose weights are random and mostly frozen, unless that is asked for.

    Args:
        network: The network to train.
        model: Its settings; ``pretrained: false``, when given explicitly, asks for random weights.

    Raises:
        ConfigError: It is.
    """
    if isinstance(network, AverageNetwork):
        for member, spec in zip(network.members, model.average, strict=True):
            check_not_random_and_frozen(member, spec)
        return
    backbone, tuned = network.backbone, network.tuned
    asked_for = "pretrained" in model.model_fields_set and not model.pretrained
    trained = tuned.trained_parameters > tuned.backbone_parameters / 2
    if backbone.has_weights or not tuned.backbone_parameters or trained or asked_for:
        return
    method = f"tuner={tuned.method}"
    if network.solvable:
        method = f"model.head={model.head.name}"
    raise ConfigError(
        f"the backbone {backbone.record.name} has random weights, and {method} leaves them "
        f"frozen; set model.pretrained=true or model.checkpoint=..., or tuner=full (explicit "
        f"model.pretrained=false keeps them random)"
    )


def model_notes(network: Network) -> list[str]:
    """Return lines of text on where weights and filters came from; see also ``band_table``."""
    report = network.backbone.load_report
    loaded = [] if report is None else [f"{report.summary()}; SHA-256 {report.sha256}"]
    return [network.backbone.record.name, *loaded, *band_table(network), network.tuned.summary()]


def band_table(network: Network) -> list[str]:
    """Return lines of text: each band's filter and normalisation, and what else was done."""
    stem, normalisation = network.backbone.stem_report, network.normalisation
    rows = [("band", "filter", "factor", "mean", "std", "statistics of")]
    rows += [
        (entry.band, entry.source, f"{entry.factor:.3g}", f"{own.mean:.4g}", f"{own.std:.4g}",
         own.whose)
        for entry, own in zip(stem.filters, normalisation.bands, strict=True)
    ]  # fmt: skip
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
             for row in rows]  # fmt: skip
    reasons = dict.fromkeys(f"{f.band}: {f.reason}" for f in stem.filters if f.reason)
    return [*lines, *reasons, *stem.notes, *([normalisation.note] if normalisation.note else [])]
