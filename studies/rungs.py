"""Rungs: the shares of a trial's epochs at which trials are compared."""

from __future__ import annotations

import math

FACTOR = 3
"""Each rung has this many times the epochs of the one before: 1, 4 and 12 of 12."""
MOST_STEPS = 2
"""Rungs below the last. With three steps, so few of 40 trials may be given up at each that half of them run to the end;
the number must not depend on the number of trials, which may grow.
"""


def rung_epochs(epochs: int, longest: int) -> tuple[int, ...]:
    """The epoch, counted from 1, at which a trial reaches each rung; the last rung is its last epoch.

    The number of rungs follows from the longest trial of the study, and their shares from that number. So trials of
    different lengths are compared at the same share of their own schedules; a short one reaches several rungs at once.

    Args:
        epochs: of the trial.
        longest: epochs of the study's longest trial.
    """
    steps = min(MOST_STEPS, int(math.log(longest) / math.log(FACTOR) + 1e-9))
    return tuple(max(1, round(epochs / FACTOR**step)) for step in range(steps, -1, -1))
