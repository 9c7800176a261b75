"""How a trial ended, in the words of the record. Worker processes import this module: standard library only."""

from enum import StrEnum


class Outcome(StrEnum):
    """How a trial ended.

    Diverged, out of memory and timeout are results of the settings. Only `FAILED`, an error in the program or a worker
    that died too often, is a failure.
    """

    COMPLETE = "complete"
    PRUNED = "pruned"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out of memory"
    TIMEOUT = "timeout"
    FAILED = "failed"
