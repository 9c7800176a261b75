"""Random walks of what users do in MLflow and with the folders of studies: one sync later all is in order."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_tracker import MemoryTracker, StoredRun
from recorded import STUDY, Recorded

from studies.record.folder import StudyFolder
from studies.record.reader import Reader, read
from sweep.tracking import views
from sweep.tracking.diff import YOURS
from sweep.tracking.doctor import examine
from sweep.tracking.identity import last_sync
from sweep.tracking.reconcile import all_trials, sync
from sweep.tracking.trial_run import trial_key

pytestmark = [pytest.mark.usefixtures("without_pictures"), pytest.mark.slow]


class Walk:
    """Two homes with studies, one tracker, and what a user does to them.

    Attributes:
        edits: tags that the user wrote, by the run's study and key, for as long as no such run was deleted.
    """

    def __init__(self, root: Path, template: Path) -> None:
        self.root, self.tracker = root.resolve(), MemoryTracker()
        self.folders = [Path(shutil.copytree(template, root.resolve() / "runs" / "digits"))]
        self.edits: dict[tuple[str, str], dict[str, str]] = {}
        self.copies = 0

    # --- what a user does; `pick` chooses one of what is there

    def delete_run(self, pick: Any) -> None:
        if run := pick(self._runs(is_deleted=False)):
            run.is_deleted = True
            self.edits.pop(_name(run), None)

    def restore_run(self, pick: Any) -> None:
        there = {name for name, one in self.tracker.experiments.items() if not one.is_deleted}
        live = {one.experiment_id for name, one in self.tracker.experiments.items() if name in there}
        if run := pick([run for run in self._runs(is_deleted=True) if run.experiment_id in live]):
            run.is_deleted = False

    def delete_experiment(self, pick: Any) -> None:
        if name := pick([name for name, one in self.tracker.experiments.items() if not one.is_deleted]):
            self.tracker.delete_experiment(name)
            self.edits.clear()

    def restore_experiment(self, pick: Any) -> None:
        if name := pick([name for name, one in self.tracker.experiments.items() if one.is_deleted]):
            self.tracker.restore_experiment(name)

    def gc(self, pick: Any) -> None:
        self.tracker.gc()

    def rename_experiment(self, pick: Any) -> None:
        if name := pick(list(self.tracker.experiments)):
            self.tracker.experiments[f"{name}!"] = self.tracker.experiments.pop(name)

    def rename_model(self, pick: Any) -> None:
        if name := pick(list(self.tracker.models)):
            self.tracker.models[f"{name}!"] = self.tracker.models.pop(name)

    def delete_model(self, pick: Any) -> None:
        if name := pick(list(self.tracker.models)):
            del self.tracker.models[name]

    def move_alias(self, pick: Any) -> None:
        if name := pick(list(self.tracker.models)):
            model = self.tracker.models[name]
            model.champion = pick([None, *range(len(model.versions))])

    def edit_run(self, pick: Any) -> None:
        if run := pick(self._runs(is_deleted=False)):
            key = pick(["outcome", "seen", "mlflow.note.content"])
            run.tags[key] = f"mine {len(self.edits)}"
            self.edits.setdefault(_name(run), {})[key] = run.tags[key]

    def rename_run(self, pick: Any) -> None:
        if run := pick(self._runs(is_deleted=False)):
            run.name = "mine"

    def copy_study(self, pick: Any) -> None:
        self._copy(pick, lambda folder: folder.with_name(f"copy{self.copies}"))

    def copy_home(self, pick: Any) -> None:
        self._copy(pick, lambda folder: self.root / f"home{self.copies}" / folder.name)

    def rename_folder(self, pick: Any) -> None:
        at = pick(range(len(self.folders)))
        self.copies += 1
        self.folders[at] = self.folders[at].rename(self.folders[at].with_name(f"moved{self.copies}"))

    def sync_one(self, pick: Any) -> None:
        sync(pick(self.folders), self.tracker, active=False)

    def _copy(self, pick: Any, place: Any) -> None:
        folder = pick(self.folders)
        if folder and len(self.folders) < 4:
            self.copies += 1
            self.folders.append(Path(shutil.copytree(folder, place(folder))))
            sync(self.folders[-1], self.tracker, active=False)  # before the former one is moved away

    def _runs(self, *, is_deleted: bool) -> list[StoredRun]:
        return [run for run in self.tracker.runs.values() if run.is_deleted is is_deleted]

    # --- what must hold

    def check(self) -> None:
        """One sync of each study, and all is in order."""
        for folder in self.folders:
            sync(folder, self.tracker, active=False)
        identities = [last_sync(StudyFolder(folder))["study"] for folder in self.folders]
        assert len(set(identities)) == len(identities)
        for folder, identity in zip(self.folders, identities, strict=True):
            found = examine(folder, self.tracker, active=False, fix=False)[0]
            assert [one for one in found if one.kind != YOURS] == []
            assert not sync(folder, self.tracker, active=False)
            self._check_view(folder, identity)
        for (identity, key), tags in self.edits.items():
            (run,) = self._shown(identity, key)
            assert {tag: run.tags.get(tag) for tag in tags} == tags

    def _check_view(self, folder: Path, identity: str) -> None:
        """The linked view has the study's own runs, each once, and the trials lie below the living run."""
        last = last_sync(StudyFolder(folder))
        (experiment,) = (one for one in self.tracker.experiments.values() if one.experiment_id == last["experiment_id"])
        assert not experiment.is_deleted
        assert f"tags.`sweep.study` = '{identity}'" in experiment.tags[views.tag(last["view"])]
        shown = self._shown(identity)
        keys = [trial_key(study, trial) for study, trial in all_trials(read(folder))]
        assert sorted(run.tags["sweep.key"] for run in shown) == sorted(["study", *keys])
        assert {run.tags["study"] for run in shown} == {read(folder).uid}
        assert {run.tags.get("mlflow.parentRunId") for run in shown} == {None, last["run_id"]}
        assert not self.tracker.runs[last["run_id"]].is_deleted

    def _shown(self, identity: str, *keys: str) -> list[StoredRun]:
        """Runs of a study in the experiment that its links lead to."""
        places = [last_sync(StudyFolder(folder)) for folder in self.folders]
        there = {place["experiment_id"] for place in places if place["study"] == identity}
        own = [run for run in self._runs(is_deleted=False) if run.tags["sweep.study"] == identity]
        return [run for run in own if run.experiment_id in there and (not keys or run.tags["sweep.key"] in keys)]


ACTIONS = [name for name in vars(Walk) if not name.startswith("_") and name != "check"]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A study of two trials with a champion. All copies of it have the same record, which is read once."""
    recorded = Recorded(tmp_path_factory.mktemp("walk") / "digits", STUDY | {"trials": 2})
    for epochs in (2, 3):
        recorded.add("complete", epochs)
    recorded.judge(champion=0)
    record = read(folder := recorded.close())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Reader, "read", lambda self, *, active: replace(record, folder=self.folder))
        yield folder


@settings(max_examples=200, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), actions=st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=10))
def test_after_one_sync_all_is_in_order(template: Path, data: st.DataObject, actions: list[str]) -> None:
    def pick(choices: Any) -> Any:
        choices = list(choices)
        return choices[data.draw(st.integers(0, len(choices) - 1))] if choices else None

    with tempfile.TemporaryDirectory() as root:
        walk = Walk(Path(root), template)
        sync(walk.folders[0], walk.tracker, active=False)
        for action in actions:
            getattr(walk, action)(pick)
        walk.check()


def _name(run: StoredRun) -> tuple[str, str]:
    return run.tags["sweep.study"], run.tags["sweep.key"]
