"""The ``data`` section: scenes, labels, classes, splits and how chips are drawn."""

from __future__ import annotations

import contextlib
import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from rsmeta.config.base import AnyNumber, Factor, Strict
from rsmeta.config.colours import colours_of
from rsmeta.config.radar import Speckle

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Map value that marks pixels without data in a uint8 class map.
CLASS_NODATA = 255
#: The same in a uint16 map, which values from 255 on need.
WIDE_NODATA = 65535


def _hex_colour(value: str) -> str:
    digits = value.removeprefix("#")
    if len(digits) != 6 or any(c not in "0123456789abcdefABCDEF" for c in digits):
        raise ValueError(f"{value!r} is no colour; write it as '#rrggbb'")
    return f"#{digits.lower()}"


def composed(name: str) -> str:
    """Return a name in the composed form of Unicode (NFC): macOS writes file names decomposed."""
    return unicodedata.normalize("NFC", name)


def _printable(name: str) -> str:
    if not name.isprintable() or name != name.strip():
        raise ValueError(f"the class name {name!r} has blanks around it or unprintable characters")
    return composed(name)


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str | int) else value


Names = Annotated[
    tuple[str, ...], BeforeValidator(_as_list, json_schema_input_type=list[str] | str)
]
_Values = Annotated[
    tuple[int, ...], BeforeValidator(_as_list, json_schema_input_type=list[int] | int)
]


#: Other words for the same; scenes and images share one set of names.
_SAMPLING_WORDS = {"uniform": "instance", "balanced": "class"}

SamplingName = Literal["instance", "sqrt", "class", "progressive", "down"]

#: How often each class is drawn.
Sampling = Annotated[
    SamplingName,
    BeforeValidator(
        lambda given: _SAMPLING_WORDS.get(given, given) if isinstance(given, str) else given,
        json_schema_input_type=SamplingName | Literal["uniform", "balanced"],
    ),
]


