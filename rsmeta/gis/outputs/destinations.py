"""Where an output is made and where it ends up: a local file, an object store, Zarr or NetCDF.

A map is always made as a local GeoTIFF, so that an interrupted run can be resumed and nobody sees
half a map. Most outputs are made where they are wanted; the others are delivered when complete.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rsmeta.errors import OutputError
from rsmeta.files import partial_folder
from rsmeta.geo.arrays import is_array_file, need_engine
from rsmeta.geo.raster_source import is_path
from rsmeta.geo.writer import check_output
from rsmeta.gis.outputs import object_store

#: One slash is what is left of two after a round trip through ``Path``.
_S3 = re.compile(r"s3:/+")


@dataclass(frozen=True)
class Output:
    """A file to write.

    Attributes:
        local: Where it is made.
        destination: Where it ends up: the same path, the path of a Zarr store or NetCDF file, or
            ``s3://bucket/key``.
    """

    local: Path
    destination: str

    @classmethod
    def at(cls, destination: str | Path) -> Output:
        """Return the output that ends up where a user wants it.

        Raises:
            OutputError: Nothing can be written there.
        """
        text = str(destination)
        if _S3.match(text):
            return _object(text)
        if isinstance(destination, str) and not is_path(destination):
            raise OutputError(
                f"cannot write to {destination}; name a local file or s3://bucket/key"
            )
        path = Path(destination)
        if is_array_file(path):
            return cls(partial_folder(path).with_suffix(".made") / f"{path.stem}.tif", str(path))
        return cls(path, str(path))

    @property
    def is_delivered(self) -> bool:
        """Whether it is made elsewhere than where it ends up."""
        return self.destination != str(self.local)

    @property
    def is_object(self) -> bool:
        """Whether it ends up in an object store."""
        return not is_path(self.destination)

    @property
    def name(self) -> str | Path:
        """The destination as a user would give it: an address, or a path."""
        return self.destination if self.is_object else Path(self.destination)

    @property
    def exists(self) -> bool:
        """Whether it is complete: at its destination, or ready to be delivered."""
        return self.local.is_file() or (self.is_delivered and self._is_delivered_already())

    def child(self, name: str) -> Output:
        """Return a file in this folder."""
        return Output.at(f"{self.destination}/{name}" if self.is_object else self.local / name)

    def sidecar(self, local: Path) -> Output:
        """Return a file that lies beside this one: uploaded with it, but not converted."""
        if not self.is_object:
            return Output(local, str(local))
        return Output(local, f"{self.destination.rpartition('/')[0]}/{local.name}")

    def check(self, *, overwrite: bool) -> None:
        """Check before any work that it can be written; creates missing folders.

        Raises:
            OutputError: It cannot, or exists and ``overwrite`` is not given.
            MissingExtraError: The package that writes it is not installed.
        """
        if self.is_object:
            _make_staging()
        elif self.is_delivered:
            need_engine(self.destination, "dask")
        if self.is_delivered and not overwrite and self._is_delivered_already():
            raise OutputError(
                f"{self.destination} exists already; choose another name or give --overwrite"
            )
        check_output(self.local, overwrite=overwrite)

    def _is_delivered_already(self) -> bool:
        if self.is_object:
            return object_store.exists(self.destination)
        return Path(self.destination).exists()


def staging_folder() -> Path:
    """Return this user's folder of files to be uploaded; in ``TMPDIR``, if that is set."""
    return Path(tempfile.gettempdir()).resolve() / f"rsmeta-{os.getuid()}" / "s3"


def _object(address: str) -> Output:
    key = _S3.sub("", address)  # bucket and key
    if ".." in Path(key).parts or not key:
        raise OutputError(f"{address} names no object; write s3://bucket/name.tif")
    if is_array_file(key):
        raise OutputError(
            f"{address}: Zarr and NetCDF are written to local places; write it there and copy it, "
            f"or write a .tif"
        )
    return Output(staging_folder() / key, f"s3://{key}")


def _make_staging() -> None:
    """Create the staging folder, readable by its owner alone.

    Raises:
        OutputError: It belongs to another user.
    """
    folder = staging_folder().parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise OutputError(f"{folder} belongs to another user; set TMPDIR to a folder of your own")
