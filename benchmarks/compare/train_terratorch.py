"""CPU milliseconds that a batch of TerraTorch's generic data module takes, mirrored and normalised.

Chips are files, as TerraTorch wants them, cut beforehand from the scene of ``bench_train.py``:

    terratorch-env/bin/python benchmarks/compare/train_terratorch.py
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path

import rasterio
from rasterio.windows import Window

sys.path.insert(0, str(Path(__file__).parents[1]))


def cut(scene: Path, folder: Path, chip_px: int, count: int) -> None:
    """Write chips of a scene and its labels."""
    for kind, path in (("image", scene), ("label", scene.with_name(f"{scene.stem}_labels.tif"))):
        (folder / kind).mkdir(parents=True)
        with rasterio.open(path) as source:
            across = source.width // chip_px
            for i in range(count):
                window = Window(
                    chip_px * (i % across), chip_px * (i // across % across), chip_px, chip_px
                )
                place = source.window_transform(window)
                profile = source.profile | {
                    "width": chip_px, "height": chip_px, "transform": place
                }  # fmt: skip
                with rasterio.open(folder / kind / f"{i:04}.tif", "w", **profile) as chip:
                    chip.write(source.read(window=window))


def batch_ms(folder: Path, batch: int) -> float:
    """Return the CPU milliseconds of a batch, the first left out."""
    import albumentations
    from albumentations.pytorch import ToTensorV2
    from terratorch.datamodules import GenericNonGeoSegmentationDataModule

    module = GenericNonGeoSegmentationDataModule(
        batch_size=batch, num_workers=0, num_classes=3, constant_scale=1e-4,
        train_data_root=folder / "image", train_label_data_root=folder / "label",
        val_data_root=folder / "image", val_label_data_root=folder / "label",
        test_data_root=folder / "image", test_label_data_root=folder / "label",
        means=[0.1] * 4, stds=[0.1] * 4,
        train_transform=[albumentations.D4(), ToTensorV2()],
    )  # fmt: skip
    module.setup("fit")
    loader, seconds = iter(module.train_dataloader()), []
    while True:
        begun = time.process_time()
        try:
            module.aug(next(loader))
        except StopIteration:
            return 1000 * statistics.mean(seconds[1:])
        seconds.append(time.process_time() - begun)


def main() -> None:
    """Print a line for each size of chips."""
    import torch
    from train_inputs import write_scene

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_scene(root / "small.tif", 1000)
        for chip_px, batch in ((32, 16), (224, 4)):
            cut(root / "small.tif", root / f"{chip_px}", chip_px, 20 * batch)
            ms = [batch_ms(root / f"{chip_px}", batch) for _ in range(3)]
            print(f"{batch} chips of {chip_px} px: {statistics.median(ms):.1f} ms", flush=True)


if __name__ == "__main__":
    main()
