"""A backbone: patches, each through residual MLPs; small enough to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from rsmeta.config.base import Strict
from rsmeta.config.load import validate
from rsmeta.models.backbone import Backbone, Features
from rsmeta.models.families import BackboneFamily
from rsmeta.models.records import BackboneRecord
from rsmeta.models.stem import random_stem
from rsmeta.peft import Site

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.config.model import ModelSpec
    from rsmeta.geo.bands import Band


class MLPOptions(Strict):
    """Options of the backbone: keys of ``model.options``."""

    dim: int = Field(default=32, ge=1, description="width of a token")
    depth: int = Field(default=2, ge=1, description="number of blocks")
    patch_px: int = Field(default=4, ge=1, description="side of a patch")


class Block(nn.Module):
    """``x + mlp2(gelu(mlp1(norm(x))))``."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.mlp1 = nn.Linear(dim, 2 * dim)
        self.mlp2 = nn.Linear(2 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens (B, h, w, D) of tokens (B, h, w, D)."""
        return x + self.mlp2(functional.gelu(self.mlp1(self.norm(x))))


class MLPBackbone(Backbone):
    """Patches that never meet one another; weights are random."""

    def __init__(self, bands: Sequence[Band], options: MLPOptions) -> None:
        record = BackboneRecord("mlp_tiny", "mlp", None, None, None, None, 32, None)
        super().__init__(bands, record=record, stem_report=random_stem(bands), load_report=None)
        self.options = options
        self._patch_embed = nn.Conv2d(
            len(bands), options.dim, options.patch_px, stride=options.patch_px
        )
        self.blocks = nn.ModuleList(Block(options.dim) for _ in range(options.depth))

    @property
    def dim(self) -> int:
        """Width of a token."""
        return self.options.dim

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return self.options.depth

    @property
    def patch_px(self) -> int:
        """Side of a patch, pixels."""
        return self.options.patch_px

    @property
    def patch_embed(self) -> nn.Module:
        """The layer that makes tokens of an image."""
        return self._patch_embed

    def sites(self) -> tuple[Site, ...]:
        """Return the two linear layers of each block."""
        wide = 2 * self.dim
        return tuple(
            site
            for i in range(self.depth)
            for site in (
                Site(i, "mlp1", self.dim, wide, f"blocks.{i}.mlp1"),
                Site(i, "mlp2", wide, self.dim, f"blocks.{i}.mlp2"),
            )
        )

    def forward(self, x: Tensor) -> Features:
        """Return the features of the last block."""
        (last,) = self.dense(x, [self.depth - 1])
        return Features(last, last.mean(dim=(2, 3)))

    def dense(self, x: Tensor, depths: Sequence[int]) -> list[Tensor]:
        """Return the features (B, D, h, w) after several blocks."""
        tokens = self.patch_embed(self.enter(x)).movedim(1, -1)
        maps = []
        for block in self.blocks:
            tokens = block(tokens)
            maps.append(tokens.movedim(-1, 1))
        return [maps[depth] for depth in depths]


def build(spec: ModelSpec, bands: Sequence[Band] | None) -> MLPBackbone:
    """Build the backbone that settings name."""
    options = validate(MLPOptions, spec.options, "model.options")
    return MLPBackbone(bands or [], options)


FAMILY = BackboneFamily(
    prefix="mlp_",
    build=build,
    names=lambda: ("mlp_tiny",),
    line=lambda name: "Patches through residual MLPs, random weights",
)
