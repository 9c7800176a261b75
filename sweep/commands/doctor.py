"""`sweep doctor`: compares the record of studies with MLflow and their files, and repairs the differences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

from sweep.commands.mirror_lines import diagnosis
from sweep.storage.database import is_active
from sweep.tracking.diff import YOURS, Difference
from sweep.tracking.doctor import examine, in_words, place
from sweep.tracking.mlflow.client import MlflowTracker

MOST_LINES = 10
"""Differences of one run that are printed."""


def examine_studies(
    folders: Sequence[Path], home: Path, tracking: str | None, uri: str, fix: bool, force: bool
) -> Iterator[tuple[str, int]]:
    """Lines about each study, and after each study how many differences are left; what is the user's is none.

    Args:
        folders: of the studies.
        home: the home folder, for the command that repairs.
        tracking: `--tracking` as it was given, for the same.
        uri: MLflow's tracking URI.
        fix: whether to repair.
        force: whether a repair also writes over what the user changed.

    Raises:
        RecordError, DatabaseUnavailable: a study cannot be read.
        MirrorError: MLflow could not be reached or refused.
    """
    tracker = MlflowTracker(uri)
    for folder in folders:
        found, still = examine(folder, tracker, active=partial(is_active, folder), fix=fix, force=force)
        for line in _lines(found, still, fix):
            yield f"{folder.name}: {line}", 0
        damage, left = (sum(one.kind != YOURS for one in some) for some in (found, still))
        yield f"{folder.name}: {diagnosis(home, tracking, folder.name, damage, left, fix)}", left


def _lines(found: Sequence[Difference], still: Sequence[Difference], fix: bool) -> Iterator[str]:
    """The differences in words, at most MOST_LINES of one run: a damaged curve may have one for every epoch."""
    left = set(still)
    for _, group in groupby(found, key=lambda one: one.where):
        several = list(group)
        for one in several[:MOST_LINES]:
            yield in_words(one) + _outcome(one.kind, one in left, fix)
        if len(several) > MOST_LINES:
            yield f"and {len(several) - MOST_LINES} more of {place(several[0].where)}"


def _outcome(kind: str, is_left: bool, fix: bool) -> str:
    if kind == YOURS:
        return ", which stays" if is_left else ", written over"
    return ", fixed" if fix and not is_left else ""
