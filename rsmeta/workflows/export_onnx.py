"""Export a trained model as ONNX, which the QGIS plugin Deepness runs without rsmeta."""

from __future__ import annotations

import copy
import json
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from rsmeta.errors import OutputError, one_line
from rsmeta.files import write_atomically
from rsmeta.geo.sensors import load_sensor
from rsmeta.inference.graph import need, onnx_graph
from rsmeta.peft import merge, strip_merged

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from rsmeta.bundle import BundleRecord, ModelBundle
    from rsmeta.models.network import Network

logger = logging.getLogger(__name__)

# Deepness divides raw values by this before it standardises them.
_DEEPNESS_RANGE = 255.0


class Standalone(nn.Module):
    """The network from standardised bands to class probabilities.

    Args:
        network: The network, its adapters merged.
        mean: Mean of each band in physical units, (C,).
        std: Standard deviation of each band, (C,).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: Network, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", mean[:, None, None])
        self.register_buffer("std", std[:, None, None])

    def forward(self, image: Tensor) -> Tensor:
        """Return probabilities (B, K, H, W).

        Args:
            image: Standardised bands, (B, C, H, W); a pixel with a non-finite value is invalid.
        """
        valid = image.isfinite().all(dim=1)
        scores = self.network(image * self.std + self.mean, valid)
        return torch.softmax(scores, dim=1)


def export_onnx(bundle: ModelBundle, path: Path) -> None:
    """Write one ONNX file from standardised bands to probabilities, with Deepness metadata.

    Args:
        bundle: The model; its adapters are merged in the file.
        path: The file to write or replace.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
        ExportError: ONNX does not support an operation of the network.
        OutputError: The file cannot be written.
    """
    need("onnx", "onnxscript", extra="onnx")
    import onnx

    record = bundle.record
    network = copy.deepcopy(bundle.network).cpu().eval()
    merge(network)
    strip_merged(network)
    mean = torch.tensor([band.mean for band in record.bands])
    std = torch.tensor([band.std for band in record.bands])
    side = record.tile_px
    image = torch.zeros(2, len(record.bands), side, side)
    model = onnx_graph(
        Standalone(network, mean, std), {"image": image}, "probabilities",
        name=record.backbone.name,
    )  # fmt: skip
    for key, value in deepness_metadata(record).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, json.dumps(value, ensure_ascii=False)
    try:
        with write_atomically(path) as hidden:
            onnx.save(model, hidden)
    except OSError as error:
        raise OutputError(f"cannot write {path} ({one_line(error)})") from error


def deepness_metadata(record: BundleRecord) -> dict[str, Any]:
    """Return the metadata that Deepness reads from a model.

    Input bands must be in the order of the key ``bands``, scaled as in the training scenes.
    """
    scale, offset = _scaling(record)
    mean = (np.array([band.mean for band in record.bands]) - offset) / scale
    std = np.array([band.std for band in record.bands]) / scale
    metadata = {
        "model_type": "Segmentor",
        "class_names": {str(i): spec.name for i, spec in enumerate(record.classes)},
        "class_values": [spec.value for spec in record.classes],
        "class_colours": [spec.colour for spec in record.classes],
        "bands": [band.name for band in record.bands],
        "tile_size": record.tile_px,
        "tiles_overlap": round(100 * record.predict.overlap),
        "standardization_mean": (mean / _DEEPNESS_RANGE).tolist(),
        "standardization_std": (std / _DEEPNESS_RANGE).tolist(),
        "seg_thresh": 0.0,  # always the most probable class
        "seg_small_segment": 0,
        "model_sha256": record.weights_sha256,
    }
    if record.gsd_m is not None:  # in centimetres
        metadata["resolution"] = 100 * float(np.sqrt(record.gsd_m[0] * record.gsd_m[1]))
    return metadata


def _scaling(record: BundleRecord) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return scale and offset of each band in the training scenes, (C,) each."""
    read = record.read
    pairs = [(1.0, 0.0)] * len(record.bands)
    if read.sensor is not None:
        sensor = load_sensor(read.sensor)
        pairs = [sensor.scaling(band.band) for band in record.bands]
    elif read.scale is None:
        logger.warning(
            "the model does not record the scaling of its scenes; raw values are assumed to be "
            "physical (train with data.sensor or data.scale to record it)"
        )
    if read.scale is not None:
        pairs = [(read.scale, read.offset or 0.0)] * len(record.bands)
    if read.speckle is not None or any(band.formula is not None for band in record.bands):
        logger.warning(
            "the ONNX file takes its bands as the model sees them: filter speckle and compute "
            "ratios and indices beforehand, as bundle.yaml says"
        )
    # Bands that are computed are so from physical values: nothing scales them.
    pairs = [
        pair if band.formula is None else (1.0, 0.0)
        for pair, band in zip(pairs, record.bands, strict=True)
    ]
    scale, offset = np.array(pairs, dtype=np.float64).T
    return scale, offset
