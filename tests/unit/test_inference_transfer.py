"""On a CPU nothing is copied on the way to the device and back."""

from __future__ import annotations

import numpy as np
import torch

from rsmeta.inference.transfer import Transfer


def test_on_a_cpu_arrays_stay_where_they_are() -> None:
    transfer = Transfer(torch.device("cpu"))
    array = transfer.array((2, 3), np.float32)
    array[:] = 1
    there = transfer.to_device(array)
    transfer.copied()()
    array[0] = 2
    assert there.tolist() == [[2, 2, 2], [1, 1, 1]]
    assert np.shares_memory(transfer.to_host(there), array)
    assert transfer.array((4,), np.bool_).dtype == np.bool_
    assert transfer.buffers == 1
