"""The whole configuration: one frozen, strict model per section of the YAML file."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from pydantic import Field, model_validator

from rsmeta.config.base import Strict
from rsmeta.config.data import DataSettings
from rsmeta.config.data_kinds import Data
from rsmeta.config.loss import LossSpec
from rsmeta.config.meta import MetaSettings
from rsmeta.config.model import AUTO, AVERAGE, ModelSpec
from rsmeta.config.predict import PredictSettings
from rsmeta.config.sweep import SweepSettings
from rsmeta.config.trainer import TrainerSettings
from rsmeta.config.tuner import Tuner, TunerSpec
from rsmeta.errors import ConfigError

TaskName: TypeAlias = Literal["segmentation", "classification", "multilabel", "regression"]

#: Tasks whose images have one label, or one set of labels, each.
OF_IMAGES: frozenset[TaskName] = frozenset({"classification", "multilabel"})

#: What is minimised where nothing is said; segmentation: as ``LossSpec`` has it.
_LOSSES = {"multilabel": "bce", "regression": "mse"}

#: Backbones that have no weights, or never random ones, by how their names begin.
_NEVER_RANDOM = ("pixels", "torchgeo:", AUTO, AVERAGE)

#: Heads that are solved for: the backbone before them stays as it is.
SOLVED_HEADS = frozenset({"forest", "extra_trees", "lda", "logistic", "mlp"})


class Settings(Strict):
    """Everything that a run is determined by."""

    seed: int = Field(default=0, ge=0, description="seed of all random numbers")
    task: TaskName = Field(
        default="segmentation",
        description="segmentation: a class per pixel; classification: a class per image; "
        "multilabel: any number of labels per image; regression: a number per "
        "pixel or image; none: from data.kind",
    )
    data: Data = Field(description="scenes or images, labels, classes, splits, chips")
    model: ModelSpec = Field(default=ModelSpec(), description="backbone, stem and head")
    tuner: Tuner = Field(
        default=TunerSpec(),
        description="what is trained, and how; a list of methods combines them; none: lora on "
        "pretrained weights, full on random ones",
    )
    meta: MetaSettings = Field(default=MetaSettings(), description="how scales are learned")
    loss: LossSpec = Field(default=LossSpec(), description="what is minimised")
    trainer: TrainerSettings = Field(
        default=TrainerSettings(), description="Lightning's trainer and the optimizer"
    )
    predict: PredictSettings = Field(default=PredictSettings(), description="how maps are made")
    sweep: SweepSettings | None = Field(
        default=None, description="train over seeds and a grid, for one table of them all"
    )

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_task(cls, given: Any) -> Any:
        """Fill in what depends on task and model: head, loss, and what is trained."""
        if not isinstance(given, dict):
            return given
        of_scenes = _of_scenes(given.get("data"))
        task = given.get("task", "segmentation" if of_scenes else "classification")
        filled = {**given, "task": task}
        if isinstance(task, str) and task in _LOSSES:
            filled["loss"] = _named(given.get("loss"), _LOSSES[task], unless="terms")
        if not of_scenes:
            model = given.get("model")
            if isinstance(model, dict) or model is None:
                filled["model"] = {**(model or {})}
                filled["model"]["head"] = _named(filled["model"].get("head"), "linear")
        if given.get("tuner") is None and _starts_from_chance(filled.get("model")):
            filled["tuner"] = {"method": "full"}
        return filled

    @model_validator(mode="after")
    def _task_fits_data(self) -> Settings:
        kind, scenes = self.data.kind, self.data.kind == "scenes"
        if self.task == "segmentation" and not scenes:
            raise ValueError(
                f"task=segmentation needs a class for every pixel, and data.kind={kind} has one "
                f"label per image; set task=classification, or give scenes"
            )
        if self.task in OF_IMAGES and scenes:
            raise ValueError(
                f"task={self.task} needs labels of whole images, and data.kind=scenes has them for "
                f"pixels; set data.kind (folder, index, chips, …), or task=segmentation"
            )
        if (self.task == "regression") != (self.data.target is not None):
            said = "a quantity to estimate" if self.task == "regression" else "classes"
            raise ValueError(
                f"task={self.task} needs {said}; "
                + ("give data.target={name: …, unit: …}" if self.task == "regression" else
                   "give data.classes instead of data.target, or set task=regression")
            )  # fmt: skip
        return self

    @model_validator(mode="after")
    def _head_fits_task(self) -> Settings:
        head = self.model.head
        if self.per_pixel and head.of_images:
            key = next(iter(head.of_images))
            raise ValueError(f"model.head.{key} is for heads of whole images; drop it")
        if self.task == "regression" and head.init != "random":
            raise ValueError(f"model.head.init={head.init} starts from classes; drop it")
        if head.init == "text" and head.pool != "token":
            raise ValueError("model.head.init=text needs CLIP's own vector: set pool=token")
        if self.task == "multilabel" and head.init == "solved":
            raise ValueError("model.head.init=solved takes one label each; use class_mean")
        return self

    @property
    def per_pixel(self) -> bool:
        """Whether every pixel has a label, not every image."""
        return self.data.kind == "scenes"

    @property
    def scenes(self) -> DataSettings:
        """The ``data`` section where it names labelled scenes.

        Raises:
            ConfigError: It names images with one label each.
        """
        if type(self.data) is not DataSettings:
            raise ConfigError(
                f"data.kind={self.data.kind} has one label per image, and not one per pixel"
            )
        return self.data

    @model_validator(mode="after")
    def _scales_can_be_learned(self) -> Settings:
        if self.meta.objective != "training" and self.task not in (
            "segmentation",
            "classification",
        ):
            raise ValueError(
                f"meta.objective={self.meta.objective} needs one class per pixel or image; "
                f"task={self.task} has none, so use meta.objective=training"
            )
        if self.meta.learned and self.trainer.precision == "bf16-true":
            raise ValueError(
                f"trainer.precision=bf16-true rounds away what meta.strategy={self.meta.strategy} "
                f"learns; use bf16-mixed"
            )
        return self


def _starts_from_chance(model: Any) -> bool:
    """Whether a ``model`` section, not checked yet, names a network without weights to adapt."""
    if isinstance(model, ModelSpec):
        model = model.model_dump(exclude_unset=True)
    if not isinstance(model, dict) or "preset" in model:
        return False
    made = model.get("options") or model.get("stem") or model.get("normalise")
    backbone = str(model.get("backbone") or ("" if made else AUTO))
    head = model.get("head")
    name = head.get("name") if isinstance(head, dict) else head
    has_weights = "pretrained" in model or model.get("checkpoint") is not None
    return not (has_weights or backbone.startswith(_NEVER_RANDOM) or name in SOLVED_HEADS)


def _of_scenes(data: Any) -> bool:
    """Whether a ``data`` section, checked or not yet, is of scenes."""
    kind = data.get("kind", "scenes") if isinstance(data, dict) else getattr(data, "kind", "scenes")
    return bool(kind == "scenes")


def _named(given: Any, name: str, *, unless: str | None = None) -> Any:
    """Give a section without a name; ``unless`` is a key that replaces a name."""
    if given is None:
        return {"name": name}
    if isinstance(given, dict) and "name" not in given and unless not in given:
        return {"name": name, **given}
    return given
