"""Say what a machine with a GPU is, and whether the packages there fit each other.

    python benchmarks/gpu/versions.py FOLDER

Writes rows to ``results.jsonl`` in the folder: the device, versions, what any package here
requires and is not met, and two ceilings to compare figures with: bandwidth and products in
bfloat16.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
import time
import tomllib
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: What rsmeta imports of others, in an order in which a failure tells the most.
IMPORTED = (
    "torch", "torchvision", "timm", "lightning", "torchmetrics", "kornia", "safetensors",
    "rasterio", "pyogrio", "pyproj", "shapely", "geopandas", "rioxarray", "pydantic",
    "torchgeo.datasets", "distributed", "onnx", "onnxscript", "onnxruntime", "peft",
    "rsmeta.workflows.train", "rsmeta.workflows.demo",
)  # fmt: skip


def row(folder: Path, what: str, **more: Any) -> None:
    """Write and print one row."""
    entry = {"part": "versions", "what": what, "value": None, "unit": "", **more}
    with (folder / "results.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
    print(what, more, flush=True)


def unmet(lines: Iterable[str], left_out: Iterable[str]) -> list[str]:
    """Return the requirements, of some, that no package here meets."""
    missing = []
    for line in lines:
        one = Requirement(line)
        if one.marker is not None and not one.marker.evaluate({"extra": ""}):
            continue
        if canonicalize_name(one.name) in left_out:
            continue
        try:
            found = version(one.name)
        except PackageNotFoundError:
            found = ""
        if not found or not one.specifier.contains(found, prereleases=True):
            missing.append(f"{one} (here: {found or 'none'})")
    return missing


def check_packages(folder: Path, checkout: Path) -> None:
    """Write what rsmeta, and each package that came along, requires in vain."""
    project = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    target = tomllib.loads(Path(__file__).with_name("wheels.toml").read_text(encoding="utf-8"))
    left_out = {canonicalize_name(name) for name in target["left_out"]}
    lines = list(project["dependencies"])
    for extra in target["extras"]:
        lines += project["optional-dependencies"][extra]
    problems = [f"rsmeta: {one}" for one in unmet(lines, left_out)]
    site = checkout.parent / "site"
    for package in distributions(path=[str(site)] if site.is_dir() else []):
        problems += [f"{package.name}: {one}" for one in unmet(package.requires or [], left_out)]
    row(folder, "packages", text="all fit" if not problems else "; ".join(problems))


def check_imports(folder: Path) -> list[str]:
    """Import everything; write what cannot be."""
    failed = []
    started = time.perf_counter()
    for name in IMPORTED:
        try:
            importlib.import_module(name)
        except Exception as error:
            failed.append(f"{name} ({type(error).__name__}: {error})")
    said = "; ".join(failed) or f"all in {time.perf_counter() - started:.0f} s"
    row(folder, "imports", text=said)
    return failed


def ceilings(folder: Path) -> None:
    """Write the card's bandwidth and its rate of products in bfloat16, on random numbers."""
    import torch

    if not torch.cuda.is_available():
        return

    def seconds(work: Callable[[], Any]) -> float:
        for _ in range(3):
            work()
        begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begun.record()
        for _ in range(10):
            work()
        ended.record()
        ended.synchronize()
        return begun.elapsed_time(ended) / 1e4

    some, other = (torch.rand(2**28, device="cuda") for _ in range(2))
    rate = 2 * some.nbytes / seconds(lambda: other.copy_(some))
    row(folder, "copy on the device, read and written", value=rate / 1e12, unit="TB/s")
    some = other = None
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    rate = 2 * 8192**3 / seconds(lambda: a @ b)
    row(folder, "product of 8192 x 8192 in bfloat16", value=rate / 1e12, unit="TFLOP/s")
    for pinned in (False, True):
        host = torch.rand(2**26, pin_memory=pinned)
        rate = host.nbytes / seconds(lambda host=host: host.to("cuda", non_blocking=True))
        kind = "pinned" if pinned else "pageable"
        row(folder, f"from {kind} memory to the device", value=rate / 1e9, unit="GB/s")


def main() -> None:
    """Write everything; fail if something cannot be imported."""
    folder, checkout = Path(sys.argv[1]), Path.cwd()
    failed = check_imports(folder)
    check_packages(folder, checkout)
    import torch

    device = "none: this is a rehearsal on the CPU"
    if torch.cuda.is_available():
        index = torch.cuda.current_device()
        memory = torch.cuda.get_device_properties(index).total_memory
        device = f"{torch.cuda.get_device_name(index)}, {memory / 2**30:.0f} GiB"
    row(folder, "device", text=device)
    row(folder, "date", text=time.strftime("%Y-%m-%d"))
    row(folder, "machine", text=f"{platform.machine()}, {os.cpu_count()} cores")
    names = ("torch", "torchvision", "timm", "lightning", "peft", "torchgeo", "rasterio", "numpy")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    row(folder, "versions", text=f"Python {platform.python_version()}, {versions}")
    ceilings(folder)
    raise SystemExit(f"cannot import {'; '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
