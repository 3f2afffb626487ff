"""What this installation has, and what it lacks, for a bug report or a first look."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from rsmeta._version import __version__
from rsmeta.errors import one_line

#: Packages whose versions matter to results.
_PACKAGES = (
    "torch", "torchvision", "timm", "torchgeo", "lightning", "kornia", "rasterio", "pyogrio",
    "geopandas", "shapely", "numpy", "scikit-learn", "xarray", "pydantic", "safetensors", "click",
)  # fmt: skip

#: GDAL drivers that formats of rsmeta need, and what is lost without them.
_DRIVERS = {
    "GTiff": "GeoTIFF", "COG": "maps", "VRT": "blocks of maps", "GPKG": "GeoPackage",
    "JP2OpenJPEG": "Sentinel-2 products (.jp2)", "netCDF": "NetCDF through GDAL",
    "HDF5": "HDF5 through GDAL", "Zarr": "Zarr through GDAL", "PNG": "pictures",
    "JPEG": "pictures",
}  # fmt: skip
_NEEDED_DRIVERS = ("GTiff", "COG", "VRT", "PNG", "JPEG")

_HOST, _SECONDS = "huggingface.co", 2.0
_LEAST_FREE_GB, _LEAST_PYTHON = 5.0, (3, 11)


def doctor(folder: str | Path = ".", *, network: bool = True) -> dict[str, Any]:
    """Describe the installation.

    Args:
        folder: Where runs and maps will be written.
        network: Try to reach the hub of weights; nothing is fetched.

    Returns:
        A JSON-safe mapping of ``system``, ``packages``, ``device``, ``gdal``, ``extras``,
        ``caches``, ``disk`` and ``network``; and ``problems``, each a sentence with its remedy.
    """
    problems: list[str] = []
    return {
        "system": _system(problems),
        "packages": _packages(),
        "device": _device(problems),
        "gdal": _gdal(problems),
        "extras": _extras(),
        "caches": _caches(),
        "disk": _disk(Path(folder), problems),
        "network": _network(network),
        "problems": problems,
    }


def _system(problems: list[str]) -> dict[str, Any]:
    if sys.version_info < _LEAST_PYTHON:
        problems.append("Python is older than 3.11; install a newer one")
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "rsmeta": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "platform": platform.platform(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
    }


def _packages() -> dict[str, str]:
    return {name: _version(name) or "not installed" for name in _PACKAGES}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _device(problems: list[str]) -> dict[str, Any]:
    """Describe what networks can run on."""
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a library that it needs is missing
        problems.append(f"torch cannot be imported ({one_line(error)}); reinstall it")
        return {}
    found: dict[str, Any] = {"threads": torch.get_num_threads(), "cuda built": torch.version.cuda}
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            gpu = torch.cuda.get_device_properties(i)
            found[f"cuda:{i}"] = f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB"
        found["bf16"] = "yes" if torch.cuda.is_bf16_supported() else "no; use precision=16-mixed"
    else:
        found["gpu"] = "none: the CPU is used"
        if torch.version.cuda and (shutil.which("nvidia-smi") or Path("/dev/nvidia0").exists()):
            problems.append(
                f"there is an NVIDIA driver, but torch (for CUDA {torch.version.cuda}) cannot "
                f"use it; update the driver or install a torch for its CUDA"
            )
    return found


def _gdal(problems: list[str]) -> dict[str, Any]:
    try:
        import pyogrio
        import rasterio
        from rasterio.drivers import raster_driver_extensions  # noqa: F401 checks the library
        from rasterio.env import GDALVersion
    except (ImportError, OSError) as error:
        problems.append(
            f"rasterio or pyogrio cannot be imported ({one_line(error)}); install "
            f"the library that it names (libexpat.so.1: apt install libexpat1), or "
            f"reinstall"
        )
        return {}
    with rasterio.Env() as env:
        drivers = env.drivers()
    lacking = [name for name in _DRIVERS if name not in drivers and name != "GPKG"]
    vector = pyogrio.list_drivers()
    lacking += [] if "GPKG" in vector else ["GPKG"]
    problems += [f"GDAL has no driver {name} ({_DRIVERS[name]}); reinstall rasterio"
                 for name in lacking if name in _NEEDED_DRIVERS]  # fmt: skip
    return {
        "version": str(GDALVersion.runtime()),
        "proj": rasterio.__proj_version__,
        "raster drivers": len(drivers),
        "vector drivers": len(vector),
        "lacking": ", ".join(f"{name} ({_DRIVERS[name]})" for name in lacking) or "none",
    }


def _extras() -> dict[str, str]:
    """Return for each extra whether its packages are installed, or how to install it."""
    try:
        distribution = importlib.metadata.distribution("rsmeta")
    except importlib.metadata.PackageNotFoundError:
        return {}
    needed: dict[str, list[str]] = {}
    for text in distribution.requires or ():
        requirement = Requirement(text)
        for extra in distribution.metadata.get_all("Provides-Extra") or ():
            marker = requirement.marker
            plain = marker is None or marker.evaluate({"extra": ""})
            if not plain and marker is not None and marker.evaluate({"extra": extra}):
                needed.setdefault(extra, []).append(requirement.name)
    found = {}
    for extra, packages in needed.items():
        lacking = [name for name in packages if _version(name) is None]
        how = f"lacks {', '.join(lacking)}: pip install 'rsmeta[{extra}]'"
        found[extra] = how if lacking else "installed"
    return {extra: said for extra, said in found.items() if extra != "dev"}


def _caches() -> dict[str, str]:
    """Return the folders of fetched weights with their sizes."""
    home = Path.home() / ".cache"
    hub = Path(os.environ.get("HF_HOME") or home / "huggingface")
    torch_home = Path(os.environ.get("TORCH_HOME") or home / "torch")
    return {name: _sized(path) for name, path in (("hub", hub), ("torch", torch_home))}


def _sized(folder: Path) -> str:
    size = 0
    for path in folder.rglob("*") if folder.is_dir() else ():
        with contextlib.suppress(OSError):  # links to files that went
            size += 0 if path.is_symlink() or not path.is_file() else path.stat().st_size
    return f"{folder} ({size / 1e9:.2f} GB)" if folder.is_dir() else f"{folder} (empty)"


def _disk(folder: Path, problems: list[str]) -> dict[str, str]:
    free = shutil.disk_usage(folder).free / 1e9
    writable = os.access(folder, os.W_OK)
    if free < _LEAST_FREE_GB:
        problems.append(f"only {free:.1f} GB are free in {folder.resolve()}; maps may need more")
    if not writable:
        problems.append(f"{folder.resolve()} cannot be written; run in another folder")
    return {"folder": str(folder.resolve()), "free": f"{free:.1f} GB"}


def _network(try_it: bool) -> dict[str, str]:
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() not in ("", "0", "false", "no")
    if offline:
        return {"weights": "offline (HF_HUB_OFFLINE is set): from the cache and files only"}
    if not try_it:
        return {"weights": "not tried"}
    try:
        socket.create_connection((_HOST, 443), timeout=_SECONDS).close()
    except OSError as error:
        reason = one_line(error.strerror or error)
        return {
            "weights": f"{_HOST} is out of reach ({reason}): weights come from cache and files; "
            f"a proxy may still lead there"
        }
    return {"weights": f"{_HOST} can be reached"}
