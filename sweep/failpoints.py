"""Named places around durable steps where a test lets the process die; `tests/chaos` proves that each is reached.

SWEEP_FAILPOINT=NAME@FILE asks for one death at the failpoint NAME, in whichever process comes there first: it removes
FILE and kills itself. In normal use a failpoint compares two words.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

_NAME, _, _TOKEN = os.environ.get("SWEEP_FAILPOINT", "").partition("@")


def failpoint(name: str) -> None:
    """Die here by SIGKILL, if that was asked for and has not happened yet."""
    if name == _NAME:
        with contextlib.suppress(FileNotFoundError):
            Path(_TOKEN).unlink()  # of two processes one removes it
            os.kill(os.getpid(), signal.SIGKILL)
