"""Map a scene with ``rsmeta.predict``, all but tiles, overlap and batch at its defaults.

``default``: blocks as large as rsmeta chooses by the memory that is free. ``small``: the smallest
that it would choose.
"""

from __future__ import annotations

from typing import Any

from job import (
    BACKBONE,
    BANDS,
    CLASSES,
    MEAN,
    OVERLAP_PX,
    STD,
    TILE_PX,
    Job,
    load_network,
    load_parts,
    read_job,
    tell,
)
from torch import Tensor, nn

from rsmeta.bundle import BundleRecord, ModelBundle
from rsmeta.config.model import ModelSpec
from rsmeta.config.tuner import TunerSpec
from rsmeta.geo.sensors import load_sensor
from rsmeta.models.build import build_network
from rsmeta.models.prepare import Prepare
from rsmeta.workflows.mapping.predict_scenes import predict

SENSOR = "sentinel2_l1c"
SETTINGS = {"default": (), "small": ("block_px=512",)}
MODEL: dict[str, Any] = {"backbone": BACKBONE, "options": {"img_size": TILE_PX}, "head": "linear"}


class Prepared(nn.Module):
    """A network of normalised bands behind rsmeta's own preparation of them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.prepare = Prepare([MEAN] * BANDS, [STD] * BANDS)
        self.network = network

    def forward(self, image: Tensor, valid: Tensor) -> Tensor:
        """Return logits (B, K, H, W) of bands (B, C, H, W) and their validity (B, H, W)."""
        return self.network(self.prepare(image, valid))


def make_bundle(job: Job) -> ModelBundle:
    """Return the job's network in a bundle; the ViT as rsmeta's own class of network."""
    bands = load_sensor(SENSOR).bands
    spec, tuner = ModelSpec.model_validate(MODEL), TunerSpec.model_validate({"method": "head"})
    if job.network == "vit":
        mean, std = [MEAN] * BANDS, [STD] * BANDS
        network: Any = build_network(spec, tuner, bands=bands, classes=CLASSES, mean=mean, std=std)
        load_parts(job, vit=network.backbone.vit, score=network.head.score)
    else:
        network = Prepared(load_network(job))
    tree: dict[str, Any] = {
        "rsmeta": "bench", "created": "now", "training": {}, "meta": {}, "tile_px": TILE_PX,
        "bands": [
            {"name": b.name, "common_name": b.common_name, "mean": MEAN, "std": STD} for b in bands
        ],
        "classes": [
            {"name": f"c{i}", "value": i, "colour": "#00ff00"} for i in range(CLASSES)
        ],
        "stem": {"strategy": None, "notes": (), "form": "standard", "normalisation": ""},
        "read": {"sensor": SENSOR}, "gsd_m": None, "backbone": {"name": BACKBONE},
        "model": spec, "tuner": tuner, "weights_sha256": "0" * 64,
        # Half a pixel more, since the share is rounded down to whole pixels.
        "predict": {"overlap": (OVERLAP_PX + 0.5) / TILE_PX, "batch_size": job.batch},
    }  # fmt: skip
    return ModelBundle(BundleRecord.model_validate(tree), network.eval())


if __name__ == "__main__":
    the_job = read_job()
    the_bundle = make_bundle(the_job)
    tell(
        lambda: predict(
            the_job.scene,
            the_bundle,
            output=the_job.output,
            if_exists="overwrite",
            execution="cpu",
            settings=SETTINGS[the_job.variant],
        ),
        "timm",
    )
