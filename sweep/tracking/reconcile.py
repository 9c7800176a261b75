"""Makes a tracker equal to a study database. Idempotent, resumable, safe to kill at any moment.

`trial_run.py` and `study_run.py` make the runs that it should show; `remote_study.py` finds and updates the runs that
exist; this file decides which runs are updated, and in which order.
"""

from __future__ import annotations

import contextlib
import json
import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from model import weights
from model.files import locked, write_atomic
from reports.analysis.standing import winner
from studies.record.folder import StudyFolder
from studies.record.reader import Reader, SweepRecord, TrialRecord
from sweep.tracking.champion import champion_model, free_name
from sweep.tracking.diff import missing_points
from sweep.tracking.expected_runs import Run
from sweep.tracking.marks import NONE, Marks
from sweep.tracking.remote_study import PARENT_TAG, RemoteStudy
from sweep.tracking.study_run import STUDY_KEY, study_digest, study_head, study_run
from sweep.tracking.sync_result import Changes, SyncResult
from sweep.tracking.tracker import RemoteRun, Tracker, TrackerError
from sweep.tracking.trial_run import trial_digest, trial_key, trial_points, trial_run, trial_status
from sweep.tracking.user_edits import is_outdated
from sweep.tracking.views import view_key

logger = logging.getLogger(__name__)


Active = bool | Callable[[], bool]


class MirrorError(Exception):
    """The tracker could not be made equal to the study; the study itself is unharmed.

    Attributes:
        result: what is missing there.
    """

    def __init__(self, message: str, result: SyncResult) -> None:
        super().__init__(message)
        self.result = result


def sync(folder: Path, tracker: Tracker, *, active: Active) -> Changes:
    """Make the tracker equal to the study in `folder`, once.

    Args:
        folder: the study's folder.
        tracker: the tracker.
        active: whether a sweep is running on the study, asked once no other process sends it.

    Raises:
        RecordError: the folder holds no readable study.
        MirrorError: the tracker could not be reached or refused; what was sent so far stays and is not sent again.
    """
    return Mirror(folder, tracker).sync(active=active)


