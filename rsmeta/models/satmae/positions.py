"""Fixed sine-cosine embeddings of positions, channel groups and dates, and their resampling."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

#: Longest wavelength of the embeddings, as in "Attention Is All You Need", section 3.5.
_LONGEST = 10_000.0


def sincos_1d(positions: Tensor, dim: int) -> Tensor:
    """Embed numbers: sines of all frequencies, then their cosines.

    Args:
        positions: Numbers of any shape (…), in steps of one patch, group, year, month or hour.
        dim: Width, even.

    Returns:
        Embeddings (…, dim), float64 (float32 on devices that have no float64).

    Raises:
        ValueError: ``dim`` is odd.

    Source: "Masked Autoencoders Are Scalable Vision Learners", He et al., CVPR 2022, whose
    layout SatMAE keeps.
    """
    if dim % 2:
        raise ValueError(f"sine-cosine embeddings need an even width, not {dim}")
    precise = torch.float32 if positions.device.type == "mps" else torch.float64
    steps = torch.arange(dim // 2, dtype=precise, device=positions.device)
    angles = positions.to(precise)[..., None] * torch.exp(steps * (-2 * math.log(_LONGEST) / dim))
    return torch.cat((angles.sin(), angles.cos()), dim=-1)


def sincos_2d(
    rows: int, cols: int, dim: int, *, device: torch.device | None = None, step: float = 1.0
) -> Tensor:
    """Embed a grid of patches, behind a zero for the class token.

    The first half of the width holds the column, the second half the row: SatMAE's order.

    Args:
        rows: Rows of patches.
        cols: Columns of patches.
        dim: Width, a multiple of 4.
        device: Where the table is made; none: the default device.
        step: From a patch to the next, in units of the formula.

    Returns:
        Embeddings (1, 1 + rows · cols, dim), float32, row by row.

    Raises:
        ValueError: ``dim`` is no multiple of 4.
    """
    if dim % 4:
        raise ValueError(f"embeddings of a grid need a width that 4 divides, not {dim}")
    column, row = (torch.arange(count, device=device) * step for count in (cols, rows))
    across = sincos_1d(column, dim // 2).expand(rows, cols, -1)
    down = sincos_1d(row, dim // 2)[:, None].expand(rows, cols, -1)
    grid = torch.cat((across, down), dim=-1).reshape(rows * cols, dim)
    return functional.pad(grid.float(), (0, 0, 1, 0))[None]


def sincos_3d(rows: int, cols: int, dim: int, *, device: torch.device | None = None) -> Tensor:
    """Embed a grid of patches of the first of several dates, behind a zero for the class token.

    Six sixteenths of the width hold the column, six the row, four the date: Prithvi's order.

    Args:
        rows: Rows of patches.
        cols: Columns of patches.
        dim: Width, a multiple of 16.
        device: Where the table is made; none: the default device.

    Returns:
        Embeddings (1, 1 + rows · cols, dim), float32, row by row.

    Raises:
        ValueError: ``dim`` is no multiple of 16.
    """
    if dim % 16:
        raise ValueError(f"embeddings of a grid and a date need a width that 16 divides, not {dim}")
    place, date = dim // 16 * 6, dim // 16 * 4
    across, down, when = (
        sincos_1d(torch.arange(count, device=device), width)
        for count, width in ((cols, place), (rows, place), (1, date))
    )
    parts = (across.expand(rows, -1, -1), down[:, None].expand(-1, cols, -1),
             when.expand(rows, cols, -1))  # fmt: skip
    grid = torch.cat(parts, dim=-1).reshape(rows * cols, dim)
    return functional.pad(grid.float(), (0, 0, 1, 0))[None]


def resample_grid(table: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Interpolate the embeddings of a grid bicubically; the class token's stays as it is.

    Args:
        table: Embeddings (1, 1 + rows · cols, D).
        old: Rows and columns that it is for.
        new: Rows and columns to make.

    Returns:
        Embeddings (1, 1 + new rows · new columns, D).
    """
    grid = table[:, 1:].reshape(1, *old, -1).permute(0, 3, 1, 2)
    resampled = functional.interpolate(grid, size=new, mode="bicubic", align_corners=False)
    return torch.cat((table[:, :1], resampled.flatten(2).transpose(1, 2)), dim=1)


def fit_grid(table: Tensor, old: tuple[int, int], new: tuple[int, int], *, how: str) -> Tensor:
    """Return the embeddings of another grid.

    Args:
        table: Embeddings (1, 1 + rows · cols, D).
        old: Rows and columns that it is for.
        new: Rows and columns to make.
        how: ``recompute`` from the formula, or ``interpolate`` those of ``table``.

    Returns:
        Embeddings (1, 1 + new rows · new columns, D) of ``table``'s type; ``table`` itself where
        the grids are equal.
    """
    if old == new:
        return table
    if how == "interpolate":
        return resample_grid(table, old, new)
    return sincos_2d(*new, table.shape[-1], device=table.device).to(table.dtype)


def is_sincos(table: Tensor, grid: tuple[int, int]) -> bool:
    """Return whether embeddings (1, 1 + rows · cols, D) are those of the formula (within 1e-3)."""
    dim = table.shape[-1]
    if dim % 4 or table.shape[1] != 1 + grid[0] * grid[1]:
        return False
    wanted = sincos_2d(*grid, dim, device=table.device)
    return bool(torch.allclose(table[:, 1:].float(), wanted[:, 1:], atol=1e-3))


def embed_dates(timestamps: Tensor, dim: int) -> Tensor:
    """Embed year, month and hour, a third of the width each.

    Args:
        timestamps: (B, T, 3): years since 2002, months since January (0 to 11), hours.
        dim: Width, a multiple of 6.

    Returns:
        Embeddings (B, T, dim), float32.
    """
    return sincos_1d(timestamps, dim // 3).flatten(-2).float()
