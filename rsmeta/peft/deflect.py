"""Deflection: bands that the weights do not know turn the tokens that the known ones make."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from rsmeta.config.tuner import DeflectOptions
from rsmeta.errors import TunerError
from rsmeta.peft.adapter import Adapter, Part
from rsmeta.peft.plan import TUNERS, Plan, Tuner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.peft.sites import Sited

#: Deviations below this are one, in deviations of the band: the root of 0 has no gradient.
_FLAT = 1e-3


class Deflection(Adapter):
    """``delta(x, y) = turn(y + up(gelu(down(mean, deviation)))) - y`` at the stem; zero at first.

    Mean and deviation are those of each band in each patch; ``turn`` keeps the length that a
    token has without them. Differences of bands need no inputs of their own: they are sums of
    means, which ``down`` forms.

    Args:
        channels: Bands C.
        features: Width of a token D.
        patch_px: Side of a patch, pixels.
        width: Width in between.

    Source: the idea is that of "Parameter-Efficient Adaptation of Geospatial Foundation Models
    through Embedding Deflection", Thoreau, Marsocci and Derksen, ICCV 2025 (arXiv:2503.09493),
    which turns the values of attention in every block; here tokens are turned once, before
    block 0.
    """

    order: ClassVar[int] = 40

    def __init__(self, channels: int, features: int, patch_px: int, *, width: int = 32) -> None:
        super().__init__()
        self._patch_px = patch_px
        self.down = nn.Linear(2 * channels, width)
        self.up = nn.Linear(width, features)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    @property
    def rank(self) -> int:
        """Width in between."""
        return self.down.out_features

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the change (B, h, w, D) of tokens ``y`` for images ``x`` (B, C, H, W)."""
        seen = functional.gelu(self.down(self.statistics(x).to(self.down.weight.dtype)))
        moved: Tensor = y + self.up(seen)
        length, new = (one.norm(dim=-1, keepdim=True) for one in (y, moved))
        turned: Tensor = moved * (length / new.clamp_min(torch.finfo(new.dtype).tiny))
        return turned - y

    def statistics(self, x: Tensor) -> Tensor:
        """Return mean and deviation of every band in every patch, (B, h, w, 2 C)."""
        exact = x if x.dtype == torch.float64 else x.float()
        rows, cols = (side // self._patch_px for side in x.shape[-2:])
        patches = exact.reshape(*x.shape[:2], rows, self._patch_px, cols, self._patch_px)
        mean = patches.mean(dim=(3, 5), keepdim=True)
        deviation = (patches - mean).square().mean(dim=(3, 5)).clamp_min(_FLAT**2).sqrt()
        return torch.cat((mean[..., 0, :, 0], deviation), dim=1).movedim(1, -1)

    @classmethod
    def add_all(cls, y: Tensor, x: Tensor, parts: Sequence[Part]) -> Tensor:
        """Add the scaled change to tokens (B, D, h, w)."""
        (part,) = parts
        change: Tensor = part.adapter(x, y.movedim(1, -1))
        return y + (part.scale * change).movedim(-1, 1)


@TUNERS.register("deflect")
class DeflectTuner(Tuner):
    """DEFLECT: bands that the weights lack turn the tokens of those they know; runs as it is."""

    Options = DeflectOptions

    def plan(self, backbone: Sited) -> Plan:
        """Plan the deflection of the stem.

        Raises:
            TunerError: The backbone has no such stem, or no band that its weights lack.
        """
        spec, site = self.spec, backbone.stem_site()
        for name, given in (("positions", spec.positions), ("blocks", spec.blocks),
                            ("sites", spec.sites)):  # fmt: skip
            if given:
                raise TunerError(
                    f"tuner.method={spec.method} acts before the first block alone; omit "
                    f"tuner.{name}"
                )
        if site is None:
            raise TunerError(
                f"tuner.method={spec.method} needs a patch embedding that is one convolution of "
                f"all bands, and this backbone has another (channel groups, channel attention, "
                f"model.stem.strategy=project); use method lora"
            )
        if not backbone.new_bands:
            raise TunerError(
                f"tuner.method={spec.method} is for bands that the weights lack, and each of "
                f"these {site.in_features} has a filter of its own; use method lora"
            )
        module = cast("nn.Conv2d", backbone.get_submodule(site.module))
        adapter = Deflection(
            site.in_features, site.out_features, module.kernel_size[0], width=self.options.width
        )
        adapter.lr_scale = spec.lr_scale
        return Plan(adapters={site: adapter})
