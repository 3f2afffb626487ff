"""Progress of a map, as it is reported to callers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rsmeta.gis.progress import no_progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from rsmeta.gis.progress import OnProgress


@dataclass(frozen=True)
class Progress:
    """Progress of one stage of a map.

    Attributes:
        scene: The scene; where scenes become one map, that map.
        done_px: Pixels that are finished, those of an interrupted run included.
        total_px: Pixels of the map.
        tiles: Tiles that went through the network.
        skipped: Tiles without a valid pixel.
        px_per_s: Pixels a second in this run.
        stage: ``mapping``; then, where requested, ``postprocessing`` and ``polygons``, which count
            no tiles.
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


class MapProgress:
    """Counts the finished pixels of a map, and reports them.

    Args:
        on_progress: Called with each report; may be none.
        scene: The scene, as it was given.
        total_px: Pixels of the map.
        done_px: Pixels that an earlier run has finished.
    """

    def __init__(
        self,
        on_progress: Callable[[Progress], None] | None,
        scene: str,
        *,
        total_px: int,
        done_px: int,
    ) -> None:
        self._on_progress = on_progress
        self._scene = scene
        self._total_px = total_px
        self._done_px = self._before_px = done_px
        self._started = time.monotonic()

    def advance(self, pixels: int, *, tiles: int, skipped: int) -> None:
        """Report that more pixels are finished.

        Args:
            pixels: How many.
            tiles: Tiles so far that went through the network.
            skipped: Tiles so far without a valid pixel.
        """
        self._done_px += pixels
        if self._on_progress is None:
            return
        seconds = max(time.monotonic() - self._started, 1e-9)
        rate = (self._done_px - self._before_px) / seconds
        self._on_progress(
            Progress(self._scene, self._done_px, self._total_px, tiles, skipped, rate)
        )


def progress_for(
    on_progress: Callable[[Progress], None] | None, stage: str, *, scene: str, total_px: int
) -> OnProgress:
    """Return a function that takes the share of a stage that is done, and reports it."""
    if on_progress is None:
        return no_progress
    started = time.monotonic()

    def report(share: float) -> None:
        done_px = round(share * total_px)
        rate = done_px / max(time.monotonic() - started, 1e-9)
        on_progress(Progress(scene, done_px, total_px, 0, 0, rate, stage))

    return report
