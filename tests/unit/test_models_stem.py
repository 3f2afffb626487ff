"""The stem: filters follow the band, never the position, and keep the size of what comes out."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rsmeta.config.model import ModelSpec
from rsmeta.geo.bands import Band, generic_band
from rsmeta.geo.sensors import known_band, load_sensor
from rsmeta.models import build_backbone
from rsmeta.models.stem import (
    BAND_CORRELATION,
    embedding_size,
    fit_stem,
    mixture,
    random_stem,
)

RGB = tuple(generic_band(name) for name in ("red", "green", "blue"))
TINY = {"patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2, "img_size": 32}


def _bands(*names: str) -> list[Band]:
    return [generic_band(name) for name in names]


def test_order_of_bands_does_not_matter() -> None:
    weight = torch.randn(8, 3, 4, 4)
    fitted, report = fit_stem(weight, RGB, _bands("blue", "red", "green"))
    assert torch.equal(fitted, weight[:, [2, 0, 1]])
    assert report.all_matched
    assert {entry.factor for entry in report.filters} == {1.0}
    assert report.origins == ("blue", "red", "green")


def test_common_name_counts_before_name() -> None:
    """B4 of Landsat 5 is near infrared: it must not take the filter of Sentinel-2's B04."""
    weight = torch.randn(2, 2, 1, 1)
    known = (known_band("B08"), known_band("B04"))
    landsat_5 = [Band("B4", "nir"), Band("B3", "red")]
    fitted, report = fit_stem(weight, known, landsat_5)
    assert torch.equal(fitted, weight)
    assert report.all_matched


def test_names_are_matched_in_any_spelling() -> None:
    weight = torch.randn(2, 2, 1, 1)
    fitted, report = fit_stem(weight, (known_band("B02"), known_band("B8A")),
                              [Band("b8a"), Band("B2")])  # fmt: skip
    assert torch.equal(fitted, weight[:, [1, 0]])
    assert report.all_matched


@pytest.mark.parametrize(
    ("band", "shares"),
    [
        (generic_band("coastal"), {"blue": 127.5 / 190, "green": 62.5 / 190}),
        (Band("amber", None, 605.0), {"red": 0.5, "green": 0.5}),
        (Band("sharp red", None, 655.2), {"red": 1.0}),
        (generic_band("nir"), {"red": 275 / 450, "green": 175 / 450}),
    ],
)
def test_unknown_bands_take_the_nearest_wavelengths(band: Band, shares: dict[str, float]) -> None:
    weight = torch.randn(8, 3, 4, 4)
    fitted, report = fit_stem(weight, RGB, [*RGB, band])
    entry = report.filters[3]
    assert entry.origin == "blended"
    assert entry.shares == pytest.approx(shares, abs=1e-6)
    assert not report.all_matched
    columns = {known.name: weight[:, i] for i, known in enumerate(RGB)}
    wanted = sum(share * columns[name] for name, share in shares.items())
    torch.testing.assert_close(fitted[:, 3], wanted * entry.factor)


@pytest.mark.parametrize(
    ("band", "reason"),
    [
        (load_sensor("sentinel1_grd").bands[0], "no wavelengths in common (microwave)"),
        (generic_band("lwir11"), "no wavelengths in common (thermal)"),
        (Band("SAR"), "its wavelength is unknown"),
    ],
)
def test_what_has_no_wavelength_in_common_takes_the_mean_and_says_so(
    band: Band, reason: str
) -> None:
    weight = torch.randn(8, 3, 4, 4)
    fitted, report = fit_stem(weight, RGB, [band])
    assert report.filters[0].origin == "mean"
    assert report.filters[0].reason == reason
    torch.testing.assert_close(fitted[:, 0], weight.mean(dim=1) * report.filters[0].factor)
    # a polarisation is no wavelength: VH is not VV
    radar = load_sensor("sentinel1_grd").bands
    assert mixture(radar[1], radar[:1]).origin == "mean"


@pytest.mark.parametrize("strategy", ["match", "mean", "repeat"])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_the_embedding_keeps_its_size(strategy: Any, count: int) -> None:
    """For bands that are correlated as the factor assumes, whatever their number."""
    torch.manual_seed(0)
    weight = torch.randn(64, 3, 4, 4) + 0.3
    names = ["nir", "red", "swir16", "green", "blue", "swir22", "coastal"][:count]
    fitted, report = fit_stem(weight, RGB, _bands(*names), strategy)
    assert report.strategy == strategy
    assert embedding_size(fitted) == pytest.approx(embedding_size(weight), rel=1e-5)

    def embedded(filters: torch.Tensor) -> torch.Tensor:
        channels = filters.shape[1]
        shared, own = torch.randn(4000, 1, 4, 4), torch.randn(4000, channels, 4, 4)
        image = BAND_CORRELATION**0.5 * shared + (1 - BAND_CORRELATION) ** 0.5 * own
        return torch.einsum("dcij,ncij->nd", filters, image)

    before, after = embedded(weight).square().mean(), embedded(fitted).square().mean()
    torch.testing.assert_close(after, before, rtol=0.06, atol=0)


