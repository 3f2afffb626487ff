"""Export the backbone of a trained model as a checkpoint that another model can start from."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save

from rsmeta.errors import ExportError, OutputError, enumerate_names, one_line
from rsmeta.files import write_atomically
from rsmeta.geo.sensors import load_sensor
from rsmeta.models.satmae.encoder import GroupEncoder
from rsmeta.models.satmae.pretrain import backbone_record, backbone_state
from rsmeta.peft import AdaptedModule, merge, strip_merged

if TYPE_CHECKING:
    from pathlib import Path

    from rsmeta.bundle import ModelBundle
    from rsmeta.models.records import InputUnit


def export_backbone(bundle: ModelBundle, path: Path, licence: str | None = None) -> None:
    """Write the backbone's weights in float16, with its bands, normalisation and licence.

    Args:
        bundle: The model; its adapters are merged into a copy of the backbone.
        path: File to write.
        licence: Of the weights; none: that of the weights that they started from.

    Raises:
        ExportError: A backbone without channel groups, a projection of the bands, or adapters
            that cannot be merged.
        OutputError: The file cannot be written.
    """
    network = copy.deepcopy(bundle.network)
    merge(network)
    strip_merged(network)
    backbone = network.backbone
    encoder = getattr(backbone, "vit", None)
    if not isinstance(encoder, GroupEncoder):
        raise ExportError(
            f"--format backbone supports SatMAE with channel groups, and {backbone.record.name} "
            f"has none; use --format merged"
        )
    if backbone.projection is not None:
        raise ExportError(
            "model.stem.strategy=project adds a layer before the backbone, which its file cannot "
            "hold; use --format merged"
        )
    if left := [name for name, part in network.named_modules() if isinstance(part, AdaptedModule)]:
        raise ExportError(
            f"the adapters at {enumerate_names(left, 3)} cannot be merged into the weights, and a "
            f"backbone's file holds weights alone; use --format merged"
        )
    own = network.normalisation
    record = backbone_record(
        encoder, torch.tensor(own.mean), torch.tensor(own.std),
        unit=_unit(bundle), licence=licence or bundle.record.backbone.licence,
    )  # fmt: skip
    record = record.model_copy(update={"form": own.form})
    content = save(backbone_state(encoder, torch.float16, class_place=True), record.metadata())
    try:
        with write_atomically(path) as hidden:
            hidden.write_bytes(content)
    except OSError as error:
        raise OutputError(f"cannot write {path} ({one_line(error)})") from error


def _unit(bundle: ModelBundle) -> InputUnit | None:
    """Return what mean and deviation are in, as far as the training scenes' sensor says."""
    sensor = bundle.record.read.sensor
    if not isinstance(sensor, str):
        return None
    return "reflectance" if load_sensor(sensor).unit == "reflectance" else None
