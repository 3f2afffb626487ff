"""Masked autoencoding: the published reference's numbers, any size, learning, round trips."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from rsmeta.config.model import ModelSpec
from rsmeta.geo.sensors import load_sensor
from rsmeta.models.satmae.build import build_satmae
from rsmeta.models.satmae.mae import GroupAutoencoder, draw_mask, from_patches, to_patches

if TYPE_CHECKING:
    from pathlib import Path

TEN = tuple(
    band for band in load_sensor("sentinel2_l1c").bands if band.name not in ("B01", "B09", "B10")
)
CLOSE = {"atol": 2e-5, "rtol": 1e-4}
TINY = {
    "embed_dim": 96, "depth": 3, "num_heads": 4, "channel_embed": 32, "patch_size": 8,
    "img_size": 32,
}  # fmt: skip
DECODER: dict[str, Any] = {"dim": 48, "channel_dim": 16, "depth": 1, "heads": 4}


def _autoencoder(*, outputs: Any = None, bands: Any = TEN, **options: Any) -> GroupAutoencoder:
    torch.manual_seed(0)
    spec = ModelSpec(backbone="satmae_vit_b16_group", options={**TINY, **options})
    encoder: Any = build_satmae(spec, bands).vit
    return GroupAutoencoder(encoder, outputs=outputs, **DECODER)


@pytest.mark.parametrize("masking", ["indep", "spatial"])
def test_equals_the_published_reference(fixtures_dir: Path, masking: str) -> None:
    folder = fixtures_dir / "satmae_group"
    io = load_file(folder / "mae_forward.io.safetensors")
    model = _autoencoder(outputs=range(10)).eval()
    model.load_published_state(load_file(folder / "mae.weights.safetensors"))
    x, noise = io["input"], io[f"{masking}.noise"]
    assert model.noise_shape(x, spatial=masking == "spatial") == tuple(noise.shape)
    assert torch.equal(draw_mask(noise, 0.75).restore, io[f"{masking}.ids_restore"])
    with torch.no_grad():
        made = model(x, noise)
        losses = model.loss(x, made), model.loss(x, made, normalise=True)
    assert torch.equal(made.hidden, io[f"{masking}.mask"])
    torch.testing.assert_close(made.latent, io[f"{masking}.latent"], **CLOSE)
    torch.testing.assert_close(made.pixels, io[f"{masking}.pred"], **CLOSE)
    torch.testing.assert_close(losses[0], io[f"{masking}.loss"], **CLOSE)
    torch.testing.assert_close(losses[1], io[f"{masking}.loss_norm_pix"], **CLOSE)


@pytest.mark.parametrize("spatial", [False, True])
@pytest.mark.parametrize("size", [(32, 32), (16, 40)])
def test_any_size_and_bands(size: tuple[int, int], spatial: bool) -> None:
    model = _autoencoder(bands=TEN[2:])
    x = torch.randn(2, 8, *size)
    made = model(x, torch.rand(model.noise_shape(x, spatial=spatial)))
    count = size[0] * size[1] // 64
    assert made.pixels.shape == (2, 8, count, 64)
    assert made.hidden.shape == (2, 3, count)
    if spatial:
        assert torch.equal(made.hidden[:, 0], made.hidden[:, 2])
    model.loss(x, made, normalise=True).backward()
    used = {name for name, p in model.named_parameters() if p.grad is not None}
    assert {name for name, _ in model.named_parameters()} - used == {"encoder.channel_cls_embed"}


def test_each_band_is_compared_with_itself() -> None:
    """A decoder that predicts the right constant for each band of its group has no loss."""
    model = _autoencoder(bands=TEN[::-1])
    x = torch.arange(10.0).reshape(1, 10, 1, 1).expand(1, 10, 32, 32)
    for group in model.encoder.groups:
        head: Any = model.decoder_pred[str(group.index)]
        torch.nn.init.zeros_(head.weight)
        head.bias.data = x[0, list(group.inputs), 0, 0].repeat_interleave(64)
    made = model(x, torch.rand(1, 48))
    assert model.loss(x, made).item() == 0
    assert torch.equal(made.pixels, to_patches(x, 8))


def test_patches_with_an_invalid_pixel_do_not_count() -> None:
    model = _autoencoder(bands=TEN[:4])
    x = torch.randn(1, 4, 32, 32)
    made = model(x, torch.rand(1, 32))
    valid = torch.ones(1, 32, 32, dtype=torch.bool)
    assert torch.equal(model.loss(x, made, valid=valid), model.loss(x, made))
    valid[0, 5, 5] = False
    strange = x.clone()
    strange[:, :, :8, :8] = 1e6
    of_others = made.hidden.clone()
    of_others[:, :, 0] = 0
    for normalise in (False, True):
        found = model.loss(strange, made, valid=valid, normalise=normalise)
        wanted = model.loss(x, made._replace(hidden=of_others), normalise=normalise)
        torch.testing.assert_close(found, wanted)
    assert model.loss(x, made, valid=torch.zeros_like(valid)) == 0


def test_patches_become_images_again() -> None:
    x = torch.randn(2, 3, 16, 24)
    assert torch.equal(from_patches(to_patches(x, 8), 2, 3), x)


def test_it_learns() -> None:
    model = _autoencoder(bands=TEN[:4], embed_dim=48, depth=1)
    rows = torch.linspace(-1, 1, 32)
    x = (rows[:, None] * rows).expand(2, 4, 32, 32) * torch.tensor([1.0, 2, 3, 4])[:, None, None]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(80):
        noise = torch.rand(model.noise_shape(x, spatial=False), generator=generator)
        loss = model.loss(x, model(x, noise))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


def test_what_it_leaves_is_a_checkpoint(tmp_path: Path) -> None:
    model = _autoencoder()
    save_file(model.published_state(), tmp_path / "mae.safetensors")
    options = {key: TINY[key] for key in ("embed_dim", "depth", "num_heads")}
    spec = ModelSpec(
        backbone="satmae_vit_b16_group", options=options,
        checkpoint=str(tmp_path / "mae.safetensors"),
    )  # fmt: skip
    backbone: Any = build_satmae(spec, TEN)
    assert backbone.load_report.missing == ("channel_cls_embed",)
    mine, theirs = model.encoder.state_dict(), backbone.vit.state_dict()
    assert all(torch.equal(mine[key], theirs[key]) for key in mine if key != "channel_cls_embed")


def test_arguments_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="without global_pool"):
        _autoencoder(global_pool=True)
    with pytest.raises(ValueError, match="must name each of 10 bands once"):
        _autoencoder(outputs=range(9))
    with pytest.raises(ValueError, match="must be in"):
        draw_mask(torch.rand(1, 4), 1.0)
