"""Commands that are printed for the user to run next."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from sweep.passwords import shown_command


def command_here(home: Path, tracking: str | None, *words: str) -> str:
    """A `sweep` command with the options for this home folder and MLflow address.

    The program is given by its path if it is not in `PATH`, as with `make sweep`. Passwords are hidden.

    Args:
        home: the home folder; added unless it is the default and SWEEP_HOME sets no other.
        tracking: MLflow's address; added unless it is the default, `none`, or the value of SWEEP_TRACKING.
        words: the command and its arguments; an option among them is not added again.
    """
    path = Path(sys.argv[0])
    known = path.name != "sweep" or shutil.which("sweep")
    places = {"--home": str(home)} if home != Path("runs") or "SWEEP_HOME" in os.environ else {}
    if tracking not in (None, "none", os.environ.get("SWEEP_TRACKING")):
        places["--tracking"] = str(tracking)
    named = {word.partition("=")[0] for word in words}
    new = [word for option, place in places.items() if option not in named for word in (option, place)]
    return shown_command(["sweep" if known else os.path.relpath(path), *words, *new])
