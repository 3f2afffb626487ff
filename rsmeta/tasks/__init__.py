"""Tasks: segmentation, classification, multilabel, regression; one class each says what differs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsmeta.tasks.base import Task
from rsmeta.tasks.classes import Classification, Multilabel, Segmentation
from rsmeta.tasks.numbers import Regression

if TYPE_CHECKING:
    from rsmeta.config import Settings
    from rsmeta.config.settings import TaskName

__all__ = ["TASKS", "Classification", "Multilabel", "Regression", "Segmentation", "Task", "task_of"]

#: Tasks by name.
TASKS: dict[TaskName, type[Task]] = {
    kind.name: kind for kind in (Segmentation, Classification, Multilabel, Regression)
}


def task_of(settings: Settings) -> Task:
    """Return the task of a configuration."""
    return TASKS[settings.task](settings.per_pixel)
