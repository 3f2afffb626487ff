"""Backbones, the stems that fit them to bands, and the network made of both and a head."""

from __future__ import annotations

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
from rsmeta.models.network import Network
from rsmeta.models.prepare import Prepare
from rsmeta.models.records import BackboneRecord
from rsmeta.models.stem import StemReport
from rsmeta.models.timm.build import backbone_names, build_timm

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
