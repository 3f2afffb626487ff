"""The ``tuner`` section: what of the network is trained, and how."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from rsmeta.config.base import Strict

#: Places inside a transformer block that an adapter can act on.
Position = Literal["q", "k", "v", "out", "mlp1", "mlp2", "block"]

_BLOCK_RANGE = re.compile(r"\s*(\d+)\s*-\s*(\d+)\s*")


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str | int) else value


_Positions = Annotated[
    tuple[Position, ...],
    BeforeValidator(_as_list, json_schema_input_type=list[Position] | Position),
]
_Blocks = Annotated[
    tuple[int | str, ...] | None,
    BeforeValidator(_as_list, json_schema_input_type=list[int | str] | int | str | None),
]


class TunerSpec(Strict):
    """One way to fit a backbone to a task."""

    method: str = Field(
        default="lora", description="lora, head (backbone frozen) or full; see: rsmeta list tuners"
    )
    rank: int = Field(default=8, ge=1, description="inner width of an adapter")
    alpha: float = Field(
        default=8.0, gt=0, description="an adapter's update is multiplied by alpha / rank"
    )
    positions: _Positions = Field(
        default=("q", "v"), min_length=1, description="adapted places: q, k, v, out, mlp1, mlp2"
    )
    blocks: _Blocks = Field(
        default=None, description="adapted blocks from 0: numbers and ranges [0-5, 11]; none: all"
    )
    scale: float = Field(
        default=1.0, ge=0, description="initial value of every adapter's scale (its modulator)"
    )

    @field_validator("blocks", mode="after")
    @classmethod
    def _blocks_readable(cls, blocks: tuple[int | str, ...] | None) -> tuple[int | str, ...] | None:
        for entry in blocks or ():
            parse_block_range(entry)
        return blocks

    @field_validator("positions", mode="after")
    @classmethod
    def _positions_once(cls, positions: tuple[Position, ...]) -> tuple[Position, ...]:
        return tuple(dict.fromkeys(positions))


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
