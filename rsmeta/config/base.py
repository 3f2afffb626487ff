"""The bases of settings models: frozen, strict about unknown keys, or open to a method's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

#: A number that may be NaN or infinite, as values without data are.
AnyNumber = Annotated[float, Field(allow_inf_nan=True)]


def _not_zero(factor: float) -> float:
    if factor == 0:
        raise ValueError("0 would make all values equal; give another factor")
    return factor


#: A number that others are multiplied by.
Factor = Annotated[float, AfterValidator(_not_zero)]


class Strict(BaseModel):
    """A settings section: immutable; an unknown key, NaN or infinity is an error."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False
    )

    @classmethod
    def known_keys(cls) -> list[str]:
        """Return the keys to choose from when one is unknown."""
        return list(cls.model_fields)


class NoOptions(Strict):
    """Options of a method that has none."""


class WithOptions(Strict):
    """A section that names a method; keys beside the fields are that method's own options.

    A method that other packages register checks its options when it is looked up. The options
    of methods in ``shipped`` are checked, and their defaults filled in, as the file is read.

    Attributes:
        chooser: The field that names the method.
        shipped: Options of the methods that rsmeta ships, by name. Help and the JSON schema list
            them as keys of the section, so this table must not import torch.
        tolerant: Shipped methods that ignore the options of others, so that a sweep over methods
            may set an option that only some of them have.
    """

    model_config = ConfigDict(extra="allow")

    chooser: ClassVar[str] = "name"
    shipped: ClassVar[Mapping[str, type[Strict]]] = {}
    tolerant: ClassVar[frozenset[str]] = frozenset()

    @property
    def options(self) -> dict[str, Any]:
        """The keys beside the fields."""
        return dict(self.model_extra or {})

    @classmethod
    def option_fields(cls) -> dict[str, Any]:
        """Return the fields of all shipped methods' options, by key."""
        return {k: f for model in cls.shipped.values() for k, f in model.model_fields.items()}

    @classmethod
    def known_keys(cls) -> list[str]:
        """Return the fields and the options of all shipped methods."""
        return [*cls.model_fields, *cls.option_fields()]

    @model_validator(mode="before")
    @classmethod
    def _options_of_method(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        method = given.get(cls.chooser, cls.model_fields[cls.chooser].default)
        own = cls.shipped.get(method) if isinstance(method, str) else None
        if own is None:
            return given
        fields = {key: value for key, value in given.items() if key in cls.model_fields}
        options = {k: v for k, v in given.items() if k not in fields and cls._is_for(k, v, method)}
        return fields | own.model_validate(options).model_dump()

    @classmethod
    def _is_for(cls, key: str, value: Any, method: str) -> bool:
        """Return whether an option is to be passed to a method; others' defaults are dropped.

        Raises:
            ValueError: The option belongs to other methods.
        """
        own, every = cls.shipped[method].model_fields, cls.option_fields()
        if key in own or key not in every:
            return True
        if method not in cls.tolerant and value != every[key].default:
            takes = f"it takes {', '.join(own)}" if own else "it has no options"
            raise ValueError(
                f"{key}={value} does not apply to {cls.chooser}={method} ({takes}); remove it"
            )
        return False


@contextmanager
def located(*where: str) -> Iterator[None]:
    """Put a path before the keys that a validation inside complains of."""
    try:
        yield
    except ValidationError as error:
        details = [
            InitErrorDetails(
                type=one["type"], loc=(*where, *one["loc"]), input=one["input"],
                ctx=one.get("ctx", {}),
            )
            for one in error.errors()
        ]  # fmt: skip
        raise ValidationError.from_exception_data(error.title, details) from None
