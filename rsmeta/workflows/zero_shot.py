"""Score zero-shot classification with CLIP: classes by their names, without training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rsmeta.config import Settings, load_settings
from rsmeta.config.tuner import TunerSpec
from rsmeta.errors import ConfigError
from rsmeta.losses import build_loss
from rsmeta.models.build import build_network
from rsmeta.models.clip import ZeroShotHead, load_clip
from rsmeta.tasks import task_of
from rsmeta.training.head_start import PROMPTS
from rsmeta.training.module import TaskModule
from rsmeta.workflows.evaluate import scores_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rsmeta.config.load import Overrides
    from rsmeta.data.splits import Part
    from rsmeta.inference.test_time_augmentation import Views
    from rsmeta.workflows.evaluate import Scores


def zero_shot(
    config: str | Path | Mapping[str, Any] | Settings,
    overrides: Overrides = (),
    *,
    split: Part = "test",
    augment: Views = "none",
) -> Scores:
    """Score CLIP without training.

    Args:
        config: YAML file, mapping or settings for classification; ``model.backbone`` is a CLIP
            image tower, and ``model.head.prompts`` (with ``init: text``) are the prompts.
        overrides: ``KEY=VALUE`` strings, or a mapping, that override the configuration.
        split: ``train``, ``validation`` or ``test``.
        augment: Views of an image to average.

    Raises:
        RsmetaError: The task is not classification, the backbone is not a CLIP, or the part is
            missing.
    """
    settings = config if isinstance(config, Settings) else load_settings(config, overrides)
    if settings.task != "classification":
        raise ConfigError(
            f"--zero-shot needs task=classification; the configuration has task={settings.task}"
        )
    model = settings.model
    clip = load_clip(model.backbone, checkpoint=model.checkpoint, sha256=model.checkpoint_sha256)
    task = task_of(settings)
    data = task.data(settings, to_train=False)
    mean, std = data.statistics
    network = build_network(
        model, TunerSpec(method="head"), bands=data.bands, classes=len(data.classes), mean=mean,
        std=std, per_pixel=False,
    )  # fmt: skip
    names = [spec.name for spec in data.classes]
    network.head = ZeroShotHead(clip, names, model.head.prompts or PROMPTS)  # type: ignore[assignment]
    loss = build_loss(settings.loss, task.loss_statistics(data), task.losses)
    module = TaskModule(network.eval(), loss, task.metrics(data), settings)
    return scores_of(module, data, split=split, augment=augment)
