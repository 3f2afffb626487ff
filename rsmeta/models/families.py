"""Families of backbones: each builds those whose names begin as it says; timm has the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rsmeta.config.model import AUTO, AVERAGE
from rsmeta.errors import ConfigError, UnknownNameError
from rsmeta.models import names
from rsmeta.quick_import import quick_import
from rsmeta.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

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


def _on_use(module: str, name: str) -> Callable[..., Any]:
    """Return a function of ``rsmeta.models.MODULE`` that is imported when it is called."""

    def call(*given: Any) -> Any:
        return getattr(quick_import(f"rsmeta.models.{module}"), name)(*given)

    return call


BACKBONES.add(
    "timm",
    BackboneFamily(
        "", _on_use("timm.build", "build_timm"), names.timm_names, names.timm_line,
        _on_use("timm.describe", "describe_timm"), untagged,
    ),
)  # fmt: skip
BACKBONES.add(
    "satmae",
    BackboneFamily(
        names.SATMAE, _on_use("satmae.build", "build_satmae"), names.satmae_names,
        names.satmae_line, _on_use("satmae.describe", "describe_satmae"), untagged,
    ),
)  # fmt: skip
BACKBONES.add(
    "dofa",
    BackboneFamily(
        names.DOFA, _on_use("dofa.build", "build_dofa"), names.dofa_names, names.dofa_line,
        _on_use("dofa.describe", "describe_dofa"), untagged, from_wavelengths=True,
    ),
)  # fmt: skip
BACKBONES.add(
    "pixels",
    BackboneFamily(
        names.PIXELS, _on_use("pixels.backbone", "build_pixels"), names.pixel_names,
        names.pixels_line,
    ),
)  # fmt: skip
BACKBONES.add(
    "panopticon",
    BackboneFamily(
        names.PANOPTICON, _on_use("panopticon", "build_panopticon"), names.panopticon_names,
        names.panopticon_line, _on_use("panopticon", "describe_panopticon"), untagged,
        from_wavelengths=True,
    ),
)  # fmt: skip
BACKBONES.add(
    "copernicus",
    BackboneFamily(
        names.COPERNICUS, _on_use("copernicus", "build_copernicus"), names.copernicus_names,
        names.copernicus_line, _on_use("copernicus", "describe_copernicus"), untagged,
        from_wavelengths=True,
    ),
)  # fmt: skip
BACKBONES.add(
    "prithvi",
    BackboneFamily(
        names.PRITHVI, _on_use("prithvi", "build_prithvi"), names.prithvi_names,
        names.prithvi_line, _on_use("prithvi", "describe_prithvi"), untagged,
    ),
)  # fmt: skip
BACKBONES.add(
    "scalemae",
    BackboneFamily(
        names.SCALEMAE, _on_use("scalemae", "build_scalemae"), names.scalemae_names,
        names.scalemae_line, plain=untagged,
    ),
)  # fmt: skip
BACKBONES.add(
    "torchgeo",
    BackboneFamily(
        names.TORCHGEO, _on_use("torchgeo", "build_torchgeo"), names.torchgeo_names,
        names.torchgeo_line, plain=_on_use("torchgeo", "torchgeo_plain"),
    ),
)  # fmt: skip


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
            f"(DOFA, Panopticon, Copernicus-FM), not {spec.backbone}; use match"
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
    from rsmeta.models.reduction import reduction_of

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
