"""Pictures of chips and images with their labels and what the network makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from rsmeta.geo.render import colour_classes, stretch_rgb

if TYPE_CHECKING:
    from rsmeta.tasks.base import TrainingData
    from rsmeta.training.module import TaskModule

#: Chips that a picture shows.
_CHIPS = 6

_MISSING = "0.85"


def picture_of_chips(module: TaskModule, data: TrainingData) -> Figure:
    """Draw some chips of validation, test or, failing both, training.

    Args:
        module: The trained module.
        data: Where the chips are from.
    """
    batch = _some_chips(data)
    network = module.network.eval()
    device = network.device
    with torch.inference_mode():
        logits = network(batch["image"].to(device), batch["valid"].to(device)).cpu()
    if not module.task.per_pixel:
        return _images(batch, module.task.activate(logits), data)
    rows = _numbers if module.task.name == "regression" else _classes
    return rows(batch, logits, data)


def _classes(batch: dict[str, Any], logits: torch.Tensor, data: TrainingData) -> Figure:
    """Draw image, label and prediction in the classes' colours."""
    predicted = torch.where(batch["valid"], logits.argmax(dim=1), -1)
    colours = [spec.rgb for spec in data.classes]
    figure, axes = _rows(batch, data)
    for i in range(len(batch["image"])):
        axes[1, i].imshow(colour_classes(batch["mask"][i].numpy(), colours))
        axes[2, i].imshow(colour_classes(predicted[i].numpy(), colours))
    handles = [
        Patch(facecolor=spec.colour, edgecolor="0.6", label=spec.name) for spec in data.classes
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, frameon=False)
    return figure


def _numbers(batch: dict[str, Any], estimated: torch.Tensor, data: TrainingData) -> Figure:
    """Draw image, label and estimate on one scale of colours."""
    target = data.settings.target
    assert target is not None
    shown = torch.where(batch["valid"], estimated[:, 0].float(), torch.nan).numpy()
    labels = batch["mask"].numpy()
    low, high = np.nanpercentile(np.concatenate([shown.ravel(), labels.ravel()]), [2, 98])
    figure, axes = _rows(batch, data)
    for i in range(len(batch["image"])):
        for row, values in ((1, labels[i]), (2, shown[i])):
            axes[row, i].set_facecolor(_MISSING)
            axes[row, i].imshow(values, cmap="viridis", vmin=low, vmax=high)
    label = target.name if target.unit is None else f"{target.name} ({target.unit})"
    figure.colorbar(axes[2, 0].images[0], ax=axes[1:], label=label, shrink=0.8)
    return figure


def _images(batch: dict[str, Any], results: torch.Tensor, data: TrainingData) -> Figure:
    """Draw images; above each its label, below it what the network says."""
    count = len(batch["image"])
    figure = Figure(figsize=(1.9 * count + 0.4, 2.8), layout="constrained")
    axes = figure.subplots(1, count, squeeze=False)
    for i in range(count):
        image, valid = batch["image"][i].numpy(), batch["valid"][i].numpy()
        axes[0, i].imshow(stretch_rgb(image, valid, data.bands))
        axes[0, i].set_title(_said(batch["label"][i], data), fontsize=8)
        axes[0, i].set_xlabel(_found(results[i], batch["label"][i], data), fontsize=8)
        axes[0, i].set(xticks=[], yticks=[])
    return figure


def _said(label: torch.Tensor, data: TrainingData) -> str:
    """Return a label in words."""
    if data.settings.target is not None:
        return f"{float(label):.4g}"
    names = [spec.name for spec in data.classes]
    if label.ndim:
        return "\n".join(name for name, has in zip(names, label, strict=True) if has == 1) or "-"
    return names[int(label)] if label >= 0 else "-"


def _found(result: torch.Tensor, label: torch.Tensor, data: TrainingData) -> str:
    """Return a prediction in words."""
    if data.settings.target is not None:
        return f"{float(result[0]):.4g}"
    if label.ndim:
        return _said((result > 0.5).int(), data)
    share, best = result.max(dim=0)
    return f"{data.classes[int(best)].name} {share:.0%}"


def _rows(batch: dict[str, Any], data: TrainingData) -> tuple[Figure, Any]:
    """Return a figure of three rows whose first shows the images."""
    count = len(batch["image"])
    figure = Figure(figsize=(1.9 * count + 0.4, 6.2), layout="constrained")
    axes = figure.subplots(3, count, squeeze=False)
    for i in range(count):
        image, valid = batch["image"][i].numpy(), batch["valid"][i].numpy()
        axes[0, i].imshow(stretch_rgb(image, valid, data.bands))
    for row, name in enumerate(("image", "label", "prediction")):
        axes[row, 0].set_ylabel(name)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    return figure, axes


def _some_chips(data: TrainingData) -> dict[str, Any]:
    """Return some chips, spread over the loader's order."""
    if data.parts["validation"]:
        loader = data.ordered_dataloader("validation")
    elif data.parts["test"]:
        loader = data.test_dataloader()
    else:
        loader = data.train_dataloader()
    keys = list(loader.sampler)
    chosen = [keys[i] for i in np.linspace(0, len(keys) - 1, min(_CHIPS, len(keys))).astype(int)]
    samples = [loader.dataset[key] for key in chosen]
    return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}
