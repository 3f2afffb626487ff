"""The records of known weights: read from ``configs/weights``, looked up by name or by file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator, model_validator

from rsmeta.config.base import Strict
from rsmeta.config.load import validate
from rsmeta.config.resources import config_dir
from rsmeta.config.yaml_files import read_yaml
from rsmeta.errors import CheckpointError, UnknownNameError
from rsmeta.models.records import BackboneRecord, InputForm, InputUnit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class InputEntry(Strict):
    """What weights expect of each band; the same for many weights of one publisher."""

    bands: tuple[str, ...] = Field(min_length=1, description="in the order of the filters")
    published_bands: tuple[str, ...] | None = Field(
        default=None, description="what the publisher calls them; none: the same"
    )
    mean: tuple[float, ...] | None = Field(
        default=None, description="in the publisher's numbers; one, or one per band; none: unknown"
    )
    std: tuple[float, ...] | None = None
    scale: tuple[float, ...] = Field(
        default=(1.0,), description="unit per number of the publisher; one, or one per band"
    )
    offset: tuple[float, ...] = (0.0,)
    form: InputForm = "standard"
    unit: InputUnit | None = Field(
        default=None, description="what number * scale + offset is in; none: unknown"
    )

    @model_validator(mode="after")
    def _one_each(self) -> InputEntry:
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std come together or not at all")
        for key in ("published_bands", "mean", "std", "scale", "offset"):
            values = getattr(self, key)
            lengths = (len(self.bands),) if key == "published_bands" else (1, len(self.bands))
            if values is not None and len(values) not in lengths:
                raise ValueError(f"{len(self.bands)} bands, {len(values)} values in {key}")
        return self

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Return mean and standard deviation of each band in ``unit``; none: unknown."""
        if self.mean is None or self.std is None:
            return None
        mean, std, scale, offset = (
            self.per_band(values) for values in (self.mean, self.std, self.scale, self.offset)
        )
        means = tuple(m * s + o for m, s, o in zip(mean, scale, offset, strict=True))
        return means, tuple(d * s for d, s in zip(std, scale, strict=True))

    def per_band(self, values: tuple[float, ...]) -> tuple[float, ...]:
        """Return one value per band; a single one counts for all."""
        return values * len(self.bands) if len(values) == 1 else values


class WeightsEntry(Strict):
    """One file of weights."""

    backbone: str = Field(description="name of the backbone that takes them, without a tag")
    options: dict[str, Any] = Field(default={}, description="options that they need of it")
    source: str = Field(description="https address or hub name")
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    input: str = Field(description="name of one of the file's inputs")
    image_px: int = Field(gt=0, description="side of the images that they were trained on")
    training: str = Field(description="how far and how they were trained")
    default: bool = Field(default=False, description="taken where the backbone's name has no tag")
    licence: str | None = None
    citation: str = Field(description="address of the paper")

    @field_validator("source")
    @classmethod
    def _is_safe(cls, source: str) -> str:
        if not source.startswith(("https://", "hf:")):
            raise ValueError(f"{source} is no https address and no hub name")
        return source


class WeightsFile(Strict):
    """A file of ``configs/weights``: weights of one publisher, and what they take."""

    inputs: dict[str, InputEntry]
    weights: dict[str, WeightsEntry]

    @model_validator(mode="after")
    def _inputs_exist(self) -> WeightsFile:
        for name, entry in self.weights.items():
            if entry.input not in self.inputs:
                raise ValueError(f"{name} names the input {entry.input!r}, which is not there")
        return self


