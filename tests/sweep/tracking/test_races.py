"""What else may happen while runs are sent: another process's turn, an edit, an error in the middle."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from memory_tracker import REFUSE, MemoryTracker
from recorded import STUDY, Recorded

from sweep.tracking import views
from sweep.tracking.doctor import examine, in_words
from sweep.tracking.reconcile import Mirror, MirrorError, sync
from sweep.tracking.tracker import Point
from sweep.tracking.user_edits import SENT_TAG

pytestmark = pytest.mark.usefixtures("without_pictures")

NOTE = "mlflow.note.content"


def small(folder: Path) -> Path:
    """A study of two trials."""
    recorded = Recorded(folder)
    recorded.add("complete", 2)
    recorded.add("complete", 3)
    return recorded.close()


@contextmanager
def waiting(mirror: Mirror, work: threading.Thread) -> Iterator[None]:
    """Hold the study's turn while another process waits for it."""
    with mirror.turn(active=True):
        work.start()
        work.join(0.5)
        assert work.is_alive()
        yield
    work.join()


def test_the_doctor_reads_the_record_when_it_is_its_turn(tracker: MemoryTracker, tmp_path: Path) -> None:
    """Else a trial that was sent while it waited is not in its record, and a repair deletes its run."""
    recorded = Recorded(tmp_path / "digits")
    recorded.add("complete", 2)
    mirror, found = Mirror(recorded.folder, tracker), []
    mirror.sync(active=True)

    def repair() -> None:
        found.append(examine(recorded.folder, tracker, active=True, fix=True))

    with waiting(mirror, threading.Thread(target=repair)):
        recorded.add("complete", 3)
        mirror.update(mirror._reader.read(active=True), active=True)
        run_id = tracker.run_id("search/1")

    assert found == [([], [])]
    assert not tracker.runs[run_id].is_deleted


def test_a_sync_that_waited_sends_the_record_as_it_is_now(tracker: MemoryTracker, tmp_path: Path) -> None:
    """Else the study stays a running one: no pass follows."""
    recorded = Recorded(tmp_path / "digits", STUDY | {"trials": 2})
    for _ in range(2):
        recorded.add("complete", 2)
    mirror, running = Mirror(recorded.folder, tracker), [True]
    mirror.sync(active=True)

    def again() -> None:
        sync(recorded.folder, tracker, active=lambda: running[0])

    with waiting(mirror, threading.Thread(target=again)):
        recorded.judge(champion=0)
        recorded.close()
        running[0] = False
        mirror.update(mirror._reader.read(active=False), active=False)

    assert tracker.run("study").tags["state"] == "finished"
    assert tracker.run("study").status == "FINISHED"


def test_a_note_on_a_run_that_had_none_stays(tracker: MemoryTracker, tmp_path: Path) -> None:
    """Written during a sweep that names this trial the champion, whose run gets a note too."""
    recorded = Recorded(tmp_path / "digits")
    for _ in range(2):
        recorded.add("complete", 2)
    mirror = Mirror(recorded.folder, tracker)
    mirror.sync(active=True)
    run = tracker.run("search/1")
    run.tags |= {NOTE: "my note", "champion": "perhaps"}

    recorded.judge(champion=1)
    recorded.close()
    mirror.sync(active=False)

    assert (run.tags[NOTE], run.tags["champion"]) == ("my note", "perhaps")


