"""Give a classifier of images its first weights: from features of images, or from words."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

import torch

from rsmeta.heads.classifier_init import class_means, few_shot_means, linear_probe, text_weights
from rsmeta.models.network import ImageNetwork
from rsmeta.training.features import features_of

if TYPE_CHECKING:
    from torch import Tensor

    from rsmeta.config import Settings
    from rsmeta.heads import Classifier
    from rsmeta.models.network import Network
    from rsmeta.tasks.base import TrainingData

logger = logging.getLogger(__name__)

_SHOTS = 16
PROMPTS = "photo"


def start_head(network: Network, data: TrainingData, settings: Settings) -> None:
    """Set the weights of the head as ``model.head.init`` says; ``random`` leaves them alone.

    Args:
        network: Its head is changed.
        data: Training images, without those that are held out for the scales.
        settings: Model and seed.

    Raises:
        RsmetaError: A class has no image, or what the start needs is not there.
    """
    spec = settings.model.head
    if spec.init == "random" or not isinstance(network, ImageNetwork):
        return
    if spec.init == "text":
        weights = _of_words(data, settings)
    else:
        weights = _of_features(network, data, settings)
    cast("Classifier", network.head).set_weights(weights)
    logger.info("the head starts from %s", spec.init.replace("_", " "))


def _of_words(data: TrainingData, settings: Settings) -> Tensor:
    """Return class weights (K, D) from CLIP's texts, taken back into the image tower's space."""
    from rsmeta.models.clip import load_clip  # slow to import

    model = settings.model
    clip = load_clip(model.backbone, checkpoint=model.checkpoint, sha256=model.checkpoint_sha256)
    names = [spec.name for spec in data.classes]
    with torch.inference_mode():
        texts = clip.text.class_features(names, model.head.prompts or PROMPTS)
        return text_weights(texts @ clip.projection.weight).clone()


def _of_features(network: ImageNetwork, data: TrainingData, settings: Settings) -> Tensor:
    spec, classes = settings.model.head, len(data.classes)
    wants_gpu = settings.trainer.accelerator in ("auto", "gpu", "cuda")
    device = "cuda" if wants_gpu and torch.cuda.is_available() else "cpu"
    loader = data.ordered_dataloader("train")
    features, labels = features_of(network, loader, model=settings.model, device=device)
    if labels.ndim == 2:  # an image of several classes counts for each
        image, labels = (labels == 1).nonzero(as_tuple=True)
        features = features[image]
    if spec.init == "class_mean":
        return class_means(features, labels, classes)
    if spec.init == "few_shot_mean":
        shots = spec.shots or _SHOTS
        return few_shot_means(features, labels, classes, shots=shots, seed=settings.seed)
    return linear_probe(features, labels, classes)
