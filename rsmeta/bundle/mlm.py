"""The STAC item of a model, so that catalogues find it: ``mlm.json``."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import torch

from rsmeta.geo.stac_parts import (
    STAC_VERSION,
    bbox_of,
    class_fields,
    extension,
    file_fields,
    href,
    instant,
)

if TYPE_CHECKING:
    from pathlib import Path

    from rsmeta.bundle.record import BandRecord, BundleRecord

#: What MLM calls our tasks, and what their scores are.
_TASKS = {
    "segmentation": "semantic-segmentation",
    "classification": "scene-classification",
    "multilabel": "classification",
    "regression": "regression",
}
_SCORES = {
    "segmentation": "logits; the softmax over the classes gives probabilities",
    "classification": "logits; the softmax over the classes gives probabilities",
    "multilabel": "logits; the sigmoid of each gives its probability",
    "regression": "the quantity itself",
}
_MEDIA = {".yaml": "application/yaml", ".safetensors": "application/octet-stream"}


def model_item(record: BundleRecord, weights: Path, description: Path, item: Path) -> str:
    """Return the text of the item of a bundle.

    Its geometry is the footprint of the training scenes: a catalogue finds the model where it was
    trained. Without a known footprint it has no geometry.

    Args:
        record: What ``bundle.yaml`` says.
        weights: The trained tensors, as they lie beside the item.
        description: ``bundle.yaml`` likewise.
        item: The item's own file.

    Raises:
        OSError: One of the files cannot be read.
    """
    created = instant(datetime.fromisoformat(record.created).astimezone(UTC))
    names = ["mlm", "file", "processing"]
    if record.output.classes:
        names.append("classification")
    properties = {
        "datetime": created,
        "created": created,
        "title": f"{_TASKS[record.task]} with {record.backbone.name}",
        "bands": [_band(band) for band in record.bands],
        **_model_fields(record),
        "processing:software": {"rsmeta": record.rsmeta},
    }
    tree = {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": [extension(name) for name in names],
        "id": f"rsmeta-{record.weights_sha256[:16]}",
        "geometry": record.footprint,
        **({} if record.footprint is None else {"bbox": bbox_of(record.footprint)}),
        "properties": properties,
        "links": [],
        "assets": _assets(record, weights, description, item),
    }
    return json.dumps(tree, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _assets(
    record: BundleRecord, weights: Path, description: Path, item: Path
) -> dict[str, dict[str, Any]]:
    return {
        "weights": {
            **_file(weights, item),
            "title": "Trained tensors: adapters, scales, head, stem",
            "roles": ["mlm:model", "mlm:weights", "data"],
            "mlm:artifact_type": "safetensors.torch.save_file",
            # STAC 1.1 takes bands of an item only if one of its assets has them too.
            "bands": [{"name": band.name} for band in record.bands],
        },
        "bundle": {
            **_file(description, item),
            "title": "Everything else that the model needs, for rsmeta predict",
            "roles": ["metadata"],
        },
    }


def _model_fields(record: BundleRecord) -> dict[str, Any]:
    pretrained = record.backbone.sha256 is not None
    fields: dict[str, Any] = {
        "mlm:name": _name(record),
        "mlm:architecture": record.backbone.name,
        "mlm:tasks": [_TASKS[record.task]],
        "mlm:framework": "PyTorch",
        "mlm:framework_version": str(torch.__version__),
        "mlm:pretrained": pretrained,
        "mlm:pretrained_source": (record.backbone.checkpoint or "") if pretrained else None,
        "mlm:accelerator_constrained": False,
        "mlm:input": [_input(record)],
        "mlm:output": [_output(record)],
        "mlm:hyperparameters": {
            "tuner": _plain(record.tuner),
            "meta": record.meta.model_dump(mode="json"),
            "seed": record.training.get("seed"),
            "epochs": record.training.get("epochs"),
        },
    }
    if "parameters" in record.training:
        fields["mlm:total_parameters"] = record.training["parameters"]
    if record.predict.batch_size is not None:
        fields["mlm:batch_size_suggestion"] = record.predict.batch_size
    return fields


def _input(record: BundleRecord) -> dict[str, Any]:
    """Describe a tile as it comes out of a scene: physical units, not yet normalised."""
    return {
        "name": "tile",
        "description": (
            "physical units (reflectance 0 to 1 where the sensor's product defines it); pixels "
            "without data are masked"
            + ("; scaled values are clipped to 0..1" if record.stem.form == "two_sigma" else "")
        ),
        "bands": [band.name for band in record.bands],
        "input": {
            "shape": [-1, len(record.bands), record.tile_px, record.tile_px],
            "dim_order": ["batch", "bands", "height", "width"],
            "data_type": "float32",
        },
        "value_scaling": (
            None
            if record.stem.form == "physical"
            else [_scaling(band, record.stem.form) for band in record.bands]
        ),
        "resize_type": None,
    }


def _output(record: BundleRecord) -> dict[str, Any]:
    output = record.output
    sides = ["height", "width"] if record.per == "pixel" else []
    described: dict[str, Any] = {
        "name": output.name or "scores",
        "description": _SCORES[record.task] + (f", in {output.unit}" if output.unit else ""),
        "tasks": [_TASKS[record.task]],
        "result": {
            "shape": [-1, output.scores, *([record.tile_px] * len(sides))],
            "dim_order": ["batch", "class" if output.classes else "channel", *sides],
            "data_type": "float32",
        },
    }
    return described | class_fields(record.classes) if output.classes else described


def _scaling(band: BandRecord, form: str) -> dict[str, Any]:
    if form == "two_sigma":
        low, high = band.mean - 2 * band.std, band.mean + 2 * band.std
        return {"type": "min-max", "minimum": low, "maximum": high}
    return {"type": "z-score", "mean": band.mean, "stddev": band.std}


def _band(band: BandRecord) -> dict[str, Any]:
    known: dict[str, Any] = {"name": band.name}
    details = [band.common_name] if band.common_name else []
    if band.wavelength_nm is not None:
        width = f", {band.width_nm:g} nm wide" if band.width_nm is not None else ""
        details.append(f"{band.wavelength_nm:g} nm{width}")
    if band.band.formula is not None:
        details.append(str(band.band.formula))
    if details:
        known["description"] = ", ".join(details)
    if band.gsd_m is not None:
        known["gsd"] = band.gsd_m
    return known


def _name(record: BundleRecord) -> str:
    """Return a name of the characters that MLM allows, a letter first."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", f"rsmeta-{record.backbone.name}")
    return f"{name}-{record.weights_sha256[:8]}"


def _plain(tuner: Any) -> Any:
    if isinstance(tuner, list | tuple):
        return [_plain(one) for one in tuner]
    return tuner.model_dump(mode="json")


def _file(path: Path, item: Path) -> dict[str, Any]:
    return {"href": href(path, item), "type": _MEDIA[path.suffix], **file_fields(path)}
