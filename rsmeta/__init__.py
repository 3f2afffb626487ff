"""rsmeta: adapters on vision transformers for any satellite sensor, and the maps they make.

``import rsmeta`` is light: torch and its friends are imported when a function is first used.
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

from rsmeta._version import __version__
from rsmeta.quick_import import lasting_import

if sys.platform == "win32":  # file locks and memory figures are POSIX's
    raise ImportError("rsmeta runs on Linux and macOS; on Windows, use it in WSL 2", name=__name__)

if TYPE_CHECKING:
    from rsmeta.bundle import ModelBundle, load_bundle
    from rsmeta.gis.outputs.products import Products
    from rsmeta.gis.postprocess.postprocess import Postprocess
    from rsmeta.gis.vector import vectorise
    from rsmeta.metrics import (
        ClassificationResult,
        MapAccuracy,
        MultilabelResult,
        RegressionResult,
        SegmentationResult,
    )
    from rsmeta.workflows.dry_run import DryRun, dry_run
    from rsmeta.workflows.evaluate import evaluate
    from rsmeta.workflows.evaluate_map import draw_sample, evaluate_map
    from rsmeta.workflows.export import export
    from rsmeta.workflows.init.init import Draft, init
    from rsmeta.workflows.inspect import inspect
    from rsmeta.workflows.mapping.executors import Execution
    from rsmeta.workflows.mapping.one_scene import PredictResult
    from rsmeta.workflows.mapping.predict import predict
    from rsmeta.workflows.mapping.predict_images import predict_images
    from rsmeta.workflows.mapping.request import AreaOfInterest
    from rsmeta.workflows.pretrain import PretrainResult, pretrain
    from rsmeta.workflows.push import push
    from rsmeta.workflows.report import MapSources, report
    from rsmeta.workflows.suggest import Suggestions, suggest
    from rsmeta.workflows.sweep.sweep import SweepResult, sweep
    from rsmeta.workflows.train import TrainResult, train
    from rsmeta.workflows.zero_shot import zero_shot

__all__ = [
    "AreaOfInterest",
    "ClassificationResult",
    "Draft",
    "DryRun",
    "Execution",
    "MapAccuracy",
    "MapSources",
    "ModelBundle",
    "MultilabelResult",
    "Postprocess",
    "PredictResult",
    "PretrainResult",
    "Products",
    "RegressionResult",
    "SegmentationResult",
    "Suggestions",
    "SweepResult",
    "TrainResult",
    "__version__",
    "draw_sample",
    "dry_run",
    "evaluate",
    "evaluate_map",
    "export",
    "init",
    "inspect",
    "load_bundle",
    "predict",
    "predict_images",
    "pretrain",
    "push",
    "report",
    "suggest",
    "sweep",
    "train",
    "vectorise",
    "zero_shot",
]  # fmt: skip

#: Where each name is defined.
_HOME = {
    "AreaOfInterest": "rsmeta.workflows.mapping.request",
    "ClassificationResult": "rsmeta.metrics",
    "Draft": "rsmeta.workflows.init.init",
    "DryRun": "rsmeta.workflows.dry_run",
    "Execution": "rsmeta.workflows.mapping.executors",
    "MapAccuracy": "rsmeta.metrics",
    "MapSources": "rsmeta.workflows.report",
    "ModelBundle": "rsmeta.bundle",
    "MultilabelResult": "rsmeta.metrics",
    "Postprocess": "rsmeta.gis.postprocess.postprocess",
    "PredictResult": "rsmeta.workflows.mapping.one_scene",
    "PretrainResult": "rsmeta.workflows.pretrain",
    "Products": "rsmeta.gis.outputs.products",
    "RegressionResult": "rsmeta.metrics",
    "SegmentationResult": "rsmeta.metrics",
    "Suggestions": "rsmeta.workflows.suggest",
    "SweepResult": "rsmeta.workflows.sweep.sweep",
    "TrainResult": "rsmeta.workflows.train",
    "draw_sample": "rsmeta.workflows.evaluate_map",
    "dry_run": "rsmeta.workflows.dry_run",
    "evaluate": "rsmeta.workflows.evaluate",
    "evaluate_map": "rsmeta.workflows.evaluate_map",
    "export": "rsmeta.workflows.export",
    "init": "rsmeta.workflows.init.init",
    "inspect": "rsmeta.workflows.inspect",
    "load_bundle": "rsmeta.bundle",
    "predict": "rsmeta.workflows.mapping.predict",
    "predict_images": "rsmeta.workflows.mapping.predict_images",
    "pretrain": "rsmeta.workflows.pretrain",
    "push": "rsmeta.workflows.push",
    "report": "rsmeta.workflows.report",
    "suggest": "rsmeta.workflows.suggest",
    "sweep": "rsmeta.workflows.sweep.sweep",
    "train": "rsmeta.workflows.train",
    "vectorise": "rsmeta.gis.vector",
    "zero_shot": "rsmeta.workflows.zero_shot",
}


#: Names of earlier versions, and what they are called now.
_RENAMED = {"Refinement": "Postprocess"}


def __getattr__(name: str) -> Any:
    if name in _RENAMED:
        message = f"rsmeta.{name} is deprecated; use rsmeta.{_RENAMED[name]}"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        name = _RENAMED[name]
    if name in _HOME:
        return getattr(lasting_import(_HOME[name]), name)
    raise AttributeError(f"module 'rsmeta' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
