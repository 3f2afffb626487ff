"""Pictures of a run: curves, confusion matrix, and chips with label and prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import torch

mpl.use("Agg")
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from rsmeta.geo.render import colour_classes, stretch_rgb

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rsmeta.data.datamodule import SceneDataModule
    from rsmeta.training.module import SegmentationModule

#: Chips that ``chips.png`` shows.
_CHIPS = 6


def plot_run(
    folder: Path,
    module: SegmentationModule,
    data: SceneDataModule,
    history: Sequence[dict[str, float]],
) -> None:
    """Write curves.png, confusion.png and chips.png.

    Args:
        folder: Where to; made if need be.
        module: The trained module; its metrics hold the last evaluation.
        data: Chips of validation, test or, failing both, training are shown.
        history: One row per epoch.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if history:
        _curves(history).savefig(folder / "curves.png", dpi=120)
    if data.parts["validation"] or data.parts["test"]:
        confusion = np.asarray(module.metrics.compute().confusion, dtype=np.float64)
        names = [spec.name for spec in data.settings.classes]
        _confusion(confusion, names).savefig(folder / "confusion.png", dpi=120)
    _chips(module, data).savefig(folder / "chips.png", dpi=120)


def _curves(history: Sequence[dict[str, float]]) -> Figure:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    losses, scores = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    for axis, columns in (
        (losses, {"train_loss": "training", "validation_loss": "validation"}),
        (scores, {"validation_accuracy": "accuracy", "validation_miou": "mIoU",
                  "validation_macro_f1": "macro F1"}),
    ):  # fmt: skip
        for column, name in columns.items():
            values = [row.get(column, np.nan) for row in history]
            if np.isfinite(values).any():
                axis.plot(epochs, values, marker=".", label=name)
                axis.legend(frameon=False)
        axis.set_xlabel("epoch")
        axis.spines[["top", "right"]].set_visible(False)
    losses.set_title("loss")
    scores.set_title("validation")
    scores.set_ylim(0, 1)
    return figure


def _confusion(confusion: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw row-normalised shares; rows are the reference."""
    totals = confusion.sum(axis=1, keepdims=True)
    shares = np.divide(confusion, totals, out=np.zeros_like(confusion), where=totals > 0)
    side = 2.4 + 0.6 * len(names)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axis = figure.subplots()
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, col in np.ndindex(*shares.shape):
        if totals[row]:
            colour = "white" if shares[row, col] > 0.6 else "black"
            axis.text(col, row, f"{shares[row, col]:.2f}", ha="center", va="center", color=colour)
    axis.set_xticks(range(len(names)), names, rotation=40, ha="right")
    axis.set_yticks(range(len(names)), names)
    axis.set_xlabel("predicted")
    axis.set_ylabel("reference")
    return figure


def _chips(module: SegmentationModule, data: SceneDataModule) -> Figure:
    batch = _some_chips(data)
    network = module.network.eval()
    device = next(network.parameters()).device
    with torch.inference_mode():
        logits = network(batch["image"].to(device), batch["valid"].to(device))
    predicted = torch.where(batch["valid"], logits.argmax(dim=1).cpu(), -1)
    colours = [spec.rgb for spec in data.settings.classes]
    count = len(batch["image"])
    figure = Figure(figsize=(1.9 * count + 0.4, 6.2), layout="constrained")
    axes = figure.subplots(3, count, squeeze=False)
    for i in range(count):
        image, valid = batch["image"][i].numpy(), batch["valid"][i].numpy()
        axes[0, i].imshow(stretch_rgb(image, valid, data.bands))
        axes[1, i].imshow(colour_classes(batch["mask"][i].numpy(), colours))
        axes[2, i].imshow(colour_classes(predicted[i].numpy(), colours))
    for row, name in enumerate(("image", "label", "prediction")):
        axes[row, 0].set_ylabel(name)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    handles = [
        Patch(facecolor=spec.colour, edgecolor="0.6", label=spec.name)
        for spec in data.settings.classes
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, frameon=False)
    return figure


def _some_chips(data: SceneDataModule) -> dict[str, Any]:
    """Return some chips, spread over the loader's order."""
    if data.parts["validation"]:
        loader = data.val_dataloader()
    elif data.parts["test"]:
        loader = data.test_dataloader()
    else:
        loader = data.train_dataloader()
    keys = list(loader.sampler)  # type: ignore[union-attr]
    chosen = [keys[i] for i in np.linspace(0, len(keys) - 1, min(_CHIPS, len(keys))).astype(int)]
    samples = [loader.dataset[key] for key in chosen]  # type: ignore[union-attr]
    return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}