@dataclass(frozen=True)
class KnownWeights:
    """Published weights of which everything is known that loading them takes.

    Args:
        name: Under which a configuration names them.
        entry: Where they are and what they are.
        input: What they expect of each band.
    """

    name: str
    entry: WeightsEntry
    input: InputEntry

    @property
    def file_name(self) -> str:
        """Name of the published file."""
        return self.entry.source.rpartition("/")[2]

    def record(self, family: str, source: str | None = None) -> BackboneRecord:
        """Return what a backbone with these weights says of them.

        Args:
            family: What builds the backbone.
            source: Where they were taken from; none: from where they are published.
        """
        mean, std = self.input.statistics() or (None, None)
        return BackboneRecord(
            name=self.name,
            family=family,
            source=source or self.entry.source,
            bands=self.input.bands,
            mean=mean,
            std=std,
            image_px=self.entry.image_px,
            licence=self.entry.licence,
            form=self.input.form,
            unit=self.input.unit,
        )


def read_weights(path: Path) -> dict[str, KnownWeights]:
    """Read a file of records.

    Raises:
        ConfigError: It is missing, or a key or value in it does not fit.
    """
    file = validate(WeightsFile, read_yaml(path), str(path))
    return {
        name: KnownWeights(name, entry, file.inputs[entry.input])
        for name, entry in file.weights.items()
    }


@cache
def known_weights() -> Mapping[str, KnownWeights]:
    """Return all known weights by name, in the order of their files."""
    files = sorted((config_dir() / "weights").glob("*.yaml"))
    return {name: known for path in files for name, known in read_weights(path).items()}


@cache
def known_inputs(publisher: str) -> Mapping[str, InputEntry]:
    """Return what the weights in ``configs/weights/<publisher>.yaml`` take, by name."""
    path = config_dir() / "weights" / f"{publisher}.yaml"
    return validate(WeightsFile, read_yaml(path), str(path)).inputs


def weights_of(backbone: str) -> list[KnownWeights]:
    """Return the known weights of a backbone's name without a tag, in the order of the file."""
    return [known for known in known_weights().values() if known.entry.backbone == backbone]


def pick_weights(name: str) -> KnownWeights:
    """Return the known weights that a backbone's name means.

    Args:
        name: With a tag (``satmae_vit_l16_group.fmow_sentinel_ft``); without one the
            publisher's default is meant.

    Raises:
        CheckpointError: None are known for the backbone, or several and none is the default.
        UnknownNameError: None have that tag.
    """
    backbone, _, tag = name.partition(".")
    found = {known.name: known for known in weights_of(backbone)}
    if name in found:
        return found[name]
    if not found:
        raise CheckpointError(
            f"no published weights of {backbone} are known; set model.checkpoint= to a file of them"
        )
    if tag:
        raise UnknownNameError(f"weights of {backbone}", name, found)
    defaults = [known for known in found.values() if known.entry.default]
    if len(defaults) != 1:
        raise CheckpointError(
            f"there are several weights of {backbone}; set model.backbone= to one of: "
            f"{', '.join(found)}"
        )
    return defaults[0]


def recognise_weights(
    file_name: str, sha256: str, *, backbone: str | None, channels: int | None
) -> dict[str, Any]:
    """Say which known weights a file holds, or could hold, as plain values.

    Args:
        file_name: Its name.
        sha256: Its SHA-256.
        backbone: The backbone that it fits; none: unknown.
        channels: How many bands it takes; none: unknown.

    Returns:
        ``known_as`` and what the record says, where the SHA-256 is a known one, or the name is
        the publisher's and the tensors fit; ``could_be`` where only the tensors fit.
    """
    known = list(known_weights().values())
    same = [entry for entry in known if entry.entry.sha256 == sha256]
    fitting = [
        entry
        for entry in known
        if entry.entry.backbone == backbone and channels in (None, len(entry.input.bands))
    ]
    named = [entry for entry in fitting if entry.file_name == file_name]
    if same or len(named) == 1:
        entry = (same or named)[0]
        return {
            "known_as": entry.name,
            "known_by": "SHA-256" if same else "file name and tensors",
            "bands": list(entry.input.bands),
            "published": entry.entry.training,
            "licence": entry.entry.licence,
            "citation": entry.entry.citation,
        }
    return {"could_be": [entry.name for entry in fitting]} if fitting else {}
