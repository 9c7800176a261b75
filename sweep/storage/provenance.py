"""The provenance of a study: versions, commit, machine, command. Recorded once, when the study is created."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("numpy", "optuna", "mlflow", "pandas", "matplotlib", "scikit-learn", "numpy-sweep")


def provenance(command: str) -> dict[str, Any]:
    """Versions, commit, machine and command, without paths and user names.

    Args:
        command: the command that runs the study again.
    """
    commit, dirty = _git()
    return {
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
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
    """Commit of this checkout and whether it has changes; None if it is not a checkout."""
    root = Path(__file__).parent.parent.parent
    try:
        commit = _output("git", "-C", str(root), "rev-parse", "HEAD")
        return commit, bool(_output("git", "-C", str(root), "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()


def _processor() -> str:
    """The processor's name, from /proc/cpuinfo on Linux and from `platform` elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
