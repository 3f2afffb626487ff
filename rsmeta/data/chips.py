"""Chips of many scenes, each read on its own scene's grid through TorchGeo's datasets."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rasterio.windows import Window
from torch.utils.data import Dataset

from rsmeta.data.scenes import SceneDataset
from rsmeta.data.torchgeo_compat import IntersectionDataset, geo_slice
from rsmeta.errors import SceneError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.data.labels import PolygonLabels, RasterLabels
    from rsmeta.data.sampler import ChipKey
    from rsmeta.data.splits import Region
    from rsmeta.geo.scene import Scene


class LabelledScene:
    """A scene, its labels, and the ground of it that one part may see.

    Args:
        scene: The scene with its bands selected.
        labels: Labels on the scene's grid.
        region: Ground that may be seen; none: all of it.

    Raises:
        SceneError: The scene's grid is rotated, which TorchGeo's queries cannot express.
    """

    def __init__(
        self, scene: Scene, labels: RasterLabels | PolygonLabels, region: Region | None = None
    ) -> None:
        if scene.grid.transform.b or scene.grid.transform.d:
            raise SceneError(
                f"{scene.name} is rotated against its CRS; training needs a north-up scene: "
                f"warp it first, e.g. with gdalwarp"
            )
        self.scene = scene
        self.labels = labels
        self.region = region
        #: TorchGeo's view: image, validity and mask of any query.
        self.dataset = IntersectionDataset(SceneDataset(scene, region), labels, collate_fn=_joined)


class ChipDataset(Dataset[dict[str, Any]]):
    """Chips by ``ChipKey``, over scenes of any number of CRSs and grids.

    A sample holds ``image`` (C, H, W) float32 in physical units, ``valid`` (H, W) bool and
    ``mask`` (H, W): int64 class indices, -1 where unlabelled, invalid or of another part, or
    float32 numbers, NaN there.

    Args:
        scenes: The labelled scenes of one part.
        chip_px: Side of a chip; where a scene is smaller, the rest is invalid.
    """

    def __init__(self, scenes: Sequence[LabelledScene], chip_px: int) -> None:
        self.scenes = tuple(scenes)
        self.chip_px = chip_px

    def __len__(self) -> int:
        """Return the number of scenes; the sampler decides on the number of chips."""
        return len(self.scenes)

    def __getitem__(self, key: ChipKey) -> dict[str, Any]:
        """Read one chip."""
        part = self.scenes[key.scene]
        grid = part.scene.grid.crop(Window(key.col, key.row, self.chip_px, self.chip_px))
        sample = part.dataset[geo_slice(grid)]
        mask = sample["mask"]
        nothing = math.nan if mask.is_floating_point() else -1
        sample["mask"] = mask.masked_fill(~sample["valid"], nothing)
        return sample


def _joined(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {key: value for sample in samples for key, value in sample.items()}
