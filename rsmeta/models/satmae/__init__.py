"""SatMAE: vision transformers pretrained on satellite images by masked autoencoding."""

from __future__ import annotations

from rsmeta.models.satmae.backbone import OneDateSatmae, SatmaeBackbone, TemporalSatmae
from rsmeta.models.satmae.build import build_satmae, satmae_names

__all__ = ["OneDateSatmae", "SatmaeBackbone", "TemporalSatmae", "build_satmae", "satmae_names"]
