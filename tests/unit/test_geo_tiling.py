"""Tiles cover every pixel, whatever the blocks; each blend weighs them as it says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.windows import Window

from rsmeta.errors import ConfigError
from rsmeta.geo.tiling import Blend, TilePlan


@st.composite
def plans(draw: st.DrawFn) -> TilePlan:
    tile = draw(st.integers(1, 24))
    return TilePlan(
        height_px=draw(st.integers(1, 61)),
        width_px=draw(st.integers(1, 61)),
        tile_px=tile,
        overlap_px=draw(st.integers(0, tile - 1)),
        block_px=draw(st.integers(1, 40)),
    )


def every_block(plan: TilePlan, strip_blocks: int = 1) -> list[Window]:
    return [b for s in plan.strips(strip_blocks=strip_blocks) for b in s.blocks()]


def weight(plan: TilePlan, tile: Window, blend: Blend) -> np.ndarray:
    rows, cols = plan.weights(tile, blend)
    return np.outer(rows, cols)


def summed_weights(plan: TilePlan, blend: Blend) -> np.ndarray:
    total = np.zeros((plan.height_px + plan.tile_px, plan.width_px + plan.tile_px))
    for tile in plan.tiles(Window(0, 0, plan.width_px, plan.height_px)):
        total[tile.toslices()] += weight(plan, tile, blend)
    return total[: plan.height_px, : plan.width_px]


@settings(deadline=None)
@given(plans(), st.integers(1, 5))
def test_blocks_cover_the_scene_exactly_once(plan: TilePlan, strip_blocks: int) -> None:
    seen = np.zeros((plan.height_px, plan.width_px), int)
    blocks = every_block(plan, strip_blocks)
    for block in blocks:
        assert 1 <= block.height <= plan.block_px
        assert 1 <= block.width <= plan.block_px
        seen[block.toslices()] += 1
    assert (seen == 1).all()
    assert len(blocks) == -(-plan.height_px // plan.block_px) * -(-plan.width_px // plan.block_px)


@settings(deadline=None)
@given(plans())
def test_tiles_keep_inside_where_the_scene_is_large_enough(plan: TilePlan) -> None:
    tiles = plan.tiles(Window(0, 0, plan.width_px, plan.height_px))
    assert len(tiles) == len(set(tiles)) == len(plan.row_starts) * len(plan.col_starts)
    for tile in tiles:
        assert tile.height == tile.width == plan.tile_px
        assert tile.row_off >= 0
        assert tile.col_off >= 0
        assert tile.row_off + plan.tile_px <= max(plan.height_px, plan.tile_px)
        assert tile.col_off + plan.tile_px <= max(plan.width_px, plan.tile_px)


@settings(deadline=None)
@given(plans())
def test_tiles_of_a_block_are_those_of_the_scene_that_touch_it(plan: TilePlan) -> None:
    everywhere = plan.tiles(Window(0, 0, plan.width_px, plan.height_px))
    for block in every_block(plan):
        bottom, right = block.row_off + block.height, block.col_off + block.width
        touching = [
            tile
            for tile in everywhere
            if tile.row_off < bottom
            and tile.col_off < right
            and tile.row_off + plan.tile_px > block.row_off
            and tile.col_off + plan.tile_px > block.col_off
        ]
        assert plan.tiles(block) == touching
        extent = plan.extent(block)
        assert all(
            extent.row_off <= t.row_off
            and extent.col_off <= t.col_off
            and t.row_off + t.height <= extent.row_off + extent.height
            and t.col_off + t.width <= extent.col_off + extent.width
            for t in touching
        )


@settings(deadline=None)
@given(plans(), st.sampled_from(["centre", "none"]))
def test_every_pixel_has_exactly_one_tile(plan: TilePlan, blend: Blend) -> None:
    assert (summed_weights(plan, blend) == 1).all()


@settings(deadline=None)
@given(plans())
def test_cosine_reaches_every_pixel_and_adds_up_to_one(plan: TilePlan) -> None:
    for tile in plan.tiles(Window(0, 0, plan.width_px, plan.height_px)):
        assert (weight(plan, tile, "cosine") > 0).all()
    np.testing.assert_allclose(summed_weights(plan, "cosine"), 1, atol=1e-5)


@settings(deadline=None)
@given(plans())
def test_centre_takes_the_nearest_tile(plan: TilePlan) -> None:
    tiles = plan.tiles(Window(0, 0, plan.width_px, plan.height_px))
    middles = np.array([[t.row_off, t.col_off] for t in tiles]) + plan.tile_px / 2
    for tile in tiles[:: max(len(tiles) // 5, 1)]:
        start = np.array([tile.row_off, tile.col_off])
        for place in np.argwhere(weight(plan, tile, "centre"))[:20]:
            pixel = start + place + 0.5
            distance = np.abs(start + plan.tile_px / 2 - pixel)
            assert (distance == np.abs(middles - pixel).min(axis=0)).all()


@st.composite
def extents(draw: st.DrawFn) -> tuple[TilePlan, Window, int]:
    """A plan, a part of its scene and the width of a strip."""
    plan = draw(plans())
    row, col = draw(st.integers(0, plan.height_px - 1)), draw(st.integers(0, plan.width_px - 1))
    height = draw(st.integers(1, plan.height_px - row))
    width = draw(st.integers(1, plan.width_px - col))
    return plan, Window(col, row, width, height), draw(st.integers(1, 4))


@settings(deadline=None)
@given(extents())
def test_each_tile_of_an_extent_counts_with_one_block(
    given: tuple[TilePlan, Window, int],
) -> None:
    plan, extent, strip_blocks = given
    counted = [
        tile
        for strip in plan.strips(extent, strip_blocks=strip_blocks)
        for block in strip.blocks()
        for tile in plan.tiles(block)
        if strip.is_home(tile, block)
    ]
    assert sorted(counted, key=hash) == sorted(plan.tiles(extent), key=hash)


@settings(deadline=None)
@given(extents())
def test_last_turn_is_that_of_the_last_block_that_a_tile_touches(
    given: tuple[TilePlan, Window, int],
) -> None:
    plan, extent, strip_blocks = given
    turns = []
    for strip in plan.strips(extent, strip_blocks=strip_blocks):
        touching: dict[Window, list[tuple[int, int, int]]] = {}
        for block in strip.blocks():
            turns.append(strip.turn(block))
            for tile in plan.tiles(block):
                touching.setdefault(tile, []).append(strip.turn(block))
        assert all(strip.last_turn(tile) == max(found) for tile, found in touching.items())
    assert turns == sorted(set(turns))


@pytest.mark.parametrize(
    ("sizes", "named"),
    [
        ((0, 5, 4, 0, 8), "height_px=0"),
        ((5, 5, 0, 0, 8), "tile_px=0"),
        ((5, 5, 4, 4, 8), "overlap_px=4"),
        ((5, 5, 4, -1, 8), "overlap_px=-1"),
        ((5, 5, 4, 0, 0), "block_px=0"),
    ],
)
def test_sizes_that_do_not_fit_are_named(sizes: tuple[int, ...], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        TilePlan(*sizes)


def test_a_window_that_is_no_tile_is_refused() -> None:
    with pytest.raises(ValueError, match="no tile"):
        TilePlan(64, 64, 16, 4, 64).weights(Window(1, 0, 16, 16), "cosine")
