"""A sweep on a Dask cluster: the same numbers as on this machine, whoever is killed meanwhile."""

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from model import datasets
from reports import records
from sweep.coordinator import EnvironmentTrouble, Stop

if importlib.util.find_spec("distributed") is None:
    pytest.skip("needs the extra `cluster`", allow_module_level=True)

from dask_processes import DaskProcesses, free_port, frozen, training, within  # of pythonpath in pyproject.toml

from sweep import cluster, cluster_worker
from sweep.cluster import Cluster

ROOT = Path(__file__).parent.parent.parent
CHANGES = ("generation=4", "trials=10", "pruner=median", "baseline.epochs=5", "seed=5")
LONG = ("trials=3", "baseline.epochs=150", "generation=3")
"""A trial of a second or two: long enough to be found at work."""
ENDLESS = ("trials=2", "baseline.epochs=5000")


def numbers(record):
    """What must repeat exactly: settings, outcome, every epoch's numbers, the weights' hash."""
    return [
        (
            dict(trial.hyperparameters),
            trial.outcome,
            trial.epochs[list(records.EPOCH_COLUMNS[:5])].tolist(),
            trial.value,
            trial.weights_sha256,
        )
        for trial in record.trials
    ]


def deaths(record):
    """How many are recorded against trials."""
    with contextlib.closing(sqlite3.connect(record.folder / "study.db")) as connection:
        found = connection.execute("SELECT value_json FROM trial_user_attributes WHERE key = 'deaths'").fetchall()
    return sum(int(value) for (value,) in found)


@pytest.fixture(scope="module")
def dask(tmp_path_factory):
    """A scheduler and three workers, which the tests of this file share; one that kills a worker starts another."""
    processes = DaskProcesses(tmp_path_factory.mktemp("dask"))
    processes.start_scheduler()
    for _ in range(3):
        processes.start_worker()
    yield processes
    processes.close()


@pytest.fixture
def own(tmp_path):
    """A scheduler of the test's own, without workers."""
    processes = DaskProcesses(tmp_path)
    processes.start_scheduler()
    yield processes
    processes.close()


@pytest.fixture
def joined(digits_folder):
    """Connects to a cluster; `said` are the lines for a person."""

    def join(processes, kind=Cluster, limit=64, **more):
        within(30, lambda: _listens(processes.address))
        said = []
        pool = kind(processes.address, limit, "digits", digits_folder, said.append, **more)
        pool.said = said
        return pool

    return join


def _listens(address):
    try:
        cluster._probe(address)
    except EnvironmentTrouble:
        return False
    return True


class Watched(Cluster):
    """Calls `act`, once, after so many epochs were heard."""

    def __init__(self, *arguments, after, act):
        super().__init__(*arguments)
        self.after, self.act = after, act

    def events(self, timeout):
        found = super().events(timeout)
        self.after -= sum(event.message["is"] == "epoch" for event in found)
        if self.act and self.after <= 0:
            act, self.act = self.act, None
            act(self)
        return found


@pytest.fixture
def alone(tiny, opened, searched):
    """What worker processes on this machine find, in a home folder of their own."""

    def run(*changes):
        database = opened(tiny(*changes), "alone")
        searched(tiny(*changes), database)
        return numbers(records.read(database.folder))

    return run


def test_a_cluster_finds_the_same(tiny, opened, searched, joined, dask, alone):
    """Every setting, epoch and hash; the weights are here, and nothing else is left of the trials."""
    database = opened(tiny(*CHANGES))
    pool = joined(dask)
    searched(tiny(*CHANGES), database, pool=pool)
    record = records.read(database.folder)

    assert numbers(record) == alone(*CHANGES)
    assert {"complete", "pruned"} == {trial.outcome for trial in record.trials}
    for trial in record.trials:
        kept = sorted(path.name for path in (database.folder / f"trials/{trial.number:04d}").iterdir())
        assert kept == (["weights.npz"] if trial.outcome == "complete" else [])
    assert any(re.fullmatch(r"workers? .* joined; \d trainings? at once", line) for line in pool.said)


