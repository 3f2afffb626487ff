"""Samples in as few bytes as hold them exactly: raw numbers, not physical values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor

    from rsmeta.data.chip_cache import Sample
    from rsmeta.geo.scene import Scene

#: How raw numbers of a type are kept, and what is added to them then (torch has little in uint16).
KINDS = {"uint8": (torch.uint8, 0), "int16": (torch.int16, 0), "uint16": (torch.int16, 32768)}


@dataclass(frozen=True)
class Packing:
    """How the raw numbers of a scene become physical values: ``(raw + shift) · scale + offset``.

    Attributes:
        dtype: Type of the raw numbers.
        shift: What is added to them first.
        scale: Factor of each band, (C, 1, 1) float32.
        offset: Summand of each band, likewise.
    """

    dtype: torch.dtype
    shift: int
    scale: Tensor
    offset: Tensor

    @classmethod
    def of(cls, scene: Scene) -> Packing | None:
        """Return the packing of a scene's chips; none where bands are made of several."""
        kind = KINDS.get(np.dtype(scene.dtype).name)
        if kind is None or scene.recipes is not None:
            return None
        scale, offset = (
            torch.tensor(numbers, dtype=torch.float32).view(-1, 1, 1)
            for numbers in (scene.scale, scene.offset)
        )
        return cls(*kind, scale, offset)

    def packed(self, image: Tensor, valid: Tensor) -> Tensor:
        """Return an image (C, H, W) as raw numbers, or as it is if they do not hold it exactly."""
        raw = (image.double() - self.offset) / self.scale - self.shift
        limits = torch.iinfo(self.dtype)
        codes = torch.where(valid, raw.round(), 0).clamp(limits.min, limits.max).to(self.dtype)
        return codes if torch.equal(self.unpacked(codes, valid), image) else image

    def unpacked(self, codes: Tensor, valid: Tensor) -> Tensor:
        """Return the physical values of raw numbers (C, H, W), 0 without data."""
        values = (codes.float() + self.shift) * self.scale + self.offset
        return torch.where(valid, values, 0.0)


def pack(block: Sample, packing: Packing | None) -> Sample:
    """Return a block in fewer bytes: class indices too, where they are few."""
    made = dict(block)
    if packing is not None:
        made["image"] = packing.packed(block["image"], block["valid"])
    mask, limits = block.get("mask"), torch.iinfo(torch.int16)
    if mask is not None and mask.dtype == torch.int64:
        made["mask"] = (
            mask.short() if torch.equal(mask, mask.clamp(limits.min, limits.max)) else mask
        )
    return made


def unpack(sample: Sample, packing: Packing | None) -> Sample:
    """Return what ``pack`` was given, of a block or a part of it."""
    made = dict(sample)
    if packing is not None and sample["image"].dtype == packing.dtype:
        made["image"] = packing.unpacked(sample["image"], sample["valid"])
    if (mask := sample.get("mask")) is not None and mask.dtype == torch.int16:
        made["mask"] = mask.long()
    return made
