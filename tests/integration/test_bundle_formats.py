"""Bundles of older formats that are still read: loaded, inspected, mapped with.

``tests/data/bundle_format_N`` were written by the rsmeta that wrote format N. They learned the
chequered field of ``tiny_run``, all of it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import rasterio

from rsmeta.bundle import load_bundle, rebuild, save_bundle
from rsmeta.bundle.bundle import read_record
from rsmeta.bundle.record import FORMAT, READABLE
from rsmeta.peft import scales_of

if TYPE_CHECKING:
    from tests.integration.conftest import Rsmeta, TinyRun

DATA = Path(__file__).parents[1] / "data"
OLDER = [version for version in READABLE if version != FORMAT]


@pytest.fixture(params=OLDER)
def older(request: pytest.FixtureRequest) -> Path:
    """The folder of a bundle of an older format."""
    return DATA / f"bundle_format_{request.param}"


def check_map(rsmeta: Rsmeta, run: TinyRun, bundle: Path, place: Path) -> None:
    """Map the western scene; every valid pixel has its label."""
    ended = rsmeta("predict", run.scene, "--model", bundle, "--output", place)
    assert ended.status == 0, ended.err
    with rasterio.open(place) as raster, rasterio.open(run.labels) as labels:
        classes, known = raster.read(1), raster.read_masks(1) > 0
        assert known.sum() == 96 * 96 - 6 * 9
        assert (classes == labels.read(1))[known].all()


def test_an_older_bundle_maps_as_it_did(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path, older: Path
) -> None:
    check_map(rsmeta, tiny_run, older, tmp_path / "m.tif")


def test_an_older_bundle_is_what_it_was(rsmeta: Rsmeta, older: Path) -> None:
    record = load_bundle(older).record
    assert (record.task, record.per, record.target, record.image) == (
        "segmentation", "pixel", None, None,
    )  # fmt: skip
    ended = rsmeta("inspect", older, "--json")
    assert ended.status == 0, ended.err
    told = json.loads(ended.out)
    assert (told["kind"], told["task"]) == ("bundle", "segmentation")


def test_kept_sites_decide_what_is_pruned_and_older_bundles_are_read(older: Path) -> None:
    record = read_record(older)
    assert record.kept_sites == tuple(record.scales or {}) == ("0.q", "0.v")
    fewer = rebuild(record.model_copy(update={"kept_sites": ("0.v",)}))
    assert list(scales_of(fewer.backbone)) == ["0.v"]
    every = rebuild(record.model_copy(update={"kept_sites": None, "scales": {}}))
    assert list(scales_of(every.backbone)) == ["0.q", "0.v"]


def test_an_older_bundle_saved_again_is_of_todays_format(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path, older: Path
) -> None:
    bundle = load_bundle(older)
    saved = save_bundle(tmp_path / "saved", bundle.record, bundle.network)
    assert f"format: {FORMAT}\n" in (tmp_path / "saved" / "bundle.yaml").read_text()
    assert saved.record.scales == bundle.record.scales
    check_map(rsmeta, tiny_run, tmp_path / "saved", tmp_path / "m.tif")
