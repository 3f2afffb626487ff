"""The backbone ``pixels``: bands, local statistics and indices of each pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rsmeta.config.model import ModelSpec
from rsmeta.errors import ConfigError
from rsmeta.geo.bands import Band
from rsmeta.models.families import build_backbone
from rsmeta.models.prepare import Prepare

RED, NIR, SWIR = Band("B4", "red", 665.0, 10.0), Band("B8", "nir", 842.0, 10.0), Band("x")


def features(image: np.ndarray, valid: np.ndarray | None = None, **options: object) -> np.ndarray:
    """Features (D, H, W) of an image (C, H, W)."""
    bands = (RED, NIR, SWIR)[: len(image)]
    backbone = build_backbone(ModelSpec(backbone="pixels", options=options), bands)
    prepare = Prepare([0.0] * len(image), [1.0] * len(image), backbone.record.form)
    mask = np.ones(image.shape[1:], bool) if valid is None else valid
    given = torch.from_numpy(image.astype(np.float32))[None]
    [found] = backbone.dense(prepare(given, torch.from_numpy(mask)[None]), [0])
    assert found.shape[1] == backbone.dim
    result: np.ndarray = found[0].numpy()
    return result


def test_bands_alone_are_the_features() -> None:
    image = np.random.default_rng(0).random((3, 5, 6))
    np.testing.assert_allclose(features(image), image, rtol=1e-6)


@pytest.mark.parametrize("side", [3, 7])
@pytest.mark.parametrize("offset", [0.0, 30_000.0])
def test_context_is_mean_and_deviation_of_the_valid_pixels_around(side: int, offset: float) -> None:
    draw = np.random.default_rng(0)
    image = draw.random((2, 9, 8)).astype(np.float32) * 10 + np.float32(offset)
    valid = draw.random((9, 8)) > 0.3
    found = features(image, valid, context=[side])
    half = side // 2
    for row, col in ((0, 0), (4, 4), (8, 7)):
        around = np.s_[max(row - half, 0) : row + half + 1, max(col - half, 0) : col + half + 1]
        for band in range(2):
            values = image[band][around][valid[around]].astype(np.float64)
            assert found[2 + band, row, col] == pytest.approx(values.mean(), rel=1e-6)
            assert found[4 + band, row, col] == pytest.approx(values.std(), abs=2e-3)


def test_what_is_not_valid_changes_nothing_around_it() -> None:
    image = np.random.default_rng(0).random((2, 9, 9))
    valid = np.ones((9, 9), bool)
    valid[4, 4] = False
    spoilt = image.copy()
    spoilt[:, 4, 4] = np.nan
    one = features(image, valid, context=[3], indices=True)
    np.testing.assert_array_equal(one, features(spoilt, valid, context=[3], indices=True))
    assert np.isfinite(one).all()


def test_indices_are_those_that_the_bands_allow() -> None:
    image = np.array([[[0.1, 0.0]], [[0.3, 0.0]]])
    np.testing.assert_allclose(features(image, indices=True)[2], [[0.5, 0.0]], atol=1e-6)


def test_ratios_do_not_depend_on_brightness_and_logarithms_turn_it_into_a_shift() -> None:
    image = np.random.default_rng(0).uniform(0.1, 0.9, (3, 4, 5))
    one, twice = (features(image * factor, ratios=True) for factor in (1.0, 2.0))
    assert len(one) == 3 + 3 + 3
    np.testing.assert_allclose(twice[6:], one[6:], atol=1e-6)
    np.testing.assert_allclose(twice[3:6] - one[3:6], np.log(2), atol=5e-3)
    red, nir = image[:2]
    np.testing.assert_allclose(one[6], (red - nir) / (red + nir), atol=1e-6)


def test_ratios_of_local_means_stand_beside_those_of_the_pixel() -> None:
    image = np.random.default_rng(0).uniform(0.1, 0.9, (2, 9, 8))
    found = features(image, context=[3], deviations=False, ratios="local")
    assert len(found) == 2 + 2 + 3 + 3
    mean = found[2:4]
    np.testing.assert_allclose(found[9], (mean[0] - mean[1]) / mean.sum(0), atol=1e-6)
    with pytest.raises(ConfigError, match="takes means of context"):
        features(image, ratios="local")


def test_means_can_stand_without_deviations() -> None:
    image = np.random.default_rng(0).random((2, 9, 8))
    both, alone = features(image, context=[3]), features(image, context=[3], deviations=False)
    np.testing.assert_array_equal(alone, both[:4])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"context": [3, 5], "ratios": True, "indices": True},
        {"context": [3], "deviations": False, "ratios": "local"},
    ],
)
def test_every_feature_has_a_name(options: dict[str, object]) -> None:
    backbone = build_backbone(ModelSpec(backbone="pixels", options=options), (RED, NIR, SWIR))
    names = backbone.feature_names
    assert len(set(names)) == len(names) == backbone.dim
    assert len(features(np.ones((3, 4, 4)), **options)) == backbone.dim


@pytest.mark.parametrize("count", [1, 33])
def test_ratios_of_one_or_very_many_bands_are_refused(count: int) -> None:
    bands = [Band(f"b{i}") for i in range(count)]
    with pytest.raises(ConfigError, match="2 to 32 bands"):
        build_backbone(ModelSpec(backbone="pixels", options={"ratios": True}), bands)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"context": [4]}, "odd"),
        ({"context": [1]}, "odd"),
        ({"contexts": [3]}, "context"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build_backbone(ModelSpec(backbone="pixels", options=options), (RED, NIR))


def test_bands_without_an_index_are_refused_where_indices_are_asked_for() -> None:
    with pytest.raises(ConfigError, match="no spectral index"):
        build_backbone(ModelSpec(backbone="pixels", options={"indices": True}), (RED,))


def test_weights_are_refused() -> None:
    with pytest.raises(ConfigError, match="no weights"):
        build_backbone(ModelSpec(backbone="pixels", pretrained=True), (RED,))
