"""What several unit tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def official(tmp_path: Path) -> Path:
    """A multispectral checkpoint as SatMAE's training program writes it."""
    from tests.unit.tiny_satmae import write_official  # imports torch

    return write_official(tmp_path)
