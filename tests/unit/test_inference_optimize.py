"""Levels of optimisation: nearly the same probabilities."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from rsmeta.inference import optimize
from rsmeta.inference.optimize import optimised

CPU = torch.device("cpu")
SOFTMAX = partial(torch.softmax, dim=1, dtype=torch.float32)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(2, 3, 3, padding=1)
        self.seen: list[torch.dtype] = []

    def forward(self, image: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.layer(image)
        self.seen.append(scores.dtype)
        return scores


@pytest.fixture
def tiles() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(3, 2, 8, 8), torch.ones(3, 8, 8, dtype=torch.bool)


def test_level_1_computes_in_bfloat16_where_the_device_has_it(
    tiles: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    network = Net()
    exact = optimised(network, SOFTMAX, CPU)(*tiles)
    for has, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(optimize, "has_bfloat16", lambda _, has=has: has)
        found = optimised(network, SOFTMAX, CPU, level=1)(*tiles)
        assert network.seen[-1] == dtype
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, exact, atol=0.02, rtol=0)
    assert [r.getMessage() for r in caplog.records] == [
        "cpu has no instructions for bfloat16; computing in float32"
    ]


def test_float32_is_not_rounded_in_convolutions(tiles: Any) -> None:
    """cuDNN's default rounds to ten bits; the user's own choice is back afterwards."""
    before = torch.backends.cudnn.allow_tf32
    seen = []

    class Watching(Net):
        def forward(self, image: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
            seen.append(torch.backends.cudnn.allow_tf32)
            return super().forward(image, valid)

    for reduced in (False, True):
        optimised(Watching(), SOFTMAX, CPU, reduced=reduced)(*tiles)
        assert torch.backends.cudnn.allow_tf32 == before
    assert seen == [False, before]
