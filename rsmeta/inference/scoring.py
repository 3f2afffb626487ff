"""Second stage: tiles through the network, in batches that cross the borders of blocks."""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch

from rsmeta.errors import RsmetaError
from rsmeta.inference.lanes import Lanes
from rsmeta.inference.reading import BegunBlock, within
from rsmeta.inference.transfer import transfer_for

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from rasterio.windows import Window
    from torch import Tensor

    from rsmeta.geo.tiling import Turn
    from rsmeta.inference.reading import ReadBlock
    from rsmeta.inference.transfer import Transfer

    #: (image (B, C, h, w) float32 physical, valid (B, h, w) bool) -> scores (B, K, h, w).
    Model: TypeAlias = Callable[[Tensor, Tensor], Tensor]

logger = logging.getLogger(__name__)

#: How CUDA's libraries say that they found no memory: not as ``OutOfMemoryError``.
_NO_MEMORY = ("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED", "out of memory")


@dataclass(frozen=True)
class OpenedBlock:
    """A block whose tiles will have been scored some items later.

    Attributes:
        block: As it was read, without its pixels.
        valid: Which pixels of the block are to be mapped, (h, w) bool; none where none is.
        computed: Tiles that go through the network for its sake.
    """

    block: ReadBlock
    valid: np.ndarray | None
    computed: int


@dataclass(frozen=True)
class ScoredTiles:
    """A batch that has been through the network.

    Attributes:
        keys: The strip that each is for, by number, and where it lies.
        scores: (B, K, tile, tile) float32, on the device.
    """

    keys: tuple[tuple[int, Window], ...]
    scores: Tensor