def test_a_killed_worker_costs_its_trial_nothing_but_time(tiny, opened, searched, joined, dask, alone):
    """SIGKILL for a Dask worker: its trial's death is recorded, it runs elsewhere, and the numbers are the same."""

    def kill(_):
        dask.at_work().kill()
        dask.start_worker()

    database = opened(tiny(*LONG))
    printed = searched(tiny(*LONG), database, pool=joined(dask, Watched, after=40, act=kill))
    record = records.read(database.folder)

    assert numbers(record) == alone(*LONG)
    assert deaths(record) == 1
    assert re.search(r"worker \d \(127\.0\.0\.1\) is gone; it starts again", printed)


def test_a_killed_training_continues_from_its_checkpoint(tiny, opened, searched, joined, dask, alone, monkeypatch):
    """The Dask worker lives on and brings what the dead process had saved."""

    def kill(pool):
        os.kill(training(dask.at_work())[0], signal.SIGKILL)

    database = opened(tiny(*LONG))
    printed = searched(tiny(*LONG), database, pool=joined(dask, Watched, after=40, act=kill))
    record = records.read(database.folder)

    assert numbers(record) == alone(*LONG)
    assert deaths(record) == 1
    assert re.search(r"worker \d died \(signal SIGKILL\)", printed)


def test_a_stop_brings_checkpoints_here(tiny, opened, searched, joined, dask, alone):
    """And workers of this machine continue from them, to the same numbers."""
    stop = Stop()
    database = opened(tiny(*LONG))
    searched(
        tiny(*LONG),
        database,
        stop=stop,
        pool=joined(dask, Watched, after=40, act=lambda _: setattr(stop, "reason", signal.SIGTERM)),
    )
    stopped = records.read(database.folder)
    kept = sorted(database.folder.glob("trials/*/checkpoint.npz"))
    searched(tiny(*LONG), opened(tiny(*LONG)))
    record = records.read(database.folder)

    assert stopped.counts() == {"interrupted": 3}
    assert len(kept) >= 2
    assert numbers(record) == alone(*LONG)
    assert deaths(record) == 0


def test_the_limit_is_kept(joined, dask):
    """Of three workers, two are used."""
    pool = joined(dask, limit=2)
    try:
        assert within(30, lambda: pool.events(0.1) or len(pool._workers) == 3)
        within(30, lambda: pool.events(0.1) or all(worker.dataset for worker in pool._workers.values()))
        assert pool.free == 2
    finally:
        pool.close()


def test_a_late_worker_gets_work(tiny, opened, searched, joined, own):
    """The sweep waits for one, and says so once."""
    study = tiny("trials=2")
    database = opened(study)
    pool = joined(own)
    assert within(10, lambda: pool.events(0.1) or pool.said)
    own.start_worker()
    searched(study, database, pool=pool)

    assert records.read(database.folder).counts() == {"complete": 2}
    assert pool.said == [
        f"no worker is there; waiting for one, as from: dask worker {own.address}",
        "worker 0 on 127.0.0.1 joined; 1 training at once",
    ]


def test_a_restarted_scheduler_is_waited_for(tiny, opened, searched, joined, own, alone):
    """Its workers end with it, as Dask's do; no trial is blamed, and the numbers are the same."""

    def restart(_):
        own.scheduler.kill()
        own.scheduler.wait()
        assert within(30, lambda: not own.alive())
        own.start_scheduler()
        own.start_worker()

    own.start_worker()
    own.start_worker()
    database = opened(tiny(*LONG))
    pool = joined(own, Watched, after=40, act=restart)
    searched(tiny(*LONG), database, pool=pool)
    record = records.read(database.folder)

    assert numbers(record) == alone(*LONG)
    assert deaths(record) == 0
    told = [line for line in pool.said if own.address in line]
    assert re.search(r"is gone \(.*\); the sweep pauses, and waits 5 minutes for it", told[0])
    assert told[-1] == f"the scheduler {own.address} is back"


