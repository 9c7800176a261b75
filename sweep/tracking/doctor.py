"""Compares the record of a study with MLflow and with the study's files, both ways, and mends what differs.

It is the comparison of `sweep sync` (`sweep/tracking/diff.py`), with every point and every file looked at. What sending
cannot mend, because MLflow never takes a param or a point back, is deleted and written anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from model.files import write_atomic
from studies.record import reader as records
from studies.record.folder import StudyFolder
from studies.record.reader import SweepRecord
from sweep.tracking.diff import Difference, Held, differences
from sweep.tracking.expected_runs import Run
from sweep.tracking.reconcile import Mirror, model_name, readable_digest
from sweep.tracking.study_run import STUDY_KEY

EXPERIMENT, MODEL, FOLDER = "experiment", "model", "folder"
"""Where a difference can be, besides in a run."""


def in_words(one: Difference) -> str:
    """A difference as a sentence that says what has, or lacks, what."""
    place, what = {
        EXPERIMENT: ("MLflow", f"experiment {one.what}"),
        MODEL: ("MLflow's model registry", one.what),
        FOLDER: ("the study's folder", one.what),
    }.get(one.where, (f"run {one.where} in MLflow", one.what))
    again = ""
    if one.what.split()[0] == "run":  # all of it
        place, what, again = "MLflow", f"run {one.where}", one.what.removeprefix("run")
    return {
        "missing": f"{place} has no {what}",
        "wrong": f"{place} has a wrong {what}",
        "extra": f"{place} has {what}, which the record has not",
        "doubled": f"{place} has {what} twice" + (f", again as{again}" if again else ""),
    }[one.kind]


def examine(folder: Path, tracking: str, *, active: bool, fix: bool) -> tuple[list[Difference], list[Difference]]:
    """What differs, and what still does after mending; without `fix` the two are the same.

    Raises:
        RecordError: the folder holds no readable study.
        MirrorError: MLflow could not be reached.
    """
    mirror = Mirror(folder, tracking, trusted=True)
    record = records.read(folder, active=active)
    with mirror.turn(record):
        found, held = _look(mirror, record, active)
        if not (fix and found):
            return found, found
        if any(one.where == EXPERIMENT for one in found):
            mirror.make_experiment(record)
            held = _look(mirror, record, active)[1]
        _mend(mirror, record, found, held)
        mirror.bring(record, active)
        return found, _look(mirror, record, active)[0]


def _look(mirror: Mirror, record: SweepRecord, active: bool) -> tuple[list[Difference], dict[str, list[Held]]]:
    """All differences, and the runs that MLflow has by key, those of one key in order of age."""
    found = list(_of_folder(record))
    if not mirror.find_experiment(record):
        return [*found, Difference(EXPERIMENT, "missing", record.name)], {}
    held = mirror.runs_by_key(record)
    mirror.known = {key: copies[0] for key, copies in held.items()}
    wanted = {run.key: run for run in mirror.wanted(record, active=active)}
    found += [Difference(key, "extra", "run") for key in held if key not in wanted]
    for key, run in wanted.items():
        found += _of_run(mirror, run, held.get(key, []))
    return [*found, *_of_model(mirror, record)], held


def _of_run(mirror: Mirror, run: Run, held: list[Held]) -> list[Difference]:
    if not held:
        return [Difference(run.key, "missing", "run")]
    mirror.look_at_all(run, held[0])
    return [*differences(run, held[0]), *(Difference(run.key, "doubled", f"run {one.run_id}") for one in held[1:])]


def _of_model(mirror: Mirror, record: SweepRecord) -> Iterator[Difference]:
    """The registered champion: its version, the alias, its files."""
    if record.verdict is None:
        return
    name = model_name(record.name)
    version = mirror.registered(name, record.verdict["weights_sha256"])
    if version is None:
        yield Difference(MODEL, "missing", f"version of {name}")
        return
    if mirror.alias(name) != str(version.version):
        yield Difference(MODEL, "wrong", f"alias champion of {name}")
    for file in mirror.lacking_model_files(version):
        yield Difference(MODEL, "missing", f"file {file}")


def _of_folder(record: SweepRecord) -> Iterator[Difference]:
    """Weights of completed trials and of the champion, by the hash in the record."""
    for path, digest in _weights(record):
        if not path.is_file():
            yield Difference(FOLDER, "missing", str(path.relative_to(record.folder)))
        elif readable_digest(path) != digest:
            yield Difference(FOLDER, "wrong", str(path.relative_to(record.folder)))


def _weights(record: SweepRecord) -> Iterator[tuple[Path, str]]:
    for study, trials in (("search", record.trials), ("confirm", record.confirm)):
        for trial in trials:
            if trial.state == "complete" and trial.weights_sha256:
                yield StudyFolder(record.folder).trial(study, trial.number).weights, trial.weights_sha256
    if record.verdict:
        yield record.folder / "champion.npz", str(record.verdict["weights_sha256"])


def _mend(mirror: Mirror, record: SweepRecord, found: list[Difference], held: dict[str, list[Held]]) -> None:
    """Restore files, delete what cannot be mended, and forget the digests that would let a run pass unseen."""
    _restore(mirror, record)
    anew = {one.where for one in found if one.final or (one.kind, one.what) == ("extra", "run")}
    for key, copies in held.items():
        for one in copies if key in anew else copies[1:]:
            mirror.delete(one)
    kept = {key: copies[0] for key, copies in held.items() if key not in anew}
    for one in kept.values():
        mirror.forget_digest(one)
    mirror.known, mirror.stale = kept, False
    if any(one.where == MODEL and one.what.startswith("file") for one in found) and STUDY_KEY in kept:
        mirror.log_model(record)


def _restore(mirror: Mirror, record: SweepRecord) -> None:
    """Weights of one hash lie in several places: MLflow's copy, and the champion's are those of a final model."""
    copies = {digest: path for path, digest in _weights(record) if path.is_file() and readable_digest(path) == digest}
    for path, digest in _weights(record):
        if path.is_file() and readable_digest(path) == digest:
            continue
        content = copies[digest].read_bytes() if digest in copies else mirror.copy_of_weights(digest)
        if content is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, content)
