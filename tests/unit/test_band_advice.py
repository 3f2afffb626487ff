"""Whoever follows what a message about bands says can read the scene in the end."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from rsmeta.errors import BandsUnrecognisedError
from rsmeta.geo.scene import ReadRules, open_scene
from rsmeta.geo.sensors import load_sensor

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene

TM = tuple(band.name for band in load_sensor("landsat_tm").bands)
DN = tuple(f"{name}_dn" for name in TM)


def follow(path: Path, **given: Any) -> ReadRules:
    """Do what the messages say, at most twice; return the rules that the scene is opened with."""
    for _ in range(3):
        try:
            open_scene(path, ReadRules(**given))
        except BandsUnrecognisedError as error:
            bands = re.search(r"data\.bands=\[([^\].]+)\]", str(error))
            sensor = re.search(r"data\.sensor=(\w+)", str(error))
            if not bands and not sensor:
                break
            if bands:
                given["bands"] = tuple(bands[1].split(", "))
            if sensor:
                given["sensor"] = sensor[1]
        else:
            return ReadRules(**given)
    pytest.fail(f"the messages lead nowhere: {given}")


@pytest.mark.parametrize("names", [None, TM, DN], ids=["bare", "named", "odd"])
@pytest.mark.parametrize(
    "given",
    [{}, {"sensor": "landsat_tm"}, {"bands": TM}, {"sensor": "landsat_tm", "bands": DN}],
    ids=["nothing", "sensor", "bands", "both, odd"],
)
def test_following_the_message_succeeds(
    make_scene: MakeScene, tmp_path: Path, names: tuple[str, ...] | None, given: dict[str, Any]
) -> None:
    image = np.ones((7, 4, 4), np.uint16)
    path = make_scene(tmp_path / "s.tif", image, descriptions=names or ())
    if names == DN and not given:  # only the user knows what such names mean
        with pytest.raises(BandsUnrecognisedError, match=r"data\.bands=\[\.\.\.\]"):
            open_scene(path)
        return
    rules = follow(path, **given)
    assert len(open_scene(path, rules).bands) == 7


def test_of_a_sensor_with_other_bands_the_message_lists_the_names_to_choose_from(
    make_scene: MakeScene, tmp_path: Path
) -> None:
    path = make_scene(tmp_path / "s.tif", np.ones((4, 4, 4), np.uint16))
    with pytest.raises(BandsUnrecognisedError, match="out of: B1, B2, B3") as told:
        open_scene(path, ReadRules(sensor="landsat_tm"))
    assert "4 of 4 without description" in str(told.value)
    rules = ReadRules(sensor="landsat_tm", bands=("B1", "B2", "B3", "B4"))
    assert [band.common_name for band in open_scene(path, rules).bands][-1] == "nir"


def test_of_two_hundred_bands_the_message_is_short(make_scene: MakeScene, tmp_path: Path) -> None:
    names = tuple(f"channel {i}" for i in range(200))
    path = make_scene(tmp_path / "s.tif", np.ones((200, 4, 4), np.uint16), descriptions=names)
    with pytest.raises(BandsUnrecognisedError, match="and 188 more") as told:
        open_scene(path)
    assert len(str(told.value)) < 600 + len(str(path))
