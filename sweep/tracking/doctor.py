"""Compares the record of a study with a tracker and with the study's files, in both directions, and repairs both.

It is the comparison of `sweep sync` (`sweep/tracking/diff.py`), with every point and every file read. A run that no
update can correct, because MLflow never changes a param or a point, is deleted and rewritten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from model import weights
from model.files import write_atomic
from studies.record.folder import WEIGHTS, StudyFolder
from studies.record.reader import SweepRecord
from sweep.tracking.champion import free_name
from sweep.tracking.diff import YOURS, Difference, differences
from sweep.tracking.expected_runs import Run
from sweep.tracking.reconcile import Active, Mirror, all_trials, makers
from sweep.tracking.remote_study import RemoteStudy
from sweep.tracking.tracker import Tracker
from sweep.tracking.user_edits import is_outdated

EXPERIMENT, MODEL, FOLDER = "experiment", "model", "folder"
"""Where a difference can be, besides in a run."""


def place(where: str) -> str:
    """Where a difference is, in words."""
    named = {EXPERIMENT: "MLflow", MODEL: "MLflow's model registry", FOLDER: "the study's folder"}
    return named.get(where, f"run {where} in MLflow")


def in_words(one: Difference) -> str:
    """A difference as a sentence."""
    there, what = place(one.where), f"experiment {one.what}" if one.where == EXPERIMENT else one.what
    again = ""
    if one.what.split()[0] == "run":  # all of it
        there, what, again = "MLflow", f"run {one.where}", one.what.removeprefix("run")
    return {
        "missing": f"{there} has no {what}",
        "wrong": f"{there} has a wrong {what}",
        "extra": f"{there} has {what}, which is not in the record",
        "doubled": f"{there} has {what} twice" + (f", again as{again}" if again else ""),
        YOURS: f"{there} has your {what}",
    }[one.kind]


def examine(
    folder: Path, tracker: Tracker, *, active: Active, fix: bool, force: bool = False
) -> tuple[list[Difference], list[Difference]]:
    """What differs, and what still does after repairing; without `fix` the two are the same.

    Both have what is the user's, of the kind `YOURS`.

    Args:
        folder: the study's folder.
        tracker: the tracker.
        active: whether a sweep is running on the study, asked once no other process sends it.
        fix: whether to repair.
        force: whether a repair also writes over what the user changed; what was added stays.

    Raises:
        RecordError: the folder holds no readable study.
        MirrorError: the tracker could not be reached or refused.
    """
    mirror = Mirror(folder, tracker)
    with mirror.turn(active) as (record, running):
        found = _examine(mirror.remote, record, running)
        if not fix or not [one for one in found if force or one.kind != YOURS]:
            return found, found
        _restore_weights(mirror.remote, record)
        _rewrite_unusable_runs(mirror.remote, record, running, found)
        mirror.update(record, active=running, thorough=True, force=force)
        if force:
            _move_alias(mirror.remote, record)
        return found, _examine(mirror.remote, record, running)


def _examine(remote: RemoteStudy, record: SweepRecord, active: bool) -> list[Difference]:
    found = list(_of_folder(record))
    if not remote.find(record):
        return [*found, Difference(EXPERIMENT, "missing", record.name)]
    copies = remote.fetch(record)
    expected = makers(remote, record, active)
    for key, make in expected.items():
        found += _of_run(remote, key, make)
    found += [Difference(key, "extra", "run") for key in remote.runs if key not in expected]
    found += [Difference(key, "doubled", f"run {run.run_id}") for key, run in copies if key in expected]
    return [*found, *_of_model(remote, record)]


def _of_run(remote: RemoteStudy, key: str, make: Callable[[], Run]) -> list[Difference]:
    """What differs in the run of a key from the one that `make` returns."""
    if key not in remote.runs:
        return [Difference(key, "missing", "run")]
    if is_outdated(remote.runs[key]):
        return [Difference(key, "wrong", "format, of an older version", needs_rewrite=True)]
    run = remote.with_parent(make())
    remote.read_completely(run)
    return differences(run, remote.runs[key])


def _of_model(remote: RemoteStudy, record: SweepRecord) -> Iterator[Difference]:
    """The registered champion: its version, the alias, its files."""
    if record.verdict is None:
        return
    name = free_name(remote.tracker, record, remote.identity)
    version = remote.tracker.find_model(name, record.verdict["weights_sha256"])
    if version is None:
        yield Difference(MODEL, "missing", f"version of {name}")
        return
    if not version.is_settled:
        yield Difference(MODEL, "wrong", f"alias champion of {name}")
    elif not version.is_champion:
        yield Difference(MODEL, YOURS, f"alias champion of {name}, at version {version.alias}")
    for file in remote.tracker.missing_model_files(version):
        yield Difference(MODEL, "missing", f"file {file}")


def _of_folder(record: SweepRecord) -> Iterator[Difference]:
    """Weights of completed trials and of the champion, by the hash in the record."""
    for path, digest in _weights(record):
        if weights.digest_of(path) != digest:
            kind = "wrong" if path.is_file() else "missing"
            yield Difference(FOLDER, kind, str(path.relative_to(record.folder)))


def _weights(record: SweepRecord) -> Iterator[tuple[Path, str]]:
    folder = StudyFolder(record.folder)
    for study, trial in all_trials(record):
        if trial.state == "complete" and trial.weights_sha256:
            yield folder.trial(study, trial.number).weights, trial.weights_sha256
    if record.verdict:
        yield folder.champion, str(record.verdict["weights_sha256"])


def _restore_weights(remote: RemoteStudy, record: SweepRecord) -> None:
    """Weights of one hash lie in several places: the tracker has a copy, and the champion's are a final model's."""
    intact, damaged = {}, []
    for path, digest in _weights(record):
        if weights.digest_of(path) == digest:
            intact[digest] = path
        else:
            damaged.append((path, digest))
    for path, digest in damaged:
        content = intact[digest].read_bytes() if digest in intact else _copy_from(remote, digest)
        if content is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, content)


def _copy_from(remote: RemoteStudy, digest: str) -> bytes | None:
    """Weights of this hash from the tracker."""
    for content in remote.read_weights(digest, WEIGHTS):
        with TemporaryDirectory() as scratch:
            path = Path(scratch) / WEIGHTS
            path.write_bytes(content)
            if weights.digest_of(path) == digest:
                return content
    return None


def _rewrite_unusable_runs(remote: RemoteStudy, record: SweepRecord, active: bool, found: list[Difference]) -> None:
    """Delete runs of no trial, and rewrite those that no update can correct."""
    for one in found:
        if (one.kind, one.what) == ("extra", "run"):
            remote.delete(one.where)
    unusable = {one.where for one in found if one.needs_rewrite} & remote.runs.keys()
    make = makers(remote, record, active) if unusable else {}
    for key in unusable:
        remote.rewrite(record, make[key]())


def _move_alias(remote: RemoteStudy, record: SweepRecord) -> None:
    """Point the alias at the study's champion, wherever its user moved it."""
    if record.verdict is None:
        return
    name = free_name(remote.tracker, record, remote.identity)
    version = remote.tracker.find_model(name, record.verdict["weights_sha256"])
    if version is not None and not version.is_champion:
        remote.tracker.move_alias(name, version.version)
