"""TorchGeo's view of a labelled scene, for its samplers, set operations and data modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rsmeta.data.chips import sample_of
from rsmeta.data.torchgeo_compat import GeoSlice, RasterDataset, footprint_index, query_bounds
from rsmeta.errors import SceneError

if TYPE_CHECKING:
    from rsmeta.data.chips import LabelledScene


class SceneDataset(RasterDataset):
    """One labelled scene, read on its own grid; never warped.

    Works with TorchGeo's samplers and set operations. Samples are those of ``ChipDataset``, of
    any size.

    Args:
        labelled: The scene, its labels, and the region that may be seen.

    Raises:
        SceneError: The scene's grid is rotated, which TorchGeo's queries cannot express.
    """

    is_image = True

    def __init__(self, labelled: LabelledScene) -> None:
        scene = labelled.scene
        if scene.grid.transform.b or scene.grid.transform.d:
            raise SceneError(
                f"{scene.name} is rotated against its CRS, which TorchGeo's queries cannot "
                f"express; warp it first, e.g. with gdalwarp"
            )
        self.paths = scene.name
        self.labelled = labelled
        self.bands = tuple(band.name for band in scene.bands)
        self.transforms = None
        self._res = scene.grid.pixel_size
        self.index = footprint_index(scene.grid, scene.acquired, scene.name)

    def __getitem__(self, query: GeoSlice) -> dict[str, Any]:
        """Return the sample of a TorchGeo query, on the nearest whole pixels."""
        window = self.labelled.scene.grid.window(query_bounds(self, query))
        return sample_of(self.labelled, window)
