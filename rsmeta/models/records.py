"""What is known of a backbone's weights: one typed record each."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pydantic import Field, model_validator

from rsmeta.config.base import Strict
from rsmeta.config.load import validate
from rsmeta.errors import CheckpointError, ConfigError
from rsmeta.geo.bands import Band
from rsmeta.geo.sensors import known_band

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: How weights expect their bands: ``standard`` is (x - mean) / std; ``two_sigma`` maps mean ± 2 std
#: to [0, 1] and clips there, as multispectral SatMAE does; ``physical`` leaves bands as they are,
#: NaN where a pixel is not valid.
InputForm: TypeAlias = Literal["standard", "two_sigma", "physical"]

#: What the numbers of ``mean`` and ``std`` are in: top-of-atmosphere or surface ``reflectance``
#: from 0 to 1 (thermal bands: kelvin), ``display``, pictures for the eye scaled to [0, 1], or
#: ``decibel``, radar backscatter.
InputUnit: TypeAlias = Literal["reflectance", "display", "decibel"]

#: Key of the metadata of a safetensors file under which rsmeta describes the weights in it.
METADATA_KEY = "rsmeta.weights"


@dataclass(frozen=True)
class BackboneRecord:
    """Where weights come from and what they expect.

    Args:
        name: Exact name; for timm with the tag of the weights where they are used.
        family: What builds it: ``"timm"``, ``"satmae"``.
        source: File or hub name of the weights; none: random weights.
        bands: Bands or common names that the weights expect, in their order; none: unknown.
        mean: Mean of each of these bands as the weights' authors normalised it, in ``unit``;
            none: unknown.
        std: The same for the standard deviation.
        image_px: Side of the images that the position embeddings are made for, pixels.
        licence: Licence of the weights, as their publisher names it; none: unknown.
        form: What is made of a band with its mean and standard deviation.
        unit: What ``mean`` and ``std`` are in; none: unknown.
        described: The same as ``bands``, with their wavelengths; none: their names say it all.
    """

    name: str
    family: str
    source: str | None
    bands: tuple[str, ...] | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    image_px: int
    licence: str | None
    form: InputForm = "standard"
    unit: InputUnit | None = None
    described: tuple[Band, ...] | None = None

    @property
    def expected(self) -> tuple[Band, ...] | None:
        """The bands that the weights expect, in their order; none: unknown."""
        if self.described is not None or self.bands is None:
            return self.described
        return tuple(known_band(name) for name in self.bands)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    def told_by(self, own: OwnRecord | None) -> BackboneRecord:
        """Return the record with what a weights file says of itself, where it says anything."""
        if own is None:
            return self
        told = {k: v for k, v in own.model_dump().items() if k in _OF_WEIGHTS and v is not None}
        return replace(self, **told, described=own.known_bands())


#: Fields of ``OwnRecord`` that ``BackboneRecord`` has as well.
_OF_WEIGHTS = ("bands", "mean", "std", "form", "unit", "licence")


class OwnRecord(Strict):
    """What a safetensors file made by rsmeta says of the weights in it."""

    bands: tuple[str, ...] = Field(min_length=1, description="in the order of the filters")
    mean: tuple[float, ...]
    std: tuple[float, ...]
    form: InputForm
    unit: InputUnit | None
    licence: str | None = None
    groups: tuple[tuple[str, ...], ...] | None = Field(
        default=None, description="channel groups of a multispectral SatMAE"
    )
    common_names: tuple[str | None, ...] | None = Field(
        default=None, description="of the bands; none: their names say it"
    )
    wavelengths_nm: tuple[float | None, ...] | None = None

    @classmethod
    def of(cls, bands: Sequence[Band], **others: Any) -> OwnRecord:
        """Describe weights that expect these bands."""
        return cls(
            bands=tuple(band.name for band in bands),
            common_names=tuple(band.common_name for band in bands),
            wavelengths_nm=tuple(band.wavelength_nm for band in bands),
            **others,
        )

    def known_bands(self) -> tuple[Band, ...] | None:
        """Return the bands with their wavelengths; none: the file has names only."""
        if self.common_names is None or self.wavelengths_nm is None:
            return None
        parts = zip(self.bands, self.common_names, self.wavelengths_nm, strict=True)
        return tuple(Band(*each) for each in parts)

    @model_validator(mode="after")
    def _one_each(self) -> OwnRecord:
        lists = (self.common_names, self.wavelengths_nm)
        if any(values is not None and len(values) != len(self.bands) for values in lists):
            raise ValueError(f"{len(self.bands)} bands, and other numbers of names or wavelengths")
        if not len(self.bands) == len(self.mean) == len(self.std):
            raise ValueError(
                f"{len(self.bands)} bands, {len(self.mean)} means, {len(self.std)} deviations"
            )
        return self

    def metadata(self) -> dict[str, str]:
        """Return the metadata for ``safetensors.torch.save_file``."""
        return {METADATA_KEY: json.dumps(self.model_dump(mode="json"))}


def own_record(notes: Mapping[str, Any], source: str) -> OwnRecord | None:
    """Return what a weights file says of itself; none: it says nothing that rsmeta wrote.

    Args:
        notes: Metadata of the file.
        source: The file; for the message.

    Raises:
        CheckpointError: The description is damaged.
    """
    text = notes.get(METADATA_KEY)
    if text is None:
        return None
    try:
        return validate(OwnRecord, json.loads(text), METADATA_KEY)
    except (ConfigError, ValueError) as error:
        raise CheckpointError(
            f"what {source} says of its own weights cannot be read ({error}); make the file again"
        ) from error
