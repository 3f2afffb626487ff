"""``rsmeta doctor``: what it says of an installation, and of what is wrong with one."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import torch

import rsmeta as library
from rsmeta.workflows import doctor as module

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.integration.conftest import Rsmeta


def test_versions_to_paste(rsmeta: Rsmeta, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "weights").write_bytes(bytes(20_000_000))
    ended = rsmeta("doctor", "--json")
    assert ended.status == 0, ended.out
    found = json.loads(ended.out)
    assert found["system"]["rsmeta"] == library.__version__
    assert found["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert found["gdal"]["lacking"] == "none"
    assert {"clip", "arrays", "dask", "s3"} <= found["extras"].keys()
    assert "dev" not in found["extras"]
    assert found["caches"]["hub"] == f"{tmp_path} (0.02 GB)"
    assert "HF_HUB_OFFLINE" in found["network"]["weights"]
    text = rsmeta("doctor")
    assert (text.status, text.out.splitlines()[-1]) == (0, "problems: none")
    for section in ("system:", "packages:", "device:", "gdal:", "extras:", "caches:", "disk:"):
        assert f"{section}\n" in text.out


def test_problems_have_remedies(
    rsmeta: Rsmeta, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    full = shutil.disk_usage(tmp_path)._replace(free=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    monkeypatch.setattr(module, "_NEEDED_DRIVERS", ("GTiff", "None such"))
    monkeypatch.setattr(module, "_DRIVERS", {"GTiff": "maps", "None such": "a format"})
    monkeypatch.setattr(module, "_version", lambda name: None if name == "boto3" else "1")
    ended = rsmeta("doctor", "--no-network")
    assert ended.status == 1
    assert "only 1.0 GB are free" in ended.out
    assert "GDAL has no driver None such (a format); reinstall rasterio" in ended.out
    assert "lacks boto3: pip install 'rsmeta[s3]'" in ended.out
    assert "not tried" in ended.out