def test_a_scheduler_that_stays_away_ends_the_sweep(tiny, opened, searched, joined, own, monkeypatch):
    """After the patience, with what is recorded kept: the same command continues."""
    monkeypatch.setattr(cluster, "PATIENCE", 1.0)
    own.start_worker()
    database = opened(tiny(*ENDLESS))
    pool = joined(own, Watched, after=5, act=lambda _: own.scheduler.kill())
    with pytest.raises(EnvironmentTrouble, match="nothing is lost; the same command continues"):
        searched(tiny(*ENDLESS), database, pool=pool)

    assert records.read(database.folder).counts() == {"interrupted": 1}
    assert within(30, lambda: not own.alive())


def test_a_silent_worker_loses_its_trial(tiny, opened, searched, joined, own, alone, monkeypatch):
    """A frozen one: its trial runs elsewhere, and is not blamed."""
    monkeypatch.setattr(cluster, "SILENCE", 8.0)
    changes = ("trials=2", "baseline.epochs=150", "generation=2")
    held = []

    def freeze(_):
        held.append(frozen(own.at_work()))
        held[0].__enter__()

    own.start_worker()
    own.start_worker()
    database = opened(tiny(*changes))
    try:
        printed = searched(tiny(*changes), database, pool=joined(own, Watched, after=10, act=freeze))
    finally:
        held[0].__exit__(None, None, None)
    record = records.read(database.folder)

    assert numbers(record) == alone(*changes)
    assert "has said nothing for 8 s; it starts again" in printed
    assert deaths(record) == 0


def test_a_worker_with_other_code_gets_no_work(tiny, opened, searched, joined, dask, tmp_path):
    """A late joiner whose model/ differs is told of, with both versions; the others go on."""
    for package in ("model", "sweep"):
        shutil.copytree(ROOT / package, tmp_path / "other" / package)
    with (tmp_path / "other/model/adam.py").open("a") as file:
        file.write("# another version\n")
    study = tiny(*LONG)
    database = opened(study)
    pool = joined(dask)
    other = dask.start_worker(PYTHONPATH=str(tmp_path / "other"))
    try:
        assert within(40, lambda: pool.events(0.1) or pool._refusal)
        searched(study, database, pool=pool)
    finally:
        other.kill()
        other.wait()

    (refused,) = [line for line in pool.said if "gets no work" in line]
    assert re.search(r"the code in model/ and sweep/worker\.py there is [0-9a-f]{12}, here [0-9a-f]{12}", refused)
    assert records.read(database.folder).counts() == {"complete": 3}


def test_a_cluster_without_a_fit_worker_is_refused(joined, own, digits_folder):
    """At once, with the reason of the first: here, other data under the same name."""
    own.start_worker()
    within(30, lambda: _listens(own.address))
    pool = Cluster(own.address, 4, "digits", digits_folder, lambda line: None)
    pool._digest = "0" * 64
    try:
        with pytest.raises(EnvironmentTrouble, match=r"no worker of the cluster is fit\nworker 0 .* digits there has"):
            within(30, lambda: pool.events(0.1))
    finally:
        pool.close()


def test_data_that_a_worker_cannot_find_are_its_trouble(tmp_path, monkeypatch):
    """It says which; a copy of the same content under another name will do."""
    monkeypatch.setenv("SWEEP_HOME", str(tmp_path / "home"))
    rng = np.random.default_rng(0)
    arrays = {"x_train": rng.integers(0, 256, (60, 2, 2), np.uint8), "y_train": np.arange(60) % 3}
    np.savez(tmp_path / "mine.npz", **arrays)
    here = datasets.load(datasets.prepare(str(tmp_path / "mine.npz"), tmp_path / "data"), 0)
    (tmp_path / "mine.npz").rename(tmp_path / "other.npz")

    found = cluster_worker.check(str(tmp_path / "mine.npz"), here.digest)
    assert found["trouble"] == f"{tmp_path / 'mine.npz'}: there is no such file"
    assert cluster_worker.check(str(tmp_path / "other.npz"), here.digest)["digest"] == here.digest
    assert cluster_worker.check(str(tmp_path / "mine.npz"), here.digest)["digest"] == here.digest


