"""What all tests share: where real data lie, small GeoTIFFs, and when a test is skipped."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Read when a test first imports torch: the suite is made for two cores.
os.environ.setdefault("OMP_NUM_THREADS", "2")
# Figures are written, never shown.
os.environ.setdefault("MPLBACKEND", "Agg")

# A suite that was started in the background has Ctrl-C ignored, and so would what it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is not a defect.
settings.register_profile("rsmeta", deadline=None)
settings.load_profile("rsmeta")

ROOT = Path(__file__).resolve().parents[1]

#: A place in Slovenia on the 10 m grid of Sentinel-2 tile 33TWM.
SOME_PLACE = Affine(10.0, 0.0, 500_000.0, 0.0, -10.0, 5_150_000.0)


class MakeScene(Protocol):
    """Signature of the fixture ``make_scene``."""

    def __call__(
        self,
        path: Path,
        array: NDArray[Any],
        *,
        descriptions: Sequence[str] = (),
        crs: str | None = "EPSG:32633",
        transform: Affine = SOME_PLACE,
        nodata: float | None = None,
        **profile: Any,
    ) -> Path: ...


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked ``gpu`` where there is no CUDA device, unless they are rehearsed."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked or os.environ.get("RSMETA_REHEARSAL"):
        return
    import torch  # only here: collecting geometry tests must not load torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real imagery; the test is skipped where it is absent."""
    return _shared("data")


@pytest.fixture(scope="session")
def fixtures_dir() -> Path:
    """Folder of numbers that published references computed; skips where it is absent."""
    return _shared("fixtures")


@pytest.fixture(scope="session")
def stac_schemas() -> Path:
    """Folder of the schemas of STAC extensions; skips where it is absent."""
    return _shared("schemas")


def _shared(name: str) -> Path:
    folder = Path(os.environ.get("RSMETA_SHARED", ROOT.parent / "shared")) / name
    if not folder.is_dir():
        pytest.skip(f"no {name} at {folder}; point RSMETA_SHARED at the folder that holds it")
    return folder


@pytest.fixture(scope="session")
def make_scene() -> MakeScene:
    """Return a function that writes an array (C, H, W) or (H, W) as a small GeoTIFF."""
    return _write_scene


def _write_scene(
    path: Path,
    array: NDArray[Any],
    *,
    descriptions: Sequence[str] = (),
    crs: str | None = "EPSG:32633",
    transform: Affine = SOME_PLACE,
    nodata: float | None = None,
    **profile: Any,
) -> Path:
    """Write a GeoTIFF; ``profile`` goes to rasterio as it is (``tiled=True``, …)."""
    bands = array[np.newaxis] if array.ndim == 2 else array
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=bands.shape[0],
        height=bands.shape[1],
        width=bands.shape[2],
        dtype=bands.dtype,
        crs=crs,
        transform=transform,
        nodata=nodata,
        **profile,
    ) as file:
        file.write(bands)
        for index, name in enumerate(descriptions, 1):
            file.set_band_description(index, name)
    return path
