"""`sweep doctor` on MLflow: damage to its database and its files is found by name, and `--fix` repairs it."""

import contextlib
import re
import shutil
import sqlite3
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from recorded import STUDY, Recorded, replace_pictures

from studies.record.reader import read
from sweep.entry import main
from sweep.tracking.doctor import examine
from sweep.tracking.mlflow.client import MlflowClient, MlflowTracker
from sweep.tracking.mlflow.local_store import Use
from sweep.tracking.reconcile import sync
from sweep.tracking.sync_result import Changes

pytestmark = [
    pytest.mark.slow,  # tests/sweep/tracking/test_doctor.py has the same damages on a tracker in memory
    # MLflow 3.17 still uses a loader that SQLAlchemy 2.1 deprecates, which we cannot change.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader:sqlalchemy.exc.SADeprecationWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def without_pictures():
    """Pictures as text, as long as the module's study lives: drawing them takes most of the time of a look."""
    with pytest.MonkeyPatch.context() as patch:
        replace_pictures(patch)
        yield


@pytest.fixture(scope="module")
def synced_once(tmp_path_factory, migrated, without_pictures):
    """A finished study in MLflow: the home folder, and a copy of it to begin each test with."""
    folder = tmp_path_factory.mktemp("doctor")
    (folder / "home").mkdir()
    shutil.copy(migrated, folder / "home" / "mlflow.db")
    recorded = Recorded(folder / "home" / "tiny", STUDY | {"name": "tiny", "trials": 2})
    for epochs in (3, 4):
        recorded.add("complete", epochs)
    recorded.judge(champion=0)
    (recorded.close() / "report.pdf").write_bytes(b"%PDF-1.4 a report")
    sync(recorded.folder, MlflowTracker(f"sqlite:///{folder / 'home' / 'mlflow.db'}"), active=False)
    shutil.copytree(folder / "home", folder / "copy")
    return folder


@pytest.fixture
def tracked(synced_once):
    """The study and its mirror, as they were at first; of MLflow's open database the content is put back."""
    for name in ("tiny", "mlartifacts"):
        shutil.rmtree(synced_once / "home" / name)
        shutil.copytree(synced_once / "copy" / name, synced_once / "home" / name)
    old, new = (sqlite3.connect(synced_once / name / "mlflow.db") for name in ("copy", "home"))
    with contextlib.closing(old), contextlib.closing(new):
        old.backup(new)
    return TrackedHome(synced_once / "home")


class TrackedHome:
    """A home folder with ways to damage it."""

    def __init__(self, home):
        self.home, self.folder = home, home / "tiny"
        self.uri = f"sqlite:///{home / 'mlflow.db'}"

    @property
    def tracker(self):
        """MLflow, opened anew."""
        return MlflowTracker(self.uri)

    def examine(self, *, fix=False):
        """What differs, and what is left, in words."""
        both = examine(self.folder, self.tracker, active=False, fix=fix)
        return [[f"{one.where} {one.kind} {one.what}" for one in found] for found in both]

    def sql(self, *statements):
        """Change MLflow's database behind its back; RUN(key) stands for the id of a run."""
        with contextlib.closing(sqlite3.connect(self.home / "mlflow.db")) as database:
            for statement in statements:
                assert database.execute(statement).rowcount > 0, statement
            database.commit()

    def artifact(self, key, name):
        """Path of an artifact."""
        with contextlib.closing(sqlite3.connect(self.home / "mlflow.db")) as database:
            query = "SELECT artifact_uri FROM runs JOIN tags USING (run_uuid) WHERE key = 'sweep.key' AND value = ?"
            uri = database.execute(query, [key]).fetchone()[0]
        return self.home.__class__(unquote(urlsplit(uri).path)) / name

    def add_run(self, key):
        """One more run of this study."""
        client = MlflowClient(self.uri)
        experiment = client.get_experiment_by_name("tiny").experiment_id
        identity = f"{read(self.folder).uid}/tiny"
        client.create_run(experiment, tags={"sweep.study": identity, "sweep.key": key})


def run(key):
    """SQL for the id of a run."""
    return f"(SELECT run_uuid FROM tags WHERE key = 'sweep.key' AND value = '{key}')"


def point(key, metric, step):
    """SQL for one point of a metric."""
    return f"run_uuid = {run(key)} AND key = '{metric}' AND step = {step}"


def flip(path):
    """Change the last byte but a hundred."""
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


ONE, STEP = run("search/1"), "search/1 {} metric validation_loss, step {}"
DAMAGES = {  # one for each part of MLflow that is read; the others are made in memory
    "a run deleted": (
        lambda p: p.sql(f"UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid = {ONE}"),
        "search/1 missing run",
    ),
    "the experiment deleted": (
        lambda p: p.sql("UPDATE experiments SET lifecycle_stage = 'deleted' WHERE name = 'tiny'"),
        "experiment missing tiny",
    ),
    "a run doubled": (lambda p: p.add_run("search/1"), "search/1 doubled run"),
    "a wrong state": (
        lambda p: p.sql(f"UPDATE runs SET status = 'RUNNING' WHERE run_uuid = {ONE}"),
        "search/1 wrong state RUNNING",
    ),
    "a param changed": (
        lambda p: p.sql(f"UPDATE params SET value = '0.5' WHERE key = 'beta1' AND run_uuid = {ONE}"),
        "search/1 wrong param beta1",
    ),
    "a point gone": (
        lambda p: p.sql(f"DELETE FROM metrics WHERE {point('search/1', 'validation_loss', 1)}"),
        STEP.format("missing", 1),
    ),
    "a point doubled": (
        lambda p: p.sql(
            "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) SELECT key, value, timestamp + 1, "
            f"run_uuid, step, is_nan FROM metrics WHERE {point('search/1', 'validation_loss', 1)}"
        ),
        STEP.format("doubled", 1),
    ),
    "a file changed": (
        lambda p: p.artifact("search/1", "confusion.png").write_bytes(b"a picture"),
        "search/1 wrong file confusion.png",
    ),
    "the dataset gone": (
        lambda p: p.sql(f"DELETE FROM inputs WHERE destination_id = {ONE}"),
        "search/1 missing dataset",
    ),
    "the champion unregistered": (
        lambda p: p.sql("DELETE FROM model_version_tags", "DELETE FROM model_versions"),
        "model missing version of sweep-tiny",
    ),
    "the alias gone": (
        lambda p: p.sql("DELETE FROM registered_model_aliases"),
        "model wrong alias champion of sweep-tiny",
    ),
    "the model's code gone": (
        lambda p: next(p.home.glob("mlartifacts/**/champion_model.py")).unlink(),
        "model missing file champion_model.py",
    ),
    "weights gone": (
        lambda p: (p.folder / "trials/0001/weights.npz").unlink(),
        "folder missing trials/0001/weights.npz",
    ),
}


def test_a_synced_study_has_no_differences(tracked):
    """What a person added, a tag and a metric, is no difference and stays."""
    client = MlflowClient(tracked.uri)
    with contextlib.closing(sqlite3.connect(tracked.home / "mlflow.db")) as database:
        run_id = database.execute(f"SELECT {ONE}").fetchone()[0]
    client.set_tag(run_id, "my note", "look at this one")
    client.log_metric(run_id, "my metric", 3.0)

    assert tracked.examine() == [["search/1 yours tag my note", "search/1 yours metric my metric"]] * 2


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_and_fixed(tracked, damage):
    """By name; without --fix nothing is changed, with it nothing is left, and another look agrees."""
    apply, expected = DAMAGES[damage]
    apply(tracked)
    found, left = tracked.examine()
    assert any(line.startswith(expected) for line in found), found
    assert left == found

    found_again, left = tracked.examine(fix=True)

    assert found_again == found
    assert left == []
    assert not sync(tracked.folder, tracked.tracker, active=False)


def test_a_moved_home_keeps_its_artifacts(tracked, tmp_path):
    """All artifacts are those of the new place, nothing is sent again, and nothing appears at the old one."""
    shutil.copytree(tracked.home, tmp_path / "moved")
    moved = TrackedHome(tmp_path / "moved")

    assert sync(moved.folder, moved.tracker, active=False) == Changes(tags=1)  # of the folder that sends the study
    assert not sync(moved.folder, moved.tracker, active=False)
    assert moved.examine() == [[], []]
    with contextlib.closing(sqlite3.connect(moved.home / "mlflow.db")) as database:
        text = "\n".join(database.iterdump())
    assert f"{tracked.home}/mlartifacts" not in text
    assert moved.artifact("search/1", "epochs.csv").is_relative_to(moved.home)
    assert moved.artifact("search/1", "epochs.csv").is_file()


def test_a_home_in_use_under_another_path_is_read_and_written_here(tracked, tmp_path):
    """As in a container whose mount has another path: its addresses stay, and every file goes into our own folder."""
    there = "file:///data/runs/mlartifacts"
    for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri"), ("model_versions", "source")):
        here = (tracked.home / "mlartifacts").as_uri()
        tracked.sql(
            f"UPDATE {table} SET {column} = replace({column}, '{here}', '{there}') WHERE {column} LIKE '{here}%'"
        )
    other = Use(tracked.home / "mlflow.db")
    other.share()

    assert not sync(tracked.folder, tracked.tracker, active=False)
    assert tracked.examine() == [[], []]
    lost = next((tracked.home / "mlartifacts").rglob("epochs.csv"))
    lost.unlink()
    assert tracked.examine(fix=True)[1] == []
    assert lost.is_file()
    assert tracked.artifact("search/1", "epochs.csv").is_relative_to("/data/runs")
    assert not Path("/data/runs").exists()
    del other
    assert tracked.examine() == [[], []]
    assert tracked.artifact("search/1", "epochs.csv").is_relative_to(tracked.home)


def test_the_command_exits_with_0_for_what_is_yours(tracked, monkeypatch, capfd):
    monkeypatch.delenv("SWEEP_TRACKING", raising=False)
    client = MlflowClient(tracked.uri)
    with contextlib.closing(sqlite3.connect(tracked.home / "mlflow.db")) as database:
        run_id = database.execute(f"SELECT {ONE}").fetchone()[0]
    client.update_run(run_id, name="my best")
    lines = []
    for more in ([], ["--fix"], ["--fix", "--force"], []):
        with pytest.raises(SystemExit) as end:
            main(["doctor", "tiny", "--home", str(tracked.home), *more])
        lines.append(capfd.readouterr().out.splitlines())
        assert end.value.code == 0

    yours = "tiny: run search/1 in MLflow has your name 'my best', "
    assert lines == [
        [f"{yours}which stays", "tiny: no differences"],
        [f"{yours}which stays", "tiny: no differences"],
        [f"{yours}written over", "tiny: no differences"],
        ["tiny: no differences"],
    ]


def test_of_many_differences_of_a_run_the_first_are_printed(tracked, monkeypatch, capfd):
    monkeypatch.delenv("SWEEP_TRACKING", raising=False)
    tracked.sql(f"DELETE FROM metrics WHERE run_uuid = {ONE}")
    with pytest.raises(SystemExit):
        main(["doctor", "tiny", "--home", str(tracked.home)])
    lines = capfd.readouterr().out.splitlines()

    assert len(lines) == 10 + 2
    count = int(re.search(r"tiny: (\d+) differences;", lines[-1])[1])
    assert lines[-2] == f"tiny: and {count - 10} more of run search/1 in MLflow"


def test_the_command_exits_with_5_until_differences_are_fixed(tracked, monkeypatch, capfd):
    """As a person would use it."""
    monkeypatch.delenv("SWEEP_TRACKING", raising=False)
    tracked.sql(f"UPDATE runs SET status = 'RUNNING' WHERE run_uuid = {ONE}")
    results = []
    for more in ([], ["--fix"], []):
        with pytest.raises(SystemExit) as end:
            main(["doctor", "tiny", "--home", str(tracked.home), *more])
        results.append((end.value.code, *capfd.readouterr()))

    wrong, command = (
        "tiny: run search/1 in MLflow has a wrong state RUNNING",
        f"sweep doctor tiny --fix --home {tracked.home}",
    )
    assert results == [
        (5, f"{wrong}\ntiny: 1 difference; `{command}` fixes it\n", ""),
        (0, f"{wrong}, fixed\ntiny: 1 difference, fixed\n", ""),
        (0, "tiny: no differences\n", ""),
    ]
