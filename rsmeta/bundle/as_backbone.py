"""Take a trained model as the backbone of another: its adapters merged, its head left behind."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
from safetensors import SafetensorError, safe_open

from rsmeta.bundle.bundle import load_bundle, read_record
from rsmeta.bundle.find import RECORD_FILE, WEIGHTS_FILE, is_on_hub, published_bundle
from rsmeta.config.model import FORMER_DEFAULT
from rsmeta.errors import CheckpointError, ConfigError, enumerate_names
from rsmeta.models.build import average_network, build_network
from rsmeta.models.describe import BUNDLE_TENSOR
from rsmeta.models.families import plain_backbone
from rsmeta.models.names import PIXELS
from rsmeta.models.records import OwnRecord
from rsmeta.models.weights import is_local
from rsmeta.peft import merge, strip_merged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.bundle.bundle import ModelBundle
    from rsmeta.bundle.record import BundleRecord
    from rsmeta.config.model import ModelSpec
    from rsmeta.config.tuner import TunerSpec
    from rsmeta.models.backbone import Backbone, OwnWeights
    from rsmeta.models.network import Network
    from rsmeta.models.records import InputUnit

#: What pretraining leaves in its run folder, a weights file like any other.
_PRETRAINED = "backbone.safetensors"


def build_from(
    model: ModelSpec, tuner: TunerSpec | Sequence[TunerSpec], **settings: Any
) -> Network:
    """Build a network as ``build_network`` does; its checkpoint may be a trained run.

    A run or its bundle gives the family, options, bands, normalisation, zoom and weights with
    merged adapters; the head is new. The bundle of the new network holds its whole backbone.

    Args:
        model: Backbone, stem and head.
        tuner: What is trained.
        settings: Further arguments of ``build_network``.

    Raises:
        RsmetaError: As ``build_network``; or the run cannot be a backbone.
    """
    if model.average:
        return _average_from(model, tuner, **settings)
    found = None if model.checkpoint is None else _find(model.checkpoint)
    if found is None:
        return build_network(model, tuner, **settings)
    if found.is_file():  # of pretraining
        return build_network(model.model_copy(update={"checkpoint": str(found)}), tuner, **settings)
    _check(model, read_record(found), found)
    bundle = load_bundle(found)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / _PRETRAINED
        spec = _write(bundle, model, file)
        network = build_network(spec, tuner, **settings)
    return _settled(network, spec, model.checkpoint or "", bundle.record)


def _average_from(
    model: ModelSpec, tuner: TunerSpec | Sequence[TunerSpec], **settings: Any
) -> Network:
    """Build an average of networks, some of which may start from runs; the bundle holds those."""
    given = {key: settings[key] for key in ("bands", "classes", "mean", "std")}
    members = [build_from(one, tuner, **given) for one in model.average]
    network = average_network(model, tuner, members, **given)
    if any(one.backbone.in_bundle for one in members):
        pairs = zip(model.average, members, strict=True)
        rebuilt = tuple(member.rebuilt_by or one for one, member in pairs)
        network.rebuilt_by = model.model_copy(update={"average": rebuilt})
    return network


def standalone(model: ModelSpec, backbone: Backbone) -> ModelSpec:
    """Return settings that build the same network where all its weights are in the bundle."""
    named = backbone.weights_bands
    stem = model.stem.model_copy(update={"bands": named}) if named else model.stem
    return model.model_copy(
        update={
            "checkpoint": None,
            "checkpoint_sha256": None,
            "pretrained": False,
            "options": backbone.standalone_options | model.options,
            "stem": stem,
        }
    )


def bundle_of_weights(path: Path) -> Path | None:
    """Return the bundle that a file of trained tensors is part of; none: it is of no bundle."""
    beside = path.name == WEIGHTS_FILE and (path.parent / RECORD_FILE).is_file()
    return path.parent if beside else None


def _find(checkpoint: str) -> Path | None:
    """Return the bundle folder that a checkpoint means, or the weights that pretraining left.

    Raises:
        CheckpointError: A folder without either.
    """
    if is_on_hub(checkpoint):
        return published_bundle(checkpoint)
    if not is_local(checkpoint):
        return None
    place = Path(checkpoint)
    if not place.is_dir():
        return _bundle_of(place)
    for folder in (place, place / "bundle"):
        if (folder / RECORD_FILE).is_file():
            return folder
    if (place / _PRETRAINED).is_file():
        return place / _PRETRAINED
    unfinished = (place / "config.yaml").is_file()
    raise CheckpointError(
        f"model.checkpoint={checkpoint} is "
        + (
            "a run without a bundle; finish it with --resume"
            if unfinished
            else f"a folder without {RECORD_FILE}; name a run, its bundle, or a weights file"
        )
    )


def _bundle_of(file: Path) -> Path | None:
    """Return the bundle that a file is the weights of.

    Raises:
        CheckpointError: It was taken out of its bundle.
    """
    folder = bundle_of_weights(file)
    if folder is None and file.name == WEIGHTS_FILE and file.is_file():
        with contextlib.suppress(OSError, SafetensorError), safe_open(file, "pt") as content:
            if BUNDLE_TENSOR in content.keys():  # noqa: SIM118 - not a mapping
                raise CheckpointError(
                    f"{file} holds the trained tensors of a bundle without its {RECORD_FILE}; name "
                    f"the bundle's folder"
                )
    return folder


def check_has_backbone(record: BundleRecord, folder: Path | None) -> None:
    """Refuse a model that no other can start from.

    Raises:
        CheckpointError: It classifies pixels, or averages models.
    """
    if record.model.backbone.startswith(PIXELS):
        raise CheckpointError(
            f"{folder} is a model of single pixels (model.backbone={record.model.backbone}), which "
            f"has no backbone to start from; omit model.checkpoint, or name the run of a network"
        )
    if record.model.average:
        raise CheckpointError(
            f"{folder} averages several models, which have no backbone in common; name the run of "
            f"one of them"
        )


def _check(model: ModelSpec, record: BundleRecord, folder: Path) -> None:
    """Refuse a run that has no backbone, or another one than the settings ask for."""
    check_has_backbone(record, folder)
    named, own = plain_backbone(model)[0], plain_backbone(record.model)[0]
    if model.backbone != FORMER_DEFAULT and named != own:
        raise ConfigError(
            f"model.backbone={model.backbone}, but {folder} was trained with "
            f"{record.model.backbone}; omit model.backbone, or name another checkpoint"
        )
    wanted = model.checkpoint_sha256
    if wanted is not None and wanted.lower() != record.weights_sha256:
        raise CheckpointError(
            f"{folder / WEIGHTS_FILE} is not the file that was asked for (SHA-256 "
            f"{record.weights_sha256}, wanted {wanted.lower()}); check model.checkpoint_sha256"
        )


def weights_of(
    bundle: ModelBundle,
    *,
    half: bool = False,
    unit: InputUnit | None = None,
    licence: str | None = None,
) -> tuple[OwnWeights, OwnRecord]:
    """Merge the adapters of a bundle; return its backbone's weights and what they expect.

    Args:
        bundle: The model, which is changed.
        half: What was learned in float16.
        unit: What mean and deviation of the bands are in; none: unknown.
        licence: Of the weights; none: that of the weights that they started from.

    Raises:
        CheckpointError: Adapters that no weights can hold.
        ConfigError: Weights that no file can hold.
    """
    record, network = bundle.record, bundle.network
    left = merge(network).left
    if left:
        methods = dict.fromkeys(site.split()[0] for site in left)
        raise CheckpointError(
            f"{bundle.path} was trained with {', '.join(methods)}, which no weights can "
            f"hold; start from a run with an adapter that merges (lora, dora, ssf, bias, full, ...)"
        )
    strip_merged(network)
    if half:
        for parameter in network.backbone.parameters():
            parameter.data = parameter.data.half()
    own = network.backbone.own_weights()
    bands = [record.bands[i] for i in own.order]
    notes = OwnRecord.of(
        [band.band for band in bands],
        mean=tuple(band.mean for band in bands),
        std=tuple(band.std for band in bands),
        form=record.stem.form,
        unit=unit,
        licence=licence or record.backbone.licence,
        groups=own.groups,
    )
    return own, notes


def _write(bundle: ModelBundle, model: ModelSpec, file: Path) -> ModelSpec:
    """Write the backbone of a bundle as a weights file; return the settings that load it."""
    record, backbone = bundle.record, bundle.network.backbone
    own, notes = weights_of(bundle)
    safetensors.torch.save_file(own.tensors, file, notes.metadata())
    name, options = plain_backbone(record.model)
    groups = {"groups": [list(group) for group in own.groups]} if own.groups else {}
    return model.model_copy(
        update={
            "backbone": name,
            "options": backbone.standalone_options | options | groups | model.options,
            "checkpoint": str(file),
            "checkpoint_sha256": None,
            "zoom": record.model.zoom if model.zoom == 1 else model.zoom,
        }
    )


def _settled(network: Network, spec: ModelSpec, source: str, record: BundleRecord) -> Network:
    """Return the network, which names the run as the source of its weights and holds them all."""
    backbone = network.backbone
    report = backbone.load_report
    assert report is not None
    lost = [name for name in report.unexpected if name.endswith(".bias")]
    if lost:
        raise CheckpointError(
            f"{source} has {len(lost)} biases that {spec.backbone} lacks "
            f"({enumerate_names(lost, 3)}): its merged adapters need them; start from a run "
            f"whose adapters change weights only (lora)"
        )
    backbone.load_report = replace(report, source=source, sha256=record.weights_sha256)
    backbone.record = replace(backbone.record, source=source)
    network.keep_in_bundle(standalone(spec, backbone))
    return network
