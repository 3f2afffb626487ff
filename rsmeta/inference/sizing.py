"""How large blocks, batches and strips may be, given the free memory; the engine alone asks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from rsmeta.geo.handles import CACHE_BYTES

if TYPE_CHECKING:
    from rsmeta.geo.plan import MapPlan
    from rsmeta.geo.scene import Scene
    from rsmeta.geo.tiling import TilePlan

#: Sides of blocks to choose from, whole tiles of the output: the largest that fits is taken. Small
#: blocks read more pixels around themselves, which costs little on a CPU and much on a GPU.
BLOCKS_PX = {"cpu": (1024, 512), "cuda": (2048, 1024, 512)}
#: Share of the free memory to use: other programs, and the network, need some.
_SHARE = 0.25
#: Disk space for sums that wait for the next row of blocks.
_SPILL_BYTES = 2**30
#: Tiles of ``_USUAL_PX`` at once, in all lanes; smaller tiles are more of the same pixels.
_BATCH = {"cpu": 8, "cuda": 64}
_USUAL_PX = 224
#: The most of smaller tiles at once, per tile of ``_USUAL_PX``: more no longer make them faster.
_MOST_SMALLER = 16
#: Batches that are computed side by side, by several threads each if there are more of them.
_FEW_LANES, _MOST_LANES = 4, 8
#: The most threads that decode a file side by side.
_READERS = {"cpu": 4, "cuda": 16}
#: On a CPU the network needs the cores: one of them for so many of its threads, or those it leaves.
_THREADS_PER_READER = 4
_FLOAT = 4
#: Written pixels go through the cache as well.
_LEAST_CACHE_BYTES = 16 * 2**20
# Blocks under way at once: read and computed; blended and written.
_BLOCKS_READ, _BLOCKS_BLENDED = 2, 2


def choose_block_px(
    device: torch.device, *, bands: int, scores: int, tile_px: int, free_bytes: int
) -> int:
    """Return the side of the largest block that fits into a part of the free memory.

    Args:
        device: Where the network is.
        bands: Bands that the model takes.
        scores: Scores per pixel.
        tile_px: Side of a tile; on average a block is read with half a tile around it.
        free_bytes: Memory that is free.
    """

    def needs(side: int) -> int:
        read = _BLOCKS_READ * bands * (side + tile_px) ** 2
        return _FLOAT * (read + _BLOCKS_BLENDED * scores * side * (side + tile_px))

    sides = BLOCKS_PX[device.type]
    return next((side for side in sides if needs(side) <= _SHARE * free_bytes), sides[-1])


def choose_cache_bytes(scene: Scene, plan: MapPlan) -> int:
    """Return how much GDAL keeps of decoded pixels: two columns of the file's tiles.

    Neighbouring blocks both read them.
    """
    height, width = scene.file_tile_px
    rows = (plan.block_px + plan.tile_px) // height + 2
    column = rows * height * width * len(scene.band_indexes) * np.dtype(scene.dtype).itemsize
    return min(max(2 * column, _LEAST_CACHE_BYTES), CACHE_BYTES)


def choose_batch_size(device: torch.device, tile_px: int = _USUAL_PX) -> int:
    """Return how many tiles to score at once, at first: fewer are taken where memory runs out.

    Args:
        device: Where the network is.
        tile_px: Side of a tile.
    """
    smaller = min(_USUAL_PX**2 // tile_px**2, _MOST_SMALLER)
    return max(_BATCH[device.type] * max(smaller, 1) // choose_lanes(device), 1)


def choose_lanes(device: torch.device) -> int:
    """Return how many batches to compute side by side, which share torch's threads.

    Up to some number each thread has a lane; more threads are shared so that few are left over.
    """
    if device.type != "cpu":
        return 1
    threads = torch.get_num_threads()
    counts = range(min(threads, _FEW_LANES), min(threads, _MOST_LANES) + 1)
    return max(counts, key=lambda lanes: (threads // lanes * lanes, lanes))


def choose_readers(device: torch.device) -> int:
    """Return how many threads decode a file side by side."""
    count = os.cpu_count() or 1
    if device.type == "cpu":
        threads = torch.get_num_threads()
        count = max(count - threads, threads // _THREADS_PER_READER, 1)
    return min(_READERS[device.type], count)


def choose_strip_blocks(plan: TilePlan, scores: int) -> int:
    """Return how many blocks wide a strip may be, so that the sums that wait fit on the disk.

    Tiles across the lower edge of a block leave sums, up to a tile high, to the next row.
    """
    per_block = plan.block_px * plan.tile_px * scores * _FLOAT
    return max(1, int(_SPILL_BYTES / per_block))


def choose_blending(plan: TilePlan, scores: int, device: torch.device) -> torch.device:
    """Return where to blend: on the network's device if it has room, else in main memory."""
    if device.type != "cuda":
        return device
    free, _ = torch.cuda.mem_get_info(device)
    needed = 3 * _FLOAT * scores * (plan.block_px + plan.tile_px) ** 2
    return device if needed <= _SHARE * free else torch.device("cpu")


def free_memory_bytes() -> int:
    """Return the memory that this process may still use: the machine's, or its control group's."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    found = [_meminfo_bytes() or free, *_cgroup_bytes()]
    return max(min(found), 0)


def _meminfo_bytes() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if "MemAvailable" in line), None)


def _cgroup_bytes() -> list[int]:
    """Source: the Linux kernel's "Control Group v2", memory interface files."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit, used = ((folder / f"memory.{n}").read_text() for n in ("max", "current"))
    except OSError:
        return []
    return [] if limit.strip() == "max" else [int(limit) - int(used)]
