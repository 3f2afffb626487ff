"""Batches read ahead: the same ones, in their order, with their errors, a batch early."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from rsmeta.data.ahead import AheadLoader
from rsmeta.errors import SceneUnreadableError

WAIT_S = 60.0


class Numbers(Dataset[Any]):
    """Numbers 0 to 9; says when each is read and by whom, and cannot read some."""

    def __init__(self, damaged: int | None = None) -> None:
        self.damaged = damaged
        self.read = [threading.Event() for _ in range(10)]
        self.threads: set[threading.Thread] = set()
        self.torch_threads: set[int] = set()

    def __len__(self) -> int:
        return len(self.read)

    @property
    def has_reader(self) -> bool:
        """Whether a thread that read them still runs."""
        return any(thread.is_alive() for thread in self.threads)

    def __getitem__(self, index: int) -> int:
        self.read[index].set()
        self.threads.add(threading.current_thread())
        self.torch_threads.add(torch.get_num_threads())
        if index == self.damaged:
            raise SceneUnreadableError("a.tif", "it ends too early")
        return index


@pytest.mark.parametrize("drop_last", [True, False])
def test_batches_are_those_of_a_data_loader_every_time(drop_last: bool) -> None:
    given: dict[str, Any] = {"batch_size": 4, "drop_last": drop_last}
    wanted = [batch.tolist() for batch in DataLoader(Numbers(), **given)]
    loader: AheadLoader[Any] = AheadLoader(Numbers(), **given)

    for _ in range(2):
        assert [batch.tolist() for batch in loader] == wanted
    assert len(loader) == len(wanted)


def test_the_next_batch_has_reader_while_one_is_used_and_no_more() -> None:
    numbers = Numbers()
    batches = iter(AheadLoader(numbers, batch_size=2))

    next(batches)
    assert numbers.read[3].wait(WAIT_S)
    next(batches)
    assert numbers.read[5].wait(WAIT_S)
    assert not numbers.read[6].is_set()
    assert numbers.has_reader
    batches.close()
    assert not numbers.has_reader


def test_an_error_comes_with_its_batch_and_the_loader_goes_on_after_it() -> None:
    numbers = Numbers(damaged=3)
    loader: AheadLoader[Any] = AheadLoader(numbers, batch_size=2)
    batches = iter(loader)

    assert next(batches).tolist() == [0, 1]
    with pytest.raises(SceneUnreadableError, match=r"a\.tif"):
        next(batches)
    assert not numbers.has_reader
    numbers.damaged = None
    assert len(list(loader)) == 5


def test_its_thread_leaves_the_other_threads_of_torch_alone_and_ends() -> None:
    numbers, before = Numbers(), torch.get_num_threads()
    loader: AheadLoader[Any] = AheadLoader(numbers, batch_size=2)
    for _ in range(2):
        for _ in loader:
            assert torch.get_num_threads() == before
        assert not numbers.has_reader

    assert threading.current_thread() not in numbers.threads
    assert numbers.torch_threads == {1}


def test_a_loader_that_was_used_can_be_sent_to_another_process() -> None:
    loader: AheadLoader[Any] = AheadLoader(list(range(6)), batch_size=2)  # type: ignore[arg-type]
    list(loader)

    assert len(list(pickle.loads(pickle.dumps(loader)))) == 3
