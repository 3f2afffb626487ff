"""Families of backbones: each builds those whose names begin as it says; timm has the rest."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from rsmeta.config.model import AUTO, AVERAGE
from rsmeta.errors import ConfigError, UnknownNameError
from rsmeta.models import names
from rsmeta.quick_import import quick_import, without_collection
from rsmeta.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rsmeta.config.model import ModelSpec
    from rsmeta.geo.bands import Band
    from rsmeta.models.backbone import Backbone
    from rsmeta.models.checkpoint import Checkpoint


def as_named(spec: ModelSpec) -> tuple[str, dict[str, Any]]:
    """Return the backbone and its options."""
    return spec.backbone, dict(spec.options)


def untagged(spec: ModelSpec) -> tuple[str, dict[str, Any]]:
    """Return the backbone without the tag of its weights, and its options."""
    return spec.backbone.partition(".")[0], dict(spec.options)


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
    plain: Callable[[ModelSpec], tuple[str, dict[str, Any]]] = as_named
    from_wavelengths: bool = False


#: Families by name. Other packages add theirs through the entry-point group ``rsmeta.backbones``.
BACKBONES: Registry[BackboneFamily] = Registry("backbone", BackboneFamily)


def _on_use(module: str, name: str) -> Callable[..., Any]:
    """Return a function of ``rsmeta.models.MODULE`` that is imported when it is called."""

    def call(*given: Any) -> Any:
        with without_collection():  # a family's package is imported where it builds
            return getattr(import_module(f"rsmeta.models.{module}"), name)(*given)

    return call


class _Own(NamedTuple):
    """Where a family of this package is: its functions bear its name.

    Attributes:
        prefix: As of ``BackboneFamily``.
        build: Module with ``build_NAME``, imported when it is called.
        describe: Module with ``describe_NAME``; none: its files cannot be told from others.
        plain: As of ``BackboneFamily``.
        from_wavelengths: As of ``BackboneFamily``.
    """

    prefix: str
    build: str
    describe: str | None = None
    plain: Callable[[ModelSpec], tuple[str, dict[str, Any]]] = untagged
    from_wavelengths: bool = False

    def family(self, name: str) -> BackboneFamily:
        """Return the family, of which nothing has been imported yet."""
        return BackboneFamily(
            self.prefix,
            _on_use(self.build, f"build_{name}"),
            getattr(names, f"{name}_names"),
            getattr(names, f"{name}_line"),
            _on_use(self.describe, f"describe_{name}") if self.describe else lambda _: None,
            self.plain,
            self.from_wavelengths,
        )


_OWN = {
    "timm": _Own("", "timm.build", "timm.describe"),
    "satmae": _Own(names.SATMAE, "satmae.build", "satmae.describe"),
    "dofa": _Own(names.DOFA, "dofa.build", "dofa.describe", from_wavelengths=True),
    "pixels": _Own(names.PIXELS, "pixels.backbone", plain=as_named),
    "panopticon": _Own(names.PANOPTICON, "panopticon", "panopticon", from_wavelengths=True),
    "copernicus": _Own(names.COPERNICUS, "copernicus", "copernicus", from_wavelengths=True),
    "prithvi": _Own(names.PRITHVI, "prithvi", "prithvi"),
    "scalemae": _Own(names.SCALEMAE, "scalemae"),
    "torchgeo": _Own(names.TORCHGEO, "torchgeo", plain=_on_use("torchgeo", "torchgeo_plain")),
}
for _name, _own in _OWN.items():
    BACKBONES.add(_name, _own.family(_name))


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
    backbone = _for_bands(family, spec, bands)
    quick_import("rsmeta.models.packed").pack_frozen(backbone)
    return backbone


def _for_bands(family: BackboneFamily, spec: ModelSpec, bands: Sequence[Band] | None) -> Backbone:
    """Build a backbone as it is, or with what makes its own bands of the input's."""
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
