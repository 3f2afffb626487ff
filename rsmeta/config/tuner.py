"""The ``tuner`` section: what of the network is trained, and how."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from rsmeta.config.base import NoOptions, Strict, WithOptions, located

#: Places inside a transformer block that an adapter can act on.
Position = Literal["norm1", "q", "k", "v", "out", "norm2", "mlp1", "mlp2", "block"]

#: Short names of several positions.
POSITION_GROUPS: dict[str, tuple[Position, ...]] = {
    "attn": ("q", "k", "v", "out"),
    "mlp": ("mlp1", "mlp2"),
    "ln": ("norm1", "norm2"),
}

_POSITIONS = ("norm1", "q", "k", "v", "out", "norm2", "mlp1", "mlp2", "block")
_BLOCK_RANGE = re.compile(r"\s*(\d+)\s*-\s*(\d+)\s*")


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str | int) else value


def _as_positions(value: Any) -> Any:
    given = _as_list(value)
    if not isinstance(given, list | tuple):
        return given
    return [one for name in given for one in POSITION_GROUPS.get(name, (name,))]


_Positions = Annotated[
    tuple[Position, ...],
    Field(min_length=1),
    BeforeValidator(
        _as_positions,
        json_schema_input_type=list[Position | Literal["attn", "mlp", "ln"]]
        | Position
        | Literal["attn", "mlp", "ln"],
    ),
]
_Blocks = Annotated[
    tuple[int | str, ...] | None,
    BeforeValidator(_as_list, json_schema_input_type=list[int | str] | int | str | None),
]
_Rank = Annotated[int, Field(ge=1)]
_Alpha = Annotated[float, Field(gt=0)]


class LowRankOptions(Strict):
    """Options of adapters with an inner width."""

    rank: _Rank | Literal["auto"] = Field(
        default=8,
        description="inner width of an adapter; auto: 2^floor(log2(classes / (2 · blocks))), at "
        "least 1",
    )
    alpha: _Alpha | Literal["rank"] = Field(
        default=8.0,
        description="an adapter's update is multiplied by alpha / rank; rank: by 1",
    )
    rank_stabilised: bool = Field(
        default=False,
        description="multiply by alpha / sqrt(rank) instead, so that the best scale depends less "
        "on the rank (rsLoRA)",
    )


class LoRAOptions(LowRankOptions):
    """Options of lora."""

    out_reads: Literal["input", "output"] = Field(
        default="input",
        description="what lora at out reads: the projection's input, or its output as MetaPEFT's "
        "published code has it",
    )
    norm: float | None = Field(
        default=None,
        gt=0,
        description="norm of lora's change, relative to the adapted weight's, above which the "
        "change is normalised, so that the scale alone says how strong it is; none: never",
    )


class PromptOptions(Strict):
    """Options of visual prompts."""

    length: int = Field(default=10, ge=1, description="prompts per block (vpt_shallow, vpt_deep)")


class MaskOptions(Strict):
    """Options of masked tuning."""

    ratio: float = Field(default=0.05, gt=0, le=1, description="share of weights trained (mask)")
    seed: int = Field(default=0, ge=0, description="which weights are drawn (mask)")


class DeflectOptions(Strict):
    """Options of deflect."""

    width: int = Field(
        default=32, ge=1, description="inner width of the network that reads the bands (deflect)"
    )


#: Options of the methods that rsmeta ships.
SHIPPED: Mapping[str, type[Strict]] = {
    "lora": LoRAOptions,
    "dora": LowRankOptions,
    "adapter": LowRankOptions,
    "adaptformer": LowRankOptions,
    "vpt_shallow": PromptOptions,
    "vpt_deep": PromptOptions,
    "mask": MaskOptions,
    "deflect": DeflectOptions,
    **dict.fromkeys(("ssf", "bias", "ln", "head", "full", "partial"), NoOptions),
}


class SiteOverride(Strict):
    """Values for some sites: the learning rate, and any option of the method."""

    # The options belong to the method, which may be registered by others: it checks them.
    model_config = ConfigDict(extra="allow")

    lr_scale: float | None = Field(
        default=None, gt=0, description="factor of the optimizer's learning rate there"
    )

    @model_validator(mode="before")
    @classmethod
    def _without_none(cls, given: Any) -> Any:
        """Drop the keys without a value that older bundles hold."""
        if not isinstance(given, dict):
            return given
        return {key: value for key, value in given.items() if value is not None}

    @classmethod
    def known_keys(cls) -> list[str]:
        """Return the learning rate and the options of all shipped methods."""
        return [*cls.model_fields, *TunerSpec.option_fields()]


class TunerSpec(WithOptions):
    """One way to fit a backbone to a task: a method by name, where it acts, and its options."""

    chooser: ClassVar[str] = "method"
    shipped: ClassVar[Mapping[str, type[Strict]]] = SHIPPED
    tolerant: ClassVar[frozenset[str]] = frozenset({"head", "full", "partial"})

    method: str = Field(
        default="lora",
        description="lora, dora, adapter, ssf, head, full, …; see: rsmeta list tuners",
    )
    positions: _Positions | None = Field(
        default=None,
        description="adapted places: q, k, v, out, mlp1, mlp2, norm1, norm2, or attn, mlp, ln for "
        "several; none: the method's own (lora: q, v)",
    )
    blocks: _Blocks = Field(
        default=None,
        description="adapted blocks from 0: numbers and ranges [0-5, 11]; none: all (partial: the "
        "last)",
    )
    scale: float = Field(
        default=1.0, ge=0, description="initial scale of every adapter (see the section meta)"
    )
    lr_scale: float = Field(
        default=1.0, gt=0, description="factor of the optimizer's learning rate for this method"
    )
    sites: dict[str, SiteOverride] = Field(
        default={},
        description="other options at some sites, by blocks.positions: {'*.q': {rank: 16}, "
        "'0-3.mlp': {lr_scale: 0.1}}; later entries win",
    )

    @field_validator("blocks", mode="after")
    @classmethod
    def _blocks_readable(cls, blocks: tuple[int | str, ...] | None) -> tuple[int | str, ...] | None:
        for entry in blocks or ():
            parse_block_range(entry)
        return blocks

    @field_validator("positions", mode="after")
    @classmethod
    def _positions_once(cls, positions: tuple[Position, ...] | None) -> tuple[Position, ...] | None:
        return None if positions is None else tuple(dict.fromkeys(positions))

    @field_validator("sites", mode="after")
    @classmethod
    def _sites_readable(cls, sites: dict[str, SiteOverride]) -> dict[str, SiteOverride]:
        for pattern in sites:
            parse_site_pattern(pattern)
        return sites

    @model_validator(mode="after")
    def _options_of_sites(self) -> TunerSpec:
        own = self.shipped.get(self.method)
        if own is None:  # a plugin's method checks them itself
            return self
        for pattern, override in self.sites.items():
            with located("sites", pattern):
                own.model_validate(self.options | dict(override.model_extra or {}))
        return self

    def at(self, block: int, position: str) -> TunerSpec:
        """Return the settings at one site: those of the method under its ``sites``."""
        changed: dict[str, Any] = {}
        for pattern, override in self.sites.items():
            if parse_site_pattern(pattern).matches(block, position):
                changed |= override.model_dump(exclude_none=True)
        return self.model_copy(update=changed) if changed else self


#: One method, or several that act together.
Tuner = Annotated[
    Annotated[TunerSpec, Tag("one")]
    | Annotated[tuple[TunerSpec, ...], Field(min_length=1), Tag("several")],
    Discriminator(lambda given: "several" if isinstance(given, list | tuple) else "one"),
]


def tuner_specs(tuner: TunerSpec | tuple[TunerSpec, ...]) -> tuple[TunerSpec, ...]:
    """Return the methods of a ``tuner`` section, one or several."""
    return (tuner,) if isinstance(tuner, TunerSpec) else tuple(tuner)


class SitePattern(NamedTuple):
    """Which sites a pattern means; none: every block, or every position."""

    blocks: frozenset[int] | None
    positions: frozenset[str] | None

    def matches(self, block: int, position: str) -> bool:
        """Return whether a site is meant."""
        return (self.blocks is None or block in self.blocks) and (
            self.positions is None or position in self.positions
        )


def parse_site_pattern(pattern: str) -> SitePattern:
    """Read ``"*.q"``, ``"3.mlp2"`` or ``"0-3,11.q,v"``: blocks, a dot, positions.

    Raises:
        ValueError: It is no such pattern.
    """
    blocks, dot, positions = pattern.partition(".")
    if not dot:
        raise ValueError(
            f"{pattern!r} is no pattern of sites; write blocks.positions, as '*.q' or '0-3.mlp1'"
        )
    named = [one for part in positions.split(",") for one in _position_names(part.strip())]
    for name in named:
        if name not in _POSITIONS:
            raise ValueError(
                f"{pattern!r} names the position {name!r}; use *, {', '.join(_POSITIONS)}, attn, "
                f"mlp or ln"
            )
    ranges = None if blocks.strip() == "*" else map(parse_block_range, blocks.split(","))
    return SitePattern(
        None if ranges is None else frozenset(i for one in ranges for i in one),
        frozenset(named) or None,
    )


def _position_names(name: str) -> tuple[str, ...]:
    return () if name == "*" else POSITION_GROUPS.get(name, (name,))


def parse_block_range(entry: int | str) -> range:
    """Return the blocks that one entry of ``blocks`` stands for: ``3`` or ``"0-5"``.

    Raises:
        ValueError: The entry is no number and no ascending range.
    """
    if isinstance(entry, int) or entry.strip().isdigit():
        first = last = int(entry)
    elif match := _BLOCK_RANGE.fullmatch(entry):
        first, last = int(match[1]), int(match[2])
    else:
        raise ValueError(f"{entry!r} is no block number and no range; write it as 3 or '0-5'")
    if not 0 <= first <= last:
        raise ValueError(f"{entry!r} is no ascending range of blocks from 0; write it as '0-5'")
    return range(first, last + 1)
