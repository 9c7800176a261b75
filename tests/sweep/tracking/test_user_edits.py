"""What a user changes in MLflow or adds there is kept: by a sync, by a repair, and when a run has to be rewritten."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from memory_tracker import MemoryTracker, StoredRun
from recorded import Recorded

from sweep.tracking.doctor import examine, in_words
from sweep.tracking.reconcile import Mirror, sync
from sweep.tracking.tracker import Point
from sweep.tracking.user_edits import SENT_TAG

pytestmark = pytest.mark.usefixtures("without_pictures")

NOTE = "mlflow.note.content"


@pytest.fixture(scope="module")
def recorded_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recorded = Recorded(tmp_path_factory.mktemp("edits") / "digits")
    for epochs in (3, 4):
        recorded.add("complete", epochs)
    recorded.judge(champion=0)
    return recorded.close()


@pytest.fixture
def folder(recorded_once: Path, tracker: MemoryTracker, tmp_path: Path) -> Path:
    """A study that was sent."""
    folder = Path(shutil.copytree(recorded_once, tmp_path / "digits"))
    sync(folder, tracker, active=False)
    return folder


def edit(run: StoredRun) -> None:
    """Change and add one of everything."""
    run.name = "mine"
    run.tags |= {"outcome": "promising", NOTE: "look at this", "seen": "yes"}
    run.params["room"] = "4"
    run.points += [Point("f1", 0.5, 1, 0), Point("f1", 0.75, 2, 1)]


def assert_edited(run: StoredRun) -> None:
    assert run.name == "mine"
    assert {key: run.tags[key] for key in ("outcome", NOTE, "seen")} == {
        "outcome": "promising",
        NOTE: "look at this",
        "seen": "yes",
    }
    assert run.params["room"] == "4"
    assert [(point.value, point.step) for point in run.points if point.key == "f1"] == [(0.5, 0), (0.75, 1)]


def diagnosed(folder: Path, tracker: MemoryTracker, *, fix: bool = False, force: bool = False) -> list[str]:
    """What the doctor says is left, in words."""
    return [in_words(one) for one in examine(folder, tracker, active=False, fix=fix, force=force)[1]]


EDITED = [
    f"run search/1 in MLflow has your {what}"
    for what in ("name 'mine'", "description", "tag outcome", "tag seen", "param room", "metric f1")
]


def test_edits_stay_and_are_no_damage(folder: Path, tracker: MemoryTracker) -> None:
    run = tracker.run("search/1")
    edit(run)

    assert not sync(folder, tracker, active=False)
    for fix in (False, True):
        assert diagnosed(folder, tracker, fix=fix) == EDITED
        assert_edited(run)


def test_edits_stay_when_the_record_changes(tracker: MemoryTracker, tmp_path: Path) -> None:
    """The state of a trial and the description of its study are sent anew; what the user wrote there is not lost."""
    recorded = Recorded(tmp_path / "digits")
    recorded.add("running", 2)
    sync(recorded.folder, tracker, active=True)
    trial, study = tracker.run("search/0"), tracker.run("study")
    edit(trial)
    study.tags[NOTE] = "our notes"
    recorded.continue_last(3)
    folder = recorded.close()

    changes = sync(folder, tracker, active=False)

    assert changes.runs_updated == 2
    assert_edited(trial)
    assert study.tags[NOTE] == "our notes"
    assert study.tags["state"] == "interrupted"
    assert not sync(folder, tracker, active=False)


def test_an_edit_made_while_the_sweep_runs_stays(tracker: MemoryTracker, tmp_path: Path) -> None:
    """The mirror of a running sweep reads the runs once; it must not send its next description over the user's."""
    recorded = Recorded(tmp_path / "digits")
    recorded.add("running", 2)
    mirror = Mirror(recorded.folder, tracker)
    mirror.sync(active=True)
    trial, study = tracker.run("search/0"), tracker.run("study")
    edit(trial)
    study.tags[NOTE] = "our notes"
    study.name = "our sweep"
    recorded.continue_last(3)
    recorded.add("complete", 2)
    for _ in range(2):
        mirror.sync(active=True)
    recorded.close()
    mirror.sync(active=False)

    assert_edited(trial)
    assert (study.name, study.tags[NOTE]) == ("our sweep", "our notes")
    assert not sync(recorded.folder, tracker, active=False)


