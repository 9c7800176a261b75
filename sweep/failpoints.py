"""Named places around durable steps where a test lets the process die; `tests/chaos` proves that each is reached.

SWEEP_FAILPOINT=NAME@FILE asks for one death at the failpoint NAME, in whichever process comes there first: it removes
FILE and kills itself. Several are separated by commas. In normal use a failpoint looks into an empty table.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

_TOKENS = dict(wish.split("@", 1) for wish in os.environ.get("SWEEP_FAILPOINT", "").split(",") if wish)


def failpoint(name: str) -> None:
    """Die here by SIGKILL, if that was asked for and has not happened yet."""
    if name in _TOKENS:
        with contextlib.suppress(FileNotFoundError):
            Path(_TOKENS[name]).unlink()  # of two processes one removes it
            os.kill(os.getpid(), signal.SIGKILL)
