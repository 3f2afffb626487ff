"""Normalisation: statistics follow the band, in the form that the weights want."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rsmeta.config.model import ModelSpec
from rsmeta.config.tuner import TunerSpec
from rsmeta.errors import ConfigError
from rsmeta.geo.bands import generic_band
from rsmeta.geo.sensors import load_sensor
from rsmeta.models import BackboneRecord, Network, Prepare, build_network
from rsmeta.models.build import band_table
from rsmeta.models.normalise import choose_normalisation
from rsmeta.models.satmae.records import SENTINEL2_STATISTICS
from tests.unit.tiny_satmae import TEN, TINY, state_of

if TYPE_CHECKING:
    from pathlib import Path

RECORD = BackboneRecord(
    name="weights", family="satmae", source="w.pth", bands=("B02", "B04", "B08"),
    mean=(0.1, 0.2, 0.3), std=(0.01, 0.02, 0.03), image_px=96, licence=None,
    form="two_sigma", unit="reflectance",
)  # fmt: skip
LANDSAT = load_sensor("landsat_tm").select(("nir", "red", "swir16")).bands


def _choose(choice: Any, mean: Any = (0.31, 0.19, 0.2), std: Any = (0.05, 0.01, 0.07)) -> Any:
    return choose_normalisation(RECORD, LANDSAT, mean, std, choice=choice)


def test_statistics_follow_the_band_never_the_position() -> None:
    found = _choose("weights")
    assert found.mean == [0.3, 0.2, 0.2]
    assert found.std == [0.03, 0.02, 0.07]
    assert [band.whose for band in found.bands] == ["weights", "weights", "data"]
    assert found.form == "two_sigma"


def test_auto_takes_the_weights_where_they_fit() -> None:
    found = _choose("auto")
    assert found.mean == [0.3, 0.2, 0.2]
    assert found.note == "the weights' own statistics fit the scenes"


@pytest.mark.parametrize(
    ("mean", "std"),
    [((3100, 1900, 2000), (500, 100, 700)), ((90, 60, 80), (30, 20, 10)),
     ((0.31, 0.19, 0.2), (0.001, 0.01, 0.07))],
    ids=["digital numbers", "8 bit", "flat"],
)  # fmt: skip
def test_auto_takes_the_data_where_they_do_not(mean: Any, std: Any) -> None:
    found = _choose("auto", mean, std)
    assert found.mean == list(mean)
    assert {band.whose for band in found.bands} == {"data"}
    assert found.note.startswith("the weights' own statistics do not fit the scenes: B4 has")
    assert found.form == "two_sigma"  # what the weights want stays what they want
    assert _choose("weights", mean, std).mean[:2] == [0.3, 0.2]


@pytest.mark.parametrize(
    ("mean", "std", "whose"),
    [(0.12, 0.06, "weights"), (1200, 600, "data"), (90, 40, "data"), (0.1, 0.001, "data")],
)
def test_weights_that_were_only_scaled(mean: float, std: float, whose: str) -> None:
    """As TorchGeo's are: digital numbers by 10000, which is reflectance by 1."""
    scaled = replace(RECORD, mean=(0.0,) * 3, std=(1.0,) * 3, form="standard")
    found = choose_normalisation(scaled, LANDSAT[:2], [mean] * 2, [std] * 2)
    assert {band.whose for band in found.bands} == {whose}


def test_data_when_asked_for_and_when_nothing_is_known() -> None:
    assert _choose("data").mean == [0.31, 0.19, 0.2]
    bare = BackboneRecord("random", "timm", None, None, None, None, 224, None)
    for choice in ("auto", "data"):
        found = choose_normalisation(bare, LANDSAT, [1, 2, 3], [1, 1, 1], choice=choice)
        assert (found.mean, found.form, found.note) == ([1, 2, 3], "standard", "")
    with pytest.raises(ConfigError, match=r"model\.normalise=weights, but .* random was trained"):
        choose_normalisation(bare, LANDSAT, [1, 2, 3], [1, 1, 1], choice="weights")


def test_two_sigma_clips_and_gives_invalid_pixels_the_mean() -> None:
    prepare = Prepare([1.0, 1.0], [0.5, 0.5], "two_sigma")
    image = torch.tensor([0.0, 1.0, 1.5, 9.0, torch.nan, 3.0]).expand(1, 2, 1, 6)
    valid = torch.tensor([[[True, True, True, True, True, False]]])
    wanted = torch.tensor([0.0, 0.5, 0.75, 1.0, 0.5, 0.5]).expand(1, 2, 1, 6)
    assert torch.equal(prepare(image, valid), wanted)


def test_satmae_sees_what_its_authors_fed_it(tmp_path: Path) -> None:
    """Digital numbers, mean ± 2 std to [0, 1], clipped: here from reflectance."""
    network = _satmae(tmp_path, mean=[0.15] * 10, std=[0.1] * 10)
    digital = np.random.default_rng(0).uniform(0, 6000, (10, 8, 8))
    published = (
        10_000 * np.array([SENTINEL2_STATISTICS[band.name] for band in TEN])[..., None, None]
    )
    low = published[:, 0] - 2 * published[:, 1]
    wanted = np.clip((digital - low) / (4 * published[:, 1]), 0, 1)
    image = torch.from_numpy(digital / 10_000).float()[None]
    found = network.prepare(image, torch.ones(1, 8, 8, dtype=torch.bool))
    np.testing.assert_allclose(found[0], wanted, atol=1e-5)


def _satmae(folder: Path, **statistics: Any) -> Network:
    save_file(state_of("group"), folder / "w.safetensors")
    spec = ModelSpec(
        backbone="satmae_vit_b16_group", checkpoint=str(folder / "w.safetensors"),
        options=TINY["group"], head="linear",
    )  # fmt: skip
    return build_network(spec, TunerSpec(rank=2), bands=TEN, classes=2, **statistics)


def test_the_table_tells_of_every_band(tmp_path: Path) -> None:
    network = _satmae(tmp_path, mean=[0.15] * 10, std=[0.1] * 10)
    header, *rows = band_table(network)
    assert header.split() == ["band", "filter", "factor", "mean", "std", "statistics", "of"]
    assert rows[0].split() == ["B02", "B02", "1", "0.1184", "0.06503", "weights"]
    assert rows[-1] == "the weights' own statistics fit the scenes"


def test_margins_are_invalid_pixels_like_any_other(tmp_path: Path) -> None:
    """What a side is padded with looks to the network as a pixel without data does."""
    network = _satmae(tmp_path, mean=[0.15] * 10, std=[0.1] * 10).eval()
    image, valid = torch.rand(1, 10, 13, 16), torch.ones(1, 13, 16, dtype=torch.bool)
    whole = torch.nn.functional.pad(image, (0, 0, 0, 3), value=7.0)
    seen = torch.nn.functional.pad(valid, (0, 0, 0, 3))
    torch.testing.assert_close(network(image, valid), network(whole, seen)[:, :, :13])


def test_generic_names_are_known() -> None:
    blue = generic_band("blue")
    found = choose_normalisation(RECORD, [blue], [0.11], [0.012])
    assert found.bands[0].whose == "weights"
