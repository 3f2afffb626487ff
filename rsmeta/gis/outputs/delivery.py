"""Delivers finished outputs: converts them to Zarr or NetCDF, or uploads them to a store."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from rsmeta.errors import OutputError, one_line
from rsmeta.gis.outputs import object_store
from rsmeta.gis.outputs.destinations import staging_folder

if TYPE_CHECKING:
    from rsmeta.gis.outputs.destinations import Output
    from rsmeta.gis.outputs.products import Products


def deliver(products: Products) -> None:
    """Deliver the outputs that end up elsewhere, and remove the local files.

    Sidecars are uploaded with their raster. The map comes last: once it is there, so is the rest.

    Raises:
        OutputError: A destination does not accept them; the local files are kept.
    """
    for name, output in reversed(list(products.outputs.items())):
        if not (output.is_delivered and output.local.is_file()):
            continue
        sidecars = [one for one in products.sidecars(name) if one.local.is_file()]
        if output.is_object:
            for one in (*sidecars, output):
                object_store.upload(one.local, one.destination)
        else:  # without its styles, which are for programs that open GeoTIFFs
            _convert(output, name)
        for one in (*sidecars, output):
            one.local.unlink()
        _remove_empty(output.local.parent)


def discard_undelivered(products: Products) -> None:
    """Remove what an earlier run made and did not deliver."""
    for name, output in products.outputs.items():
        if output.is_delivered:
            for one in (output, *products.sidecars(name)):
                one.local.unlink(missing_ok=True)


def _convert(output: Output, name: str) -> None:
    from rsmeta.gis.outputs.array_files import write_array_file

    target = Path(output.destination)
    fresh = output.local.with_name(target.name)
    try:
        _remove(fresh)
        write_array_file(output.local, fresh, name)
        _remove(target)
        fresh.replace(target)
    except OSError as error:
        raise OutputError(
            f"cannot write {target} ({one_line(error)}); the map is kept for --resume"
        ) from error


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _remove_empty(folder: Path) -> None:
    """Remove a folder that was made for an output, and those above it, while they are empty."""
    while folder.name.endswith(".made") or folder.is_relative_to(staging_folder()):
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent
