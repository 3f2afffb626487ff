"""Scenes as TorchGeo datasets that carry validity beside the pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from rsmeta.data.torchgeo_compat import GeoSlice, RasterDataset, footprint_index, query_bounds

if TYPE_CHECKING:
    from rsmeta.data.splits import Region
    from rsmeta.geo.scene import Scene


class SceneDataset(RasterDataset):
    """One scene, read on its own grid; never warped.

    Works with TorchGeo's samplers and set operations. A sample holds ``image`` (C, H, W) float32
    in physical units and ``valid`` (H, W) bool; pixels outside the scene, without data, or
    outside ``region`` are invalid and 0.

    Args:
        scene: The scene, with its bands already selected.
        region: Ground that may be seen; none: all of it.
    """

    is_image = True

    def __init__(self, scene: Scene, region: Region | None = None) -> None:
        self.paths = scene.name
        self.scene = scene
        self.region = region
        self.bands = tuple(band.name for band in scene.bands)
        self.transforms = None
        self._res = scene.grid.pixel_size
        self.index = footprint_index(scene.grid, scene.acquired, scene.name)

    def __getitem__(self, query: GeoSlice) -> dict[str, Any]:
        """Return the sample of a TorchGeo query, on the nearest whole pixels."""
        chip = self.scene.read(self.scene.grid.window(query_bounds(self, query)))
        valid = chip.valid
        if self.region is not None:
            valid = valid & self.region.contains(chip.grid)
        image = torch.from_numpy(chip.data)
        seen = torch.from_numpy(valid)
        return {"image": torch.where(seen, image, 0.0), "valid": seen}
