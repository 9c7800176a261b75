"""Named places around durable writes where a test can kill the process; `tests/chaos` checks that each is reached.

SWEEP_FAILPOINT=NAME@FILE kills the first process that reaches the failpoint NAME: it removes FILE and sends itself
SIGKILL. Several are separated by commas. In normal use a failpoint is a look-up in an empty dictionary.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

_TOKENS = dict(entry.split("@", 1) for entry in os.environ.get("SWEEP_FAILPOINT", "").split(",") if entry)


def failpoint(name: str) -> None:
    """Kill this process with SIGKILL if SWEEP_FAILPOINT contains `name` and no process was killed there yet."""
    if name in _TOKENS:
        with contextlib.suppress(FileNotFoundError):
            Path(_TOKENS[name]).unlink()  # only one of several processes succeeds
            os.kill(os.getpid(), signal.SIGKILL)
