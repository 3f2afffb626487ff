"""Give a head its first weights: solved for, from features of images, or from words."""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING, cast

import torch

from rsmeta.heads.classifier_init import class_means, few_shot_means, linear_probe, text_weights
from rsmeta.heads.classifiers import LinearClassifier
from rsmeta.heads.logistic import logistic_weights
from rsmeta.models.network import ImageNetwork
from rsmeta.training.features import features_of
from rsmeta.training.solve import check_classes, labelled_pixels

if TYPE_CHECKING:
    from torch import Tensor

    from rsmeta.config import Settings
    from rsmeta.heads import Classifier, LinearPixelHead
    from rsmeta.models.network import Network
    from rsmeta.tasks.base import TrainingData

logger = logging.getLogger(__name__)

_SHOTS = 16
PROMPTS = "photo"


def start_head(network: Network, data: TrainingData, settings: Settings) -> None:
    """Set the weights of the head as ``model.head.init`` says; ``random`` leaves them alone.

    ``solved`` gives a linear head the logistic regression on the features at hand, so that
    training starts from the best classifier of the frozen backbone, and does not distort the
    features while the head is still random.

    Args:
        network: Its head is changed.
        data: Training labels, without those that are held out for the scales.
        settings: Model and seed.

    Raises:
        RsmetaError: A class has no image, or what the start needs is not there.

    Source: Kumar et al. 2022, Fine-tuning can distort pretrained features, ICLR.
    """
    spec = settings.model.head
    if spec.init == "random":
        return
    if isinstance(network, ImageNetwork):
        _start_classifier(network, data, settings)
    else:
        _start_pixel_head(network, data, settings)
    logger.info("the head starts from %s", _SAID.get(spec.init, spec.init.replace("_", " ")))


#: What a head starts from, where its key does not say it.
_SAID = {"solved": "a logistic regression on the features"}


def _start_pixel_head(network: Network, data: TrainingData, settings: Settings) -> None:
    # A copy, because features are those of evaluation; with its adapters, as training starts.
    frozen = copy.deepcopy(network).to(_device(settings))
    pixels = labelled_pixels(frozen, data, "train", seed=settings.seed)
    check_classes(pixels.labels, data)
    weight, bias = logistic_weights(*pixels, classes=len(data.classes))
    cast("LinearPixelHead", network.head).set_weights(weight, bias)


def _start_classifier(network: ImageNetwork, data: TrainingData, settings: Settings) -> None:
    head = cast("Classifier", network.head)
    if settings.model.head.init == "text":
        head.set_weights(_of_words(data, settings))
        return
    features, labels = _image_features(network, data, settings)
    if settings.model.head.init != "solved":
        head.set_weights(_means(features, labels, settings, classes=len(data.classes)))
    elif isinstance(head, LinearClassifier):
        check_classes(labels.numpy(), data)
        own = torch.arange(len(labels)).numpy()  # images are independent of each other
        weight, bias = logistic_weights(
            features.numpy(), labels.numpy(), own, classes=len(data.classes)
        )
        head.set_weights(weight, bias)
    else:  # whose weights have length 1: the directions are what can be taken over
        head.set_weights(linear_probe(features, labels, len(data.classes)))


def _of_words(data: TrainingData, settings: Settings) -> Tensor:
    """Return class weights (K, D) from CLIP's texts, taken back into the image tower's space."""
    from rsmeta.models.clip import load_clip  # slow to import

    model = settings.model
    clip = load_clip(model.backbone, checkpoint=model.checkpoint, sha256=model.checkpoint_sha256)
    names = [spec.name for spec in data.classes]
    with torch.inference_mode():
        texts = clip.text.class_features(names, model.head.prompts or PROMPTS)
        return text_weights(texts @ clip.projection.weight).clone()


def _image_features(
    network: ImageNetwork, data: TrainingData, settings: Settings
) -> tuple[Tensor, Tensor]:
    """Return features (N, D) and class indices (N,) of the training images."""
    loader = data.ordered_dataloader("train")
    device = _device(settings)
    features, labels = features_of(network, loader, model=settings.model, device=device)
    if labels.ndim == 2:  # an image of several classes counts for each
        image, labels = (labels == 1).nonzero(as_tuple=True)
        features = features[image]
    return features[labels >= 0], labels[labels >= 0]


def _means(features: Tensor, labels: Tensor, settings: Settings, *, classes: int) -> Tensor:
    spec = settings.model.head
    if spec.init == "class_mean":
        return class_means(features, labels, classes)
    shots = spec.shots or _SHOTS
    return few_shot_means(features, labels, classes, shots=shots, seed=settings.seed)


def _device(settings: Settings) -> str:
    wants_gpu = settings.trainer.accelerator in ("auto", "gpu", "cuda")
    return "cuda" if wants_gpu and torch.cuda.is_available() else "cpu"
