"""The runs of one study in a tracker: found by their tags, compared with what is expected, and updated.

A run is found by the tags `sweep.study` and `sweep.key` before anything is created. Its digest is the last thing
written, so an equal digest means that the run is complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from studies.record.folder import StudyFolder
from studies.record.reader import SweepRecord
from sweep.plural import counted
from sweep.tracking import views
from sweep.tracking.champion import free_name
from sweep.tracking.diff import diff, permanent_differences
from sweep.tracking.expected_runs import Run
from sweep.tracking.identity import copy_identity, folder_tag, identity_of, is_of_another, last_sync
from sweep.tracking.marks import MODEL_LINK, Marks
from sweep.tracking.study_run import STUDY_KEY
from sweep.tracking.sync_result import Changes
from sweep.tracking.tracker import POINTS_PER_CALL, Experiment, Point, RemoteRun, Tracker, TrackerError
from sweep.tracking.user_edits import (
    SENT_TAG,
    Edits,
    additions,
    created,
    edits_of,
    is_outdated,
    says_what_was_sent,
    sent_tag,
)
from sweep.tracking.views import STUDY_TAG

logger = logging.getLogger(__name__)

KEY_TAG, DIGEST_TAG, FILES_TAG = "sweep.key", "sweep.digest", "sweep.files"
PARENT_TAG = "mlflow.parentRunId"


class RemoteStudy:
    """The runs of one study as the tracker held them when they were fetched, and as they were updated since.

    Args:
        tracker: where they are.
        folder: of the study.

    Attributes:
        runs: by key. They are kept when the tracker fails, so that what is missing there can be counted.
        identity: the value of `STUDY_TAG` of all of them, once the experiment was found or created.
        model: name of the study's registered model; None before there is a champion.
    """

    def __init__(self, tracker: Tracker, folder: Path) -> None:
        self.tracker, self.folder = tracker, StudyFolder(folder)
        self.runs: dict[str, RemoteRun] = {}
        self.identity = ""
        self.model: str | None = None
        self._experiment: Experiment | None = None
        self._deleted: dict[str, list[str]] = {}
        self._created: set[str] = set()  # created, and nothing sent yet: such a run is not counted as updated too

    # --- reading

    def find(self, record: SweepRecord) -> bool:
        """Whether the study's experiment is there and not deleted."""
        self.identity, self.model = identity_of(record), None
        found = self._known() or self.tracker.find_experiment(record.name)
        owner = found.tags.get(folder_tag(self.identity)) if found else None
        if is_of_another(owner, record, self.identity, self.tracker.folder):
            self.identity = copy_identity(record)
            found = self._known() or self.tracker.find_experiment(record.name)
        self._experiment = found
        return found is not None

    def _known(self) -> Experiment | None:
        """The study's experiment under whatever name a user gave it.

        It is that of the last sync, or one with the study's tag. An id alone does not make it the same: the database
        may be another one.
        """
        last = last_sync(self.folder).get("experiment_id")
        found = None if last is None else self.tracker.read_experiment(str(last))
        if found is not None and (found.tags.get(STUDY_TAG) == self.identity or self._has_runs(found)):
            return found
        return self.tracker.find_tagged_experiment(STUDY_TAG, self.identity)

    def _has_runs(self, experiment: Experiment) -> bool:
        return any(True for _ in self.tracker.find_runs(experiment.experiment_id, STUDY_TAG, self.identity))

    def fetch(self, record: SweepRecord) -> list[tuple[str, RemoteRun]]:
        """Read all runs.

        Returns:
            Copies of runs that exist twice, with their keys: the answer to a creation may have been lost, or the user
            restored a deleted run. The one that is kept has what a user added, or was created first.
        """
        found: dict[str, list[RemoteRun]] = {}
        for run in self.tracker.find_runs(self.experiment.experiment_id, STUDY_TAG, self.identity):
            run.files = _files_sent(run)
            if key := run.tags.get(KEY_TAG):  # without one a user has detached it
                found.setdefault(key, []).append(run)
        for copies in found.values():
            copies.sort(key=lambda run: (is_outdated(run), not edits_of(run), created(run)))
        self.runs = {key: copies[0] for key, copies in found.items()}
        return [(key, run) for key, copies in found.items() for run in copies[1:]]

    def read_completely(self, run: Run) -> None:
        """Read every point and every file of a run that was fetched."""
        remote = self.runs[run.key]
        metrics = {point.key for point in run.curves} | remote.points.keys()
        remote.points = self.tracker.read_history(remote.run_id, metrics)
        contents = self.tracker.read_files(remote.run_id, run.files)
        remote.files = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        remote.complete = True

    def read_weights(self, digest: str, name: str) -> Iterator[bytes]:
        """Artifacts of this name of every run whose weights should have this hash."""
        for remote in self.runs.values():
            if remote.tags.get("weights_sha256") == digest:
                yield from self.tracker.read_files(remote.run_id, [name]).values()

    @property
    def experiment(self) -> Experiment:
        """The study's experiment, once it was found or created."""
        if self._experiment is None:
            raise TrackerError(f"the experiment of {self.folder.name} was not found")
        return self._experiment

    @property
    def study_run_id(self) -> str:
        """The run of the study itself."""
        return self.runs[STUDY_KEY].run_id

    def links(self) -> dict[str, str]:
        """Addresses of the runs inside the MLflow UI, wherever it is served."""
        experiment_id = self.experiment.experiment_id
        runs = {key: f"#/experiments/{experiment_id}/runs/{run.run_id}" for key, run in self.runs.items()}
        model = {} if self.model is None else {MODEL_LINK: f"#/models/{quote(self.model, safe='')}"}
        return {**runs, **model, "charts": views.charts(experiment_id, views.view_key(self.identity))}

    def marks(self, record: SweepRecord) -> Marks:
        """What the runs of trials show of one another; names the registered model first."""
        if record.verdict is not None and self.model is None:
            self.model = free_name(self.tracker, record, self.identity)
        return Marks.of(record, self.links())

    def digest(self, key: str) -> str | None:
        """The digest of the run as it was last sent completely; None if it never was."""
        return self.runs[key].tags.get(DIGEST_TAG) if key in self.runs else None

    def with_parent(self, run: Run) -> Run:
        """The run with the tag that puts it below the run of its study."""
        if run.key == STUDY_KEY or STUDY_KEY not in self.runs:
            return run
        return replace(run, tags={**run.tags, PARENT_TAG: self.study_run_id})

    # --- writing

    def create(self, record: SweepRecord) -> None:
        """Create the study's experiment, or restore it."""
        if self.find(record):
            return
        tags = {
            STUDY_TAG: self.identity,
            "mlflow.experimentKind": "custom_model_development",
            "mlflow.experiment.primaryMetric.name": record.objective,
            "mlflow.experiment.primaryMetric.greaterIsBetter": str(record.maximize).lower(),
            "mlflow.note.content": str(record.study.get("question") or ""),
        }
        self._experiment = self.tracker.create_experiment(record.name, self.folder.path, tags)

    def update_views(self, record: SweepRecord, *, begun: bool) -> Changes:
        """Store the views of the trials as tags of the experiment.

        Of several studies in one experiment the table is that of the latest: `begun` says that this one is.
        """
        states = views.views(record, self.study_run_id, self.identity)
        wanted = {views.tag(key): state for key, state in states.items()}
        table = self.experiment.tags.get(views.tag(views.TABLE), self.study_run_id)
        former = last_sync(self.folder).get("run_id", self.study_run_id)  # it may have been sent again since
        if not begun and self.study_run_id not in table and former not in table:
            del wanted[views.tag(views.TABLE)]
        if STUDY_TAG not in self.experiment.tags:
            wanted[STUDY_TAG] = self.identity
        wanted[folder_tag(self.identity)] = str(self.folder.path.resolve())
        changed = {key: view for key, view in wanted.items() if self.experiment.tags.get(key) != view}
        if changed:
            self.tracker.tag_experiment(self.experiment.experiment_id, changed)
        return Changes(tags=len(changed))

    def ensure(self, record: SweepRecord, run: Run) -> Changes:
        """Create the run unless it exists."""
        if run.key in self.runs:
            return Changes()
        tags = {STUDY_TAG: self.identity, KEY_TAG: run.key, SENT_TAG: sent_tag(run, None)}
        if run.key != STUDY_KEY:
            tags[PARENT_TAG] = self.study_run_id
        self.runs[run.key] = self.tracker.create_run(self.experiment.experiment_id, run.name, run.started, tags)
        self._created.add(run.key)
        return Changes(runs_created=1)

    def drop(self, run: Run, copy: RemoteRun) -> None:
        """Delete a copy of a run; what its user changed or added stays, with the run that is kept."""
        self._take_over(self.runs[run.key], copy, _edits(run, copy))
        self._delete(copy, "copies of others")

    def rewrite(self, record: SweepRecord, run: Run) -> Changes:
        """Create a run again, with what its user changed or added, and delete the former one.

        MLflow changes neither params nor metrics. If it fails in between, the next pass finds two copies.
        """
        former = self.runs.pop(run.key)
        changes, old = self.ensure(record, run), is_outdated(former)
        self._take_over(self.runs[run.key], former, _edits(run, former))
        self._delete(
            former, "of an older version, and sent again" if old else "with wrong params or metrics, and sent again"
        )
        return changes

    def _take_over(self, run: RemoteRun, former: RemoteRun, edits: Edits) -> None:
        """Log in a run what the user changed in another or added to it, unless it has an edit of the same already."""
        own = edits_of(run)
        points = self.tracker.read_history(former.run_id, [key for key in edits.metrics if key not in own.metrics])
        self._send_values(
            run,
            [point for history in points.values() for point in history],
            {key: value for key, value in edits.params.items() if key not in run.params},
            {key: value for key, value in edits.tags.items() if key not in own.tags},
        )
        if edits.name is not None and own.name is None:
            self.tracker.update_run(run.run_id, edits.name, run.status, run.ended)
            run.name = edits.name

    def delete(self, key: str) -> None:
        """Delete a run that the record does not have."""
        self._delete(self.runs.pop(key), "not in the record")

    def _delete(self, run: RemoteRun, why: str) -> None:
        self.tracker.delete_run(run.run_id)
        self._deleted.setdefault(why, []).append(run.run_id)

    def report_deletions(self) -> None:
        """Say in the log which runs were deleted since the last call; MLflow keeps them out of sight until its gc."""
        for why, runs in self._deleted.items():
            few = ", ".join(runs[:3]) + (f" and {len(runs) - 3} more" if len(runs) > 3 else "")
            logger.warning("%s deleted in MLflow, %s: %s", counted(len(runs), "run"), why, few)
        self._deleted.clear()

    def update(self, record: SweepRecord, run: Run, digest: str, *, force: bool = False) -> Changes:
        """Send what the run lacks: numbers first, then files, then the state, and last the digest.

        With `force` also in place of what the user changed.
        """
        changes = self.ensure(record, run)
        if is_outdated(self.runs[run.key]):
            changes += self.rewrite(record, run)
        run, remote = self.with_parent(run), self.runs[run.key]
        _refuse_permanent_difference(run, remote)
        missing = diff(run, remote, force=force)
        if run.key not in self._created and (missing.name or missing.tags):
            self._read_again(remote)  # perhaps the user wrote a value since the runs were read
            missing = diff(run, remote, force=force)
        if missing.points or missing.params or missing.tags or missing.name:
            self._send_values(remote, missing.points, missing.params, {**missing.tags, SENT_TAG: sent_tag(run, remote)})
        if missing.dataset:
            self.tracker.log_dataset(remote.run_id, record.dataset)
            remote.has_dataset = True
        self._send_files(run, remote, missing.files)
        if missing.name or missing.state:
            self.tracker.update_run(remote.run_id, run.name if missing.name else None, run.status, run.ended)
            remote.name = run.name if missing.name else remote.name
            remote.status, remote.ended = run.status, run.ended
        files = json.dumps({name: remote.files[name] for name in run.files})
        self._log(remote, tags={DIGEST_TAG: digest, FILES_TAG: files})
        updated = 0 if run.key in self._created else 1
        self._created.discard(run.key)
        return changes + Changes(
            metrics=len(missing.points),
            params=len(missing.params),
            tags=len(missing.tags),
            artifacts=len(missing.files),
            runs_updated=updated,
        )

    def _read_again(self, remote: RemoteRun) -> None:
        now = self.tracker.read_run(remote.run_id)
        remote.name, remote.tags = now.name, now.tags

    def _send_values(
        self, remote: RemoteRun, points: list[Point], params: Mapping[str, str], tags: Mapping[str, str]
    ) -> None:
        """Log them; the tags in the first request, because one of them says what is ours."""
        if points or params or tags:
            self._log(remote, points[:POINTS_PER_CALL], params, tags)
        for start in range(POINTS_PER_CALL, len(points), POINTS_PER_CALL):
            self._log(remote, points[start : start + POINTS_PER_CALL])

    def _log(
        self,
        remote: RemoteRun,
        points: list[Point] | None = None,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self.tracker.log(remote.run_id, points or [], params or {}, tags or {})
        for point in points or []:
            remote.points[point.key] = [*remote.points.get(point.key, ()), point] if remote.complete else [point]
        remote.params |= params or {}
        remote.tags |= tags or {}

    def _send_files(self, run: Run, remote: RemoteRun, missing: Mapping[str, str]) -> None:
        """Send the files that are new, or differ from those sent before."""
        if missing:
            with self.scratch() as scratch:
                for name in missing:
                    _write(scratch / name, run.files[name])
                self.tracker.send_files(remote.run_id, scratch)
            remote.files |= missing

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty folder. Only the process that holds the lock uses it, so it may clear what a killed one left."""
        scratch = self.folder.mirror_part
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch)


def _refuse_permanent_difference(run: Run, remote: RemoteRun) -> None:
    """Report a param that was changed by hand: MLflow's params are written once."""
    if wrong := next(permanent_differences(run, remote), None):
        raise TrackerError(
            f"run {remote.run_id} ({remote.name}) has another {wrong.what} than the record; "
            "`sweep doctor --fix` rewrites it"
        )


def _write(path: Path, content: bytes | Path) -> None:
    if isinstance(content, Path):
        shutil.copyfile(content, path)
    else:
        path.write_bytes(content)


def _edits(run: Run, remote: RemoteRun) -> Edits:
    """What a user changed in a run or added to it, whichever version sent it."""
    return edits_of(remote) if says_what_was_sent(remote) else additions(run, remote)


def _files_sent(remote: RemoteRun) -> dict[str, str]:
    """SHA-256 of the files that were sent; none if the tag was damaged, so that they are sent again."""
    try:
        found = json.loads(remote.tags.get(FILES_TAG, "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
