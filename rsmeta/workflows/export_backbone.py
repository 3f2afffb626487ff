"""Export the backbone of a trained model as a weights file that other models can start from."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

from safetensors.torch import save

from rsmeta.bundle.as_backbone import check_has_backbone, weights_of
from rsmeta.errors import OutputError, one_line
from rsmeta.files import write_atomically
from rsmeta.geo.sensors import load_sensor

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
        CheckpointError: A model without a backbone, or adapters that cannot be merged.
        ConfigError: A projection of the bands that no file can hold.
        OutputError: The file cannot be written.
    """
    check_has_backbone(bundle.record, bundle.path)
    copied = replace(bundle, network=copy.deepcopy(bundle.network))
    own, notes = weights_of(copied, half=True, unit=_unit(bundle), licence=licence)
    try:
        with write_atomically(path) as hidden:
            hidden.write_bytes(save(own.tensors, notes.metadata()))
    except OSError as error:
        raise OutputError(f"cannot write {path} ({one_line(error)})") from error


def _unit(bundle: ModelBundle) -> InputUnit | None:
    """Return what mean and deviation are in, as far as the training scenes' sensor says."""
    sensor = bundle.record.read.sensor
    if not isinstance(sensor, str):
        return None
    return "reflectance" if load_sensor(sensor).unit == "reflectance" else None
