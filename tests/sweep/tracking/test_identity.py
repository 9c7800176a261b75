"""A study is the same study under another name of its folder or experiment, and a copy of it is another one."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from memory_tracker import MemoryTracker
from recorded import STUDY, Recorded, finished, write_weights

from studies.record.folder import StudyFolder
from studies.record.reader import read
from sweep.commands import ui
from sweep.tracking import views
from sweep.tracking.doctor import examine
from sweep.tracking.reconcile import sync

pytestmark = pytest.mark.usefixtures("without_pictures")


def small(folder: Path, uid: str = "5eed", name: str = "digits") -> Path:
    """A study of two trials."""
    recorded = Recorded(folder, STUDY | {"name": name}, uid)
    recorded.add("complete", 2)
    recorded.add("complete", 2)
    return recorded.close()


def test_a_renamed_folder_keeps_its_runs(tracker: MemoryTracker, tmp_path: Path) -> None:
    folder = small(tmp_path / "digits")
    sync(folder, tracker, active=False)
    before = set(tracker.runs)

    moved = folder.rename(tmp_path / "digits-of-monday")
    changes = sync(moved, tracker, active=False)

    assert set(tracker.runs) == before
    assert changes.runs_created == 0
    assert not sync(moved, tracker, active=False)


def test_a_copied_folder_is_another_study(tracker: MemoryTracker, tmp_path: Path) -> None:
    folder = small(tmp_path / "digits")
    sync(folder, tracker, active=False)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)

    assert sync(copy, tracker, active=False).runs_created == 3
    assert not sync(folder, tracker, active=False)
    assert not sync(copy, tracker, active=False)
    first, second = sorted({run.tags["sweep.study"] for run in tracker.runs.values()}, reverse=True)
    assert first == "5eed/digits"
    assert re.fullmatch("5eed/copy-[0-9a-f]{6}", second)


def test_a_home_copied_as_a_whole_is_another_one_to_the_same_tracker(tracker: MemoryTracker, tmp_path: Path) -> None:
    """Both have a study of the same uid and name, each with its own runs."""
    folder = small(tmp_path / "runs" / "digits")
    sync(folder, tracker, active=False)
    shutil.copytree(tmp_path / "runs", tmp_path / "runs2")
    copy = tmp_path / "runs2" / "digits"

    assert sync(copy, tracker, active=False).runs_created == 3
    assert not sync(folder, tracker, active=False)
    assert not sync(copy, tracker, active=False)
    identities = {run.tags["sweep.study"] for run in tracker.runs.values()}
    assert len(identities) == 2
    assert "5eed/digits" in identities


def test_a_renamed_home_and_one_under_another_path_keep_their_runs(tracker: MemoryTracker, tmp_path: Path) -> None:
    """A container's mount and the host's path: the former path may not exist here, or lead to the same folder."""
    folder = small(tmp_path / "runs" / "digits")
    sync(folder, tracker, active=False)
    moved = (tmp_path / "runs").rename(tmp_path / "moved") / "digits"
    assert sync(moved, tracker, active=False).runs_created == 0
    assert not sync(moved, tracker, active=False)

    (tmp_path / "runs").symlink_to(tmp_path / "moved")
    for one in (folder, moved, folder):
        assert not sync(one, tracker, active=False)


def test_a_new_study_under_the_old_name_of_a_renamed_one_is_another(tracker: MemoryTracker, tmp_path: Path) -> None:
    folder = small(tmp_path / "digits")
    sync(folder, tracker, active=False)
    moved = folder.rename(tmp_path / "former")
    new = small(tmp_path / "digits", uid="new")

    for one in (new, moved, new):
        sync(one, tracker, active=False)

    studies = [run.tags["sweep.study"] for run in tracker.runs.values()]
    assert sorted(studies) == ["5eed/digits"] * 3 + ["new/digits"] * 3


def test_a_renamed_experiment_is_followed(tracker: MemoryTracker, tmp_path: Path) -> None:
    folder = small(tmp_path / "digits")
    sync(folder, tracker, active=False)
    tracker.experiments["my digits"] = tracker.experiments.pop("digits")

    assert not sync(folder, tracker, active=False)
    assert examine(folder, tracker, active=False, fix=False)[0] == []
    assert list(tracker.experiments) == ["my digits"]


def test_a_renamed_experiment_is_found_by_its_tag(tracker: MemoryTracker, tmp_path: Path) -> None:
    """Also without its runs, which were deleted, and without mlflow.json, which was lost."""
    folder = small(tmp_path / "digits")
    sync(folder, tracker, active=False)
    tracker.experiments["my digits"] = tracker.experiments.pop("digits")
    tracker.runs.clear()
    StudyFolder(folder).mlflow.unlink()

    assert sync(folder, tracker, active=False).runs_created == 3
    assert list(tracker.experiments) == ["my digits"]


def test_an_experiment_of_the_same_number_in_another_store_is_not_taken_for_it(
    tracker: MemoryTracker, tmp_path: Path
) -> None:
    """The database was deleted, and its first experiment is now another study's."""
    folder, other = small(tmp_path / "digits"), small(tmp_path / "other", "new", "other")
    sync(folder, tracker, active=False)
    fresh = MemoryTracker()
    sync(other, fresh, active=False)

    sync(folder, fresh, active=False)

    experiments = {run.tags["sweep.study"]: run.experiment_id for run in fresh.runs.values()}
    assert experiments["5eed/digits"] != experiments["new/other"]


