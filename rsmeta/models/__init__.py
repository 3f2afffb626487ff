"""Backbones, the stems that fit them to bands, and the network made of both and a head.

Names of the package are imported when used: a list of backbones needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rsmeta.models.backbone import Backbone, Features
    from rsmeta.models.build import build_network
    from rsmeta.models.checkpoint import (
        Checkpoint,
        LoadReport,
        StateDict,
        open_checkpoint,
        read_checkpoint,
    )
    from rsmeta.models.describe import describe_checkpoint
    from rsmeta.models.families import BACKBONES, BackboneFamily, build_backbone, list_backbones
    from rsmeta.models.names import timm_names as backbone_names
    from rsmeta.models.network import Network
    from rsmeta.models.prepare import Prepare
    from rsmeta.models.records import BackboneRecord
    from rsmeta.models.stem import StemReport
    from rsmeta.models.timm.build import build_timm

__all__ = [
    "BACKBONES",
    "Backbone",
    "BackboneFamily",
    "BackboneRecord",
    "Checkpoint",
    "Features",
    "LoadReport",
    "Network",
    "Prepare",
    "StateDict",
    "StemReport",
    "backbone_names",
    "build_backbone",
    "build_network",
    "build_timm",
    "describe_checkpoint",
    "list_backbones",
    "open_checkpoint",
    "read_checkpoint",
]

#: Where each name is defined.
_HOME = {
    "BACKBONES": "families",
    "Backbone": "backbone",
    "BackboneFamily": "families",
    "BackboneRecord": "records",
    "Checkpoint": "checkpoint",
    "Features": "backbone",
    "LoadReport": "checkpoint",
    "Network": "network",
    "Prepare": "prepare",
    "StateDict": "checkpoint",
    "StemReport": "stem",
    "build_backbone": "families",
    "build_network": "build",
    "build_timm": "timm.build",
    "describe_checkpoint": "describe",
    "list_backbones": "families",
    "open_checkpoint": "checkpoint",
    "read_checkpoint": "checkpoint",
}


def __getattr__(name: str) -> Any:
    if name == "backbone_names":
        return import_module("rsmeta.models.names").timm_names
    if name in _HOME:
        return getattr(import_module(f"rsmeta.models.{_HOME[name]}"), name)
    raise AttributeError(f"module 'rsmeta.models' has no attribute {name!r}")
