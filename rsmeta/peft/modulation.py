"""The modulators of a whole backbone: which sites share one, and which sites are dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from rsmeta.errors import TunerError
from rsmeta.peft.adapted import AdaptedModule
from rsmeta.peft.modulator import Modulator

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from torch import nn

    from rsmeta.config.meta import Granularity, MetaSettings
    from rsmeta.peft.sites import Site


def modulate(backbone: nn.Module, settings: MetaSettings, scale: float) -> None:
    """Give every adapted site the modulator that the settings ask for.

    Sites that share a scale get the same module: one parameter, trained and saved once.

    Args:
        backbone: A backbone with adapters.
        settings: ``granularity``, ``parametrisation``, ``maximum``.
        scale: Initial value of every scale, unitless.

    Raises:
        TunerError: ``scale`` cannot be had in that parametrisation, or could never be left.
    """
    if settings.learned and scale == 0 and settings.parametrisation != "raw":
        raise TunerError(
            f"tuner.scale=0 gives meta.strategy={settings.strategy} no gradient to learn from; "
            f"start from a scale above 0, or use meta.parametrisation=raw"
        )
    if settings.learned and not any(True for _ in _places(backbone)):
        raise TunerError(
            f"meta.strategy={settings.strategy} has no scales to learn, because this tuner "
            f"inserts no adapters; use meta.strategy=fixed, or a tuner.method such as lora"
        )
    shared: dict[object, Modulator] = {}
    for module, position, site in _places(backbone):
        key = _shared_by(site, settings.granularity)
        if key not in shared:
            channels = site.out_features if settings.granularity == "channel" else None
            shared[key] = _modulator(settings, scale, channels)
        module.modulators[position] = shared[key]


def site_modulators(backbone: nn.Module) -> dict[Site, Modulator]:
    """Return the modulator of every adapted site, in the order of blocks; some may be shared."""
    found = {
        site: cast("Modulator", module.modulators[position])
        for module, position, site in _places(backbone)
    }
    return dict(sorted(found.items(), key=lambda item: item[0].block))


def scales_of(backbone: nn.Module) -> dict[str, float]:
    """Return the scale of each adapted site by name, e.g. ``3.q``; means over channels."""
    return {site.name: m.mean() for site, m in site_modulators(backbone).items()}


def keep_sites(backbone: nn.Module, names: Collection[str]) -> None:
    """Drop the adapters of all sites but these; what is left is as if they had scale 0.

    Args:
        backbone: A backbone with adapters that are not merged.
        names: Names of the sites that stay, e.g. ``3.q``.

    Raises:
        TunerError: A name is of no adapted site.
    """
    known = {site.name for _, _, site in _places(backbone)}
    unknown = sorted(set(names) - known)
    if unknown:
        raise TunerError(f"no adapter at site {unknown[0]}; there are {', '.join(sorted(known))}")
    for path, module in list(backbone.named_modules()):
        if isinstance(module, AdaptedModule):
            _keep_in(module, names)
            if not module.sites:
                backbone.set_submodule(path, module.base)


def _keep_in(module: AdaptedModule, names: Collection[str]) -> None:
    for position, site in list(module.sites.items()):
        if site.name not in names:
            del module.sites[position], module.adapters[position], module.modulators[position]


def _places(backbone: nn.Module) -> Iterator[tuple[AdaptedModule, str, Site]]:
    for module in backbone.modules():
        if isinstance(module, AdaptedModule):
            for position, site in module.sites.items():
                yield module, position, site


def _shared_by(site: Site, granularity: Granularity) -> object:
    if granularity == "block":
        return site.block
    return site.position if granularity == "position" else site.name


def _modulator(settings: MetaSettings, scale: float, channels: int | None) -> Modulator:
    try:
        return Modulator(
            scale, form=settings.parametrisation, maximum=settings.maximum, channels=channels
        )
    except ValueError as error:
        raise TunerError(
            f"tuner.scale={scale:g} does not fit meta.parametrisation={settings.parametrisation} "
            f"({error}); choose another"
        ) from None
