"""What each stem strategy does to a pretrained network that meets another sensor.

First the tokens that enter the first block, against those of the same ground in all the bands
that the weights know; then accuracy after transfer: trained on Landsat 5 and 7, tested on
Sentinel-2. Needs the public data named in ``configs/experiments/`` (cloudmask, slovenia):

    python benchmarks/bench_stems.py [DATA_FOLDER] [SEEDS] [STEPS]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from rasterio.windows import Window
from torch import Tensor
from transfer import HEADER, clouds, machine, row

from rsmeta.config.model import ModelSpec
from rsmeta.geo.scene import open_scene
from rsmeta.geo.sensors import known_band
from rsmeta.models import Prepare, build_backbone
from rsmeta.models.normalise import choose_normalisation

if TYPE_CHECKING:
    from rsmeta.geo.bands import Band
    from rsmeta.geo.scene import Scene

ROOT = Path(__file__).resolve().parents[1]
BACKBONE = "satmae_vit_nano_group"
STRATEGIES = ("match", "mean", "repeat", "project", "random")

#: Bands that another sensor may bring.
BANDS = {
    "six": ("blue", "green", "red", "nir", "swir16", "swir22"),
    "RGB": ("red", "green", "blue"),
    "13": (*(f"B{i:02}" for i in range(1, 13)), "B8A"),
}


def tokens(scene: Scene, bands: tuple[Band, ...], strategy: str) -> tuple[Tensor, Tensor]:
    """Return what enters the first block, and the last feature map, for a scene in some bands."""
    torch.manual_seed(0)
    spec = ModelSpec(backbone=BACKBONE, pretrained=True, stem={"strategy": strategy})
    backbone = build_backbone(spec, bands).eval()
    side = min(scene.grid.shape) // 8 * 8
    chip = scene.select(bands).read(Window(0, 0, side, side))
    pixels = chip.data[:, chip.valid]
    chosen = choose_normalisation(backbone.record, bands, pixels.mean(1), pixels.std(1))
    prepare = Prepare(chosen.mean, chosen.std, chosen.form)
    seen: list[Tensor] = []
    block = backbone.get_submodule("vit.blocks.0")
    block.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        image, valid = torch.from_numpy(chip.data)[None], torch.from_numpy(chip.valid)[None]
        features = backbone(prepare(image, valid)).map[0].flatten(1).T
    return seen[0][0, 1:], features


def feature_rows(data: Path) -> list[str]:
    """Compare tokens and features of fewer, or more, bands with those of the weights' own bands."""
    scene = open_scene(data / "slovenia_s2" / "scene_1.tif")
    own = build_backbone(ModelSpec(backbone=BACKBONE, pretrained=True)).bands
    before, features = tokens(scene, own, "match")
    rows = []
    for label, names in BANDS.items():
        bands = tuple(known_band(name) for name in names)
        for strategy in STRATEGIES:
            after, changed = tokens(scene, bands, strategy)
            rows.append(
                f"| {label} | {strategy} | {_spread(after) / _spread(before):.2f} | "
                f"{_likeness(changed, features):.2f} |"
            )
    return rows


def _spread(found: Tensor) -> float:
    """Return the root mean square over tokens of their difference from the mean token."""
    return (found - found.mean(dim=0)).square().mean().sqrt().item()


def _likeness(a: Tensor, b: Tensor) -> float:
    """Return linear CKA (Kornblith et al. 2019) between features (N, D) of the same patches."""
    a, b = a - a.mean(dim=0), b - b.mean(dim=0)
    return ((a.T @ b).norm() ** 2 / ((a.T @ a).norm() * (b.T @ b).norm())).item()


def main() -> None:
    """Print both tables."""
    data = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared" / "data"
    seeds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    steps = int(sys.argv[3]) if len(sys.argv) > 3 else 200
    if not (data / "cloudmask").is_dir():
        print(f"no data in {data}; nothing to run")
        return
    print(f"{machine()}\n")
    print("| bands | strategy | size of tokens, after / before | likeness of features (CKA) |")
    print("|---|---|---|---|")
    print("\n".join(feature_rows(data)), flush=True)
    print(f"\n{steps} steps of 16 chips, {seeds} seeds\n\n{HEADER}")
    task = clouds(data)
    for head in ("{name: fpn, skip: false}", "fpn"):
        for strategy in STRATEGIES:
            given = (f"model.stem.strategy={strategy}", f"model.head={head}")
            print(row(f"`{strategy}`, head `{head}`", task, seeds, steps, *given), flush=True)
        for tuner in ("lora", "full"):
            given = ("model.pretrained=false", f"tuner={tuner}", f"model.head={head}")
            print(row(f"random weights, `{tuner}`, head `{head}`", task, seeds, steps, *given),
                  flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
