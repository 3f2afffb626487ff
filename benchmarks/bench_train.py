"""Share of a training step that the network takes: chips and augmentation are the rest.

    OMP_NUM_THREADS=1 python benchmarks/bench_train.py --rounds 9

For each network and source of chips, in turns, medians over the rounds. Seconds of the clock: the
bare step (forward, backward, optimizer on ready batches), and a step with its chips as training
has them, read by a thread meanwhile; in the first pass, with nothing kept, and in a later one.
Seconds of CPU, of a batch's chips and their augmentation alone: read anew (``data.cache=none``),
kept (``auto``) in the same two passes, and TorchGeo's RandomGeoSampler with DataLoader.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from train_inputs import write_pictures, write_scene

from rsmeta.config.load import load_settings
from rsmeta.losses import build_loss
from rsmeta.models.build import build_network
from rsmeta.tasks import task_of
from rsmeta.training.module import TaskModule

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Batches drawn between the first pass and the one that is taken for all later ones.
_BETWEEN = 100

#: Name, settings of the model, chip side, batch, batches of a pass.
NETWORKS = {
    "nano, 32 px": ({"backbone": "satmae_vit_nano_group", "pretrained": True}, 32, 16, 20),
    "ViT-S/16, 224 px": ({"backbone": "vit_small_patch16_224", "zoom": 1}, 224, 4, 6),
    "Swin-T, 224 px": ({"backbone": "swin_tiny_patch4_window7_224", "zoom": 1}, 224, 4, 6),
}


SOURCES = ("small", "large", "PNG", "JPEG")


def settings_of(source: str, root: Path, network: str, cache: str) -> Any:
    """Return the settings of one case."""
    model, chip_px, batch, batches = NETWORKS[network]
    common = {"root": str(root), "chip_px": chip_px, "batch_size": batch, "cache": cache}
    tree: dict[str, Any] = {"model": model, "tuner": {"method": "full"}}
    if source in ("PNG", "JPEG"):
        tree["task"] = "classification"
        tree["data"] = common | {"kind": "folder", "root": str(root / source), "validation": 0,
                                 "chips_per_epoch": batches * batch}  # fmt: skip
    else:
        tree["data"] = common | {
            "scenes": f"{source}.tif", "labels": "{stem}_labels.tif", "ignore": 0,
            "classes": {1: "a", 2: "b", 3: "c"}, "chips_per_epoch": batches * batch, "scale": 1e-4,
            "split": {"validation": 0},
        }  # fmt: skip
    return load_settings(tree)


class Case:
    """One network on one source: its module, and chips kept or read anew."""

    def __init__(self, source: str, root: Path, network: str) -> None:
        self.settings = settings_of(source, root, network, "auto")
        task = task_of(self.settings)
        self.kept = task.data(self.settings)
        self.anew = task.data(settings_of(source, root, network, "none"))
        count = len(self.kept.bands)
        net = build_network(
            self.settings.model, self.settings.tuner, bands=self.kept.bands,
            classes=task.outputs(self.kept), mean=[0.1] * count, std=[0.1] * count,
            meta=self.settings.meta, per_pixel=task.per_pixel,
        )  # fmt: skip
        loss = build_loss(self.settings.loss, task.loss_statistics(self.kept), task.losses)
        self.module = TaskModule(net, loss, task.metrics(self.kept), self.settings)
        self.module.train()
        self.optimizer = torch.optim.AdamW(net.trainable_parameters(), lr=1e-5)

    def step(self, ready: dict[str, torch.Tensor]) -> None:
        """Train one step on a ready batch."""
        loss = self.module.loss(self.module.score(ready["image"], ready["valid"]), ready["target"])
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def chips(self, batches: Iterable[dict[str, Any]]) -> float:
        """Return the CPU seconds of a batch's chips and their augmentation."""
        begun, count = time.process_time(), 0
        for batch in batches:
            self.module.changed(batch)
            count += 1
        return (time.process_time() - begun) / count

    def forget(self) -> None:
        """Begin with nothing kept."""
        cache = self.kept._cache  # noqa: SLF001 no one else has a reason to empty it
        self.kept._cache = type(cache)(cache.limit_bytes)  # noqa: SLF001

    def bare(self, steps: int) -> float:
        """Return the seconds of the clock of a step on a ready batch."""
        ready = self.module.changed(next(iter(self.anew.train_dataloader())))
        begun = time.perf_counter()
        for _ in range(steps):
            self.step(ready)
        return (time.perf_counter() - begun) / steps

    def whole(self) -> float:
        """Return the seconds of the clock of a step with its chips."""
        begun, count = time.perf_counter(), 0
        for batch in self.kept.train_dataloader():
            self.step(self.module.changed(batch))
            count += 1
        return (time.perf_counter() - begun) / count


