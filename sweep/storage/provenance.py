"""Where a study's numbers come from: versions, commit, machine, command. Recorded once, when the study begins."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

SHOWN = ("numpy", "optuna", "mlflow", "pandas", "matplotlib", "scikit-learn", "numpy-sweep")


def provenance(command: str) -> dict[str, Any]:
    """What a reader needs to run the study again; no path and no user name is in it.

    Args:
        command: that repeats the study.
    """
    commit, dirty = _git()
    return {
        "versions": {"python": platform.python_version(), **{name: version(name) for name in SHOWN}},
        "git_commit": commit,
        "git_dirty": dirty,
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "command": command,
    }


def _git() -> tuple[str | None, bool | None]:
    """Commit of this checkout and whether it was changed since; None where it is no checkout."""
    root = Path(__file__).parent.parent.parent
    try:
        commit = _output("git", "-C", str(root), "rev-parse", "HEAD")
        return commit, bool(_output("git", "-C", str(root), "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()


def _processor() -> str:
    """The processor's name; Linux tells it in /proc/cpuinfo, other systems through `platform`."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
