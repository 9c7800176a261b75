"""The outcomes of trials. Worker processes import this module: standard library only."""

from enum import StrEnum

SEARCH_OVER = "the time for the search was over"
"""The recorded reason, or its end, of a pruned trial that was stopped when the time for the search was over."""


class Outcome(StrEnum):
    """The outcome of a trial.

    Diverged, out of memory and timeout are results of the settings. Only `FAILED`, an error in the program or a worker
    that exited too often, is a failure.
    """

    COMPLETE = "complete"
    PRUNED = "pruned"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out of memory"
    TIMEOUT = "timeout"
    FAILED = "failed"
