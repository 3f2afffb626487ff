"""The modulators of a backbone: which sites share one, and which sites are dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from rsmeta.errors import TunerError
from rsmeta.peft.adapted import AdaptedModule
from rsmeta.peft.modulator import Level, Modulator

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from torch import nn

    from rsmeta.config.meta import Granularity, MetaSettings
    from rsmeta.peft.adapter import Adapter
    from rsmeta.peft.sites import Site


def modulate(backbone: nn.Module, settings: MetaSettings) -> None:
    """Give every adapted site the modulator that the settings ask for.

    Sites that share a scale get the same module: one parameter, trained and saved once. It
    starts at the method's scale. Sites of different methods share none. Where scales are fixed,
    every site has its own.

    Args:
        backbone: A backbone with adapters.
        settings: ``granularity``, ``parametrisation``, ``maximum``.

    Raises:
        TunerError: A method's scale is out of the parametrisation's range, or could never
            change; or fewer sites are adapted than shall be trained at a time.
    """
    adapted = list(_adapted(backbone))
    zero = any(module.scale == 0 for module in adapted)
    if settings.learned and zero and settings.parametrisation != "raw":
        raise TunerError(
            f"tuner.scale=0 gives meta.strategy={settings.strategy} no gradient to learn from; "
            f"start from a scale above 0, or use meta.parametrisation=raw"
        )
    if settings.learned and not adapted:
        raise TunerError(
            f"meta.strategy={settings.strategy} has no scales to learn, because this tuner "
            f"inserts no adapters; use meta.strategy=fixed, or a tuner.method such as lora"
        )
    count = sum(len(module.sites) for module in adapted)
    if settings.top_sites is not None and settings.top_sites > count:
        raise TunerError(
            f"meta.top_sites={settings.top_sites} is more than the {count} sites that this tuner "
            f"adapts; lower it, or drop it"
        )
    granularity = settings.granularity if settings.learned else "site"
    shared: dict[object, Modulator] = {}
    levels: dict[object, Level] = {}
    for module in adapted:
        for position, site in module.sites.items():
            key = module.name, _shared_by(site, granularity)
            if key not in shared:
                channels = site.out_features if granularity == "channel" else None
                shared[key] = modulator = _modulator(settings, module.scale, channels)
                if granularity == "hierarchical":
                    modulator.share(_levels(levels, module, site, modulator))
            module.modulators[position] = shared[key]


def site_modulators(backbone: nn.Module) -> dict[str, Modulator]:
    """Return the modulator of every adapted site, in the order of blocks; some may be shared.

    A site is labelled by name, e.g. ``3.q``, and with several methods also by method:
    ``3.q lora``.
    """
    found = {
        module.label(position): (site.block, cast("Modulator", module.modulators[position]))
        for module in _adapted(backbone)
        for position, site in module.sites.items()
    }
    in_order = sorted(found.items(), key=lambda item: item[1][0])
    return {label: modulator for label, (_, modulator) in in_order}


def scale_parameters(module: nn.Module) -> list[nn.Parameter]:
    """Return every ``rho`` that the scales inside ``module`` are computed from, each once."""
    return [m.rho for m in module.modules() if isinstance(m, Modulator | Level)]


def scales_of(backbone: nn.Module) -> dict[str, float]:
    """Return the scale of each adapted site by its label; the mean over its channels."""
    return {label: m.mean() for label, m in site_modulators(backbone).items()}


def reset_scales(backbone: nn.Module, value: float) -> None:
    """Set every scale to the same value, as if all had started there; see ``Modulator.reset``."""
    for modulator in site_modulators(backbone).values():
        modulator.reset(value)


def fixed_sites(backbone: nn.Module) -> frozenset[str]:
    """Return the sites that cannot be dropped one by one, because later ones depend on them."""
    return frozenset(
        module.label(position)
        for module in _adapted(backbone)
        for position in module.sites
        if not cast("Adapter", module.adapters[position]).stands_alone
    )


def keep_sites(backbone: nn.Module, names: Collection[str]) -> None:
    """Drop the adapters of all sites but these; the output is as if the others had scale 0.

    Args:
        backbone: A backbone with adapters that are not merged.
        names: The sites to keep, as ``site_modulators`` labels them.

    Raises:
        TunerError: A name is no adapted site's, or a site that others depend on would go alone.
    """
    known, fixed = set(site_modulators(backbone)), fixed_sites(backbone)
    unknown = sorted(set(names) - known)
    if unknown:
        raise TunerError(f"no adapter at site {unknown[0]}; there are {', '.join(sorted(known))}")
    gone = fixed - set(names)
    if gone and gone != fixed:
        raise TunerError(
            f"the site {min(gone)} cannot be dropped alone, because later sites depend on it"
        )
    # From the inside out, since the modules of several methods are nested.
    for path, module in reversed(list(backbone.named_modules())):
        if isinstance(module, AdaptedModule):
            _keep_in(module, names)
            if not module.sites:
                backbone.set_submodule(path, module.base)


def _keep_in(module: AdaptedModule, names: Collection[str]) -> None:
    for position in list(module.sites):
        if module.label(position) not in names:
            cast("Adapter", module.adapters[position]).detach()
            del module.sites[position], module.adapters[position], module.modulators[position]


def _adapted(backbone: nn.Module) -> Iterator[AdaptedModule]:
    return (module for module in backbone.modules() if isinstance(module, AdaptedModule))


def _levels(
    levels: dict[object, Level], module: AdaptedModule, site: Site, modulator: Modulator
) -> list[Level]:
    """Return what a site shares with all sites of its method, its position and its block."""
    keys = [(module.name, what) for what in ("all", site.position, site.block)]
    return [levels.setdefault(key, Level(float(modulator.rho))) for key in keys]


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