def test_repeat_goes_by_position() -> None:
    weight = torch.randn(8, 3, 4, 4)
    _, report = fit_stem(weight, RGB, _bands("blue", "green", "red", "nir"), "repeat")
    assert report.origins == ("red", "green", "blue", "red")
    assert not report.all_matched


def test_reports() -> None:
    _, report = fit_stem(torch.randn(8, 3, 4, 4), RGB, _bands("green", "nir"))
    assert report.summary() == "stem (match): green <- green, nir <- 0.61 red + 0.39 green"
    told = report.as_dict()
    assert told["filters"][0]["source"] == "green"
    assert told["filters"][1]["reason"] == "nearest to 830 nm"
    random = random_stem(RGB)
    assert random.origins == ("random",) * 3
    assert not random.all_matched
    assert random.summary().startswith("stem (random weights)")


def test_names_must_fit_the_filters() -> None:
    with pytest.raises(ValueError, match="2 bands"):
        fit_stem(torch.zeros(2, 3, 1, 1), RGB[:2], _bands("red"))
    with pytest.raises(ValueError, match="makes no filters"):
        fit_stem(torch.zeros(2, 3, 1, 1), RGB, _bands("red"), "random")


# -- project ---------------------------------------------------------------------------------------


def test_project_learns_a_way_onto_the_bands_of_the_weights() -> None:
    spec = ModelSpec(options=TINY, stem={"strategy": "project", "bands": ["red", "green", "blue"]})
    bands = tuple(_bands("blue", "green", "red", "nir"))
    backbone = build_backbone(spec, bands)
    assert backbone.bands == bands
    assert backbone.stem is backbone.projection
    assert backbone.patch_embed.proj.in_channels == 3
    wanted = torch.tensor([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0]], dtype=torch.float32)
    assert torch.equal(backbone.projection.weight[..., 0, 0], wanted)
    assert backbone.stem_report.origins == ("blue", "green", "red", "projected")
    assert backbone.stem_report.notes == ("projected onto nothing at first: nir",)
    x = torch.randn(2, 4, 20, 32)
    plain = build_backbone(ModelSpec(options=TINY), RGB)
    plain.load_state_dict(backbone.state_dict(), strict=False)
    torch.testing.assert_close(backbone(x).map, plain(x[:, [2, 1, 0]]).map)
    backbone(x).map.square().sum().backward()
    assert backbone.projection.weight.grad is not None
    with pytest.raises(ValueError, match="projects its bands already"):
        backbone.project(RGB)


def test_project_of_few_bands_uses_the_nearest() -> None:
    spec = ModelSpec(options=TINY, stem={"strategy": "project", "bands": ["red", "green", "blue"]})
    backbone = build_backbone(spec, tuple(_bands("green", "nir")))
    weight = backbone.projection.weight[..., 0, 0]
    torch.testing.assert_close(weight.sum(dim=1), torch.ones(3))
    assert weight[1].tolist() == [1, 0]
    assert weight[0, 0] > weight[0, 1]  # red is nearer to green than to near infrared


@pytest.mark.parametrize(
    ("single", "origin"),
    [(Band("VV"), "mean"), (Band("SAR"), "mean"), (Band("pan", "pan", 700.0), "blended")],
)
def test_three_bands_to_one_and_back_see_a_grey_image_alike(single: Band, origin: str) -> None:
    """Of optical weights for radar, and of weights for radar on red, green and blue."""
    torch.manual_seed(0)
    weight = torch.randn(64, 1, 4, 4) + 0.3 * torch.randn(64, 3, 4, 4)
    one, there = fit_stem(weight, RGB, [single])
    back, again = fit_stem(one, [single], RGB)
    assert [entry.origin for entry in there.filters] == [origin]
    assert {entry.origin for entry in again.filters} == {origin}
    torch.testing.assert_close(back[:, 0], back[:, 1])
    grey = torch.randn(50, 1, 4, 4)
    before, *after = (
        torch.einsum("dchw,nchw->nd", filters, grey.expand(-1, filters.shape[1], -1, -1))
        for filters in (weight, one, back)
    )
    for found in after:
        likeness = torch.cosine_similarity(found, before, dim=1)
        assert likeness.min() > (0.99999 if origin == "mean" else 0.95)
        assert float(found.norm() / before.norm()) == pytest.approx(1, abs=0.1)
