"""Settle what the configuration leaves open: ``model.backbone=auto`` and ``model.zoom=auto``."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, cast

from rsmeta.config.meta import MetaSettings
from rsmeta.config.model import AUTO, HeadSpec, ModelSpec
from rsmeta.config.settings import SOLVED_HEADS
from rsmeta.config.tuner import TunerSpec
from rsmeta.errors import counted
from rsmeta.training.auto import (
    Selection,
    candidates_of,
    compare_network,
    estimate_selection,
    select_model,
    select_zoom,
)
from rsmeta.workflows.run_folder import SELECTION_FILE, write_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rsmeta.config import Settings
    from rsmeta.data.datamodule import SceneDataModule
    from rsmeta.models.network import Network
    from rsmeta.tasks.base import TrainingData

logger = logging.getLogger(__name__)

#: The network that is adapted where there is nothing to choose from.
NETWORK: dict[str, Any] = {"backbone": "satmae_vit_nano_group", "pretrained": True}


def settle_model(
    settings: Settings, data: TrainingData, output: Path, *, known: bool
) -> tuple[Settings, dict[str, Any]]:
    """Choose backbone or zoom where they are open.

    Args:
        settings: The configuration.
        data: Labelled scenes or images.
        output: Run folder, which keeps the choice.
        known: Take the choice that is kept there, if there is one.

    Returns:
        Settings that leave nothing open, and what metrics.json says of the choice: nothing where
        there was none to make.

    Raises:
        RsmetaError: A candidate cannot be built, or the labels are of one class.
    """
    if not settings.model.is_open:
        return settings, {}
    file = output / SELECTION_FILE
    if known and file.exists():
        kept = json.loads(file.read_text(encoding="utf-8"))
        return _with_model(settings, ModelSpec.model_validate(kept["model"])), _said(kept)
    if not _compares(settings):
        model = without_candidates(settings).model
        logger.info("only models for classes of pixels are compared; this task gets %s, zoom %s",
                    model.backbone, model.zoom)  # fmt: skip
        kept = {
            "chosen": model.backbone,
            "reason": "models are compared for classes of pixels only",
        }
    else:
        choose = select_model if settings.model.backbone == AUTO else select_zoom
        found = choose(settings.model, cast("SceneDataModule", data), seed=settings.seed)
        _log(found)
        model, kept = found.model, found.as_dict()
    kept["model"] = model.model_dump(mode="json")
    write_text(file, json.dumps(kept, indent=2) + "\n")
    return _with_model(settings, model), _said(kept)


def network_to_try(
    settings: Settings, data: TrainingData, selection: Mapping[str, Any]
) -> Settings | None:
    """Return the settings of the network that is tried beside the chosen model; none: no.

    It is the best of the user's candidates that have weights, else the shipped one.

    Args:
        settings: The configuration, with ``backbone=auto``.
        data: Labelled scenes.
        selection: The choice, as metrics.json has it.
    """
    if settings.model.backbone != AUTO or not selection.get("selection", {}).get("candidates"):
        return None
    if settings.trainer.max_minutes is None:
        logger.info("no network was adapted, which takes minutes: trainer.time=10min tries one")
        return None
    if not data.parts["validation"]:
        logger.info("no network is adapted: without a validation part (data.split.validation) it "
                    "cannot be compared")  # fmt: skip
        return None
    models = [one for one in settings.model.candidates if one.backbone != "pixels"]
    model = ModelSpec.model_validate({**NETWORK, "head": HeadSpec()})
    if models:
        zoom = 1 if models[0].zoom == AUTO else models[0].zoom
        model = models[0].model_copy(update={"head": HeadSpec(), "zoom": zoom})
    return settings.model_copy(update={"model": model})


def duel(
    settings: Settings, chosen: ModelSpec, network: Network, data: TrainingData
) -> dict[str, Any]:
    """Compare an adapted network with the chosen model; return what metrics.json says of it."""
    found = compare_network(network, chosen, cast("SceneDataModule", data), seed=settings.seed)
    logger.info(
        "adapted network %s: macro F1 %.3f on the validation part, the chosen model %.3f "
        "(difference ± %.3f, %s pixels): %s", network.backbone.record.name, found.network,
        found.chosen, found.standard_error, f"{found.pixels:,}",
        "the network takes its place" if found.adopted else "not clearly better",
    )  # fmt: skip
    return {"name": network.backbone.record.name, **found.as_dict()}


def open_candidates(settings: Settings, data: TrainingData) -> tuple[str, ...]:
    """Return the names of the models that would be compared; none where nothing is open."""
    if not (settings.model.is_open and _compares(settings)):
        return ()
    return tuple(one.name for one in candidates_of(settings.model, data.bands))


def estimated_seconds(settings: Settings, data: TrainingData) -> float:
    """Return how long choosing a model takes, with the time that a network is given."""
    minutes = settings.trainer.max_minutes
    network = 60 * minutes if minutes and settings.model.backbone == AUTO else 0.0
    scenes = cast("SceneDataModule", data)
    return network + estimate_selection(settings.model, scenes, seed=settings.seed)


def without_candidates(settings: Settings) -> Settings:
    """Return settings with the pretrained network where there is nothing to choose by."""
    given = settings.model
    if not given.is_open:
        return settings
    model = given.model_copy(update={"zoom": 1})
    if given.backbone == AUTO:
        model = ModelSpec(**NETWORK, head=HeadSpec() if given.head.name == AUTO else given.head)
    return settings.model_copy(update={"model": model})


def _compares(settings: Settings) -> bool:
    """Whether the task has candidates: classes of pixels."""
    return settings.per_pixel and settings.task == "segmentation"


def _with_model(settings: Settings, model: ModelSpec) -> Settings:
    """Return settings with a model; adapters and their scales go where a head is solved for."""
    solved = model.average or model.head.name in SOLVED_HEADS
    update: dict[str, Any] = {"model": model}
    if solved and (settings.tuner != TunerSpec() or settings.meta.learned):
        logger.info(
            "tuner and meta do not apply to the chosen model, which has no backbone to adapt"
        )
    if solved:
        update |= {"tuner": TunerSpec(), "meta": MetaSettings()}
    return settings.model_copy(update=update)


def _said(kept: dict[str, Any]) -> dict[str, Any]:
    return {"selection": {key: value for key, value in kept.items() if key != "model"}}


def _log(found: Selection) -> None:
    """Log the table of candidates, and the choice."""
    if found.rows:
        width = max(len(row.name) for row in found.rows)
        logger.info("    %s  macro F1  beside %s", "model".ljust(width), found.reference)
        for row in found.rows:
            logger.info("%2d  %s  %.3f     %+.3f ± %.3f", row.number, row.name.ljust(width),
                        row.macro_f1, row.difference, row.standard_error)  # fmt: skip
        logger.info("on %s pixels of %d polygons or blocks, each held out %s in one of %d "
                    "groups", f"{found.pixels:,}", found.groups,
                    counted(found.repeats, "time"),
                    found.folds)  # fmt: skip
    logger.info("chosen: %s, since %s", found.name, found.reason)
    if len(found.members) > 1:
        logger.info("it averages: %s", "; ".join(found.members))
