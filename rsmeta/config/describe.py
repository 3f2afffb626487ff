"""Every configuration key with its default and meaning, and the JSON schema of the whole."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel

from rsmeta.config.settings import Settings

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo


class Key(NamedTuple):
    """One key: dotted path, default as YAML would show it, one line of help."""

    path: str
    default: str
    help: str


def describe_keys() -> list[tuple[str, list[Key]]]:
    """Return the keys of each section, in the order of the models; '' is the top level."""
    top: list[Key] = []
    sections: list[tuple[str, list[Key]]] = [("", top)]
    for name, field in Settings.model_fields.items():
        model = _section(field)
        if model is None:
            top.append(_key(name, field))
        else:
            sections.append((name, _keys(model, f"{name}.")))
    return sections


def json_schema() -> str:
    """Return the JSON schema of a configuration file, for editors' completion."""
    schema = Settings.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    for name, part in schema["properties"].items():
        if name != "seed":  # a section may also be the name of a preset
            schema["properties"][name] = {"anyOf": [part, {"type": "string"}]}
    return json.dumps(schema, indent=1) + "\n"


def _keys(model: type[BaseModel], prefix: str) -> list[Key]:
    keys: list[Key] = []
    for name, field in model.model_fields.items():
        inner = _section(field)
        keys += [_key(prefix + name, field)] if inner is None else _keys(inner, f"{prefix}{name}.")
    return keys


def _section(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _key(path: str, field: FieldInfo) -> Key:
    default: Any = field.get_default(call_default_factory=True)
    shown = "required" if field.is_required() else _shown(default)
    return Key(path, shown, field.description or "")


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(str, value)) + "]"
    return str(value)
