"""What the engine asks of a device, in the form for a CPU: nothing is copied on the way."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rsmeta.inference.transfer import CudaTransfer, Transfer, transfer_for

CPU = torch.device("cpu")


def test_on_a_cpu_arrays_stay_where_they_are() -> None:
    transfer = transfer_for(CPU)
    array = transfer.array((2, 3), np.float32)
    array[:] = 1
    there = transfer.to_device(array)
    transfer.copied()()
    array[0] = 2
    assert there.tolist() == [[2, 2, 2], [1, 1, 1]]
    assert np.shares_memory(transfer.to_host(there), array)
    assert transfer.array((4,), np.bool_).dtype == np.bool_
    assert transfer.buffers == 1
    assert transfer.device == CPU


def test_what_is_kept_does_not_hold_its_batch() -> None:
    transfer = transfer_for(CPU)
    batch = torch.arange(12.0).reshape(3, 4)
    kept = transfer.kept(batch[1])
    batch[:] = 0
    assert kept.tolist() == [4, 5, 6, 7]
    assert kept.untyped_storage().nbytes() == 4 * 4


@pytest.mark.parametrize("classes", [1, 3, 300])
def test_weighted_sums_are_those_of_all_classes(classes: int) -> None:
    rng = np.random.default_rng(0)
    transfer = transfer_for(CPU)
    scores = rng.random((classes, 40, 50), dtype=np.float32)
    rows, cols = rng.random(20, dtype=np.float32), rng.random(30, dtype=np.float32)
    sums = transfer.zeros((classes, 25, 35))
    for _ in range(2):  # on a part of the sums, with a part of a tile
        transfer.add_weighted(sums[:, 5:, 5:], torch.from_numpy(scores)[:, 20:, 20:], rows, cols)
    expected = np.zeros((classes, 25, 35), np.float32)
    expected[:, 5:, 5:] = 2 * scores[:, 20:, 20:] * (rows[:, None] * cols)
    np.testing.assert_allclose(sums.numpy(), expected, rtol=1e-6)


def test_a_gpu_has_every_part_of_its_own() -> None:
    """The two forms differ in what they do, not in what can be asked of them."""
    asked = {name for name, part in vars(Transfer).items() if callable(part)}
    assert asked - vars(CudaTransfer).keys() == set()
