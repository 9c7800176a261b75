"""The study database: locking, identity and atomic creation."""

import contextlib
import gzip
import os
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from studies.record import reader as records
from studies.record.errors import RecordError
from studies.record.schema import SCHEMA
from sweep.coordination.coordinator import Stop
from sweep.errors import StudyBusy, StudyChanged
from sweep.storage import database as storage


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
    "control=0.5": "control 0.0 -> 0.5",
    "baseline.epochs=5": "baseline.epochs 4 -> 5",
    "space.learning_rate.high=0.1": "space.learning_rate.high 0.03 -> 0.1",
    "space.learning_rate.log=false": "space.learning_rate.log true -> false",
    "start=[{ learning_rate = 0.02 }]": 'start.1 null -> {"learning_rate": 0.02}',
    "space.beta1={low=0.8, high=0.99}": "space.beta1 null -> ",
}


def test_a_changed_study_is_refused_field_by_field(tiny, opened):
    """With three options, in three lines; the record is unchanged."""
    database = opened(tiny())
    before = database.attributes()
    for change, told in CHANGES.items():
        with pytest.raises(StudyChanged) as caught:
            opened(tiny(change))
        message = str(caught.value)
        assert told in message
        assert message.count("\n") == 2

    assert database.attributes() == before


def test_keys_that_may_change_are_updated(tiny, opened):
    """More trials, a larger confirmation, another question."""
    opened(tiny())
    larger = ["confirm.repeats=5", "confirm.top=3"]
    for changes in (["trials=60"], larger[:1], larger, [*larger, "question=Why?"]):
        changed = tiny(*changes)

        assert opened(changed).attributes()["study"] == changed.as_dict()


def test_a_smaller_confirmation_is_refused(tiny, opened):
    """Otherwise a user could choose among several verdicts."""
    opened(tiny("confirm.repeats=5", "confirm.top=3"))
    for change in (["confirm.repeats=2", "confirm.top=3"], ["confirm.repeats=5", "confirm.top=1"]):
        with pytest.raises(StudyChanged, match="may grow, but not shrink"):
            opened(tiny(*change))


def test_a_lower_time_limit_is_refused(tiny, opened):
    """Also one where there was none; a higher one, or none at all, is accepted."""
    for changes in (["trial_seconds=5.0"], ["trial_seconds=9.0"]):
        opened(tiny(*changes))
    with pytest.raises(StudyChanged, match=r"trial_seconds of tiny may grow, but not shrink: 9.0 -> 5.0\n"):
        opened(tiny("trial_seconds=5.0"))
    opened(tiny())
    with pytest.raises(StudyChanged, match=r"trial_seconds of tiny may grow, but not shrink: no limit -> 9.0\n"):
        opened(tiny("trial_seconds=9.0"))


def test_other_data_under_the_same_name_is_refused(tiny, opened, tmp_path):
    """The digest is compared."""
    study = tiny()
    database = opened(study)
    dataset = {**database.attributes()["dataset"], "digest": "f" * 64}

    with pytest.raises(StudyChanged, match="ffffffffffff"):
        storage.open_study(database.folder, study, dataset, {})


def test_a_newer_database_is_refused(tiny, opened):
    """By writer and reader, without changes to it."""
    study = tiny()
    database = opened(study)
    database.record("schema", SCHEMA + 1)

    with pytest.raises(RecordError, match="newer version"):
        opened(study)
    with pytest.raises(RecordError, match="newer version"):
        records.read(database.folder)


