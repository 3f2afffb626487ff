"""Kinds of the ``data`` section: labelled scenes, and every kind of images in the registry.

A kind of images is one file: settings, a subclass of ``ImageSettings``, that find their images.
Those of rsmeta lie in ``rsmeta.data.images.kinds``; third parties register theirs with
``DATASETS.register`` or through the entry-point group ``rsmeta.datasets``.
"""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, Union, get_args

from pydantic import Discriminator, SerializeAsAny, Tag, TypeAdapter, WrapValidator

from rsmeta.config.data import DataSettings, ReadSettings
from rsmeta.errors import did_you_mean
from rsmeta.registry import Registry

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic_core import CoreSchema

    from rsmeta.config.images import ImageSettings

#: Kinds of image data by their name in ``data.kind``.
DATASETS: Registry[type[ImageSettings]] = Registry("dataset")

#: Its modules register the kinds that come with rsmeta.
_OWN_KINDS = "rsmeta.data.images.kinds"

#: Beginning of the mark that a kind leaves in the path of a wrong value.
KIND_MARK = "kind="


def data_kinds() -> dict[str, type[ReadSettings]]:
    """Return the settings of every kind of data by its name; labelled scenes come first."""
    _load_own_kinds()
    return {"scenes": DataSettings, **dict(DATASETS.items())}


def kind_help(model: type[ReadSettings]) -> str:
    """Return what a kind of data is, in a line."""
    return model.model_fields["kind"].description or (model.__doc__ or "").split("\n", 1)[0]


@cache
def _load_own_kinds() -> None:
    for module in pkgutil.iter_modules(import_module(_OWN_KINDS).__path__):
        import_module(f"{_OWN_KINDS}.{module.name}")


def _kind_of(given: Any) -> str:
    kind = given.get("kind", "scenes") if isinstance(given, dict) else getattr(given, "kind", "")
    return f"{KIND_MARK}{kind}"


@cache
def _any_kind(kinds: tuple[type[ReadSettings], ...]) -> TypeAdapter[ReadSettings]:
    """Return what checks the keys of a section by its kind."""
    tagged = [
        Annotated[model, Tag(KIND_MARK + get_args(model.model_fields["kind"].annotation)[0])]
        for model in kinds
    ]
    any_of_them: Any = Annotated[Union[*tagged], Discriminator(_kind_of)]
    return TypeAdapter(any_of_them)


def _of_its_kind(given: Any, _: Any) -> ReadSettings:
    kinds = data_kinds()
    if not isinstance(given, dict | ReadSettings):
        raise ValueError(  # noqa: TRY004 pydantic takes it for a wrong value
            f"{given!r} is no section; write scenes, labels and classes, or a kind and its keys"
        )
    kind = given.get("kind", "scenes") if isinstance(given, dict) else None
    if kind is not None and str(kind) not in kinds:
        kind = str(kind)
        raise ValueError(
            f"kind={kind!r} is no kind of data{did_you_mean(kind, kinds)}; known: "
            f"{', '.join(kinds)}"
        )
    return _any_kind(tuple(kinds.values())).validate_python(given)


class _SchemaOfEveryKind:
    """Lets the JSON schema show the keys of every kind, not only those that all have."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler(_any_kind(tuple(data_kinds().values())).core_schema)


#: The ``data`` section: which keys it takes follows from its ``kind``.
if TYPE_CHECKING:
    Data: TypeAlias = DataSettings | ImageSettings
else:
    Data = Annotated[SerializeAsAny[ReadSettings], WrapValidator(_of_its_kind), _SchemaOfEveryKind]
