"""Names of a run's checkpoints, for those that only look whether there are any."""

from __future__ import annotations

#: The checkpoint that a run resumes from.
LAST = "last.ckpt"

#: The checkpoint with the best validation score.
BEST = "best.ckpt"
