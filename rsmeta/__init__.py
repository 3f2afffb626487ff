"""rsmeta: adapters on vision transformers for any satellite sensor, and the maps they make.

``import rsmeta`` is light: torch and its friends are imported when a function is first used.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rsmeta.bundle import load_bundle
    from rsmeta.gis.outputs.products import Products
    from rsmeta.gis.postprocess.postprocess import Postprocess
    from rsmeta.gis.vector import vectorise
    from rsmeta.workflows.evaluate import evaluate
    from rsmeta.workflows.evaluate_map import evaluate_map
    from rsmeta.workflows.inspect import inspect
    from rsmeta.workflows.mapping.executors import Execution
    from rsmeta.workflows.mapping.predict import predict
    from rsmeta.workflows.mapping.predict_images import predict_images
    from rsmeta.workflows.mapping.request import AreaOfInterest
    from rsmeta.workflows.pretrain import pretrain
    from rsmeta.workflows.report import MapSources, report
    from rsmeta.workflows.sweep.sweep import sweep
    from rsmeta.workflows.train import train

try:
    __version__ = version("rsmeta")
except PackageNotFoundError:  # a checkout on the path that was never installed
    __version__ = "0+unknown"

__all__ = [
    "AreaOfInterest",
    "Execution",
    "MapSources",
    "Postprocess",
    "Products",
    "__version__",
    "evaluate",
    "evaluate_map",
    "inspect",
    "load_bundle",
    "predict",
    "predict_images",
    "pretrain",
    "report",
    "sweep",
    "train",
    "vectorise",
]  # fmt: skip

_HOME = {
    "AreaOfInterest": "rsmeta.workflows.mapping.request",
    "Execution": "rsmeta.workflows.mapping.executors",
    "MapSources": "rsmeta.workflows.report",
    "Products": "rsmeta.gis.outputs.products",
    "Postprocess": "rsmeta.gis.postprocess.postprocess",
    "evaluate": "rsmeta.workflows.evaluate",
    "evaluate_map": "rsmeta.workflows.evaluate_map",
    "inspect": "rsmeta.workflows.inspect",
    "load_bundle": "rsmeta.bundle",
    "predict": "rsmeta.workflows.mapping.predict",
    "predict_images": "rsmeta.workflows.mapping.predict_images",
    "pretrain": "rsmeta.workflows.pretrain",
    "report": "rsmeta.workflows.report",
    "sweep": "rsmeta.workflows.sweep.sweep",
    "train": "rsmeta.workflows.train",
    "vectorise": "rsmeta.gis.vector",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'rsmeta' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
