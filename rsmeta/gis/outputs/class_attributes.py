"""What arrays and their files say of classes, in the words of the CF conventions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rsmeta.gis.tags import CLASSES, classes_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.config.data import ClassSpec


def class_attributes(classes: Sequence[ClassSpec], dtype: str) -> dict[str, Any]:
    """Return the attributes of an array of class values.

    ``flag_meanings`` divides names by blanks, so that those inside names become ``_``; the names
    as they are, and the colours, stand in the same JSON that a GeoTIFF has.

    Source: CF conventions 1.11, section 3.5, "Flags".
    """
    return {
        "long_name": "class",
        "flag_values": np.array([spec.value for spec in classes], dtype),
        "flag_meanings": " ".join("_".join(spec.name.split()) for spec in classes),
        CLASSES: classes_text(classes),
    }
