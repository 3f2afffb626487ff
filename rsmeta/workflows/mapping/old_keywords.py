"""Keywords that ``predict`` had before: accepted, with a warning that names the new ones."""

from __future__ import annotations

import functools
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from rsmeta.gis.outputs.products import Products
from rsmeta.workflows.mapping.executors import Execution
from rsmeta.workflows.mapping.request import AreaOfInterest

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")

#: Old keyword -> what to write instead.
_NEW = {
    "bounds": "aoi=(west, south, east, north)",
    "mask": 'aoi="polygons.gpkg"',
    "overwrite": 'if_exists="overwrite"',
    "resume": 'if_exists="resume"',
    "refine": "postprocess=Postprocess(…)",
    "device": 'execution="cuda"',
    "workers": "execution=Execution(workers=2)",
    "dask": 'execution=Execution(dask="tcp://…")',
    "summary": 'output=Products("map.tif", summary="summary.json")',
}


def accepts_old_keywords(function: F) -> F:
    """Return ``predict`` as a function that takes its old keywords, too.

    Its warnings point at the caller of ``rsmeta.predict``, which calls it.
    """

    @functools.wraps(function)
    def wrapped(*args: Any, **given: Any) -> Any:
        old = {name: given.pop(name) for name in _NEW if name in given}
        for name in old:
            warnings.warn(f"{name}=… is deprecated; use {_NEW[name]}", DeprecationWarning, 3)
        return function(*args, **given | _translated(old, given))

    return cast("F", wrapped)


def _translated(old: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return the new keywords that mean what old ones do."""
    new: dict[str, Any] = {}
    if "bounds" in old or "mask" in old:
        new["aoi"] = AreaOfInterest(old.get("bounds"), old.get("mask"))
    if "refine" in old:
        new["postprocess"] = old["refine"]
    where = {name: old[name] for name in ("device", "workers", "dask") if name in old}
    if where:
        new["execution"] = Execution(**where)
    if old.get("overwrite") or old.get("resume"):
        words = [word for word in ("resume", "overwrite") if old.get(word)]
        new["if_exists"] = " or ".join(words)
    if old.get("summary") is not None:
        output = given["output"]
        products = output if isinstance(output, Products) else Products(output)
        new["output"] = replace(products, summary=old["summary"])
    return new
