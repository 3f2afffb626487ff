"""Pictures of training data: labels over imagery, the split, counts of classes, band values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from rasterio.windows import Window

mpl.use("Agg")
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from rsmeta.geo.render import colour_classes, stretch_rgb
from rsmeta.gis.page.layers import read_imagery, thinned

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rsmeta.config.data import ClassSpec
    from rsmeta.data.build_splits import IndexedScene
    from rsmeta.data.splits import Part

    Parts = Mapping[Part, Sequence[IndexedScene]]

#: Colours of the parts.
PART_COLOURS = {"train": "#56b4e9", "validation": "#e69f00", "test": "#d55e00"}

#: What is shown at most.
_CHIPS, _CLASSES, _SCENES, _BANDS = 4, 24, 4, 12
_LONGEST_PX = 900
_CELL_PX = 16
#: Pixels of each class that band values are shown of.
_PIXELS = 4000


def picture_of_split(parts: Parts) -> Figure:
    """Draw where the labels of each part are, over imagery, one scene beside the other."""
    scenes = {
        one.labelled.scene.name: one.labelled.scene for part in parts.values() for one in part
    }
    shown = list(scenes.values())[:_SCENES]
    figure = Figure(figsize=(5.2 * len(shown) + 0.4, 5.4), layout="constrained")
    for axis, scene in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        step = max(1, -(-max(scene.grid.shape) // _LONGEST_PX))
        picture, _ = read_imagery(scene, scene.grid, thinned(scene.grid, step))
        height, width = scene.grid.shape
        axis.imshow(picture, extent=(0, width, height, 0), alpha=0.75, interpolation="nearest")
        size = max(6.0, (_CELL_PX * 330 / max(height, width)) ** 2)
        for part, indexed in parts.items():
            for one in indexed:
                if one.labelled.scene.name == scene.name:
                    rows, cols = ((one.index.cells + 0.5) * _CELL_PX).T
                    axis.scatter(cols, rows, s=size, marker="s", alpha=0.55, linewidths=0,
                                 color=PART_COLOURS[part])  # fmt: skip
        axis.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))
        axis.set_title(scene.name.rpartition("/")[2], fontsize=9)
    drawn = [(PART_COLOURS[part], part) for part, indexed in parts.items() if indexed]
    _legend(figure, drawn)
    return figure


def picture_of_chips(parts: Parts, classes: Sequence[ClassSpec], chip_px: int) -> Figure:
    """Draw chips around labels of each class: the image, and the labels laid over it."""
    rows = [(i, chips) for i in range(len(classes)) if (chips := _cells_of(parts, i))][:_CLASSES]
    figure = Figure(figsize=(1.5 * 2 * _CHIPS + 1.2, 1.5 * max(len(rows), 1)), layout="constrained")
    axes = figure.subplots(max(len(rows), 1), 2 * _CHIPS, squeeze=False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.set_frame_on(False)
    colours = [spec.rgb for spec in classes]
    for line, (i, chips) in zip(axes, rows, strict=True):
        line[0].set_ylabel(classes[i].name[:24], fontsize=8, rotation=0, ha="right", va="center")
        for k, (one, row, col) in enumerate(chips):
            height, width = one.labelled.scene.grid.shape
            top, left = (max(0, min(place - chip_px // 2, side - chip_px))
                         for place, side in ((row, height), (col, width)))  # fmt: skip
            window = Window(left, top, min(chip_px, width), min(chip_px, height))
            chip, labels = one.labelled.scene.read(window), one.labelled.read_labels(window)
            picture = stretch_rgb(chip.data, chip.valid, chip.bands)
            over = np.where((labels < 0)[..., None], picture,
                            0.45 * picture + 0.55 * colour_classes(labels, colours))  # fmt: skip
            line[2 * k].imshow(picture)
            line[2 * k + 1].imshow(over.astype(np.uint8))
    _legend(figure, [(spec.colour, spec.name[:24]) for spec in classes[:_CLASSES]])
    return figure


def picture_of_counts(parts: Parts, classes: Sequence[ClassSpec]) -> Figure:
    """Draw the labelled pixels of each class, on a logarithmic scale, part by part."""
    figure = Figure(figsize=(8, 0.28 * len(classes) + 1.2), layout="constrained")
    axis = figure.subplots()
    places = np.arange(len(classes), dtype=float)
    for k, (part, indexed) in enumerate(parts.items()):
        if indexed:
            counts = np.sum([one.index.class_counts for one in indexed], axis=0)
            axis.barh(places + 0.27 * (k - 1), counts, 0.25, color=PART_COLOURS[part], label=part)
    axis.set_yticks(places, [spec.name[:40] for spec in classes], fontsize=8)
    axis.set(xscale="symlog", xlabel="labelled pixels")
    axis.invert_yaxis()
    axis.legend(fontsize=8)
    return figure


def picture_of_bands(parts: Parts, classes: Sequence[ClassSpec]) -> Figure:
    """Draw the values of each class in each band, at labelled training pixels."""
    values = _values(parts["train"], len(classes))
    bands = parts["train"][0].labelled.scene.bands
    chosen = np.unique(np.linspace(0, len(bands) - 1, min(len(bands), _BANDS)).round().astype(int))
    rows = -(-len(chosen) // 4)
    figure = Figure(figsize=(12, 2.3 * rows + 0.3), layout="constrained")
    axes = figure.subplots(rows, 4, squeeze=False)
    for axis in axes.flat[len(chosen) :]:
        axis.set_axis_off()
    for axis, band in zip(axes.flat, chosen, strict=False):
        known = [one[band] for one in values if one.size]
        low, high = np.percentile(np.concatenate(known), [0.5, 99.5]) if known else (0.0, 1.0)
        edges = np.linspace(low, max(high, low + 1e-9), 41)
        for spec, one in zip(classes, values, strict=True):
            if one.size:
                shares = np.histogram(one[band], edges)[0] / one.shape[1]
                axis.stairs(shares, edges, color=spec.colour)
        axis.set_title(str(bands[band]), fontsize=8)
        axis.tick_params(labelsize=7)
        axis.set_yticks([])
    _legend(figure, [(spec.colour, spec.name[:24]) for spec in classes[:_CLASSES]])
    return figure


def _legend(figure: Figure, entries: Sequence[tuple[str, str]]) -> None:
    """Draw a legend of colours below a figure."""
    handles = [Patch(facecolor=colour, edgecolor="0.6", label=name) for colour, name in entries]
    columns = max(2, int(figure.get_figwidth() // 2))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, fontsize=8, frameon=False
    )


def _cells_of(parts: Parts, index: int) -> list[tuple[IndexedScene, int, int]]:
    """Return a few places with a class, spread over those that have most of it in their cell."""
    found: list[tuple[int, IndexedScene, int, int]] = []
    for one in (one for indexed in parts.values() for one in indexed):
        middles = one.index.cells * _CELL_PX + _CELL_PX // 2
        for (row, col), count in zip(middles.tolist(), one.index.counts[:, index], strict=True):
            if count:
                found.append((int(count), one, row, col))
    best = sorted(found, key=lambda place: -place[0])[: max(_CHIPS, len(found) // 2)]
    picked = sorted({*np.linspace(0, len(best) - 1, min(_CHIPS, len(best))).astype(int).tolist()})
    return [best[i][1:] for i in picked]


def _values(indexed: Sequence[IndexedScene], classes: int) -> list[np.ndarray]:
    """Return values of some labelled pixels of each class, (C, N) each."""
    found: list[list[np.ndarray]] = [[] for _ in range(classes)]
    for one in indexed:
        need = np.full(classes, _PIXELS // len(indexed) + 1)
        for cell in np.random.default_rng(0).permutation(len(one.index.cells)):
            if not (one.index.counts[cell] * (need > 0)).any():
                continue
            row, col = one.index.cells[cell] * _CELL_PX
            window = Window(int(col), int(row), _CELL_PX, _CELL_PX)
            chip, labels = one.labelled.scene.read(window), one.labelled.read_labels(window)
            for index in np.flatnonzero(one.index.counts[cell]):
                here = chip.data[:, (labels == index) & chip.valid]
                found[index].append(here)
                need[index] -= here.shape[1]
    return [np.concatenate(one, axis=1) if one else np.empty((0, 0)) for one in found]