STUDY = """\
question = "On a cluster?"
dataset = "digits"
objective = "validation_loss"
seed = 3
trials = 3
generation = 3

[baseline]
hidden_sizes = [16]
learning_rate = 0.003
batch_size = 32
epochs = 150

[space]
learning_rate = { low = 1e-3, high = 3e-2, log = true }
"""


@pytest.fixture
def started(tmp_path):
    """Starts `sweep run` on a cluster as a process."""
    (tmp_path / "tiny.toml").write_text(STUDY)

    def start(address, *more):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SWEEP_")}
        argv = [sys.executable, "-P", "-m", "sweep", "run", str(tmp_path / "tiny.toml"), "--no-confirm"]
        argv += ["--tracking", "none", "--home", str(tmp_path / "home"), "--cluster", address, *more]
        return subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start


def test_a_killed_coordinator_takes_its_work_with_it(started, dask, tmp_path, alone):
    """Within seconds no worker trains; the same command continues to the same bits, and no trial is blamed."""
    process = started(dask.address)
    assert dask.at_work()
    process.kill()
    process.communicate()
    idle = within(10, lambda: not any(training(worker) for worker in dask.alive()))
    process = started(dask.address)
    _, errors = process.communicate(timeout=120)
    here = tmp_path / "here"
    argv = [sys.executable, "-P", "-m", "sweep", "run", str(tmp_path / "tiny.toml"), "--no-confirm"]
    subprocess.run([*argv, "--tracking", "none", "--home", str(here)], check=True, capture_output=True, timeout=120)

    assert idle
    assert (process.returncode, errors) == (0, "")
    record = records.read(tmp_path / "home/tiny")
    assert numbers(record) == numbers(records.read(here / "tiny"))
    assert deaths(record) == 0


def test_ctrl_c_stops_cleanly(started, dask, tmp_path):
    """Exit 130, the command that continues, a checkpoint here, idle workers."""
    process = started(dask.address, "--set", "baseline.epochs=5000")
    folder = tmp_path / "home/tiny"
    within(30, lambda: (folder / "study.db").exists() and any(len(t.epochs) for t in _trials(folder)))
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)

    assert (process.returncode, errors) == (130, "")
    assert f"--cluster {dask.address}" in output.rpartition("continue with: ")[2]
    assert list(folder.glob("trials/*/checkpoint.npz"))
    assert within(10, lambda: not any(training(worker) for worker in dask.alive()))


def _trials(folder):
    return records.read(folder, active=True).trials


@pytest.mark.parametrize(
    ("address", "code", "told"),
    [
        (None, 3, "no Dask scheduler can be reached at tcp://127.0.0.1:{port}: Connection refused"),
        ("http://127.0.0.1:8786", 2, "it is the address of a Dask scheduler"),
        ("tcp://127.0.0.1", 2, "it is the address of a Dask scheduler"),
        ("tcp://me:canary@127.0.0.1:8786", 2, "it is the address of a Dask scheduler"),
    ],
)
def test_a_wrong_address_is_told_at_once(started, address, code, told):
    """In at most three lines, without what may be a password in it."""
    port = free_port()
    process = started(address or f"tcp://127.0.0.1:{port}")
    _, errors = process.communicate(timeout=60)

    assert process.returncode == code
    assert told.format(port=port) in errors
    assert len(errors.splitlines()) <= 3
    assert "canary" not in errors


def test_without_the_extra_it_says_how_to_get_it(monkeypatch, tmp_path, capsys):
    """Exit 3, in two lines."""
    from sweep.cli import main

    monkeypatch.setitem(sys.modules, "sweep.cluster", None)
    with pytest.raises(SystemExit) as caught:
        main(["run", "digits", "--cluster", "tcp://127.0.0.1:1", "--home", str(tmp_path), "--tracking", "none"])
    told = capsys.readouterr().err

    assert caught.value.code == 3
    assert "pip install --require-hashes -r requirements-cluster.lock" in told
    assert len(told.strip().splitlines()) == 2
