"""Prompts: sentences that a class name is put into before a text tower reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsmeta.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Sets of templates by name; ``{}`` stands for the class name.
TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "name": ("{}",),
    "photo": ("a photo of a {}.",),
    "overhead": (
        "a satellite image of {}.",
        "{} seen from above.",
        "an aerial photograph that shows {}.",
        "{} as it looks from orbit.",
        "land covered by {}, in a satellite image.",
        "a map tile of an area with {}.",
    ),
}


def fill(classes: Sequence[str], templates: str | Sequence[str] = "photo") -> list[list[str]]:
    """Return the prompts of each class.

    Args:
        classes: Names of the classes, K; an underscore counts as a space.
        templates: Name of a set in ``TEMPLATES``, or sentences with ``{}`` for the class name.

    Returns:
        K lists of as many prompts as there are templates.

    Raises:
        UnknownNameError: No set has that name.
        ConfigError: There are no classes or sentences, or one without ``{}``.

    Source: Radford et al. 2021 (arXiv:2103.00020), section 3.1.4: prompts and their ensembles.
    """
    if isinstance(templates, str):
        if templates not in TEMPLATES:
            raise UnknownNameError("set of prompts", templates, TEMPLATES)
        templates = TEMPLATES[templates]
    if not classes or not templates:
        raise ConfigError("prompts need at least one class and one template")
    for template in templates:
        if "{}" not in template:
            raise ConfigError(f"the prompt {template!r} has no {{}} for the name of the class")
    names = [name.replace("_", " ").strip() for name in classes]
    # Not str.format, which would look up attributes that a template names.
    return [[template.replace("{}", name) for template in templates] for name in names]