def test_an_interrupted_rewrite_loses_nothing(
    tracker: MemoryTracker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of runs of an older version, which do not say what was sent; and all deletions are reported."""
    folder = small(tmp_path / "digits")
    sync(folder, tracker, active=False)
    former = list(tracker.runs.values())
    for run in former:
        del run.tags[SENT_TAG]
    one = tracker.run("search/1")
    one.tags |= {"seen": "yes", NOTE: "look"}
    one.params["room"] = "4"
    one.points.append(Point("f1", 0.5, 1, 0))
    created = 0

    def fails(name: str) -> str | None:
        nonlocal created
        created += name == "create_run"
        return REFUSE if name in ("log", "read_history") and created == 3 else None

    tracker.fails = fails
    with pytest.raises(MirrorError):
        sync(folder, tracker, active=False)
    tracker.fails = lambda name: None
    sync(folder, tracker, active=False)

    run = tracker.run("search/1")
    assert (run.tags["seen"], run.tags[NOTE], run.params["room"]) == ("yes", "look", "4")
    assert [point.value for point in run.points if point.key == "f1"] == [0.5]
    assert all(run.is_deleted for run in former)
    reported = [int(message.split()[0]) for message in caplog.messages if "deleted in MLflow" in message]
    assert sum(reported) == len(former)


def test_the_table_names_the_run_that_was_sent_again(tracker: MemoryTracker, tmp_path: Path) -> None:
    """By a sync of an older version's runs, by a repair, or because the user restored the first one."""
    folder = small(tmp_path / "digits")
    sync(folder, tracker, active=False)
    (experiment,) = tracker.experiments.values()

    def pinned() -> list[str]:
        return list(json.loads(experiment.tags[views.tag(views.TABLE)])["runsPinned"])

    for run in tracker.runs.values():
        del run.tags[SENT_TAG]
    sync(folder, tracker, active=False)
    assert pinned() == [tracker.run_id("study")]

    first = tracker.run("study")
    first.params["seed"] = "99"
    examine(folder, tracker, active=False, fix=True)
    assert pinned() == [tracker.run_id("study")]

    first.params["seed"] = "7"
    tracker.run("study").is_deleted, first.is_deleted = True, False
    sync(folder, tracker, active=False)
    assert pinned() == [tracker.run_id("study")]


def test_tags_that_a_run_should_not_have_any_more_are_emptied(tracker: MemoryTracker, tmp_path: Path) -> None:
    """Another final model is shipped: the former one's run must not say that it is the registered model."""
    recorded = Recorded(tmp_path / "digits")
    for _ in range(2):
        recorded.add("complete", 2)
    recorded.judge(champion=0)
    sync(recorded.folder, tracker, active=False)
    recorded.judge(champion=1)
    folder = recorded.close()

    sync(folder, tracker, active=False)

    notes = {run.tags["sweep.key"]: run.tags.get(NOTE, "") for run in tracker.runs.values()}
    assert len([key for key, note in notes.items() if key.startswith("confirm/") and note]) == 1
    assert examine(folder, tracker, active=False, fix=False)[0] == []


def test_a_damaged_tag_of_ours_is_written_again(tracker: MemoryTracker, tmp_path: Path) -> None:
    folder = small(tmp_path / "digits")
    sync(folder, tracker, active=False)
    tracker.run("search/1").tags["sweep.files"] = "edited"

    assert examine(folder, tracker, active=False, fix=True)[1] == []
    sync(folder, tracker, active=False)
    assert examine(folder, tracker, active=False, fix=False)[0] == []


def test_runs_that_a_user_detached_are_left_alone(tracker: MemoryTracker, tmp_path: Path) -> None:
    folder = small(tmp_path / "digits")
    sync(folder, tracker, active=False)
    detached = [tracker.run("search/0"), tracker.run("search/1")]
    for run in detached:
        del run.tags["sweep.key"]

    assert sync(folder, tracker, active=False).runs_created == 2
    examine(folder, tracker, active=False, fix=True)
    assert not any(run.is_deleted for run in detached)


@pytest.mark.parametrize("when", ["before the first sync", "before it was renamed", "before another tracker"])
def test_the_second_of_two_folders_with_one_study_is_the_copy(
    tracker: MemoryTracker, tmp_path: Path, when: str
) -> None:
    """Whenever it was copied. They neither share runs nor rewrite one another's."""
    folder = small(tmp_path / "runs" / "digits")
    if when != "before the first sync":
        sync(folder, tracker, active=False)
    if when == "before another tracker":
        tracker = MemoryTracker()
        tracker.address = "http://another"
    copy = Path(shutil.copytree(folder, tmp_path / "runs2" / "digits"))
    if when == "before it was renamed":
        folder = folder.rename(tmp_path / "runs" / "former")

    for one in (folder, copy, folder, copy):
        sync(one, tracker, active=False)

    assert len({run.tags["sweep.study"] for run in tracker.runs.values()}) == 2
    for one in (folder, copy):
        assert not sync(one, tracker, active=False)
        assert [in_words(found) for found in examine(one, tracker, active=False, fix=False)[0]] == []