def test_force_writes_over_changes_and_keeps_additions(folder: Path, tracker: MemoryTracker) -> None:
    run = tracker.run("search/1")
    before = run.name, run.tags["outcome"]
    edit(run)

    left = diagnosed(folder, tracker, fix=True, force=True)

    assert (run.name, run.tags["outcome"]) == before
    assert run.tags["seen"] == "yes"
    assert left == [EDITED[1], *EDITED[3:]]


def test_a_rewritten_run_takes_over_what_was_edited(
    folder: Path, tracker: MemoryTracker, caplog: pytest.LogCaptureFixture
) -> None:
    """A param was changed in the database, which MLflow never changes back."""
    former = tracker.run("search/1")
    edit(former)
    former.params["beta1"] = "0.5"

    left = diagnosed(folder, tracker, fix=True)

    assert former.is_deleted
    assert_edited(tracker.run("search/1"))
    assert left == EDITED
    assert "1 run deleted in MLflow, with wrong params or metrics, and sent again: run2" in caplog.text
    assert not sync(folder, tracker, active=False)


def test_a_restored_run_stays_and_its_copy_goes(folder: Path, tracker: MemoryTracker) -> None:
    first = tracker.run_id("search/1")
    tracker.runs[first].is_deleted = True
    sync(folder, tracker, active=False)
    assert tracker.run_id("search/1") != first
    tracker.runs[first].is_deleted = False

    sync(folder, tracker, active=False)

    assert tracker.run_id("search/1") == first
    assert diagnosed(folder, tracker) == []


def test_of_a_restored_run_and_an_edited_copy_the_edits_of_both_stay(folder: Path, tracker: MemoryTracker) -> None:
    first = tracker.run("search/1")
    first.tags["seen"] = "yes"
    first.is_deleted = True
    sync(folder, tracker, active=False)
    copy = tracker.run("search/1")
    copy.name = "mine"
    first.is_deleted = False

    sync(folder, tracker, active=False)

    kept = tracker.run("search/1")
    assert (kept.name, kept.tags["seen"]) == ("mine", "yes")
    assert first.is_deleted is not copy.is_deleted
    assert not sync(folder, tracker, active=False)


def test_runs_of_an_older_version_are_sent_again(
    folder: Path, tracker: MemoryTracker, caplog: pytest.LogCaptureFixture
) -> None:
    """Its steps and names of metrics were others. What a user added to a run goes with it."""
    former = [run for run in tracker.runs.values() if not run.is_deleted]
    for run in former:
        del run.tags[SENT_TAG]
        run.tags["sweep.digest"] = "of another format"
    tracker.run("search/1").tags |= {"seen": "yes", NOTE: "look"}
    assert "run search/1 in MLflow has a wrong format, of an older version" in diagnosed(folder, tracker)

    changes = sync(folder, tracker, active=False)

    assert changes.runs_created == len(former)
    assert all(run.is_deleted for run in former)
    assert {key: tracker.run("search/1").tags[key] for key in ("seen", NOTE)} == {"seen": "yes", NOTE: "look"}
    assert {run.tags.get("mlflow.parentRunId") for run in tracker.runs.values() if not run.is_deleted} == {
        None,
        tracker.run_id("study"),
    }
    assert f"{len(former)} runs deleted in MLflow, of an older version, and sent again: " in caplog.text
    assert diagnosed(folder, tracker) == [EDITED[1], EDITED[3]]


def test_runs_of_another_format_are_sent_again_with_all_edits(folder: Path, tracker: MemoryTracker) -> None:
    """They say what was sent, so that a changed name is known too."""
    former = tracker.run("search/1")
    edit(former)
    former.tags[SENT_TAG] = former.tags[SENT_TAG].replace('{"format":1,', '{"format":0,')
    former.tags["sweep.digest"] = "of another format"

    assert sync(folder, tracker, active=False).runs_created == 1

    assert former.is_deleted
    assert_edited(tracker.run("search/1"))
    assert diagnosed(folder, tracker) == EDITED


def test_the_doctor_calls_a_moved_alias_yours_and_force_moves_it(folder: Path, tracker: MemoryTracker) -> None:
    model = tracker.models["sweep-digits"]
    model.versions.append((tracker.run_id("study"), "another"))
    model.champion = 1

    assert diagnosed(folder, tracker, fix=True) == [
        "MLflow's model registry has your alias champion of sweep-digits, at version 1"
    ]
    assert model.champion == 1
    assert diagnosed(folder, tracker, fix=True, force=True) == []
    assert model.champion == 0
