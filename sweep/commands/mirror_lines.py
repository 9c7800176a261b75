"""The lines that `sweep sync` and `sweep doctor` print."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sweep.commands.printed_command import command_here
from sweep.plural import counted


def sent(changes: Any) -> str:
    """What a synchronisation changed in MLflow, in one line."""
    if not changes:
        return "MLflow is already up to date"
    runs = {"created": changes.runs_created, "updated": changes.runs_updated}
    done = [f"{did} {counted(count, 'run')}" for did, count in runs.items() if count]
    items = [
        counted(getattr(changes, f"{what}s"), what)
        for what in ("metric", "param", "tag", "artifact", "model")
        if getattr(changes, f"{what}s")
    ]
    return "; ".join(done + (["sent " + ", ".join(items)] if items else []))


def diagnosis(home: Path, tracking: str | None, name: str, found: int, left: int, fix: bool) -> str:
    """The last line about a study, with the command that repairs the differences."""
    if not found:
        return "no differences"
    differences = counted(found, "difference")
    if fix:
        return f"{differences}, {left} left" if left else f"{differences}, fixed"
    command, _, note = command_here(home, tracking, "doctor", name, "--fix").partition("\n")
    return f"{differences}; `{command}` fixes {'it' if found == 1 else 'them'}" + (f"\n{note}" if note else "")
