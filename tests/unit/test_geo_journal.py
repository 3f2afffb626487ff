"""A journal keeps what was noted, whatever happens to its end; areas are those on the ground."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS

from rsmeta.errors import OutputError
from rsmeta.geo.grid import Grid
from rsmeta.geo.journal import Journal, check_same, read_begun_with
from rsmeta.geo.pixel_area import row_areas_m2

if TYPE_CHECKING:
    from pathlib import Path

BEGUN = {"model": "abc", "setting": {"overlap": 0.25, "blend": "cosine"}, "extent": (0, 0, 5, 5)}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("journal") / "journal"
    with Journal(path, BEGUN) as journal:
        for number in range(5):
            journal.add({"block": number})
    return path


@given(cut=st.integers(0, 300), flipped=st.none() | st.integers(0, 300))
def test_what_comes_before_the_damage_is_kept(written: Path, cut: int, flipped: int | None) -> None:
    raw = bytearray(written.read_bytes())
    damage = min(cut, len(raw))
    if flipped is not None and flipped < damage:
        raw[flipped] ^= 4
    broken = written.with_name("broken")
    broken.write_bytes(raw[:damage])
    first_bad = damage if flipped is None else min(damage, flipped)
    sound = bytes(raw[:first_bad]).count(b"\n")
    with Journal(broken, BEGUN) as journal:
        assert journal.entries == [{"block": n} for n in range(max(sound - 1, 0))]
        journal.add({"block": "new"})
    with Journal(broken, BEGUN) as journal:
        assert journal.entries[-1] == {"block": "new"}
        assert len(journal.entries) == max(sound - 1, 0) + 1


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"model": "xyz"}, r"another model \(abc, now xyz\)"),
        ({"extent": (0, 0, 5, 6)}, "another extent"),
        (
            {"setting": {"overlap": 0.5, "blend": "cosine"}},
            r"another setting, overlap \(0.25, now 0.5\)",
        ),
        ({"new": 1}, r"another new \(None, now 1\)"),
    ],
)
def test_what_something_else_has_begun_is_refused(
    written: Path, changed: dict[str, object], told: str
) -> None:
    check_same(written, BEGUN, written)
    with pytest.raises(OutputError, match=told):
        check_same(written, {**BEGUN, **changed}, written)


def test_no_journal_is_begun_with_nothing(tmp_path: Path) -> None:
    assert read_begun_with(tmp_path / "journal") is None
    check_same(tmp_path / "journal", BEGUN, tmp_path)


def grid(epsg: int | None, size: float, x: float, y: float, shape: tuple[int, int]) -> Grid:
    crs = None if epsg is None else CRS.from_epsg(epsg)
    return Grid(crs, Affine(size, 0, x, 0, -size, y), *shape)


def test_areas_in_degrees_add_up_to_the_earth() -> None:
    areas = row_areas_m2(grid(4326, 1.0, -180, 90, (180, 360)))
    assert areas is not None
    assert areas.sum() * 360 == pytest.approx(510_065_621_724_088, rel=1e-6)  # WGS 84
    np.testing.assert_allclose(areas, areas[::-1], rtol=1e-9)


def test_areas_in_grads_are_those_in_degrees() -> None:
    degrees = row_areas_m2(grid(4326, 0.9, 0, 45, (3, 4)))
    grads = row_areas_m2(grid(4807, 1.0, 0, 50, (3, 4)))  # NTF (Paris), Clarke 1880
    assert degrees is not None
    assert grads is not None
    np.testing.assert_allclose(grads, degrees, rtol=1e-3)


def test_areas_on_a_map_projection() -> None:
    for epsg, expected in ((32633, 100.0), (2263, 100 * (1200 / 3937) ** 2)):  # metres, US feet
        areas = row_areas_m2(grid(epsg, 10.0, 5e5, 5e6, (3, 4)))
        np.testing.assert_allclose(areas, np.full(3, expected))


def test_areas_in_web_mercator_are_those_on_the_ground() -> None:
    areas = row_areas_m2(grid(3857, 10.0, 0, 8_399_738, (2, 2)))  # 60 degrees north
    np.testing.assert_allclose(areas, 25, rtol=0.01)


def test_without_a_crs_there_are_no_areas() -> None:
    assert row_areas_m2(grid(None, 1.0, 0, 0, (2, 2))) is None
