"""Tiles cover every pixel, whatever the blocks; each blend weighs them as it says."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.windows import Window

from rsmeta.errors import ConfigError
from rsmeta.geo.grid import Grid
from rsmeta.geo.tiling import TilePlan

if TYPE_CHECKING:
    from rsmeta.geo.blending_weights import Blend


def grid_of(height_px: int, width_px: int) -> Grid:
    return Grid(None, Affine.identity(), height_px, width_px)


@st.composite
def plans(draw: st.DrawFn) -> TilePlan:
    tile = draw(st.integers(1, 24))
    grid = grid_of(draw(st.integers(1, 61)), draw(st.integers(1, 61)))
    return TilePlan(
        scene_grid=grid,
        extent=grid.full_window,
        tile_px=tile,
        overlap_px=draw(st.integers(0, tile - 1)),
        block_px=draw(st.integers(1, 40)),
    )


def every_block(plan: TilePlan, blocks_wide: int = 1) -> list[Window]:
    return [b for s in plan.strips(plan.blocks(), blocks_wide=blocks_wide) for b in s.blocks]


def weight(plan: TilePlan, tile: Window, blend: Blend) -> np.ndarray:
    rows, cols = plan.weights(tile, blend)
    return np.outer(rows, cols)


def summed_weights(plan: TilePlan, blend: Blend) -> np.ndarray:
    height, width = plan.grid.shape
    total = np.zeros((height + plan.tile_px, width + plan.tile_px))
    for tile in plan.tiles(plan.grid.full_window):
        total[tile.toslices()] += weight(plan, tile, blend)
    return total[:height, :width]


@settings(deadline=None)
@given(plans(), st.integers(1, 5))
def test_blocks_cover_the_map_exactly_once(plan: TilePlan, blocks_wide: int) -> None:
    seen = np.zeros(plan.grid.shape, int)
    blocks = every_block(plan, blocks_wide)
    assert sorted(blocks, key=hash) == sorted(plan.blocks(), key=hash)
    for block in blocks:
        assert 1 <= block.height <= plan.block_px
        assert 1 <= block.width <= plan.block_px
        seen[block.toslices()] += 1
    assert (seen == 1).all()
    height, width = plan.grid.shape
    assert len(blocks) == -(-height // plan.block_px) * -(-width // plan.block_px)


@settings(deadline=None)
@given(plans())
def test_tiles_keep_inside_where_the_scene_is_large_enough(plan: TilePlan) -> None:
    tiles = plan.tiles(plan.grid.full_window)
    assert len(tiles) == len(set(tiles)) == len(plan.row_starts) * len(plan.col_starts)
    for tile in tiles:
        assert tile.height == tile.width == plan.tile_px
        assert tile.row_off >= 0
        assert tile.col_off >= 0
        assert tile.row_off + plan.tile_px <= max(plan.grid.height_px, plan.tile_px)
        assert tile.col_off + plan.tile_px <= max(plan.grid.width_px, plan.tile_px)


@settings(deadline=None)
@given(plans())
def test_tiles_of_a_block_are_those_of_the_scene_that_touch_it(plan: TilePlan) -> None:
    everywhere = plan.tiles(plan.grid.full_window)
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
        extent = plan.tiles_window(block)
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
    for tile in plan.tiles(plan.grid.full_window):
        assert (weight(plan, tile, "cosine") > 0).all()
    np.testing.assert_allclose(summed_weights(plan, "cosine"), 1, atol=1e-5)


@settings(deadline=None)
@given(plans())
def test_centre_takes_the_nearest_tile(plan: TilePlan) -> None:
    tiles = plan.tiles(plan.grid.full_window)
    middles = np.array([[t.row_off, t.col_off] for t in tiles]) + plan.tile_px / 2
    for tile in tiles[:: max(len(tiles) // 5, 1)]:
        start = np.array([tile.row_off, tile.col_off])
        for place in np.argwhere(weight(plan, tile, "centre"))[:20]:
            pixel = start + place + 0.5
            distance = np.abs(start + plan.tile_px / 2 - pixel)
            assert (distance == np.abs(middles - pixel).min(axis=0)).all()


@st.composite
def extents(draw: st.DrawFn) -> tuple[TilePlan, TilePlan]:
    """A plan of a whole scene, and one of a part of it."""
    plan = draw(plans())
    scene = plan.scene_grid
    row, col = draw(st.integers(0, scene.height_px - 1)), draw(st.integers(0, scene.width_px - 1))
    height = draw(st.integers(1, scene.height_px - row))
    width = draw(st.integers(1, scene.width_px - col))
    return plan, replace(plan, extent=Window(col, row, width, height))


@settings(deadline=None)
@given(extents(), st.sampled_from(["cosine", "centre", "none"]))
def test_tiles_of_a_part_are_those_of_the_scene(
    given: tuple[TilePlan, TilePlan], blend: Blend
) -> None:
    whole, part = given
    assert part.grid == whole.grid.crop(part.extent)
    for block in part.blocks():
        placed = [part.in_scene(tile) for tile in part.tiles(block)]
        assert placed == whole.tiles(part.in_scene(block))
        assert part.read_window(block) == whole.read_window(part.in_scene(block))
        for tile, same in zip(part.tiles(block), placed, strict=True):
            assert (weight(part, tile, blend) == weight(whole, same, blend)).all()


@settings(deadline=None)
@given(extents())
def test_each_tile_of_a_part_counts_with_one_block(given: tuple[TilePlan, TilePlan]) -> None:
    _, plan = given
    counted = [
        tile for block in plan.blocks() for tile in plan.tiles(block) if plan.counts(tile, block)
    ]
    assert sorted(counted, key=hash) == sorted(plan.tiles(plan.grid.full_window), key=hash)


@settings(deadline=None)
@given(extents(), st.integers(1, 4), st.sets(st.integers(0, 40)))
def test_last_turn_is_that_of_the_last_block_that_a_tile_touches(
    given: tuple[TilePlan, TilePlan], blocks_wide: int, left_out: set[int]
) -> None:
    """Later ones may be named where blocks are left out, but no earlier one."""
    _, plan = given
    turns = []
    blocks = [block for i, block in enumerate(plan.blocks()) if i not in left_out]
    for strip in plan.strips(blocks, blocks_wide=blocks_wide):
        touching: dict[Window, list[tuple[int, int, int]]] = {}
        for block in strip.blocks:
            turns.append(strip.turn(block))
            for tile in plan.tiles(block):
                touching.setdefault(tile, []).append(strip.turn(block))
        for tile, found in touching.items():
            assert strip.last_turn(tile) >= max(found)
            assert left_out or strip.last_turn(tile) == max(found)
            assert {column for _, _, column in found} <= set(strip.columns(tile))
    assert turns == sorted(set(turns))


@pytest.mark.parametrize(
    ("sizes", "named"),
    [
        ((0, 0, 8), "tile_px=0"),
        ((4, 4, 8), "overlap_px=4"),
        ((4, -1, 8), "overlap_px=-1"),
        ((4, 0, 0), "block_px=0"),
    ],
)
def test_sizes_that_do_not_fit_are_named(sizes: tuple[int, int, int], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        plan_of(*sizes)


def plan_of(tile_px: int, overlap_px: int, block_px: int) -> TilePlan:
    grid = grid_of(64, 64)
    return TilePlan(
        scene_grid=grid, extent=grid.full_window, tile_px=tile_px, overlap_px=overlap_px,
        block_px=block_px,
    )  # fmt: skip


def test_a_window_that_is_no_tile_is_refused() -> None:
    with pytest.raises(ValueError, match="no tile"):
        plan_of(16, 4, 64).weights(Window(1, 0, 16, 16), "cosine")
