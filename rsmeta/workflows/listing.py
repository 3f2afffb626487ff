"""List the names that a configuration can use, with a one-line description each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rsmeta.errors import UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo

KINDS = ("backbones", "tuners", "heads", "losses", "sensors", "datasets", "presets")


def listing(kind: str) -> list[tuple[str, str]]:
    """Return (name, description) of all entries of a kind, sorted by name.

    Args:
        kind: One of ``KINDS``.

    Raises:
        UnknownNameError: The kind is unknown.
    """
    if kind not in KINDS:
        raise UnknownNameError("kind", kind, KINDS)
    return sorted(_LISTERS[kind]())


def _first_line(thing: Any) -> str:
    return (thing.__doc__ or "").strip().split("\n")[0].rstrip(".")


def _options(fields: Mapping[str, FieldInfo]) -> str:
    """Return options and their defaults in brackets; empty if there are none."""
    shown = ", ".join(f"{name}: {field.default}" for name, field in fields.items())
    return f" ({shown})" if shown else ""


def _backbones() -> list[tuple[str, str]]:
    from rsmeta.models.families import list_backbones

    return list_backbones()


def _tuners() -> list[tuple[str, str]]:
    from rsmeta.peft import TUNERS

    return [(name, _first_line(thing)) for name, thing in TUNERS.items()]


def _heads() -> list[tuple[str, str]]:
    from rsmeta.heads import CLASSIFIERS, HEADS

    return [
        (name, unit + _first_line(thing) + _options(thing.Options.model_fields))
        for unit, registry in (("pixels: ", HEADS), ("images: ", CLASSIFIERS))
        for name, thing in registry.items()
    ]


def _losses() -> list[tuple[str, str]]:
    from rsmeta.losses import LOSSES, MULTILABEL_LOSSES, REGRESSION_LOSSES

    kinds = (("", LOSSES), ("multilabel: ", MULTILABEL_LOSSES), ("regression: ", REGRESSION_LOSSES))
    return [
        (name, task + _first_line(thing) + _options(thing.Options.model_fields))
        for task, registry in kinds
        for name, thing in registry.items()
    ]


def _sensors() -> list[tuple[str, str]]:
    from rsmeta.geo.sensors import load_sensor, sensor_names

    sensors = [load_sensor(name) for name in sensor_names()]
    return [(s.name, f"{s.title}: {', '.join(band.name for band in s.bands)}") for s in sensors]


def _datasets() -> list[tuple[str, str]]:
    from rsmeta.config.data_kinds import data_kinds, kind_help
    from rsmeta.config.torchgeo import KNOWN_DATASETS

    named = [(f"torchgeo: {known.name}", known.title) for known in KNOWN_DATASETS.values()]
    kinds = [(name, kind_help(model)) for name, model in data_kinds().items()]
    return [*kinds, *named]


def _presets() -> list[tuple[str, str]]:
    from rsmeta.config.load import PRESET_SECTIONS, preset_names

    return [
        (f"{section}: {name}", _preset_line(section, name))
        for section in PRESET_SECTIONS
        for name in preset_names(section)
    ]


def _preset_line(section: str, name: str) -> str:
    from rsmeta.config.load import preset_comment, preset_companion

    companion = preset_companion(section, name)
    suffix = f"; sets meta: {companion} unless meta is given" if companion else ""
    return preset_comment(section, name) + suffix


_LISTERS = {
    "backbones": _backbones,
    "tuners": _tuners,
    "heads": _heads,
    "losses": _losses,
    "sensors": _sensors,
    "datasets": _datasets,
    "presets": _presets,
}
