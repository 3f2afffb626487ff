"""Real scenes with labels that anyone may fetch: where they are, and what their files must hold."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import rasterio

from rsmeta.errors import OutputError, SceneError, SceneUnreachableError, one_line
from rsmeta.files import file_sha256, write_atomically
from rsmeta.models.weights.download import download, reason_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PublicFile:
    """A file that can be fetched.

    Attributes:
        path: Its path below the address of the data.
        sha256: SHA-256 of its content.
    """

    path: str
    sha256: str


@dataclass(frozen=True)
class PublicScene:
    """A scene with polygons.

    Attributes:
        title: What it shows, for the user.
        address: Folder of the files on the web.
        licence: Licence of the data, and whose they are.
        bands: Files of one band each on one grid, by the names of the bands.
        labels: The polygons; further files belong to the first one.
    """

    title: str
    address: str
    licence: str
    bands: dict[str, PublicFile]
    labels: tuple[PublicFile, ...]


_ACQUIRED = "data/sentinel-2/2018-10-13, Sentinel-2B L1C,"
_POLYGONS = "data/rcr/rcr_landcover"

#: Of a fixed state of the repository, so that checksums hold.
BEAUFORT = PublicScene(
    title="Beaufort, North Carolina: Sentinel-2, 5.8 megapixels, 23 polygons of coastal land cover",
    address="https://raw.githubusercontent.com/patrickcgray/open-geo-tutorial/"
    "f5b699f58f71aa899b89bb6e4d129ea6de7c90ac",
    licence="CC BY-SA 3.0, Open Geo Tutorial (github.com/patrickcgray/open-geo-tutorial)",
    bands={
        name: PublicFile(f"{_ACQUIRED} {name}.tiff", sha256)
        for name, sha256 in (
            ("B01", "36e2dc1dfc927108dfd9bf323be9ae030b1b873659b45d0e964fe4038ae8cb96"),
            ("B02", "7602498c71728c3988653a80d6e1e6c841b7a06dfbeb08b2a97289cd3da17754"),
            ("B03", "9a70905d3b066aec7a5ca595be4f7500c711ec43ce2608e0060ab3f0c457eeb5"),
            ("B04", "a3c692fa946031f0851ac98b5551a087d6f0785507648c0692deb5dce392faf5"),
            ("B05", "6a2489b12f9d90d314634903970ebaba6034be9045f0bb75b45f280930b2246b"),
            ("B06", "b61070b410679e1d604bf4b02ab7d32cef16db7e0607ce6b292f4bd6ca929a07"),
            ("B07", "894cf6308bc08dded3e2e0cf4a852611c7c608f4e2dd13370f80e2c0a405722a"),
            ("B08", "d9176505a561ca77553b87c03840609f38296ebea7f4be451e5ef0db88ce49fe"),
        )
    },
    labels=tuple(
        PublicFile(f"{_POLYGONS}.{ending}", sha256)
        for ending, sha256 in (
            ("shp", "fb5ef828123b8606a3d1d866ee8a5a05b764483dc091ec000c6185185e241db1"),
            ("shx", "7c2ba51d843bcaa0f0116444e3b5692c9d42bf779113975efab432882c7b6f4e"),
            ("dbf", "6cd2a30f79a25b0f23966d8ce7101137e210adcb89778235aa9aff3e2aecbd92"),
            ("prj", "f64bb786fe5c9283e6fde5388b7cdebd28d046d68a688f9faee5e2e76ffab647"),
        )
    ),
)


def fetch_scene(
    public: PublicScene, folder: Path, *, source: str | None = None
) -> tuple[Path, Path]:
    """Fetch a scene and its labels, unless they are there.

    Args:
        public: The scene.
        folder: Where the files are kept.
        source: Another address, or a folder, with the same files.

    Returns:
        The scene, of one file, and the polygons.

    Raises:
        SceneUnreachableError: A file is unavailable.
        SceneError: A file is not the one that was asked for.
        OutputError: The folder cannot be written.
    """
    where = source or public.address
    bands = {name: _fetch(file, folder, where) for name, file in public.bands.items()}
    labels = [_fetch(file, folder, where) for file in public.labels]
    scene = folder / "scene.tif"
    if not scene.exists():
        _stack(bands, scene)
    return scene, labels[0]


def _fetch(file: PublicFile, folder: Path, source: str) -> Path:
    """Return a file of a scene, whole and with the right content."""
    place = folder / Path(file.path).name
    if place.exists() and file_sha256(place) == file.sha256:
        return place
    is_local = "://" not in source
    address = str(Path(source, file.path)) if is_local else f"{source}/{quote(file.path)}"
    try:
        with write_atomically(place) as hidden:
            if is_local:
                shutil.copyfile(address, hidden)
            else:
                download(address, hidden)
            found = file_sha256(hidden)
            if found != file.sha256:
                raise SceneError(
                    f"{address} is not the file that was published (SHA-256 {found}, expected "
                    f"{file.sha256}); try again, or give a copy of the data with --source"
                )
    except OSError as error:
        raise SceneUnreachableError(
            address,
            f"{reason_of(error)}; without a network, run rsmeta demo (made-up data), or give a "
            f"folder with a copy of the data with --source",
        ) from error
    return place


def _stack(bands: dict[str, Path], scene: Path) -> None:
    """Write the bands as one file that names them."""
    try:
        with rasterio.open(next(iter(bands.values()))) as first:
            profile = {**first.profile, "count": len(bands), "interleave": "pixel",
                       "tiled": True, "blockxsize": 256, "blockysize": 256}  # fmt: skip
        with write_atomically(scene) as hidden, rasterio.open(hidden, "w", **profile) as file:
            for index, (name, path) in enumerate(bands.items(), 1):
                with rasterio.open(path) as band:
                    file.write(band.read(1), index)
                file.set_band_description(index, name)
    except (OSError, rasterio.errors.RasterioError) as error:
        raise OutputError(f"cannot write {scene} ({one_line(error)})") from error
