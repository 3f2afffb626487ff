"""Say what a SatMAE checkpoint or the name of a SatMAE means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rsmeta.models.names import SATMAE_LICENCE as LICENCE
from rsmeta.models.records import own_record
from rsmeta.models.satmae.options import FAMILIES, PUBLISHED_GROUPS, SIZES
from rsmeta.models.satmae.records import RGB_BANDS
from rsmeta.models.satmae.weights import recognise, without_wrapper

if TYPE_CHECKING:
    from rsmeta.models.checkpoint import Checkpoint
    from rsmeta.models.records import OwnRecord
    from rsmeta.models.satmae.weights import Recognised

#: What a training program notes beside the tensors that is worth showing.
_NOTES = ("epoch", "epochs", "mask_ratio", "norm_pix_loss", "spatial_mask", "dataset_type")


def describe_satmae(checkpoint: Checkpoint) -> dict[str, Any] | None:
    """Return what a checkpoint says of itself, as plain values; none: it is no SatMAE."""
    found = recognise(without_wrapper(checkpoint.tensors))
    if found is None:
        return None
    size, own = found.size, own_record(checkpoint.notes, "the file")
    told: dict[str, Any] = {
        "family": FAMILIES[found.kind],
        "backbone": found.backbone,
        "size": SIZES[size].label if size else "custom",
        "dim": found.dim,
        "depth": found.depth,
        "patch_px": found.patch_px,
        "image_px": found.image_px,
        "bands": _bands(found, own),
        "training_stage": found.stage,
        "classes": found.classes,
        "pooling": "mean of patches" if found.global_pool else "class token",
        "positions": "sine-cosine" if found.sincos else "learned",
        "licence": checkpoint.notes.get("licence", f"{LICENCE} as SatMAE's authors publish theirs"),
    }
    if own is not None:
        told |= {"licence": own.licence, "normalisation": own.model_dump(
            include={"form", "unit", "mean", "std"}, mode="json")}  # fmt: skip
    noted = {key: checkpoint.notes[key] for key in _NOTES if key in checkpoint.notes}
    return {**told, "training": noted} if noted else told


def _bands(found: Recognised, own: OwnRecord | None) -> list[str]:
    if own is not None and own.groups is not None:
        return ["+".join(group) for group in own.groups]
    if found.kind == "group":
        published = tuple(len(group) for group in PUBLISHED_GROUPS)
        if found.channels == published:
            return ["+".join(group) for group in PUBLISHED_GROUPS]
        return [f"a group of {count}" for count in found.channels]
    return list(RGB_BANDS) if found.channels == (3,) else [f"{found.channels[0]} unnamed"]
