"""Families of backbones: each builds those whose names begin as it says; timm has the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rsmeta.config.model import AUTO, AVERAGE
from rsmeta.errors import ConfigError, UnknownNameError
from rsmeta.models.dofa.build import PREFIX as DOFA_PREFIX
from rsmeta.models.dofa.build import build_dofa, dofa_line, dofa_names
from rsmeta.models.dofa.describe import describe_dofa
from rsmeta.models.pixels import PREFIX as PIXELS_PREFIX
from rsmeta.models.pixels import build_pixels, pixel_names, pixels_line
from rsmeta.models.prithvi import PREFIX as PRITHVI_PREFIX
from rsmeta.models.prithvi import build_prithvi, describe_prithvi, prithvi_line, prithvi_names
from rsmeta.models.reduction import reduction_of
from rsmeta.models.satmae.build import PREFIX, build_satmae, satmae_names
from rsmeta.models.satmae.describe import describe_satmae, satmae_line
from rsmeta.models.scalemae import PREFIX as SCALEMAE_PREFIX
from rsmeta.models.scalemae import build_scalemae, scalemae_line, scalemae_names
from rsmeta.models.timm.build import backbone_names, build_timm, timm_line
from rsmeta.models.timm.describe import describe_timm
from rsmeta.models.torchgeo import PREFIX as TORCHGEO_PREFIX
from rsmeta.models.torchgeo import build_torchgeo, torchgeo_line, torchgeo_names, torchgeo_plain
from rsmeta.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from rsmeta.config.model import ModelSpec
    from rsmeta.geo.bands import Band
    from rsmeta.models.backbone import Backbone
    from rsmeta.models.checkpoint import Checkpoint


@dataclass(frozen=True)
class BackboneFamily:
    """One way to build backbones.

    Args:
        prefix: How the names of its backbones begin; empty: any that no other family has.
        build: Makes a backbone from settings and bands; without bands, for those that the
            weights expect.
        names: Returns the names of its backbones.
        line: Says in one line what a name means.
        describe: Says what a checkpoint of the family is; none: it is of another family.
        from_wavelengths: Its weights make filters of wavelengths (stem strategy ``wavelength``).
        plain: Returns the backbone and options that build the same network whatever its weights.
    """

    prefix: str
    build: Callable[[ModelSpec, Sequence[Band] | None], Backbone]
    names: Callable[[], tuple[str, ...]]
    line: Callable[[str], str]
    describe: Callable[[Checkpoint], Mapping[str, Any] | None] = lambda _: None
    plain: Callable[[ModelSpec], tuple[str, dict[str, Any]]] = lambda spec: (
        spec.backbone,
        dict(spec.options),
    )
    from_wavelengths: bool = False


#: Families by name. Other packages add theirs through the entry-point group ``rsmeta.backbones``.
BACKBONES: Registry[BackboneFamily] = Registry("backbone", BackboneFamily)


def untagged(spec: ModelSpec) -> tuple[str, dict[str, Any]]:
    """Return the backbone without the tag of its weights, and its options."""
    return spec.backbone.partition(".")[0], dict(spec.options)


BACKBONES.add(
    "timm",
    BackboneFamily("", build_timm, backbone_names, timm_line, describe_timm, untagged),
)
BACKBONES.add(
    "satmae",
    BackboneFamily(PREFIX, build_satmae, satmae_names, satmae_line, describe_satmae, untagged),
)
BACKBONES.add(
    "dofa",
    BackboneFamily(
        DOFA_PREFIX, build_dofa, dofa_names, dofa_line, describe_dofa, untagged,
        from_wavelengths=True,
    ),
)  # fmt: skip
BACKBONES.add(
    "pixels",
    BackboneFamily(PIXELS_PREFIX, build_pixels, pixel_names, pixels_line),
)
BACKBONES.add(
    "prithvi",
    BackboneFamily(
        PRITHVI_PREFIX, build_prithvi, prithvi_names, prithvi_line, describe_prithvi, untagged
    ),
)
BACKBONES.add(
    "scalemae",
    BackboneFamily(SCALEMAE_PREFIX, build_scalemae, scalemae_names, scalemae_line, plain=untagged),
)
BACKBONES.add(
    "torchgeo",
    BackboneFamily(
        TORCHGEO_PREFIX, build_torchgeo, torchgeo_names, torchgeo_line, plain=torchgeo_plain
    ),
)


def build_backbone(spec: ModelSpec, bands: Sequence[Band] | None = None) -> Backbone:
    """Build the backbone that settings name, for these bands.

    Args:
        spec: ``backbone``, ``options``, ``checkpoint``, ``pretrained``, ``stem``.
        bands: Bands of the input, in its order; none: those that the weights expect.

    Raises:
        UnknownNameError: No family has a backbone of that name.
        ConfigError: An option that does not fit.
        CheckpointError: Weights that are unavailable or do not fit.
    """
    if spec.backbone in (AUTO, AVERAGE):
        raise ConfigError(f"model.backbone={spec.backbone} is no backbone; name one: pixels, …")
    family = _family(spec.backbone)
    if not family.prefix and spec.backbone.partition(".")[0] not in family.names():
        raise UnknownNameError("backbone", spec.backbone, [name for name, _ in list_backbones()])
    if spec.stem.strategy == "wavelength" and not family.from_wavelengths:
        raise ConfigError(
            f"model.stem.strategy=wavelength needs weights that make filters of wavelengths "
            f"(dofa_vit_b16, dofa_vit_l16), not {spec.backbone}; use match"
        )
    if spec.stem.reduce is not None and bands is not None:
        return _reduced(family, spec, bands)
    if spec.stem.strategy != "project" or bands is None:
        return family.build(spec, bands)
    as_published = spec.stem.model_copy(update={"strategy": "match"})
    backbone = family.build(spec.model_copy(update={"stem": as_published}), None)
    backbone.project(bands)
    return backbone


def plain_backbone(spec: ModelSpec) -> tuple[str, dict[str, Any]]:
    """Return the backbone and options that build a network like this for any weights."""
    return _family(spec.backbone).plain(spec)


def _reduced(family: BackboneFamily, spec: ModelSpec, bands: Sequence[Band]) -> Backbone:
    """Build a backbone for fewer bands, and what makes them of the many."""
    reduction = reduction_of(spec.stem, bands)
    if spec.stem.strategy == "match" and reduction.kind == "pca":
        # Components have no wavelengths to be matched by.
        by_position = spec.stem.model_copy(update={"strategy": "repeat"})
        spec = spec.model_copy(update={"stem": by_position})
    backbone = family.build(spec, reduction.bands)
    backbone.reduce(bands, reduction)
    return backbone


def list_backbones() -> list[tuple[str, str]]:
    """Return (name, one line) of every backbone, sorted by name."""
    return sorted(
        (name, family.line(name)) for _, family in BACKBONES.items() for name in family.names()
    )


def _family(name: str) -> BackboneFamily:
    """Return the family with the longest prefix that ``name`` begins with."""
    families = [family for _, family in BACKBONES.items() if name.startswith(family.prefix)]
    return max(families, key=lambda family: len(family.prefix))
