"""Weights that come with rsmeta itself: small, in the package, under a licence of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsmeta.config.resources import config_dir

if TYPE_CHECKING:
    from pathlib import Path


def shipped_weights(backbone: str) -> Path | None:
    """Return the file with the weights of a backbone; none: rsmeta ships none for it."""
    file = config_dir() / "weights" / f"{backbone}.safetensors"
    return file if file.is_file() else None
