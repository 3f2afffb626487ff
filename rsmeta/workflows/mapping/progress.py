"""How far a map is, for who watches it grow."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rsmeta.gis.progress import silent

if TYPE_CHECKING:
    from collections.abc import Callable

    from rsmeta.gis.progress import Tell


@dataclass(frozen=True)
class Progress:
    """How far a stage of one map is.

    Attributes:
        scene: The scene; where scenes become one map, that map.
        done_px: Pixels that are finished, those of an interrupted run included.
        total_px: Pixels to go through.
        tiles: Tiles that went through the network.
        skipped: Tiles without a valid pixel.
        px_per_s: Pixels a second in this run.
        stage: ``mapping``; then, where that is asked for, ``refining`` and ``polygons``, which
            know no tiles.
    """

    scene: str
    done_px: int
    total_px: int
    tiles: int
    skipped: int
    px_per_s: float
    stage: str = "mapping"

    @property
    def left_s(self) -> float:
        """Seconds that the rest of the stage takes at this rate."""
        return (self.total_px - self.done_px) / max(self.px_per_s, 1e-9)


def told_to(
    on_progress: Callable[[Progress], None] | None, stage: str, *, scene: str, total_px: int
) -> Tell:
    """Return what takes the share of a stage that is done, and tells of it."""
    if on_progress is None:
        return silent
    started = time.monotonic()

    def tell(share: float) -> None:
        done_px = round(share * total_px)
        rate = done_px / max(time.monotonic() - started, 1e-9)
        on_progress(Progress(scene, done_px, total_px, 0, 0, rate, stage))

    return tell
