"""How a scene becomes a map: the map's grid, its blocks, and the pixels that each block needs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rsmeta.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rasterio.windows import Window

    from rsmeta.geo.grid import Grid


@dataclass(frozen=True, kw_only=True)
class MapPlan(ABC):
    """A map of a scene, cut into blocks; geometry alone, no reading.

    Blocks are windows of the map and divide it without overlap; what is read for them is a window
    of the scene. Maps do not depend on their blocks.

    Args:
        scene_grid: Grid of the scene.
        extent: Part of the scene that is mapped, in its pixels.
        tile_px: Side of a tile: what the network sees at once, in the scene's pixels.
        block_px: Side of the scene's area that a block covers: what is read and written at once.

    Raises:
        ConfigError: A size does not fit.
    """

    scene_grid: Grid
    extent: Window
    tile_px: int
    block_px: int

    def __post_init__(self) -> None:
        for name in ("tile_px", "block_px"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)} must be at least 1")

    @property
    @abstractmethod
    def grid(self) -> Grid:
        """Grid of the map."""

    @property
    @abstractmethod
    def block_side(self) -> int:
        """Side of a block in pixels of the map."""

    @abstractmethod
    def read_window(self, block: Window) -> Window:
        """Return the scene's pixels that a block is computed from; they may lie beyond its edge."""

    @abstractmethod
    def fingerprint(self) -> dict[str, int]:
        """Return the sizes that determine the pixels of the map, and its blocks, by name."""

    def blocks(self) -> Iterator[Window]:
        """Yield the blocks row by row; those at the right and lower edge may be smaller."""
        yield from self.grid.windows(self.block_side)
