"""Keeps a tracker equal to a study while a sweep runs on it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from studies.record.database import file_stamp, stamp
from studies.record.errors import DatabaseUnavailable, RecordError
from studies.record.folder import StudyFolder
from studies.record.location import locate
from sweep.tracking.reconcile import Mirror, MirrorError
from sweep.tracking.sync_result import Changes
from sweep.tracking.tracker import Tracker

logger = logging.getLogger(__name__)

POLL_S = 1.0
"""Seconds between looks at the study database: a finished epoch is visible within 3 s."""
RETRY_S = 3.0
"""Seconds before a tracker that failed is tried again."""


def follow(folder: Path, tracker: Tracker, is_active: Callable[[], bool]) -> Changes:
    """Keep the tracker equal to the study until `is_active()` is false, then update it once more.

    A tracker that fails is reported once in the log and tried again every few seconds. At the end it gets one last
    attempt, which takes a few seconds at most, because `sweep run` waits for it.

    Raises:
        RecordError, DatabaseUnavailable: there is no readable study although no sweep is running any more.
        MirrorError: the last attempt failed too; the message says how much is unsent.
    """
    mirror, total = Mirror(folder, tracker, check_first=True), Changes()
    sent: tuple[object, ...] | None = None
    is_failing = False
    while True:
        active = is_active()
        try:
            now = _stamp(StudyFolder(folder))
            if not active or (now != sent and (not is_failing or mirror.is_available())):
                total += mirror.sync(active=active)
                sent, is_failing = now, False
        except (RecordError, DatabaseUnavailable, MirrorError) as error:
            if not active:
                raise
            if not isinstance(error, RecordError) and not is_failing:
                logger.warning("%s", error)
                is_failing = True
        if not active:
            return total
        _wait(RETRY_S if is_failing else POLL_S, is_active)


def _wait(seconds: float, is_active: Callable[[], bool]) -> None:
    """Sleep, but not longer than a second after the sweep has ended."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and is_active():
        time.sleep(min(left, POLL_S))


def _stamp(folder: StudyFolder) -> tuple[object, ...]:
    """Changes whenever the study may have: the record, and each file that is sent."""
    return (*stamp(locate(folder.path)), *map(file_stamp, (folder.report, folder.champion, folder.card)))