class Mirror:
    """Keeps a tracker equal to one study.

    What the tracker holds is fetched once, and again after every error and whenever another process had its turn.

    Args:
        folder: the study's folder.
        tracker: the tracker.
        check_first: whether to check within a few seconds that the tracker answers before the first pass, as is done
            after every error.
    """

    def __init__(self, folder: Path, tracker: Tracker, *, check_first: bool = False) -> None:
        self.folder, self.tracker = StudyFolder(folder), tracker
        self.remote = RemoteStudy(tracker, folder)
        self._reader = Reader(folder)
        self._must_check = check_first
        self._must_fetch = True
        self._registered: str | None = None  # hash of the weights that are known to be registered
        self._marks = NONE
        self._token = uuid.uuid4().hex

    def sync(self, *, active: Active) -> Changes:
        """Read the record and send what the tracker lacks."""
        with self.turn(active) as (record, is_active):
            return self.update(record, active=is_active)

    @contextlib.contextmanager
    def turn(self, active: Active) -> Iterator[tuple[SweepRecord, bool]]:
        """Hold the study's lock, one process at a time; the file holds the token of the latest one.

        Yields:
            The record as it is now, and whether a sweep is running: another process may have sent more meanwhile.

        Raises:
            RecordError: the folder holds no readable study.
            MirrorError: the tracker could not be reached or refused.
        """
        with locked(self.folder.mirror_lock):
            is_active = active if isinstance(active, bool) else active()
            record = self._reader.read(active=is_active)
            with self._errors_of(record):
                lock = self.folder.mirror_lock
                if lock.read_text() != self._token:
                    self._forget()
                    lock.write_text(self._token)
                self._check()
                try:
                    yield record, is_active
                finally:
                    self.remote.report_deletions()

    @contextlib.contextmanager
    def _errors_of(self, record: SweepRecord) -> Iterator[None]:
        """Say of an error of the tracker what is unsent, and read all from it again."""
        try:
            yield
        except (TrackerError, OSError) as error:
            self._forget()
            self._must_check = True
            reason, fix = str(error).partition("\n")[0], getattr(error, "fix", None)
            result = SyncResult(record.name, reason, None, *self._unsent(record), fix)
            raise MirrorError(
                f"Could not sync {record.name} to {self.tracker.address}: {reason}\n"
                f"{result.unsent}, nothing is lost in {self.folder.path}\n"
                + (f"{fix}; then run `sweep sync {record.name}`" if fix else f"run `sweep sync {record.name}` later"),
                result,
            ) from error

    def is_available(self) -> bool:
        """Whether the tracker answers; nothing of the study is read for this."""
        try:
            self._check()
        except TrackerError:
            return False
        return True

    def _check(self) -> None:
        if self._must_check:
            self.tracker.check_connection()
            self._must_check = False

    def _forget(self) -> None:
        self._must_fetch, self._registered = True, None

    def update(self, record: SweepRecord, *, active: bool, thorough: bool = False, force: bool = False) -> Changes:
        """Send what the tracker lacks; within a turn.

        Args:
            record: the study.
            active: whether a sweep is running on it.
            thorough: whether to compare every point and every file, instead of the digests of complete runs.
            force: whether to write over what the user changed; only if thorough.

        Raises:
            TrackerError: the tracker could not be reached or refused.
        """
        changes, fetched = Changes(), self._must_fetch
        if fetched:
            self.remote.create(record)
            self._drop(record, active, self.remote.fetch(record))
            changes += self._renew_study(record, active)
            self._must_fetch = False
        created = self.remote.ensure(record, study_head(record))
        changes += created
        if fetched or created:  # one of the views names the study's run
            changes += self.remote.update_views(record, begun=bool(created))
        digests, self._marks = [], self.remote.marks(record)
        for study, trial in all_trials(record):
            digest = trial_digest(record, study, trial, self._marks)
            changes += self._update_trial(record, study, trial, digest, thorough, force)
            digests += [digest] if trial.state != "running" else []
        changes += self._update_champion(record, thorough)
        changes += self._update_study(record, active, digests, thorough, force)
        self._write_addresses(record)
        return changes

    def _update_trial(
        self, record: SweepRecord, study: str, trial: TrialRecord, digest: str, thorough: bool, force: bool
    ) -> Changes:
        key = trial_key(study, trial)
        if not thorough and self.remote.digest(key) == digest:
            sent = self.remote.runs[key]
            if sent.status == trial_status(trial) and sent.tags.get(PARENT_TAG) == self.remote.study_run_id:
                return Changes()
        run = trial_run(record, study, trial, self._marks)
        if thorough and key in self.remote.runs:
            self.remote.read_completely(run)
        return self.remote.update(record, run, digest, force=force)

    def _drop(self, record: SweepRecord, active: bool, copies: Sequence[tuple[str, RemoteRun]]) -> None:
        """Delete copies of runs of the record; those of others are the doctor's."""
        if not copies:
            return
        make = makers(self.remote, record, active)
        for key, copy in copies:
            if key in make:
                self.remote.drop(make[key](), copy)

    def _renew_study(self, record: SweepRecord, active: bool) -> Changes:
        """Send the study's run again if an older version sent it: before the others, which lie below it."""
        former = self.remote.runs.get(STUDY_KEY)
        if former is None or not is_outdated(former):
            return Changes()
        return self.remote.rewrite(record, study_run(record, active=active, links=self.remote.links()))

    def _update_study(
        self, record: SweepRecord, active: bool, digests: list[str], thorough: bool, force: bool
    ) -> Changes:
        links = self.remote.links()
        digest = study_digest(record, digests, active=active, links=links)
        if self.remote.digest(STUDY_KEY) == digest and not thorough:
            return Changes()
        run = study_run(record, active=active, links=links)
        if thorough:
            self.remote.read_completely(run)
        return self.remote.update(record, run, digest, force=force)

    def _update_champion(self, record: SweepRecord, thorough: bool) -> Changes:
        """Register the confirmed winner, once for each set of weights, and point the alias at it."""
        if record.verdict is None or not self.folder.has_champion:
            return Changes()
        digest = weights.sha256(weights.load(self.folder.champion).network.theta)
        if digest == self._registered and not thorough:
            return Changes()
        name = self.remote.model or free_name(self.tracker, record, self.remote.identity)
        version = self.tracker.find_model(name, digest)
        if version and version.is_settled and not (thorough and self.tracker.missing_model_files(version)):
            if version.is_champion and version.last != version.version:  # an older version did not say so
                self.tracker.move_alias(name, version.version)
            if not version.is_champion:
                logger.warning(
                    "the alias champion of %s stays at version %s, to which it was moved; the champion of the study is"
                    " version %s, and `sweep doctor %s --fix --force` moves the alias there",
                    *(name, version.alias, version.version, record.folder.name),
                )
            self._registered = digest
            return Changes()
        with self.remote.scratch() as scratch:
            champion = record.trials[record.verdict["champion"]]
            source = self.remote.runs[trial_key("search", champion)].run_id
            model = champion_model(record, name, self.remote.identity, digest, source, self.remote.links())
            self.tracker.register_model(self.remote.study_run_id, model, scratch)
        self._registered = digest
        return Changes(models=1)

    def _write_addresses(self, record: SweepRecord) -> None:
        """Write mlflow.json for `sweep ui`, which never imports mlflow."""
        best = winner(record)
        addresses = {
            "experiment_id": self.remote.experiment.experiment_id,
            "run_id": self.remote.study_run_id,
            "study": self.remote.identity,
            "view": view_key(self.remote.identity),
            "winner_run_id": self.remote.runs[trial_key("search", best)].run_id if best else None,
        }
        text, path = json.dumps(addresses, indent=2) + "\n", self.folder.mlflow
        if not path.is_file() or path.read_text() != text:
            write_atomic(path, text.encode())

    def _unsent(self, record: SweepRecord) -> tuple[int, int]:
        """How many runs and metric values of the record the tracker is not known to have."""
        runs, values, marks = 0, 0, Marks.of(record, self._marks.links)
        for study, trial in all_trials(record):
            key = trial_key(study, trial)
            if self.remote.digest(key) != trial_digest(record, study, trial, marks):
                runs += 1
                values += len(missing_points(*trial_points(record, trial), self.remote.runs.get(key)))
        return runs, values


def makers(remote: RemoteStudy, record: SweepRecord, active: bool) -> dict[str, Callable[[], Run]]:
    """What makes each run that the tracker should show, by its key, the study's first; one may take pictures."""
    marks = remote.marks(record)
    made: dict[str, Callable[[], Run]] = {
        STUDY_KEY: lambda: study_run(record, active=active, links=remote.links()),
    }
    for study, trial in all_trials(record):
        made[trial_key(study, trial)] = partial(trial_run, record, study, trial, marks)
    return made


def all_trials(record: SweepRecord) -> Iterator[tuple[str, TrialRecord]]:
    """Every trial of the search, then of the confirmation, with the name of its Optuna study."""
    yield from (("search", trial) for trial in record.trials)
    yield from (("confirm", trial) for trial in record.confirm)
