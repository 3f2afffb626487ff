"""Pictures of a pretraining run: the loss, and chips as they were, masked and rebuilt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl
import numpy as np
import torch

mpl.use("Agg")
from matplotlib.figure import Figure

from rsmeta.geo.render import rgb_bands
from rsmeta.models.satmae.mae import from_patches, patch_moments, to_patches

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from rsmeta.data.unlabelled_datamodule import UnlabelledDataModule
    from rsmeta.geo.bands import Band
    from rsmeta.training.pretrain import PretrainModule

#: Chips that ``reconstructions.png`` shows.
_CHIPS = 4

#: Common names shown as red, green and blue of a false-colour picture, best first.
_FALSE_COLOUR = (("swir16", "swir22"), ("nir08", "nir", "rededge078"), ("red", "rededge071"))

_HIDDEN = 0.55
_GAMMA = 0.6


class Rebuilt(NamedTuple):
    """Chips before and after.

    Args:
        original: In standard deviations, (B, C, H, W).
        seen: True where a band was not hidden, (B, C, H, W).
        made: The original with its hidden patches as they were rebuilt, (B, C, H, W).
        valid: Pixels with data, (B, H, W).
    """

    original: Tensor
    seen: Tensor
    made: Tensor
    valid: Tensor


def pretraining_pictures(
    module: PretrainModule, data: UnlabelledDataModule, history: Sequence[dict[str, float]]
) -> dict[str, Callable[[], Figure]]:
    """Return what draws each picture of a pretraining run, by file name.

    Args:
        module: The trained module.
        data: Chips to show.
        history: One row per epoch.
    """
    pictures: dict[str, Callable[[], Figure]] = {
        "reconstructions.png": lambda: _reconstructions(
            rebuild_chips(module, _some_chips(data)), data.bands
        )
    }
    if history:
        pictures["curves.png"] = lambda: _curve(history)
    return pictures


def rebuild_chips(module: PretrainModule, batch: dict[str, Any]) -> Rebuilt:
    """Hide parts of chips, always the same, and rebuild them."""
    autoencoder = module.autoencoder.eval()
    device = next(autoencoder.parameters()).device
    patch_px = autoencoder.encoder.layout.patch_px
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(module.settings.seed)
        x = module.prepare(batch["image"].to(device), batch["valid"].to(device))
        made = module.rebuild(x)
        patches = to_patches(x, patch_px)
        pixels = made.pixels
        if module.settings.normalise:
            centre, spread = patch_moments(patches)
            pixels = pixels * spread + centre
        hidden = _by_band(made.hidden, autoencoder.encoder.groups)[..., None].bool()
        rows, cols = x.shape[-2] // patch_px, x.shape[-1] // patch_px
        seen = ~hidden.expand_as(patches)
        return Rebuilt(
            x.cpu(),
            from_patches(seen, rows, cols).cpu(),
            from_patches(torch.where(hidden, pixels, patches), rows, cols).cpu(),
            batch["valid"],
        )


def _by_band(hidden: Tensor, groups: Sequence[Any]) -> Tensor:
    """Return whether each band's patch was hidden (B, C, h · w), from that of groups."""
    of_band = {i: number for number, group in enumerate(groups) for i in group.inputs}
    return hidden[:, [of_band[i] for i in range(len(of_band))]]


def _some_chips(data: UnlabelledDataModule) -> dict[str, Any]:
    """Return a few chips of the first epoch."""
    keys = list(data.train_sampler())[:_CHIPS]
    samples = [data.dataset[key] for key in keys]
    return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}


def _curve(history: Sequence[dict[str, float]]) -> Figure:
    figure = Figure(figsize=(4.6, 3.4), layout="constrained")
    axis = figure.subplots()
    epochs = [row["epoch"] for row in history]
    axis.plot(epochs, [row["train_loss"] for row in history], marker=".")
    axis.set(title="loss over hidden patches", xlabel="epoch")
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def _reconstructions(rebuilt: Rebuilt, bands: Sequence[Band]) -> Figure:
    """Draw a row per chip: original, masked and rebuilt, in each choice of colours."""
    colours = _colour_choices(bands)
    count = len(rebuilt.original)
    figure = Figure(figsize=(2.1 * 3 * len(colours), 2.1 * count + 0.7), layout="constrained")
    axes = figure.subplots(count, 3 * len(colours), squeeze=False)
    for j, (title, chosen) in enumerate(colours):
        for i in range(count):
            valid = rebuilt.valid[i].numpy()
            original, seen, made = (
                part[i][list(chosen)].numpy() for part in (rebuilt[0], rebuilt[1], rebuilt[2])
            )
            low, high = _limits(original, valid)
            pictures = [_shown(values, valid, low, high) for values in (original, original, made)]
            pictures[1] = np.where(np.moveaxis(seen, 0, -1), pictures[1], _HIDDEN)
            for axis, picture in zip(axes[i, 3 * j :], pictures, strict=False):
                axis.imshow(picture, interpolation="nearest")
        for axis, name in zip(axes[0, 3 * j :], ("original", "masked", "rebuilt"), strict=False):
            axis.set_title(f"{name}\n{title}", fontsize=9)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    return figure


def _colour_choices(bands: Sequence[Band]) -> list[tuple[str, tuple[int, int, int]]]:
    """Return title and bands of true colour, and of false colour where its bands are known."""
    by_name = {band.common_name: i for i, band in enumerate(bands)}
    found = [next((by_name[n] for n in names if n in by_name), None) for names in _FALSE_COLOUR]
    true = rgb_bands(bands)
    choices = [(", ".join(bands[i].name for i in true), true)]
    if None not in found:
        red, green, blue = (int(i) for i in found if i is not None)
        names = ", ".join(bands[i].name for i in (red, green, blue))
        choices.append((names, (red, green, blue)))
    return choices


def _limits(values: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the values (3, 1, 1) that become black and full colour."""
    low, high = np.percentile(values[:, valid], [2, 98], axis=1)
    return low[:, None, None], np.maximum(high, low + 1e-6)[:, None, None]


def _shown(values: np.ndarray, valid: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) in [0, 1], white without data."""
    scaled = np.clip((values - low) / (high - low), 0, 1) ** _GAMMA
    return np.moveaxis(np.where(valid, scaled, 1.0), 0, -1)
