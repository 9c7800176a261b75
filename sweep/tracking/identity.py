"""Which runs of a tracker are a study's: those with its identity as a tag.

A study keeps its identity when its folder or its whole home is renamed, or seen under another path. A copy of it is
another study, with runs of its own, if both are sent to the same tracker: a tag of the experiment says which folder
sent a study last, so that the second one that comes is the copy, as long as the first is there.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from studies.record.folder import StudyFolder
from studies.record.reader import SweepRecord


def identity_of(record: SweepRecord) -> str:
    """The value of the tag: the one under which the study was sent before, unless its folder is a copy."""
    here = record.folder.resolve()
    own = f"{record.uid}/{here.name}".replace("'", "")
    sent = last_sync(StudyFolder(here)).get("study")
    if sent is None or sent.partition("/")[0] != record.uid:
        return own
    former = here.with_name(sent.partition("/")[2])  # an older version did not say which folder sent a study
    return copy_identity(record) if _has_sent(former, here, sent) else sent


def copy_identity(record: SweepRecord) -> str:
    """The identity of a copy. The name alone is perhaps that of another copy, now or before."""
    here = record.folder.resolve()
    place = f"{here} {here.stat().st_ino}"
    return f"{record.uid}/{here.name}-{hashlib.sha256(place.encode()).hexdigest()[:6]}".replace("'", "")


def folder_tag(identity: str) -> str:
    """The tag of an experiment that says which folder sent the study of this identity last."""
    return f"sweep.folder.{hashlib.sha256(identity.encode()).hexdigest()[:8]}"


def is_of_another(owner: str | None, record: SweepRecord, identity: str, tracker: Path | None) -> bool:
    """Whether the runs of an identity are those of another folder, which is still there.

    A home that was copied with MLflow's database in it has runs of its own in that.

    Args:
        owner: the folder that sent them last, by the tag; None if there is no tag.
        record: the study.
        identity: of the runs.
        tracker: the folder that holds the tracker as a file; None for a server.
    """
    if owner is None or not _has_sent(Path(owner), here := record.folder.resolve(), identity):
        return False
    return tracker != here.parent or Path(owner).parent.samefile(here.parent)


def _has_sent(folder: Path, here: Path, identity: str) -> bool:
    """Whether a folder is there, is not this one under another path, and has sent a study under this identity."""
    try:
        return not folder.samefile(here) and last_sync(StudyFolder(folder)).get("study") == identity
    except OSError:
        return False


def last_sync(folder: StudyFolder) -> dict[str, str]:
    """What the last sync wrote to `mlflow.json`; empty if the study was never sent."""
    try:
        return dict(json.loads(folder.mlflow.read_text()))
    except (OSError, ValueError, TypeError):  # missing, or damaged: it is written again
        return {}
