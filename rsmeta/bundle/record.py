"""What ``bundle.yaml`` says: everything about a model but its tensors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, Self

from pydantic import AliasChoices, Field, model_validator

from rsmeta.config.base import AnyNumber, Strict
from rsmeta.config.data import CLASS_NODATA, WIDE_NODATA, ClassSpec
from rsmeta.config.meta import MetaSettings
from rsmeta.config.model import ModelSpec
from rsmeta.config.predict import PredictSettings
from rsmeta.config.radar import SpeckleSettings
from rsmeta.config.settings import TaskName
from rsmeta.config.tuner import Tuner
from rsmeta.geo.bands import Band, Formula, FormulaKind
from rsmeta.geo.scene import ReadRules
from rsmeta.heads.output import OutputSpec
from rsmeta.models.records import InputForm
from rsmeta.tasks import TASKS, Task

#: Version of the bundle layout; a bundle of another version is refused.
FORMAT = 3

#: Older versions that can be read: what was added since has a default that is true of them.
READABLE = (2, FORMAT)


class MeasuredBand(Strict):
    """What is known of a band that scenes hold."""

    name: str
    common_name: str | None = None
    wavelength_nm: float | None = None
    gsd_m: float | None = None
    width_nm: float | None = None

    @classmethod
    def of(cls, band: Band, **more: Any) -> Self:
        """Return the record of a band, with further keys of the record."""
        known = {key: getattr(band, key) for key in MeasuredBand.model_fields}
        return cls(**known, **more)

    @property
    def band(self) -> Band:
        """The band alone."""
        return Band(self.name, self.common_name, self.wavelength_nm, self.gsd_m, self.width_nm)


class FormulaRecord(Strict):
    """How a band is computed from two others."""

    kind: FormulaKind
    first: MeasuredBand
    second: MeasuredBand

    @property
    def formula(self) -> Formula:
        """The formula itself."""
        return Formula(self.kind, self.first.band, self.second.band)


class BandRecord(MeasuredBand):
    """A band that the model needs, and its normalisation."""

    formula: FormulaRecord | None = Field(
        default=None, description="how it is computed from two other bands; none: it is measured"
    )
    mean: float = Field(description="that it is normalised with, in physical units")
    std: float = Field(gt=0, description="that it is normalised with, in physical units")
    statistics_of: Literal["weights", "data"] = Field(
        default="data", description="whose mean and deviation: the weights' or the training scenes'"
    )
    data_mean: float | None = Field(
        default=None, description="of the training pixels, in physical units; none: not recorded"
    )
    data_std: float | None = Field(
        default=None, description="of the training pixels, in physical units; none: not recorded"
    )
    filter_from: str | None = Field(default=None, description="where its stem filter came from")

    @classmethod
    def of(cls, band: Band, **more: Any) -> Self:
        """Return the record of a band, with further keys of the record."""
        if band.formula is not None:
            kind, first, second = band.formula
            more["formula"] = FormulaRecord(
                kind=kind, first=MeasuredBand.of(first), second=MeasuredBand.of(second)
            )
        return super().of(band, **more)

    @property
    def band(self) -> Band:
        """The band alone."""
        return replace(super().band, formula=None if self.formula is None else self.formula.formula)

    @property
    def training_range(self) -> tuple[float, float] | None:
        """Mean and deviation of the training pixels; none where they are unknown."""
        if self.data_mean is not None and self.data_std is not None:
            return self.data_mean, self.data_std
        return (self.mean, self.std) if self.statistics_of == "data" else None


class TargetRecord(Strict):
    """What a regression model estimates."""

    name: str
    unit: str | None = None
    mean: float = Field(description="of the training labels, in the unit")
    std: float = Field(gt=0, description="of the training labels, in the unit")


class ImageRecord(Strict):
    """How images became what a network for whole images sees; prediction does the same."""

    colour: Literal["as_is", "rgb"] = "as_is"
    resize: Literal["shorter", "squash", "fit", "none"] = "none"
    resize_px: int | None = None
    ground_px: int | None = Field(
        default=None,
        description="side of the square of an image's own pixels that the network saw; none: "
        "images of different sizes",
    )


class StemRecord(Strict):
    """How the stem was fitted to the bands; each band holds its own part."""

    strategy: str | None = Field(description="as in model.stem.strategy; none: random weights")
    notes: tuple[str, ...] = Field(description="what else was done: groups left or joined, …")
    form: InputForm = Field(description="what is made of a band with its mean and deviation")
    normalisation: str = Field(description="why these statistics were taken")


class ReadRecord(Strict):
    """How the training scenes were read; prediction reads the same way."""

    sensor: str | dict[str, Any] | None = None
    bands: tuple[str, ...] | Literal["wavelengths"] | None = None
    skip_nm: tuple[tuple[float, float], ...] = ()
    scale: float | None = None
    offset: float | None = None
    nodata: AnyNumber | None = None
    valid_if: Literal["all", "any"] = "all"
    speckle: SpeckleSettings | None = None

    @property
    def rules(self) -> ReadRules:
        """The rules that the scene reader takes."""
        return ReadRules(
            sensor=self.sensor, bands=self.bands, scale=self.scale, offset=self.offset,
            nodata=self.nodata, valid_if=self.valid_if, skip_nm=self.skip_nm,
            speckle=self.speckle,
        )  # fmt: skip


class BackboneIdentity(Strict):
    """Which backbone the trained tensors belong to."""

    name: str
    licence: str | None = None
    checkpoint: str | None = Field(
        default=None,
        description="file name of its weights, or the address or hub name they came from",
    )
    sha256: str | None = Field(default=None, description="of the weights file")


class BundleRecord(Strict):
    """The whole of ``bundle.yaml``."""

    format: int = FORMAT
    rsmeta: str = Field(description="version of rsmeta that wrote the bundle")
    created: str = Field(description="UTC, ISO 8601")
    task: TaskName = "segmentation"
    per: Literal["pixel", "image"] = Field(
        default="pixel", description="what has a class, or a number: every pixel, or an image"
    )
    bands: tuple[BandRecord, ...]
    classes: tuple[ClassSpec, ...]
    target: TargetRecord | None = Field(
        default=None, description="what is estimated; none: the model scores classes"
    )
    stem: StemRecord
    read: ReadRecord
    image: ImageRecord | None = Field(
        default=None, description="how images were sized; none: the model is for pixels"
    )
    tile_px: int = Field(ge=8)
    gsd_m: tuple[float, float] | None = Field(description="smallest and largest pixel trained on")
    footprint: dict[str, Any] | None = Field(
        default=None,
        validation_alias=AliasChoices("footprint", "ground"),
        description="GeoJSON geometry of the training scenes' footprints; none: they are not known",
    )
    backbone: BackboneIdentity
    model: ModelSpec
    tuner: Tuner
    meta: MetaSettings
    scales: dict[str, float] | None = Field(
        default=None, description="scale of each site with an adapter"
    )
    kept_sites: tuple[str, ...] | None = Field(
        default=None, description="sites whose adapter was not pruned; none: all"
    )
    added_biases: tuple[str, ...] = Field(
        default=(),
        description="modules of the network that have a bias only since adapters were merged",
    )
    predict: PredictSettings
    training: dict[str, Any] = Field(description="seed, steps, parameters, metrics")
    weights_sha256: str

    @model_validator(mode="before")
    @classmethod
    def _sites_with_a_scale_were_kept(cls, given: Any) -> Any:
        """Read a bundle of before ``kept_sites``, which has no scale of a pruned site."""
        if (
            isinstance(given, dict)
            and "kept_sites" not in given
            and given.get("scales") is not None
        ):
            return given | {"kept_sites": tuple(given["scales"])}
        return given

    @property
    def made_task(self) -> Task:
        """The task that it was trained for."""
        return TASKS[self.task](self.per == "pixel")

    @property
    def output(self) -> OutputSpec:
        """What a map of this model holds."""
        if self.target is not None:
            return OutputSpec.of_quantity(self.target.name, self.target.unit)
        values = tuple(spec.value for spec in self.classes)
        wide = max(values) >= CLASS_NODATA
        return OutputSpec(
            classes=tuple(spec.name for spec in self.classes),
            values=values,
            dtype="uint16" if wide else "uint8",
            nodata=WIDE_NODATA if wide else CLASS_NODATA,
            unit=None,
        )
