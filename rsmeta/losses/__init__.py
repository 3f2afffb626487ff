"""Losses over labelled pixels and images; importing the package registers every one."""

from __future__ import annotations

from rsmeta.losses import (  # each registers its loss
    balanced_softmax,
    class_balanced,
    cross_entropy,
    dice,
    focal,
    lade,
    ldam,
    logit_adjusted,
    lovasz,
    multilabel,
    regression,
    reweighted,
    tversky,
)
from rsmeta.losses.base import (
    IGNORE_INDEX,
    LOSSES,
    ClassCounts,
    Loss,
    WeightedSum,
    build_loss,
    check_loss,
)
from rsmeta.losses.multilabel import MULTILABEL_LOSSES
from rsmeta.losses.regression import REGRESSION_LOSSES

__all__ = [
    "IGNORE_INDEX",
    "LOSSES",
    "MULTILABEL_LOSSES",
    "REGRESSION_LOSSES",
    "ClassCounts",
    "Loss",
    "WeightedSum",
    "balanced_softmax",
    "build_loss",
    "check_loss",
    "class_balanced",
    "cross_entropy",
    "dice",
    "focal",
    "lade",
    "ldam",
    "logit_adjusted",
    "lovasz",
    "multilabel",
    "regression",
    "reweighted",
    "tversky",
]
