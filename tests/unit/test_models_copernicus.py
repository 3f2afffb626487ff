"""Copernicus-FM: filters from wavelength and width, what is known of scenes, files as published."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import pytest
import torch

from rsmeta.config.model import ModelSpec
from rsmeta.errors import CheckpointError, ConfigError, UnknownNameError
from rsmeta.geo.bands import Band
from rsmeta.geo.sensors import known_band
from rsmeta.models import build_backbone, describe_checkpoint, list_backbones
from rsmeta.models.copernicus import RADAR_NM, SENTINEL2
from tests.unit.tiny_generated import (
    MANY,
    RADAR,
    TINY,
    adapters_merge_and_onnx_follows,
    tiny_published,
    write_published,
)

if TYPE_CHECKING:
    from pathlib import Path

TWELVE = tuple(map(known_band, SENTINEL2))
UNKNOWN = float("nan")
CONTEXT = {"date": "2023-07-14", "location": [47.5, -122.25], "gsd_m": 10}
DAYS = (datetime.date(2023, 7, 14) - datetime.date(1970, 1, 1)).days


def _theirs() -> Any:
    from torchgeo.models.copernicusfm import CopernicusFM

    return tiny_published(CopernicusFM, "patch_embed_spectral")


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("copernicus") / "CopernicusFM_ViT_base_varlang.pth"
    return write_published(_theirs(), file)


def _spec(official: Path, **keys: Any) -> ModelSpec:
    options = {**TINY, **keys.pop("options", {})}
    given = {"backbone": "copernicus_vit_b16", "options": options, "checkpoint": str(official)}
    return ModelSpec(**{**given, **keys})


def _codes(bands: tuple[Band, ...]) -> tuple[list[float], list[float]]:
    pairs = [
        RADAR_NM if band in RADAR else (band.wavelength_nm, band.width_nm or 10.0) for band in bands
    ]
    return [wave for wave, _ in pairs], [width for _, width in pairs]


@pytest.mark.parametrize(
    "bands",
    [TWELVE, TWELVE[3:4], RADAR, (*TWELVE[:2], RADAR[0]), MANY],
    ids=["twelve", "one", "radar", "mixed", "200"],
)
def test_tokens_and_features_are_those_of_torchgeo(official: Path, bands: tuple[Band, ...]) -> None:
    """Bands of a spectrum that say no width are as wide as they stand apart: 10 nm."""
    waves, widths = _codes(bands)
    theirs, ours = _theirs(), build_backbone(_spec(official), bands).eval()
    x = torch.randn(2, len(bands), 32, 32)
    with torch.no_grad():
        tokens = theirs.patch_embed_spectral(x, torch.tensor(waves), torch.tensor(widths))
        found = ours.vit.patch_embed(x).flatten(1, 2)
        torch.testing.assert_close(found, tokens, atol=2e-5, rtol=2e-5)
        wanted = theirs.forward_features(x, torch.full((2, 4), UNKNOWN), waves, widths)
        torch.testing.assert_close(ours(x).cls, wanted, atol=2e-5, rtol=2e-5)
    assert tokens.std() > 1e-2
    assert ours.stem_report.all_matched
    assert ours.load_report.missing == ("fc_norm.weight", "fc_norm.bias")
    assert ours.record.licence == "CC-BY-4.0"


@pytest.mark.parametrize("side", [32, 48])
@pytest.mark.parametrize("known", [["location"], ["gsd_m"], ["date"], [*CONTEXT]], ids="-".join)
def test_place_pixel_size_and_date_are_those_of_torchgeo(
    official: Path, known: list[str], side: int
) -> None:
    options = {key: CONTEXT[key] for key in known}
    waves, widths = _codes(TWELVE)
    metadata = [
        *((-122.25, 47.5) if "location" in known else (UNKNOWN, UNKNOWN)),
        DAYS if "date" in known else UNKNOWN,
        (8 * 10 / 1000) ** 2 if "gsd_m" in known else UNKNOWN,
    ]
    ours = build_backbone(_spec(official, options=options), TWELVE).eval()
    x = torch.randn(1, 12, side, side)
    with torch.no_grad():
        wanted = _theirs().forward_features(x, torch.tensor([metadata]), waves, widths)
        torch.testing.assert_close(ours(x).cls, wanted, atol=2e-5, rtol=2e-5)
        plain = build_backbone(_spec(official), TWELVE).eval()
        assert (plain(x).cls - wanted).abs().max() > 1e-3


def test_bands_of_unknown_wavelength_or_width(official: Path) -> None:
    bands = (*RADAR, TWELVE[3], Band("dem"), Band("odd", None, 1000.0))
    report = build_backbone(_spec(official), bands).stem_report
    assert report.origins == ("radar", "radar", "664.6 ± 15.5 nm", "mean of all", "mean of all")
    assert [f.reason for f in report.filters[3:]] == [
        "its wavelength is unknown", "its width is unknown",
    ]  # fmt: skip


def test_damaged_files_and_wrong_options_are_refused(official: Path, tmp_path: Path) -> None:
    for key, said in (
        ("patch_embed_spectral.fclayer.w1.bias", "no complete generator"),
        ("time_fc.weight", "does not embed place"),
    ):
        state = torch.load(official)
        del state[key]
        torch.save(state, tmp_path / "damaged.pth")
        with pytest.raises(CheckpointError, match=said):
            build_backbone(_spec(tmp_path / "damaged.pth"), TWELVE)
    for options in ({"location": [100, 0]}, {"gsd_m": 0}, {"date": "soon"}, {"deepth": 2}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            build_backbone(_spec(official, options=options), TWELVE)


def test_names_sizes_and_inspect(official: Path) -> None:
    line = dict(list_backbones())["copernicus_vit_b16"]
    assert "(published weights .pretrain: CC-BY-4.0)" in line
    told = describe_checkpoint(official)
    assert (told["family"], told["patch_px"], told["image_px"]) == ("Copernicus-FM", 8, 32)
    with torch.device("meta"):
        whole = build_backbone(ModelSpec(backbone="copernicus_vit_b16"), RADAR)
    assert (whole.dim, whole.depth, whole.patch_px) == (768, 12, 16)
    with pytest.raises(UnknownNameError):
        build_backbone(ModelSpec(backbone="copernicus_vit_l16"), RADAR)


def test_adapters_merge_and_onnx_follows(official: Path, tmp_path: Path) -> None:
    """What is known of the scenes stays in the merged bundle, which needs the file no more."""
    options = {**TINY, **CONTEXT}
    adapters_merge_and_onnx_follows("copernicus_vit_b16", official, options, tmp_path)
