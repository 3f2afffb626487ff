"""Pinned buffers: copies run beside kernels, and bring what was in the buffer when they began."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rsmeta.inference.transfer import transfer_for

pytestmark = pytest.mark.gpu

#: Cycles for which a kernel does nothing: half a second and more.
LONG = 1_000_000_000


def test_buffers_are_pinned(gpu: torch.device) -> None:
    transfer = transfer_for(gpu)
    for dtype in (np.float32, np.bool_):
        array = transfer.array((3, 4, 5), dtype)
        assert array.dtype == dtype
        assert array.shape == (3, 4, 5)
        assert torch.from_numpy(array).is_pinned()
        assert torch.from_numpy(array[1:2]).is_pinned()


def test_copies_do_not_wait_for_kernels(gpu: torch.device) -> None:
    transfer = transfer_for(gpu)
    array = transfer.array((2**20,), np.float32)
    array[:] = 1
    transfer.to_device(array)  # warm
    torch.cuda.synchronize(gpu)
    torch.cuda._sleep(LONG)
    there = transfer.to_device(array)
    transfer.copied()()
    assert not torch.cuda.current_stream(gpu).query(), "it waited for the kernel"
    assert float(there.sum()) == 2**20


def test_two_buffers_in_turn_lose_nothing(device: torch.device) -> None:
    """Filled again as soon as the copy is done, while the device is still busy with the last."""
    transfer = transfer_for(device)
    buffers = [transfer.array((64, 1024), np.float32) for _ in range(max(transfer.buffers, 2))]
    until_free = [transfer.copied() for _ in buffers]
    sums = []
    for turn in range(50):
        number = turn % len(buffers)
        until_free[number]()
        buffers[number][:] = turn
        there = transfer.to_device(buffers[number])
        if device.type == "cuda":
            torch.cuda._sleep(1_000_000)
        sums.append(there.mean(dtype=torch.float64))
        until_free[number] = transfer.copied()
        del there  # its memory may serve the next turn only when the sum is done
    assert [float(one) for one in sums] == list(range(50))


def test_results_come_back_whole(device: torch.device) -> None:
    transfer = transfer_for(device)
    values = torch.arange(4 * 50 * 60, dtype=torch.float32, device=device).reshape(4, 50, 60)
    back = transfer.to_host(values[:, :33] * 2)
    np.testing.assert_array_equal(back, 2 * np.arange(12000).reshape(4, 50, 60)[:, :33])
    np.testing.assert_array_equal(transfer.to_host(values[:, 7:]), values.cpu().numpy()[:, 7:])
    assert back.flags.writeable