def test_trials_are_moved_below_the_new_run_of_their_study(tracker: MemoryTracker, tmp_path: Path) -> None:
    """As after the study's run was deleted and `mlflow gc` removed it."""
    folder = finished(tmp_path / "digits").close()
    sync(folder, tracker, active=False)
    del tracker.runs[tracker.run_id("study")]

    sync(folder, tracker, active=False)

    parents = {run.tags["mlflow.parentRunId"] for run in tracker.runs.values() if run.tags["sweep.key"] != "study"}
    assert parents == {tracker.run_id("study")}


def test_the_linked_view_has_the_trials_of_one_study_only(tracker: MemoryTracker, tmp_path: Path) -> None:
    """Both studies are in one experiment: the second was begun under the name of the first, which was deleted."""
    keys = []
    for uid in ("old", "new"):
        folder = small(tmp_path / "digits", uid)
        sync(folder, tracker, active=False)
        keys.append(json.loads(StudyFolder(folder).mlflow.read_text())["view"])
        links = ui.links(folder, "http://127.0.0.1:5000")
        assert links is not None
        assert links.charts.endswith(f"viewStateShareKey={keys[-1]}")
        last = read(folder)
        shutil.rmtree(folder)

    (experiment,) = tracker.experiments.values()
    shown = [json.loads(experiment.tags[f"mlflow.sharedViewState.{key}"])["searchFilter"] for key in keys]
    assert shown[0].startswith("tags.`sweep.study` = 'old/digits' and ")
    assert shown[1].startswith("tags.`sweep.study` = 'new/digits' and ")
    assert "sweep.study" not in json.loads(views.views(last, "aa", "new/digits")[views.TABLE])["searchFilter"]


def test_a_deleted_table_is_stored_again_and_that_of_another_study_stays(
    tracker: MemoryTracker, tmp_path: Path
) -> None:
    folder = small(tmp_path / "digits")
    sync(folder, tracker, active=False)
    (experiment,) = tracker.experiments.values()
    own = experiment.tags.pop(f"mlflow.sharedViewState.{views.TABLE}")

    assert sync(folder, tracker, active=False).tags == 1
    assert experiment.tags[f"mlflow.sharedViewState.{views.TABLE}"] == own
    experiment.tags[f"mlflow.sharedViewState.{views.TABLE}"] = "of another study"
    assert not sync(folder, tracker, active=False)


def test_studies_share_no_registered_model(tracker: MemoryTracker, tmp_path: Path) -> None:
    """A study under the name of a deleted one, a copy, and two names that differ only in what MLflow forbids."""
    first = judged(tmp_path / "lr.v2", "first", "lr.v2")
    sync(first, tracker, active=False)
    copy = tmp_path / "copy"
    shutil.copytree(first, copy)
    shutil.rmtree(first)
    others = [copy, judged(tmp_path / "lr.v2", "second", "lr.v2"), judged(tmp_path / "lr-v2", "third", "lr-v2")]

    for folder in (*others, *others):
        sync(folder, tracker, active=False)

    owners = [set(one.owners) for one in tracker.models.values()]
    assert owners == [{"first/lr.v2"}, {"second/lr.v2"}, {"third/lr-v2"}]
    assert "sweep-lr-v2" in tracker.models
    assert all(len(one.versions) == 1 for one in tracker.models.values())
    assert [one for folder in others for one in examine(folder, tracker, active=False, fix=False)[0]] == []


def test_a_renamed_model_is_followed(tracker: MemoryTracker, tmp_path: Path) -> None:
    folder = judged(tmp_path / "digits", "5eed", "digits")
    sync(folder, tracker, active=False)
    tracker.models["our digits"] = tracker.models.pop("sweep-digits")

    renamed = sync(folder, tracker, active=False)

    assert list(tracker.models) == ["our digits"]
    assert (renamed.models, renamed.runs_created) == (0, 0)
    assert "(#/models/our%20digits)" in tracker.run("study").tags["mlflow.note.content"]
    assert not sync(folder, tracker, active=False)


def test_an_alias_that_a_user_moved_stays(
    tracker: MemoryTracker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Only a new champion takes it; the doctor finds no difference."""
    folder = judged(tmp_path / "digits", "5eed", "digits")
    sync(folder, tracker, active=False)
    write_weights(folder / "champion.npz", seed=100)
    sync(folder, tracker, active=False)
    model = tracker.models["sweep-digits"]
    taken = model.champion
    model.champion = 0

    assert not sync(folder, tracker, active=False)
    assert "stays at version 0, to which it was moved" in caplog.text
    write_weights(folder / "champion.npz", seed=101)
    sync(folder, tracker, active=False)

    assert (taken, model.champion) == (1, 2)
    write_weights(folder / "champion.npz", seed=100)  # the champion before is the champion again
    sync(folder, tracker, active=False)
    assert model.champion == 1


def judged(folder: Path, uid: str, name: str) -> Path:
    """A study with a champion."""
    recorded = Recorded(folder, STUDY | {"name": name}, uid)
    recorded.add("complete", 2)
    recorded.add("complete", 2)
    recorded.judge(champion=0)
    return recorded.close()
