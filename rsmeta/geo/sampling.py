"""Some pixels of a scene, to see what its values are like."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rsmeta.geo.scene import Scene

#: Windows, and pixels per side of each, that are read at most.
_WINDOWS, _WINDOW_PX = 16, 256


def spread_pixels(scene: Scene) -> tuple[NDArray[np.float32], float]:
    """Return the valid pixels of windows spread over a scene, (C, N), and the share of others."""
    windows = list(scene.grid.windows(_WINDOW_PX))
    picked = sorted({*np.linspace(0, len(windows) - 1, _WINDOWS).astype(int)})
    chips = [scene.read(windows[i]) for i in picked]
    valid = sum(int(chip.valid.sum()) for chip in chips) / sum(chip.valid.size for chip in chips)
    return np.concatenate([chip.data[:, chip.valid] for chip in chips], axis=1), 1 - valid
