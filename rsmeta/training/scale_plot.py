"""Picture of the adapters' scales: how they went, and where, how deep and how strong they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rsmeta.config.tuner import Position

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

    from rsmeta.training.meta import ScaleHistory

#: Positions in the order in which data pass them.
_ORDER: tuple[str, ...] = Position.__args__  # type: ignore[attr-defined]


def draw_scales(final: Mapping[str, float], history: ScaleHistory) -> Figure:
    """Return the figure.

    Args:
        final: Scale of each site that is left, by name.
        history: Scales of all sites over the run.
    """
    places = [site.split(".") for site in history.sites]
    depth = 1 + max(int(block) for block, _ in places)
    found = {position for _, position in places}
    positions = [*(p for p in _ORDER if p in found), *sorted(found - set(_ORDER))]
    width = 1.9 + 0.75 * len(positions)
    figure = Figure(figsize=(6.2 + width, max(3.6, 1.4 + 0.34 * depth)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[6.2, width])
    _courses(left, history, positions)
    start = float(np.mean(history.scales[history.first]))
    _map(right, _table(final, depth, positions), positions, start)
    return figure


def _courses(axis: Axes, history: ScaleHistory, positions: Sequence[str]) -> None:
    """Draw one line per site: its position by colour, its depth by darkness."""
    values, steps = np.array(history.scales)[history.first :], history.steps[history.first :]
    colours = mpl.colormaps["tab10"].colors  # type: ignore[attr-defined]
    blocks = [int(site.split(".")[0]) for site in history.sites]
    for i, site in enumerate(history.sites):
        position = site.split(".")[1]
        axis.plot(
            steps, values[:, i], lw=1.1, color=colours[positions.index(position) % 10],
            alpha=0.35 + 0.65 * blocks[i] / max(*blocks, 1),
        )  # fmt: skip
    axis.axhline(values[0].mean(), color="0.7", lw=0.8, ls="--", zorder=0)
    handles = [Line2D([], [], color=colours[i % 10], label=p) for i, p in enumerate(positions)]
    axis.legend(handles=handles, frameon=False, ncols=2, title="position; deeper is darker")
    axis.set_xlabel("optimizer step")
    given = f" (given {np.mean(history.scales[0]):.3g}, trials chose {values[0].mean():.3g})"
    axis.set_title(f"scales over time{given if history.first else ''}")
    axis.spines[["top", "right"]].set_visible(False)


def _table(final: Mapping[str, float], depth: int, positions: Sequence[str]) -> np.ndarray:
    """Return the scales by block and position; NaN where there is none."""
    table = np.full((depth, len(positions)), np.nan)
    for site, scale in final.items():
        block, position = site.split(".")
        table[int(block), positions.index(position)] = scale
    return table


def _map(axis: Axes, table: np.ndarray, positions: Sequence[str], start: float) -> None:
    """Draw the table, the first block at the bottom, by how far a scale is from its start."""
    known = table[np.isfinite(table)]
    reach = max(np.abs(known - start).max(), 0.05) if len(known) else 1.0
    colours = mpl.colormaps["RdBu_r"].with_extremes(bad="0.92")
    axis.imshow(
        table, cmap=colours, vmin=start - reach, vmax=start + reach, origin="lower", aspect="auto"
    )
    for row, col in np.ndindex(*table.shape):
        value = table[row, col]
        if np.isfinite(value):
            colour = "white" if abs(value - start) > 0.6 * reach else "black"
            axis.text(col, row, f"{value:.2f}", ha="center", va="center", color=colour, size=8)
    axis.set_xticks(range(len(positions)), positions)
    axis.set_yticks(range(len(table)))
    axis.set_ylabel("block")
    axis.set_title("scales in the bundle")
    axis.tick_params(length=0)
