from __future__ import annotations

from pathlib import Path

import pytest
from memory_tracker import REFUSE, MemoryTracker
from recorded import Recorded

from studies.record.reader import Reader
from sweep.tracking.follow import follow
from sweep.tracking.reconcile import MirrorError

pytestmark = pytest.mark.usefixtures("without_pictures")


@pytest.fixture(autouse=True)
def short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweep.tracking.follow.POLL_S", 0.01)
    monkeypatch.setattr("sweep.tracking.follow.RETRY_S", 0.01)


def test_epochs_are_sent_while_the_sweep_runs_and_once_more_at_its_end(tracker: MemoryTracker, tmp_path: Path) -> None:
    recorded = Recorded(tmp_path / "digits")
    recorded.add("running", 2)
    seen: list[int] = []
    answers = iter([True, True, True, False, False])

    def is_active() -> bool:
        seen.append(sum(point.key == "train_loss" for run in tracker.runs.values() for point in run.points))
        if len(seen) == 2:
            recorded.continue_last(5)
        return next(answers)

    follow(recorded.folder, tracker, is_active)

    recorded.close()
    assert (seen[0], seen[1], seen[-1]) == (0, 2, 5)
    assert tracker.run("search/0").status == "FINISHED"


def test_a_tracker_that_is_down_is_reported_once_and_at_the_end_as_an_error(
    tracker: MemoryTracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    recorded = Recorded(tmp_path / "digits")
    recorded.add("complete", 3)
    answers = iter([True] * 6 + [False] * 9)
    reads, read = [], Reader.read
    monkeypatch.setattr(Reader, "read", lambda *of, **how: reads.append(of) or read(*of, **how))
    tracker.fails = lambda name: REFUSE

    with pytest.raises(MirrorError) as failure:
        follow(recorded.close(), tracker, lambda: next(answers))

    first, second, third = str(failure.value).splitlines()
    assert first == "Could not sync digits to memory: check_connection was refused"
    assert second.startswith("1 runs (27 metric values) unsent, nothing is lost")
    assert third == "run `sweep sync digits` later"
    assert [line.name for line in caplog.records] == ["sweep.tracking.follow"]
    assert len(reads) == 2  # at the first failure and at the end: between them a study of any size costs nothing
