"""Every configuration key with its default and meaning, and the JSON schema of the whole."""

from __future__ import annotations

import json
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from rsmeta.config.base import WithOptions
from rsmeta.config.composing import EXTENDS
from rsmeta.config.data import DataSettings
from rsmeta.config.data_kinds import data_kinds
from rsmeta.config.images import ImageFileSettings
from rsmeta.config.load import PRESET_SECTIONS, preset_names
from rsmeta.config.meta import MetaSettings
from rsmeta.config.settings import Settings
from rsmeta.config.tuner import TunerSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic.fields import FieldInfo


class Key(NamedTuple):
    """One key: dotted path, default as YAML would show it, one line of help."""

    path: str
    default: str
    help: str


def describe_keys(settings: type[BaseModel] = Settings) -> list[tuple[str, list[Key]]]:
    """Return the keys of each section, in the order of the models; '' is the top level.

    Where keys follow from a section's ``kind``, those of the first kind are the section's; the
    others follow as sections such as ``data (kind: folder)``, with what they add.
    """
    top: list[Key] = []
    sections: list[tuple[str, list[Key]]] = [("", top)]
    for name, field in settings.model_fields.items():
        model = DataSettings if settings is Settings and name == "data" else _section(field)
        if model is None:
            top.append(_key(name, field))
        else:
            sections.append((name, _keys(model, f"{name}.")))
            if settings is Settings and name == "data":
                sections += _image_keys(DataSettings)
    return sections


def _image_keys(scenes: type[BaseModel]) -> list[tuple[str, list[Key]]]:
    """Return what kinds of image data add to the keys of scenes: shared keys, then their own."""
    kinds = [(name, model) for name, model in data_kinds().items() if name != "scenes"]
    return [
        ("data (images)", _new_keys(ImageFileSettings, [scenes])),
        *((f"data (kind: {k})", _new_keys(m, [scenes, ImageFileSettings])) for k, m in kinds),
    ]


def _new_keys(model: type[BaseModel], bases: Sequence[type[BaseModel]]) -> list[Key]:
    """Return the keys of a model whose help is not that of one of its bases."""
    known = {
        (name, field.description) for base in bases for name, field in base.model_fields.items()
    }
    new = {
        name for name, field in model.model_fields.items() if (name, field.description) not in known
    }
    return [key for key in _keys(model, "data.") if key.path.split(".")[1] in new]


def json_schema() -> str:
    """Return the JSON schema of a configuration file, for editors' completion."""
    schema = Settings.model_json_schema(schema_generator=_Untitled)
    for name in ("TunerSpec", "SiteOverride"):
        schema["$defs"][name]["properties"] |= _options_schema(TunerSpec)
    schema["$defs"]["MetaSettings"]["properties"] |= _options_schema(MetaSettings)
    for section in PRESET_SECTIONS:
        _allow_preset(schema, section)
    schema["properties"]["loss"]["anyOf"].append(_loss_terms(schema))
    schema["$defs"]["ClassSpec"]["required"] = ["name"]  # value and colour have defaults
    for model in data_kinds().values():
        of_kind = schema["$defs"][model.__name__]["properties"]
        if "description" in of_kind.get("classes", {}):  # a kind of others may have none
            said = of_kind["classes"]["description"]
            of_kind["classes"] = {"description": said, **_classes_forms()}
    schema["properties"][EXTENDS] = {
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
        "description": "configuration files whose settings these are laid over",
    }
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "rsmeta configuration",
        "description": "A configuration of rsmeta train; see: rsmeta help",
    }
    return json.dumps(schema | head, indent=1, sort_keys=True) + "\n"


def _options_schema(model: type[WithOptions]) -> dict[str, Any]:
    """Return the properties that options of shipped methods are in the schema of a section."""
    found: dict[str, Any] = {}
    for options in model.shipped.values():
        found |= options.model_json_schema(schema_generator=_Untitled).get("properties", {})
    return found


class _Untitled(GenerateJsonSchema):
    """A key's title would only repeat its name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Return whether a key gets a title made of its name."""
        return False


def _allow_preset(schema: dict[str, Any], section: str) -> None:
    """Let a section also be the name of a preset, or start from one by the key ``preset``."""
    part = schema["properties"][section]
    forms = part.pop("oneOf", None) or [{"$ref": part.pop("$ref")}]
    name: dict[str, Any] = {"type": "string", "description": f"a preset in configs/{section}"}
    if preset_names(section):
        name["examples"] = preset_names(section)
    for form in forms:
        if "$ref" not in form:  # several of a kind: each of them may be a preset, too
            form["items"] = {"anyOf": [form["items"], name]}
            continue
        inner = schema["$defs"][form["$ref"].rsplit("/", 1)[-1]]
        inner["properties"] = {"preset": name, **inner["properties"]}
        if "required" in inner:
            inner["anyOf"] = [{"required": inner.pop("required")}, {"required": ["preset"]}]
    schema["properties"][section] = {"anyOf": [*forms, name], **part}


def _classes_forms() -> dict[str, Any]:
    """Return what ``data.classes`` takes: names, entries, or either by value."""
    name = {"type": ["string", "number"]}
    by_value = {"type": "object", "properties": {"name": name, "colour": {"type": "string"}}}
    return {
        "anyOf": [
            {"type": "array", "minItems": 2,
             "items": {"anyOf": [name, {"$ref": "#/$defs/ClassSpec"}]}},
            {"type": "object", "minProperties": 2,
             "patternProperties": {r"^\d+$": {"anyOf": [name, by_value]}},
             "additionalProperties": False},
        ]
    }  # fmt: skip


def _loss_terms(schema: dict[str, Any]) -> dict[str, Any]:
    """Let ``loss``, or its ``terms``, be a list of names and entries; return that form."""
    items = {"anyOf": [{"$ref": "#/$defs/LossTerm"}, {"type": "string"}]}
    schema["$defs"]["LossSpec"]["properties"]["terms"]["items"] = items
    return {"type": "array", "minItems": 1, "items": items}


def _keys(model: type[BaseModel], prefix: str) -> list[Key]:
    keys: list[Key] = []
    fields = dict(model.model_fields)
    if issubclass(model, WithOptions):
        fields |= model.option_fields()
    for name, field in fields.items():
        inner = _section(field)
        keys += [_key(prefix + name, field)] if inner is None else _keys(inner, f"{prefix}{name}.")
    return keys


def _section(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    if get_origin(kind) is UnionType or get_origin(kind) is Union:
        kind = get_args(kind)[0]  # one of them, where several may stand
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
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