class ClassSpec(Strict):
    """One class of the labels and of the map."""

    name: Annotated[str, AfterValidator(_printable)] = Field(
        min_length=1, description="class name, as in the class column of polygons"
    )
    value: int = Field(ge=0, lt=WIDE_NODATA, description="value in label rasters and in the map")
    colour: Annotated[str, AfterValidator(_hex_colour)] = Field(description="#rrggbb in the map")

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Colour as red, green, blue in 0..255."""
        return (int(self.colour[1:3], 16), int(self.colour[3:5], 16), int(self.colour[5:7], 16))


def class_specs(given: Any) -> Any:
    """Read ``[name, …]``, ``{value: name, …}`` or ``[{name, value, colour}, …]``."""
    if isinstance(given, dict):
        entries: list[Any] = [
            {"value": value, **(spec if isinstance(spec, dict) else {"name": spec})}
            for value, spec in given.items()
        ]
    elif isinstance(given, list | tuple):
        entries = list(given)
    else:
        return given
    specs = []
    colours = _colours(entries)
    for i, entry in enumerate(entries):
        if isinstance(entry, ClassSpec):
            specs.append(entry)
            continue
        spec = dict(entry) if isinstance(entry, dict) else {"name": entry}
        name = spec.get("name", "")
        if isinstance(name, bool):
            raise ValueError(  # noqa: TRY004 pydantic takes it for a wrong value
                f"a class is named {name}; put the name in quotes"
            )
        if name is None:
            raise ValueError(f"the class {spec.get('value', i)} has no name; write one after it")
        spec["name"] = str(name)
        spec.setdefault("value", i)
        spec.setdefault("colour", spec.pop("color", None) or colours[i])
        specs.append(ClassSpec.model_validate(spec))
    return tuple(specs)


def _colours(entries: Sequence[Any]) -> tuple[str, ...]:
    """Return a colour for each entry of a class list; those that are no colours are said later."""
    names: list[str] = []
    given: dict[int, str] = {}
    for i, entry in enumerate(entries):
        spec = entry.model_dump() if isinstance(entry, ClassSpec) else entry
        tree = spec if isinstance(spec, dict) else {"name": spec}
        names.append(str(tree.get("name", "")))
        with contextlib.suppress(ValueError):
            own = tree.get("colour") or tree.get("color")
            given |= {i: _hex_colour(str(own))} if own else {}
    return colours_of(names, given)


class TargetSpec(Strict):
    """A quantity to estimate: what it is called, its unit, and how labels hold it."""

    name: Annotated[str, AfterValidator(_printable)] = Field(
        min_length=1, description="what is estimated: biomass, canopy_height, soil_moisture"
    )
    unit: str | None = Field(default=None, description="its unit, as the map is to say: t/ha, m")
    scale: Factor = Field(default=1.0, description="quantity = label * scale + offset")
    offset: float = Field(default=0.0, description="quantity = label * scale + offset")
    nodata: AnyNumber | None = Field(
        default=None, description="label that means 'not known', where the raster does not say"
    )


class SplitSettings(Strict):
    """How labels are divided into training, validation and test parts."""

    by: Literal["blocks", "files", "polygons"] | None = Field(
        default=None,
        description="square blocks, whole files, or whole polygons; none: polygons where labels "
        "are polygons, else blocks",
    )
    validation: float | Path = Field(
        default=0.2, description="share of the labels, or a vector file of the areas to hold out"
    )
    test: float | Path | None = Field(
        default=None,
        description="share of the labels, or a vector file of the areas to hold out; none: no test",
    )
    refit: bool = Field(
        default=True,
        description="whether a model that is solved for without training steps (auto, pixels, "
        "convex heads) is solved anew with the validation labels once they have scored it; "
        "default: unless split.validation is given",
    )
    block_px: int | None = Field(
        default=None, ge=8, description="side of a block; none: from chip and scene size"
    )
    gap_px: int | None = Field(
        default=None,
        ge=0,
        description="pixels left unused along the border of another part; none: as far as labels "
        "resemble each other, up to a quarter of a block; 2 between polygons",
    )
    folds: int | None = Field(
        default=None,
        ge=2,
        description="cross-validation: hold out each of so many groups of polygons in turn, then "
        "train on all labels; none: no cross-validation",
    )
    repeats: int = Field(
        default=1, ge=1, description="cross-validations, each with other groups of polygons"
    )
    fold: int | None = Field(
        default=None,
        ge=0,
        description="the one run of a cross-validation that holds out this group, counted on over "
        "the repeats; none: all of them",
    )
    context: Literal["keep", "hide"] = Field(
        default="keep",
        description="imagery around a part's labels: seen as in a map (keep), or invalid where it "
        "belongs to other parts (hide)",
    )

    @model_validator(mode="before")
    @classmethod
    def _given_labels_stay_held_out(cls, given: Any) -> Any:
        if isinstance(given, dict) and "validation" in given:
            return {"refit": False} | given
        return given

    @model_validator(mode="after")
    def _kinds_fit(self) -> SplitSettings:
        given = {name: getattr(self, name) for name in ("validation", "test")}
        for name, share in given.items():
            if isinstance(share, float) and not 0 <= share < 1:
                raise ValueError(f"split.{name}={share} must be at least 0 and below 1")
            if isinstance(share, Path) and self.by not in (None, "polygons"):
                raise ValueError(
                    f"split.{name}={share} does not fit by={self.by}; give a share such as 0.2"
                )
        areas = [name for name, share in given.items() if isinstance(share, Path)]
        if self.folds is not None and (self.by not in (None, "polygons") or areas or self.test):
            raise ValueError("split.folds goes by polygons and takes the place of split.test")
        if self.fold is not None and self.fold >= (self.folds or 0) * self.repeats:
            raise ValueError(f"split.fold={self.fold} is none of split.folds and split.repeats")
        shares = [name for name, share in given.items() if isinstance(share, float) and share]
        if areas and shares and shares[0] in self.model_fields_set:
            raise ValueError(
                f"split.{areas[0]} is a file and split.{shares[0]} a share; give files or shares"
            )
        return self


class AugmentSettings(Strict):
    """Random changes of training chips, made on the device."""

    flip: Literal["horizontal"] | bool = Field(
        default=True, description="mirror left-right and top-bottom; or horizontal: left-right only"
    )
    rotate: bool = Field(default=True, description="turn by multiples of 90 degrees")
    transfer: bool = Field(
        default=False,
        description="the model is to map scenes of other dates, places or sensors than those of "
        "training: brightness changes too, by gain and band_gain",
    )
    gain: float | None = Field(
        default=None,
        ge=0,
        le=2,
        description="all bands times exp(±gain): light, haze, season; none: 0.2 for transfer, else "
        "0",
    )
    band_gain: float | None = Field(
        default=None,
        ge=0,
        le=2,
        description="each band times exp(±band_gain): calibration; none: 0.1 for transfer, else 0",
    )
    band_drop: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="probability that a chip shows only the mean of a band: for a backbone that "
        "will meet sensors without it",
    )

    @property
    def gains(self) -> tuple[float, float]:
        """``gain`` and ``band_gain``, as given or by default."""
        usual = (0.2, 0.1) if self.transfer else (0.0, 0.0)
        given = (self.gain, self.band_gain)
        gain, band_gain = (u if g is None else g for u, g in zip(usual, given, strict=True))
        return gain, band_gain


def _one_range(given: Any) -> Any:
    """Read one range, ``[1340, 1460]``, as a list of it."""
    is_one = isinstance(given, list | tuple) and len(given) == 2
    return [given] if is_one and not any(isinstance(end, list | tuple) for end in given) else given


def _rising(ranges: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    for low, high in ranges:
        if not 0 <= low < high:
            raise ValueError(
                f"[{low:g}, {high:g}] is no range of wavelengths; write [low, high] in nanometres"
            )
    return ranges


SpectralRanges = Annotated[tuple[tuple[float, float], ...], AfterValidator(_rising)]


#: Factors of the units of a size.
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def _size(given: Any) -> Any:
    """Read ``none``, ``auto``, or a size in bytes or with a unit."""
    text = "none" if given is None else str(given).strip()
    if text.lower() in ("auto", "none"):
        return text.lower()
    size_bytes(text)
    return text


def size_bytes(text: str) -> int:
    """Return the bytes of a size such as ``512MB`` or ``4GB``; 0 of ``none``.

    Raises:
        ValueError: It is no size.
    """
    if text == "none":
        return 0
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", text, re.IGNORECASE)
    if found is None:
        raise ValueError(f"{text!r} is no size; write none, auto, or such as 512MB or 4GB")
    unit = found[2].upper()
    return int(float(found[1]) * _UNITS[unit and f"{unit}B"])


class ReadSettings(Strict):
    """What files lie where, how their numbers are read, and how batches are made of them."""

    root: Path = Field(default=Path(), description="folder that the file names start from")
    sensor: str | dict[str, Any] | None = Field(
        default=None, description="sensor name, YAML file or mapping; none: from the bands"
    )
    bands: tuple[str, ...] | Literal["wavelengths"] | None = Field(
        default=None,
        description="names of the files' bands in file order, where they lack them; or "
        "wavelengths: bands that state one are named by it (w0483), others ignored",
    )
    skip_nm: Annotated[SpectralRanges, BeforeValidator(_one_range)] = Field(
        default=(),
        description="ranges of wavelengths whose bands are ignored, such as those that water "
        "vapour absorbs: [[1340, 1460], [1790, 1960]]",
    )
    use_bands: tuple[str, ...] | None = Field(
        default=None,
        description="bands to train on; none: all bands of the first file; computed ones too: "
        "ndvi, VV/VH, B08-B04, (B08-B04)/(B08+B04)",
    )
    scale: Factor | None = Field(default=None, description="physical = raw * scale + offset")
    offset: float | None = Field(default=None, description="physical = raw * scale + offset")
    nodata: AnyNumber | None = Field(
        default=None, description="raw value without data, where the files do not say"
    )
    speckle: Speckle | None = Field(
        default=None, description="filter of the bands of radar: lee, boxcar; none: as they are"
    )
    valid_if: Literal["all", "any"] = Field(
        default="all", description="a pixel is valid if all or any of its bands are"
    )
    chip_px: int = Field(default=64, ge=16, description="side of a training chip")
    batch_size: int = Field(default=16, ge=1, description="chips in one step")
    workers: int = Field(
        default=0, ge=0, description="processes that read chips; 0: a thread of this one"
    )
    cache: Annotated[str, BeforeValidator(_size)] = Field(
        default="auto",
        description="memory for decoded pixels of training chips: none, or a size such as 4GB; "
        "auto: 1GB for each process that trains",
    )
    augment: AugmentSettings = AugmentSettings()
    homepage: str | None = Field(
        default=None, description="where the data come from; said when they are missing"
    )
    layout: str | None = Field(
        default=None, description="how root is laid out; said when the data are missing"
    )

    @property
    def cache_bytes(self) -> int:
        """Memory for decoded pixels in each process that reads."""
        return size_bytes("1GB" if self.cache == "auto" else self.cache) // max(self.workers, 1)

    @property
    def origin_hint(self) -> str:
        """End of a message about missing data: where they come from, how they are laid out."""
        source = f"; the data come from {self.homepage}" if self.homepage else ""
        return source + (f"; lay them out as {self.layout}" if self.layout else "")


class SceneSettings(ReadSettings):
    """Unlabelled scenes and the chips drawn from them; file names are relative to ``root``."""

    scenes: Names = Field(description="training scenes: files, folders or patterns such as '*.tif'")


class DataSettings(SceneSettings):
    """Scenes and labels; all file names are relative to ``root``."""

    chips_per_epoch: int | None = Field(
        default=None,
        ge=1,
        description="chips drawn in one epoch; none: 10 to 200 batches, by the labelled area",
    )

    kind: Literal["scenes"] = Field(
        default="scenes", description="what the data are: scenes with a label for every pixel"
    )
    labels: str = Field(
        description="label raster, polygons or points; '{stem}' stands for the scene's file name"
    )
    validation_scenes: Names = Field(
        default=(), description="scenes for validation only; none: cut from the training scenes"
    )
    test_scenes: Names = Field(default=(), description="scenes for testing only")
    classes: Annotated[tuple[ClassSpec, ...], BeforeValidator(class_specs)] = Field(
        default=(),
        description="[name, …], {value: name, …} or [{name, value, colour}, …]",
    )
    target: TargetSpec | None = Field(
        default=None, description="instead of classes: the quantity that a label raster holds"
    )
    class_column: str | None = Field(
        default=None,
        description="column of the polygons with class name or value; none: the one with names",
    )
    layer: str | None = Field(default=None, description="layer of the polygon file; none: first")
    ignore: _Values = Field(default=(), description="label values that mean 'no label'")
    sampling: Sampling = Field(
        default="sqrt",
        description="chips by labelled area (instance), by its square root per class (sqrt), "
        "classes equally (class), from the first to the last over the epochs (progressive), or "
        "equally from as much labelled area of every class as the rarest has (down)",
    )
    split: SplitSettings = SplitSettings()

    @field_validator("split", mode="before", json_schema_input_type=SplitSettings | str)
    @classmethod
    def _split_by_name(cls, given: Any) -> Any:
        return {"by": given} if isinstance(given, str) else given

    @field_validator("classes", mode="after")
    @classmethod
    def _classes_differ(cls, classes: tuple[ClassSpec, ...]) -> tuple[ClassSpec, ...]:
        if len(classes) == 1:
            raise ValueError(f"names {len(classes)} class(es); give two or more")
        for kind in ("name", "value"):
            seen: set[Any] = set()
            for spec in classes:
                if getattr(spec, kind) in seen:
                    raise ValueError(f"two classes share the {kind} {getattr(spec, kind)!r}")
                seen.add(getattr(spec, kind))
        return classes

    @model_validator(mode="after")
    def _classes_or_target(self) -> DataSettings:
        if self.target is None and not self.classes:
            raise ValueError(
                "names neither classes nor a target; say what the labels mean, e.g. "
                "classes: {1: water, 2: land}, or target: {name: biomass, unit: t/ha}"
            )
        if self.target is not None and self.classes:
            raise ValueError("names both classes and a target; a model has one of them")
        return self

    @model_validator(mode="after")
    def _ignored_is_no_class(self) -> DataSettings:
        both = {spec.value for spec in self.classes} & set(self.ignore)
        if both:
            raise ValueError(f"value {both.pop()} is both a class and ignored; drop one")
        return self

    @property
    def strata(self) -> int:
        """Number of classes; 1 where labels are numbers."""
        return len(self.classes) or 1
