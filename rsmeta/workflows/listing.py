"""List the names that a configuration can use, with a one-line description each."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rsmeta.errors import UnknownNameError
from rsmeta.workflows.source_entries import Entry, source_entries

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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
    return (thing.__doc__ or "").strip().split("\n")[0]


def _backbones() -> list[tuple[str, str]]:
    from rsmeta.models.families import list_backbones

    return list_backbones()


def _tuners() -> list[tuple[str, str]]:
    kinds = {"TUNERS": ""}
    return [(entry.name, entry.line.rstrip(".")) for entry in _entries("peft", kinds)]


def _heads() -> list[tuple[str, str]]:
    return _with_options("heads", {"HEADS": "pixels: ", "CLASSIFIERS": "images: "})


def _losses() -> list[tuple[str, str]]:
    kinds = {
        "LOSSES": "",
        "MULTILABEL_LOSSES": "multilabel: ",
        "REGRESSION_LOSSES": "regression: ",
    }
    return _with_options("losses", kinds)


def _with_options(package: str, kinds: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return names and lines, with the kind before and the options and their defaults behind."""
    found = []
    for entry in _entries(package, kinds):
        shown = ", ".join(f"{name}: {default}" for name, default in entry.options.items())
        behind = f" ({shown})" if shown else ""
        found.append((entry.name, kinds[entry.registry] + entry.line.rstrip(".") + behind))
    return found


def _entries(package: str, registries: Iterable[str]) -> list[Entry]:
    """Return what the registries of a package hold; plugins apart, without importing torch."""
    entries = source_entries(package)
    if entries is not None:
        return entries
    module = import_module(f"rsmeta.{package}")
    return [
        Entry(registry, name, _first_line(thing), _option_defaults(thing))
        for registry in registries
        for name, thing in getattr(module, registry).items()
    ]


def _option_defaults(thing: Any) -> dict[str, object]:
    return {name: field.default for name, field in thing.Options.model_fields.items()}


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
