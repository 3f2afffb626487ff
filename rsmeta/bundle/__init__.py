"""A trained model as a folder: what it is in YAML, what was trained in safetensors."""

from rsmeta.bundle.bundle import (
    MODEL_ITEM_FILE,
    ModelBundle,
    annotate_bundle,
    load_bundle,
    rebuild,
    save_bundle,
)
from rsmeta.bundle.record import BundleRecord

__all__ = [
    "MODEL_ITEM_FILE",
    "BundleRecord",
    "ModelBundle",
    "annotate_bundle",
    "load_bundle",
    "rebuild",
    "save_bundle",
]