def torchgeo_seconds(path: Path, chip_px: int, batch: int) -> float:
    """Return the CPU seconds of a batch of TorchGeo's random chips of the same scene and labels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchgeo.datasets import RasterDataset, stack_samples
        from torchgeo.samplers import RandomGeoSampler

        class Scenes(RasterDataset):
            filename_glob = path.name
            is_image = True

        class Labels(RasterDataset):
            filename_glob = f"{path.stem}_labels.tif"
            is_image = False

        data = Scenes(path.parent) & Labels(path.parent)
        sampler = RandomGeoSampler(data, size=chip_px, length=20 * batch)
        loader = torch.utils.data.DataLoader(
            data, batch_size=batch, sampler=sampler, collate_fn=stack_samples
        )
        begun = time.process_time()
        count = len(list(loader))
        return (time.process_time() - begun) / count


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", type=int, default=10_980, help="side of the large scene")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=list(SOURCES))
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_scene(root / "small.tif", 1000)
        if "large" in args.sources:
            write_scene(root / "large.tif", args.side, compress="deflate", predictor=2,
                        tiled=True, blockxsize=512, blockysize=512)  # fmt: skip
        for suffix, name in ((".png", "PNG"), (".jpg", "JPEG")):
            write_pictures(root / name, suffix)
        print("| network | chips of | bare step | share, first | later "
              "| chips anew | first | later | TorchGeo |")  # fmt: skip
        print("|---|---|---|---|---|---|---|---|---|")
        for network in args.networks:
            for source in args.sources:
                if source in ("PNG", "JPEG") and "nano" in network:
                    continue
                print(row(network, source, root, args.rounds), flush=True)


def row(network: str, source: str, root: Path, rounds: int) -> str:
    """Measure one line of the table."""
    _, chip_px, batch, batches = NETWORKS[network]
    found: dict[str, list[float]] = {}
    case = Case(source, root, network)
    case.bare(1)
    for _ in range(rounds):
        once = {"bare": case.bare(batches)}
        case.forget()
        once["whole first"] = case.whole()
        for _ in range(_BETWEEN // batches):
            case.chips(case.kept.train_dataloader())
        once["whole later"] = case.whole()
        once["later"] = case.chips(case.kept.train_dataloader())
        once["anew"] = case.chips(case.anew.train_dataloader())
        case.forget()
        once["first"] = case.chips(case.kept.train_dataloader())
        if source in ("small", "large"):
            once["torchgeo"] = torchgeo_seconds(root / f"{source}.tif", chip_px, batch)
        for name, seconds in once.items():
            found.setdefault(name, []).append(seconds)
    ms = {name: 1000 * statistics.median(values) for name, values in found.items()}
    shares = []
    for when in ("whole first", "whole later"):
        ratios = [b / w for b, w in zip(found["bare"], found[when], strict=True)]
        low, high = min(ratios), max(ratios)
        shares.append(f"{statistics.median(ratios):.2f} ({low:.2f}\u2013{high:.2f})")
    geo = f"{ms['torchgeo']:.1f}" if "torchgeo" in ms else "-"
    return (
        f"| {network} | {source} | {ms['bare']:.0f} | {shares[0]} | {shares[1]} "
        f"| {ms['anew']:.1f} | {ms['first']:.1f} | {ms['later']:.1f} | {geo} |"
    )


if __name__ == "__main__":
    main()
