"""Heads: one suite over everything registered."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from rsmeta.config.model import HeadSpec
from rsmeta.errors import ConfigError
from rsmeta.heads import HEADS, HeadInput, OutputSpec, PixelHead, SolvedHead, build_head


def _shape(depth: int, *, patch: int = 16, dim: int = 16, channels: int = 3) -> HeadInput:
    levels = tuple(-(-(i + 1) * depth // 4) - 1 for i in range(4))
    return HeadInput((dim,) * depth, (patch,) * depth, levels, channels)


def _built(spec: HeadSpec, shape: HeadInput, classes: int) -> PixelHead:
    return build_head(spec, shape, classes=classes, registry=HEADS)


@pytest.mark.parametrize("name", HEADS.names())
@pytest.mark.parametrize("patch", [4, 8, 14, 16])
@pytest.mark.parametrize("depth", [1, 2, 6, 12])
@pytest.mark.parametrize("grid", [(1, 1), (3, 5)])
def test_logits_at_the_size_of_the_image(
    name: str, patch: int, depth: int, grid: tuple[int, int]
) -> None:
    shape = _shape(depth, patch=patch, channels=6)
    head = _built(HeadSpec(name=name), shape, classes=3)
    assert head.depths[-1] == depth - 1
    assert all(0 <= i < depth for i in head.depths)
    maps = [torch.randn(2, 16, *grid) for _ in head.depths]
    image = torch.randn(2, 6, grid[0] * patch, grid[1] * patch)
    logits = head(maps, image)
    assert logits.shape == (2, 3, *image.shape[-2:])
    if isinstance(head, SolvedHead):  # learns by no gradient
        return
    logits.square().mean().backward()
    assert all(p.grad is not None for p in head.parameters())


@pytest.mark.parametrize("name", HEADS.names())
def test_a_chip_does_not_depend_on_its_batch(name: str) -> None:
    shape = _shape(4, patch=8)
    head = _built(HeadSpec(name=name), shape, classes=2)  # in training mode
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in head.modules())
    maps = [torch.randn(3, 16, 4, 4) for _ in head.depths]
    image = torch.randn(3, 3, 32, 32)
    alone = head([m[:1] for m in maps], image[:1])
    torch.testing.assert_close(head(maps, image)[:1], alone, atol=1e-5, rtol=1e-5)


def test_stages_of_their_own_width_and_stride() -> None:
    """As of a Swin transformer: twice as wide and half as fine from stage to stage."""
    shape = HeadInput((8, 8, 16, 32, 32, 64), (4, 4, 8, 16, 16, 32), (1, 2, 4, 5), channels=3)
    head = _built(HeadSpec(), shape, classes=2)
    assert head.depths == (1, 2, 4, 5)
    sides = {i: 64 // shape.strides_px[i] for i in head.depths}
    maps = [torch.randn(1, shape.dims[i], side, side) for i, side in sides.items()]
    assert head(maps, torch.randn(1, 3, 64, 64)).shape == (1, 2, 64, 64)


def test_skip_brings_detail_and_can_be_left_out() -> None:
    shape = _shape(4, dim=8)
    maps = [torch.zeros(1, 8, 2, 2)] * 4
    for skip in (True, False):
        spec: dict[str, Any] = {"name": "fpn", "skip": skip}
        head = _built(HeadSpec(**spec), shape, classes=2)
        flat, detailed = torch.zeros(1, 3, 32, 32), torch.randn(1, 3, 32, 32)
        assert torch.equal(head(maps, flat), head(maps, detailed)) != skip


def test_the_linear_head_takes_several_blocks_side_by_side() -> None:
    head = _built(HeadSpec(name="linear", depths=[0, 3]), _shape(4, dim=8), classes=2)
    assert head.depths == (0, 3)
    maps = [torch.randn(1, 8, 2, 2) for _ in head.depths]
    both = head(maps, torch.zeros(1, 3, 32, 32))
    alone = [head([m if i == j else torch.zeros_like(m) for j, m in enumerate(maps)],
                  torch.zeros(1, 3, 32, 32)) for i in range(2)]  # fmt: skip
    none = head([torch.zeros_like(m) for m in maps], torch.zeros(1, 3, 32, 32))
    torch.testing.assert_close(both, alone[0] + alone[1] - none)


@pytest.mark.parametrize(
    ("depths", "told"),
    [([4], "4 is beyond the backbone's 4 block"), ([-1], "depths"), ([], "depths")],
)
def test_blocks_that_the_linear_head_cannot_take(depths: list[int], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        _built(HeadSpec(name="linear", depths=depths), _shape(4), classes=2)
    stages = HeadInput((8, 16), (4, 8), (0, 0, 1, 1), channels=3)
    with pytest.raises(ConfigError, match="several resolutions"):
        _built(HeadSpec(name="linear", depths=[0, 1]), stages, classes=2)


def test_output_spec_says_what_values_mean() -> None:
    spec = OutputSpec(("water", "land"), (1, 3))
    assert (spec.dtype, spec.nodata, spec.unit) == ("uint8", 255, None)
    for classes, values in ((("a",), (1, 2)), (("a", "b"), (1, 1)), (("a", "b"), (1, 255))):
        with pytest.raises(ValueError, match=r"classes|repeat|means both"):
            OutputSpec(classes, values)