class Scorer:
    """Runs a model over batches, and over smaller ones from then on where memory runs out.

    Args:
        model: Maps chips in physical units to scores, e.g. class probabilities. On a CPU several
            threads may call it at once.
        device: Where it is.
        batch_size: Tiles at once.

    Attributes:
        transfer: Brings tiles to the device.
    """

    def __init__(self, model: Model, device: torch.device, batch_size: int) -> None:
        self._model = model
        self._device = device
        self.transfer = transfer_for(device)
        self.batch_size = self._said = batch_size
        self._changing = threading.Lock()

    @torch.inference_mode()
    def __call__(self, image: np.ndarray, valid: np.ndarray) -> Tensor:
        """Return the scores (B, K, h, w) float32 of tiles (B, C, h, w) with valid (B, h, w).

        Raises:
            RsmetaError: There is not even memory for one tile.
        """
        parts = []
        done = 0
        while done < len(image):
            size = self.batch_size
            batch = slice(done, done + size)
            scores = self._scores(image[batch], valid[batch])
            if scores is None:
                self._take_less(than=size)
            else:
                parts.append(scores)
                done += size
        self._say_if_less()
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _scores(self, image: np.ndarray, valid: np.ndarray) -> Tensor | None:
        """Return the scores of one batch; none where there is not the memory for it."""
        try:
            given, known = (self.transfer.to_device(one) for one in (image, valid))
            scores = self._model(given, known).float()
            # The arrays serve the next batch too, so a model must not hand them on.
            is_input = scores.untyped_storage().data_ptr() == given.untyped_storage().data_ptr()
            return scores.clone() if is_input else scores
        except torch.OutOfMemoryError:
            return None
        except RuntimeError as error:  # of CUDA's libraries, which take memory for themselves
            if not any(sign in str(error) for sign in _NO_MEMORY):
                raise
            return None

    def _take_less(self, *, than: int) -> None:
        """Halve the batch, unless another thread has; what the last one took has been let go."""
        if than == 1:
            raise RsmetaError(
                f"{self._device} has not enough memory for a single tile; choose another --device, "
                f"or a model with smaller tiles"
            )
        with self._changing:
            self.batch_size = min(self.batch_size, than // 2)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _say_if_less(self) -> None:
        with self._changing:
            less, self._said = self.batch_size < self._said, self.batch_size
        if less:
            logger.warning(
                "%s ran out of memory; continuing with %d tiles at once", self._device, self._said
            )


def score_tiles(
    blocks: Iterable[BegunBlock | ReadBlock], scorer: Scorer, *, lanes: int = 1
) -> Generator[OpenedBlock | ScoredTiles, None, None]:
    """Yield each block, and soon after it the tiles that it needs and no block before it had.

    A tile that a later block of the same strip touches is not computed again.

    Args:
        blocks: The blocks.
        scorer: Scores their tiles.
        lanes: Threads that score a batch each.
    """
    known: dict[Window, Turn] = {}
    with Lanes[ScoredTiles](lanes, beside=scorer.transfer.device.type == "cpu") as running:
        batch = _Batch(scorer.transfer, under_way=running.ahead)

        def scored(block: BegunBlock | ReadBlock, tiles: Iterable[Window]) -> Iterator[ScoredTiles]:
            for tile in tiles:
                if tile not in known:
                    known[tile] = block.strip.last_turn(tile)
                    batch.add(block, tile, room=scorer.batch_size)
                if len(batch.keys) >= scorer.batch_size:
                    yield from running.call(batch.to_score(scorer))

        for begun in blocks:
            turn = begun.strip.turn(begun.window)
            for tile in [tile for tile, last in known.items() if last < turn]:
                del known[tile]
            before, early = len(known), list[ScoredTiles]()
            if isinstance(begun, BegunBlock):
                early.extend(scored(begun, begun.early_tiles()))
            block = begun.whole()
            left = [tile for tile in block.tiles if tile not in known]
            yield _opened(block, len(known) - before + len(left))
            yield from early
            early.clear()
            yield from scored(block, left)
            del begun, block
        if batch.keys:
            yield from running.call(batch.to_score(scorer))
        yield from running.rest()


def _opened(block: ReadBlock, computed: int) -> OpenedBlock:
    return OpenedBlock(block.without_pixels(), block.wanted, computed)


@dataclass
class _Buffer:
    """Arrays that serve many batches.

    Attributes:
        image: (B, C, tile, tile) float32.
        valid: (B, tile, tile) bool.
        until_free: Waits until the last batch in them is on the device.
    """

    image: np.ndarray
    valid: np.ndarray
    until_free: Callable[[], None]


class _Batch:
    """Copies of tiles that wait until there are enough of them.

    Args:
        transfer: Brings them to the device.
        under_way: Earlier batches that may still be read while one is filled.
    """

    def __init__(self, transfer: Transfer, *, under_way: int) -> None:
        self.keys: list[tuple[int, Window]] = []
        self._transfer = transfer
        self._count = transfer.buffers + under_way
        self._buffers: deque[_Buffer] = deque()

    def add(self, block: BegunBlock | ReadBlock, tile: Window, *, room: int) -> None:
        pixels = block.pixels
        if pixels is None:
            raise ValueError(f"{block.window} has tiles and no pixels")
        while len(self._buffers) < self._count:
            self._buffers.append(self._buffer(room, len(pixels.data), tile))
        buffer = self._buffers[0]
        if not self.keys:
            buffer.until_free()
        place, count = within(tile, pixels.origin), len(self.keys)
        buffer.image[count] = pixels.data[:, *place]
        buffer.valid[count] = pixels.valid[place]
        self.keys.append((block.strip.number, tile))

    def _buffer(self, room: int, bands: int, tile: Window) -> _Buffer:
        size, array = (int(tile.height), int(tile.width)), self._transfer.array
        return _Buffer(
            array((room, bands, *size), np.float32), array((room, *size), np.bool_),
            self._transfer.copied(),
        )  # fmt: skip

    def to_score(self, scorer: Scorer) -> Callable[[], ScoredTiles]:
        """Return what scores its tiles, and be empty again."""
        keys, self.keys = tuple(self.keys), []
        buffer = self._buffers[0]
        self._buffers.rotate()

        def scored() -> ScoredTiles:
            scores = scorer(buffer.image[: len(keys)], buffer.valid[: len(keys)])
            buffer.until_free = self._transfer.copied()
            return ScoredTiles(keys, scores)

        return scored
