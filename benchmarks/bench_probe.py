"""What the nano backbone's frozen features hold: a linear probe, its weights against random ones.

``python benchmarks/bench_probe.py FOLDER`` makes the sample landscape in FOLDER, none of which the
weights have seen. One classifier per depth is fitted to convergence on standardised features of
the west's patches and tested on the east's; a patch counts where half of it is of one class.
Standardised, as masked autoencoders are probed: He et al., CVPR 2022, appendix A.1.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rasterio
import torch
from rasterio.windows import Window

from rsmeta.config.model import ModelSpec
from rsmeta.geo.bands import select_bands
from rsmeta.geo.scene import Scene, open_scene
from rsmeta.models import build_backbone
from rsmeta.models.prepare import Prepare
from rsmeta.sample_data import CLASSES, make_landscape

if TYPE_CHECKING:
    from rsmeta.models.backbone import Backbone

#: Bands of each sensor that the channel groups know, and what its files' names end with.
SENSORS = {
    "landsat8": (["blue", "green", "red", "nir08", "swir16", "swir22"], "_landsat8"),
    "sentinel2": (
        ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"],
        "",
    ),
}
CHIP_PX, PATCH_PX = 32, 8
DEPTHS = (1, 3, 5)


def features(
    backbone: Backbone, prepare: Prepare, scene: Scene, labels: Path
) -> list[torch.Tensor]:
    """Return the features (N, D) of each depth, then the class index of each patch (N,)."""
    with rasterio.open(labels) as file:
        known = file.read(1)
    side = CHIP_PX // PATCH_PX
    found: list[list[torch.Tensor]] = [[] for _ in (*DEPTHS, "class")]
    for row in range(0, scene.grid.height_px - CHIP_PX + 1, CHIP_PX):
        for col in range(0, scene.grid.width_px - CHIP_PX + 1, CHIP_PX):
            chip = scene.read(Window(col, row, CHIP_PX, CHIP_PX))
            here = known[row : row + CHIP_PX, col : col + CHIP_PX]
            cut = here.reshape(side, PATCH_PX, side, PATCH_PX).transpose(0, 2, 1, 3)
            cut = cut.reshape(side**2, -1)
            shares = np.stack([(cut == c.value).mean(axis=1) for c in CLASSES], axis=1)
            counts = torch.from_numpy(shares.max(axis=1) >= 0.5)
            x = prepare(torch.from_numpy(chip.data)[None], torch.from_numpy(chip.valid)[None])
            with torch.inference_mode():
                maps = backbone.dense(x, DEPTHS)
            for kept, features_map in zip(found, maps, strict=False):
                kept.append(features_map[0].flatten(1).T[counts].clone())
            found[-1].append(torch.from_numpy(shares.argmax(axis=1))[counts])
    return [torch.cat(parts) for parts in found]


def probe(train: list[torch.Tensor], test: list[torch.Tensor], depth: int) -> tuple[float, float]:
    """Return accuracy and mean recall of a linear classifier on the features of one depth."""
    mean, std = train[depth].mean(dim=0), train[depth].std(dim=0) + 1e-6
    x, y = (train[depth] - mean) / std, train[-1]
    layer = torch.nn.Linear(x.shape[1], len(CLASSES))
    torch.nn.init.zeros_(layer.weight)
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=150, line_search_fn="strong_wolfe")

    def step() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(layer(x), y) + 1e-3 * layer.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(step)
    right = layer((test[depth] - mean) / std).argmax(dim=1) == test[-1]
    recalls = [right[test[-1] == k].float().mean() for k in test[-1].unique()]
    return float(right.float().mean()), float(torch.stack(recalls).mean())


def main(folder: Path) -> None:
    """Probe each sensor with the shipped weights and with three random ones."""
    print("| sensor | weights | " + " | ".join(f"block {d + 1}" for d in DEPTHS) + " |")
    print("|---|---|" + "---|" * len(DEPTHS))
    for sensor, (bands, _) in SENSORS.items():
        made = make_landscape(folder, sensor=sensor)
        scenes = [open_scene(path) for path in made.scenes]
        scenes = [scene.select(select_bands(bands, scene.bands, scene.name)) for scene in scenes]
        chip = scenes[0].read(scenes[0].grid.full_window)
        pixels = chip.data[:, chip.valid]
        prepare = Prepare(pixels.mean(axis=1), pixels.std(axis=1))
        for name in ("pretrained", "random 0", "random 1", "random 2"):
            torch.manual_seed(int(name[-1]) if name[-1].isdigit() else 0)
            spec = ModelSpec(backbone="satmae_vit_nano_group", pretrained=name == "pretrained")
            backbone = build_backbone(spec, scenes[0].bands).eval()
            train, test = (
                features(backbone, prepare, scene, labels)
                for scene, labels in zip(scenes, made.labels, strict=True)
            )
            scores = [probe(train, test, i) for i in range(len(DEPTHS))]
            cells = " | ".join(f"{accuracy:.3f}, {recall:.3f}" for accuracy, recall in scores)
            print(f"| {sensor} ({len(train[-1])} patches) | {name} | {cells} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
