"""The stem: filters follow the band, never the position, and keep the size of what comes out."""

from __future__ import annotations

import pytest
import torch

from rsmeta.geo.bands import Band, generic_band
from rsmeta.models.stem import fit_stem, random_stem

KNOWN = ("red", "green", "blue")


def _bands(*names: str) -> list[Band]:
    return [generic_band(name) for name in names]


def test_order_of_bands_does_not_matter() -> None:
    weight = torch.randn(8, 3, 4, 4)
    fitted, report = fit_stem(weight, KNOWN, _bands("blue", "red", "green"))
    assert torch.equal(fitted, weight[:, [2, 0, 1]])
    assert report.all_matched
    assert report.factor == 1
    assert report.origins == ("blue", "red", "green")


def test_unknown_bands_take_the_mean_and_all_are_rescaled() -> None:
    weight = torch.randn(8, 3, 4, 4)
    bands = [*_bands("green", "nir"), Band("B10")]
    fitted, report = fit_stem(weight, KNOWN, [*bands, *_bands("red", "blue", "swir16")])
    assert not report.all_matched
    assert report.origins == ("green", "mean", "mean", "red", "blue", "mean")
    assert torch.equal(fitted[:, 0], weight[:, 1] * 0.5)
    torch.testing.assert_close(fitted[:, 1], weight.mean(dim=1) * 0.5)
    assert "nir <- mean" in report.summary()
    assert report.as_dict()["filters"][0] == {"band": "green", "origin": "copied",
                                              "source": "green"}  # fmt: skip


def test_common_name_counts_before_name() -> None:
    """B4 of Landsat 5 is near infrared: it must not take the filter of Sentinel-2's B04."""
    weight = torch.randn(2, 2, 1, 1)
    landsat_5 = [Band("B4", "nir"), Band("B3", "red")]
    fitted, report = fit_stem(weight, ("nir", "red"), landsat_5)
    assert torch.equal(fitted, weight)
    assert report.all_matched


def test_names_are_matched_in_any_spelling() -> None:
    weight = torch.randn(2, 2, 1, 1)
    fitted, report = fit_stem(weight, ("B02", "B8A"), [Band("b8a"), Band("B2")])
    assert torch.equal(fitted, weight[:, [1, 0]])
    assert report.all_matched


def test_embedding_keeps_its_size_for_correlated_bands() -> None:
    torch.manual_seed(0)
    weight = torch.randn(64, 3, 4, 4) + 0.5
    grey = torch.randn(500, 1, 4, 4)
    before = torch.einsum("dcij,nzij->nd", weight, grey)
    names = ["red", "green", "blue", "nir", "swir16", "swir22", "coastal"]
    fitted, _ = fit_stem(weight, KNOWN, _bands(*names))
    after = torch.einsum("dcij,nzij->nd", fitted, grey)
    torch.testing.assert_close(after.std(), before.std(), rtol=0.02, atol=0)


def test_names_must_fit_the_filters() -> None:
    with pytest.raises(ValueError, match="2 names"):
        fit_stem(torch.zeros(2, 3, 1, 1), ("red", "green"), _bands("red"))


def test_random_stem_matches_nothing() -> None:
    report = random_stem(_bands("red", "nir"))
    assert report.origins == ("random", "random")
    assert not report.all_matched