@pytest.mark.parametrize("content", [b"", b"not a database at all, but long enough to be looked at" * 10])
def test_a_file_that_is_not_a_database_is_refused(tmp_path, content):
    """An empty file, and text."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "study.db").write_bytes(content)

    with pytest.raises(RecordError):
        records.read(folder)
    with pytest.raises(RecordError):
        storage.Database(folder)


def test_another_programs_database_is_refused(tmp_path):
    """SQLite, but without a study."""
    with sqlite3.connect(tmp_path / "study.db") as connection:
        connection.execute("CREATE TABLE other (x)")
    connection.close()

    with pytest.raises(RecordError):
        storage.Database(tmp_path)


def test_reading_does_not_change_the_files(tiny, opened):
    """The bytes are the same, and no other file is created."""
    database = opened(tiny())
    database.close()
    path = database.folder / "study.db"
    before = path.read_bytes()
    records.read(database.folder)

    assert path.read_bytes() == before


@pytest.mark.slow
def test_the_lock_names_its_holder_and_is_released_with_it(tmp_path):
    """A second writer gets the pid and the time; SIGKILL releases the lock."""
    code = (
        "import sys, time; from pathlib import Path; from sweep.storage.database import study_lock\n"
        "with study_lock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        assert storage.is_active(tmp_path)
        with pytest.raises(StudyBusy, match=f"pid {holder.pid}, since 20"), storage.study_lock(tmp_path):
            raise AssertionError("two holders")
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()

    assert not storage.is_active(tmp_path)
    with storage.study_lock(tmp_path):
        assert str(os.getpid()) in (tmp_path / "lock").read_text()


def test_an_incomplete_database_is_created_again(tiny, opened, tmp_path):
    """The temporary file of a killed creation is not used."""
    folder = tmp_path / "runs/tiny"
    folder.mkdir(parents=True)
    (folder / "study.db.part").write_bytes(b"half")
    (folder / "study.db.part-wal").write_bytes(b"half")
    database = opened(tiny())

    assert database.attributes()["schema"] == SCHEMA
    assert not list(folder.glob("*.part*"))


def test_a_long_lived_reader_equals_a_new_one(tiny, opened, searched):
    """After every epoch of a search; each finished trial is read once."""
    study = tiny("trials=3")
    database = opened(study)
    reader, seen = records.Reader(database.folder), []

    def same():
        kept, fresh = reader.read(active=True), records.read(database.folder, active=True)
        assert everything(kept) == everything(fresh)
        seen.append(kept)

    searched(study, database, stop=Watch(same))
    same()

    assert len({len(record.trials) for record in seen}) > 2
    last = {trial.number: trial for trial in seen[-1].trials}
    assert all(last[trial.number] is trial for record in seen for trial in record.trials if trial.state != "running")


class Watch(Stop):
    """Looks whenever the coordinator asks whether to stop, and never stops it."""

    def __init__(self, look):
        super().__init__()
        self.look = look

    def asked(self):
        self.look()
        return False


def test_a_reader_detects_damage_and_a_replaced_file(tiny, opened, searched):
    """A trial that was changed before it was first read, and a replaced database."""
    study = tiny("trials=2")
    database = opened(study)
    searched(study, database, workers=1)
    database.close()
    path = database.folder / "study.db"
    whole, reader = path.read_bytes(), records.Reader(database.folder)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE trial_values SET value = value + 1 WHERE trial_id = 2")
    connection.close()
    with pytest.raises(RecordError, match="trial 1 was changed since it was written"):
        reader.read()
    (database.folder / "copy").write_bytes(whole)
    (database.folder / "copy").replace(path)

    assert everything(reader.read()) == everything(records.read(database.folder))


@pytest.mark.parametrize("changes", [30, pytest.param(120, marks=pytest.mark.slow)])
def test_changed_bytes_are_detected(tiny, opened, searched, changes):
    """With random changes of bytes and pages, the record is read unchanged or refused."""
    study = tiny("trials=3", "generation=2")
    database = opened(study)
    searched(study, database, workers=1)
    database.record("verdict", {"champion": 1})
    database.close()
    path = database.folder / "study.db"
    whole, before = path.read_bytes(), everything(records.read(database.folder))
    dice, refused = random.Random(5), []
    for _ in range(changes):
        path.write_bytes(changed(whole, dice))
        try:
            assert everything(records.read(database.folder)) == before
        except RecordError as error:
            refused.append(str(error))

    assert len(refused) > changes / 3
    assert all(said.startswith(str(path)) and said.count("\n") <= 2 for said in refused)


def changed(whole, dice):
    """One to three flipped bits, a page of zeros, two pages swapped, or an end that is missing."""
    content = bytearray(whole)
    pages = len(content) // 4096
    kind = dice.choice(["flip", "flip", "flip", "zeros", "swap", "cut"])
    if kind == "flip":
        for _ in range(dice.randint(1, 3)):
            content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    elif kind == "cut":
        return bytes(content[: dice.randrange(len(content))])
    else:
        a, b = (4096 * page for page in dice.sample(range(pages), 2))
        one = bytes(content[a : a + 4096]) if kind == "swap" else bytes(4096)
        other = bytes(content[b : b + 4096])
        content[a : a + 4096], content[b : b + 4096] = other, one
    return bytes(content)


def everything(record):
    """All of a record but its times."""
    trials = [
        {key: value for key, value in vars(trial).items() if key not in ("started", "finished", "epochs")}
        | {"epochs": trial.epochs.tobytes()}
        for trial in (*record.trials, *record.confirm)
    ]
    return {**vars(record), "trials": trials, "confirm": None}


@pytest.fixture
def older(tmp_path):
    """A study recorded by the version before seals, as it was written then."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "study.db").write_bytes(gzip.decompress((Path(__file__).parent / "schema1.db.gz").read_bytes()))
    return folder


def test_a_record_without_seals_is_read_but_not_continued(older, tiny, opened):
    """Schema 1 can be read, but not continued."""
    content = (older / "study.db").read_bytes()
    record = records.read(older)

    assert len(record.trials) == 3
    assert record.study["baseline"]["epochs"] == record.trials[0].hyperparameters["epochs"]
    assert (older / "study.db").read_bytes() == content
    study = tiny()
    with pytest.raises(RecordError, match=r"schema 1\), which this one reads but does not continue\nreport or export"):
        storage.open_study(older, study, record.dataset, {})
    assert everything(records.read(older)) == everything(record)


@pytest.mark.parametrize("version", ["v3.0.0.d", "v9.9.9.z"])
def test_tables_of_another_optuna_version_are_refused(older, tiny, version):
    """By reader and writer, with advice."""
    with contextlib.closing(sqlite3.connect(older / "study.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [version])
        connection.commit()

    for use in (records.read, storage.Database):
        with pytest.raises(RecordError, match=r"another version of Optuna\n(use the version|update this program)"):
            use(older)
