"""Features of single labelled pixels: windows are read around them, each pixel counts once."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from rasterio.windows import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from rsmeta.data.chips import LabelledScene
    from rsmeta.data.labelled_places import Places
    from rsmeta.models.network import Network

#: Numbers in the features of a window at most; more bands mean smaller windows.
_AT_ONCE = 8_000_000

#: Chips that go through a backbone at once.
_BATCH = 8


@torch.inference_mode()
def features_at(
    network: Network, scenes: Sequence[LabelledScene], places: Places, *, chip_px: int
) -> np.ndarray:
    """Return the features of pixels, (N, F) float32, as the network's ``SolvedHead`` takes them.

    A backbone that looks at a pixel's neighbourhood alone sees all of it, as in a map; others see
    the chip in whose middle the pixel lies, of chips that overlap by half.

    Args:
        network: Prepares images and computes features; in evaluation mode afterwards.
        scenes: The scenes that ``places`` counts through.
        places: The pixels.
        chip_px: Side of a chip.
    """
    network.eval()
    return _at(network, network.pixel_features, scenes, places, chip_px)


@torch.inference_mode()
def probabilities_at(
    network: Network, scenes: Sequence[LabelledScene], places: Places, *, chip_px: int
) -> np.ndarray:
    """Return the probabilities of the classes of pixels, (N, K) float32, of any network.

    Args:
        network: Any that scores classes of pixels; in evaluation mode afterwards.
        scenes: The scenes that ``places`` counts through.
        places: The pixels.
        chip_px: Side of a chip.
    """
    network.eval()

    def shares(image: Tensor, valid: Tensor) -> Tensor:
        return cast("Tensor", network(image, valid)).float().softmax(dim=1)

    return _at(network, shares, scenes, places, chip_px)


def _at(
    network: Network,
    compute: Callable[[Tensor, Tensor], Tensor],
    scenes: Sequence[LabelledScene],
    places: Places,
    chip_px: int,
) -> np.ndarray:
    """Return what is computed of images (B, C, H, W) and validity, at the pixels."""
    found: np.ndarray | None = None
    for windows in _batches(network, scenes, places, chip_px):
        images, valids = [], []
        for number, window, _ in windows:
            chip = scenes[number].read_image(window)
            valid = torch.from_numpy(chip.valid)
            images.append(torch.where(valid, torch.from_numpy(chip.data), 0.0))
            valids.append(valid)
        device = network.device
        maps = compute(torch.stack(images).to(device), torch.stack(valids).to(device))
        for one, (_, window, which) in zip(maps, windows, strict=True):
            rows = torch.from_numpy(places.row[which] - int(window.row_off))
            cols = torch.from_numpy(places.col[which] - int(window.col_off))
            values = one[:, rows.to(device), cols.to(device)].T.float().cpu().numpy()
            if found is None:
                found = np.empty((len(places.row), values.shape[1]), np.float32)
            found[which] = values
    return np.empty((0, 0), np.float32) if found is None else found


def windows_of(
    network: Network, scenes: Sequence[LabelledScene], places: Places, chip_px: int
) -> np.ndarray:
    """Return for each pixel the scene, row and column of the window it is seen in, (N, 3)."""
    if network.backbone.halo_px is not None:
        step = int(np.clip((_AT_ONCE / network.backbone.dim) ** 0.5, 16, 256))
        corner = np.stack([places.row, places.col], axis=1) // step * step
    else:
        shapes = np.array([one.scene.grid.shape for one in scenes])[places.scene]
        step = max(chip_px // 2, 1)
        centred = np.stack([places.row, places.col], axis=1) - chip_px // 2
        corner = (centred + step // 2) // step * step
        corner = np.clip(corner, 0, np.maximum(shapes - chip_px, 0))
    return np.column_stack([places.scene, corner])


def _batches(
    network: Network, scenes: Sequence[LabelledScene], places: Places, chip_px: int
) -> Iterator[list[tuple[int, Window, np.ndarray]]]:
    """Yield batches of windows: number of the scene, window, and which pixels are seen in it."""
    if not len(places.row):
        return
    keys, inverse = np.unique(
        windows_of(network, scenes, places, chip_px), axis=0, return_inverse=True
    )
    inverse = inverse.ravel()
    order = np.argsort(inverse, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(inverse))[:-1])
    halo_px, batch = network.backbone.halo_px, []
    for (number, row, col), which in zip(keys.tolist(), members, strict=True):
        if halo_px is not None:
            yield [(number, _around(places, which, halo_px), which)]
            continue
        batch.append((number, Window(col, row, chip_px, chip_px), which))
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _around(places: Places, which: np.ndarray, halo_px: int) -> Window:
    """Return the smallest window with some pixels and all that their features look at."""
    rows, cols = places.row[which], places.col[which]
    row, col = int(rows.min()) - halo_px, int(cols.min()) - halo_px
    height, width = int(rows.max()) + halo_px + 1 - row, int(cols.max()) + halo_px + 1 - col
    return Window(col, row, width, height)
