"""The study database: one writer, one identity, nothing half-made."""

import os
import sqlite3
import subprocess
import sys

import pytest

from reports import records
from reports.records import RecordError
from sweep import storage
from sweep.storage import StudyBusy, StudyChanged


def test_the_database_is_in_wal_mode_and_synced_normally(tiny, opened):
    """A commit costs no fsync; the mode stays in the file."""
    database = opened(tiny())
    with database._storage.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1
    database.close()


CHANGES = {
    "seed=4": "seed 3 -> 4",
    "sampler=random": 'sampler "tpe" -> "random"',
    "pruner=median": 'pruner "none" -> "median"',
    "epoch=last": 'epoch "best" -> "last"',
    "objective=validation_accuracy": "objective",
    "audit=0.5": "audit 0.0 -> 0.5",
    "baseline.epochs=5": "baseline.epochs 4 -> 5",
    "space.learning_rate.high=0.1": "space.learning_rate.high 0.03 -> 0.1",
    "space.learning_rate.log=false": "space.learning_rate.log true -> false",
    "space.beta1={low=0.8, high=0.99}": "space.beta1 null -> ",
}


def test_a_changed_study_is_refused_field_by_field(tiny, opened):
    """With three ways out, in three lines; the record is untouched."""
    database = opened(tiny())
    before = database.attributes()
    for change, told in CHANGES.items():
        with pytest.raises(StudyChanged) as caught:
            opened(tiny(change))
        message = str(caught.value)
        assert told in message
        assert message.count("\n") == 2

    assert database.attributes() == before


def test_what_may_grow_is_taken_over(tiny, opened):
    """More trials, another confirmation, a better worded question."""
    opened(tiny())
    larger = ["confirm.seeds=5", "confirm.top=3"]
    for changes in (["trials=60"], larger[:1], larger, [*larger, "question=Why?"]):
        changed = tiny(*changes)

        assert opened(changed).attributes()["study"] == changed.as_dict()


def test_a_confirmation_may_not_shrink(tiny, opened):
    """With fewer seeds or candidates a person could choose among verdicts."""
    opened(tiny("confirm.seeds=5", "confirm.top=3"))
    for change in (["confirm.seeds=2", "confirm.top=3"], ["confirm.seeds=5", "confirm.top=1"]):
        with pytest.raises(StudyChanged, match="may grow, but not shrink"):
            opened(tiny(*change))


def test_other_data_under_the_same_name_is_refused(tiny, opened, tmp_path):
    """The digest is part of what a study is."""
    study = tiny()
    database = opened(study)
    dataset = {**database.attributes()["dataset"], "digest": "f" * 64}

    with pytest.raises(StudyChanged, match="ffffffffffff"):
        storage.open_study(database.folder, study, dataset, {})


def test_a_newer_database_is_refused(tiny, opened):
    """By the writer and by the reader; it is not changed."""
    study = tiny()
    database = opened(study)
    database.record("schema", records.SCHEMA + 1)

    with pytest.raises(RecordError, match="newer version"):
        opened(study)
    with pytest.raises(RecordError, match="newer version"):
        records.read(database.folder)


@pytest.mark.parametrize("content", [b"", b"not a database at all, but long enough to be looked at" * 10])
def test_something_else_under_its_name_is_refused(tmp_path, content):
    """An empty file, and text."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "study.db").write_bytes(content)

    with pytest.raises(RecordError):
        records.read(folder)
    with pytest.raises(RecordError):
        storage.Database(folder)


def test_another_programs_database_is_refused(tmp_path):
    """SQLite, but no study in it."""
    with sqlite3.connect(tmp_path / "study.db") as connection:
        connection.execute("CREATE TABLE other (x)")
    connection.close()

    with pytest.raises(RecordError):
        storage.Database(tmp_path)


def test_reading_changes_nothing(tiny, opened):
    """A reader leaves the very bytes, and no file behind."""
    database = opened(tiny())
    database.close()
    path = database.folder / "study.db"
    before = path.read_bytes()
    records.read(database.folder)

    assert path.read_bytes() == before


def test_the_lock_names_its_holder_and_dies_with_it(tmp_path):
    """A second writer is told the pid and the time; after a SIGKILL nothing is stale."""
    code = (
        "import sys, time; from pathlib import Path; from sweep.storage import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        assert storage.is_active(tmp_path)
        with pytest.raises(StudyBusy, match=f"pid {holder.pid}, since 20"), storage.locked(tmp_path):
            raise AssertionError("two holders")
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()

    assert not storage.is_active(tmp_path)
    with storage.locked(tmp_path):
        assert str(os.getpid()) in (tmp_path / "lock").read_text()


def test_a_half_made_database_is_made_anew(tiny, opened, tmp_path):
    """What a kill during creation leaves under the other name is no database yet."""
    folder = tmp_path / "runs/tiny"
    folder.mkdir(parents=True)
    (folder / "study.db.part").write_bytes(b"half")
    (folder / "study.db.part-wal").write_bytes(b"half")
    database = opened(tiny())

    assert database.attributes()["schema"] == records.SCHEMA
    assert not list(folder.glob("*.part*"))
