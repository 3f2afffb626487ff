"""Checks STAC items as a catalogue would, without network."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pystac.validation
from pystac.validation import RegisteredValidator
from pystac.validation.stac_validator import JsonSchemaSTACValidator

if TYPE_CHECKING:
    from pathlib import Path

_HOME = "https://stac-extensions.github.io"


def check_item(path: Path, schemas: Path) -> dict[str, Any]:
    """Return an item that fits the schemas that it names, its files there and unchanged."""
    item: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    known = {
        f"{_HOME}/{file.parts[-3]}/{file.parts[-2]}/schema.json": json.loads(file.read_text())
        for file in schemas.glob("*/v*/schema.json")
    }
    assert set(item["stac_extensions"]) <= known.keys()
    validator = JsonSchemaSTACValidator()
    validator.schema_cache.update(known)
    RegisteredValidator.set_validator(validator)
    pystac.validation.validate_dict(item)
    for asset in item["assets"].values():
        file = path.parent / unquote(asset["href"])
        assert asset["href"].startswith(("./", "../"))
        assert asset["file:size"] == file.stat().st_size
        assert asset["file:checksum"] == "1220" + hashlib.sha256(file.read_bytes()).hexdigest()
    for link in item["links"]:
        assert (path.parent / unquote(link["href"])).is_file()
    return item
