"""Which runs of a tracker are a study's: those with its identity as a tag.

A study keeps its identity when its folder or its whole home is renamed, or seen under another path. A copy of it is
another study, with runs of its own, if both are sent to the same tracker.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from studies.record.folder import StudyFolder
from studies.record.reader import SweepRecord


def identity_of(record: SweepRecord, address: str) -> str:
    """The value of the tag: the one under which the study was sent before, unless its folder is a copy.

    A home that was copied with MLflow's database in it has another tracker, and the runs there are its own.

    Args:
        record: the study.
        address: of the tracker.
    """
    here = record.folder.resolve()
    own = f"{record.uid}/{here.name}".replace("'", "")
    last = last_sync(StudyFolder(here))
    sent = last.get("study")
    if sent is None or sent.partition("/")[0] != record.uid:
        return own
    if last.get("tracking", address) != address:
        return sent
    former = Path(last["folder"]) if "folder" in last else here.with_name(sent.partition("/")[2])
    if not _is_another(former, here) or last_sync(StudyFolder(former)).get("study") != sent:
        return sent
    place = f"{here} {here.stat().st_ino}"  # the name alone is perhaps that of another copy, now or before
    return f"{own}-{hashlib.sha256(place.encode()).hexdigest()[:6]}"


def _is_another(former: Path, here: Path) -> bool:
    """Whether a folder is there, and is not this one under another path."""
    try:
        return not former.samefile(here)
    except OSError:
        return False


def last_sync(folder: StudyFolder) -> dict[str, str]:
    """What the last sync wrote to `mlflow.json`; empty if the study was never sent."""
    try:
        return dict(json.loads(folder.mlflow.read_text()))
    except (OSError, ValueError, TypeError):  # missing, or damaged: it is written again
        return {}
