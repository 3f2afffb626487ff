"""What decorates a map may fail; the map does not."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rsmeta.errors import OutputError, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)


@contextmanager
def best_effort(name: str) -> Iterator[None]:
    """Warn where a file that only decorates a map cannot be made.

    Args:
        name: What messages call the file.

    Raises:
        OutputError: The disk does not take it, and would not take the map either.
        OSError: Likewise.
    """
    try:
        yield
    except (OutputError, OSError):
        raise
    except Exception as error:
        logger.warning("%s was left out; the map is complete (%s)", name, one_line(error))
        logger.debug("%s could not be made", name, exc_info=error)
