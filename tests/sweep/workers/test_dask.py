"""A sweep on a Dask cluster: the same numbers as on this machine, also if processes are killed."""

import contextlib
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from dask_processes import DaskProcesses, free_port, frozen, training, within
from distributed import Client

from model.data import datasets
from model.data.datasets import Source
from studies.record import reader as records
from sweep.coordination.coordinator import Stop
from sweep.entry import main
from sweep.search.search import Search
from sweep.workers import dask as cluster
from sweep.workers import dask_client
from sweep.workers import dask_worker as cluster_worker
from sweep.workers.dask import DaskPool
from sweep.workers.dask_admission import Admission
from sweep.workers.dask_files import checkpoint_of
from sweep.workers.pool import EnvironmentFailure

ROOT = Path(__file__).parents[3]
CHANGES = ("generation=4", "trials=10", "pruner=median", "baseline.epochs=5", "seed=5")
HALVING = ("generation=4", "trials=10", "pruner=halving", "baseline.epochs=9", "seed=5")
FOLDED = ("folds=2", *HALVING)
MUCH_AN_EPOCH = "baseline.batch_size=16"
"""An epoch takes 12 ms instead of 2.5: a message costs the cluster's three processes more than a short epoch."""
LONG = ("trials=2", "baseline.epochs=70", "generation=2", MUCH_AN_EPOCH)
"""A trial of a second or two: long enough to be found at work."""
LONGER = (*LONG, "baseline.epochs=160")
"""Long enough to be found at work after a checkpoint was fetched."""
ENDLESS = ("trials=2", "baseline.epochs=5000", MUCH_AN_EPOCH)


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
    """A scheduler and two workers, which the tests of this file share; one that kills a worker starts another."""
    processes = DaskProcesses(tmp_path_factory.mktemp("dask"))
    processes.start_scheduler()
    for _ in range(2):
        processes.start_worker(SWEEP_CHECKPOINT_EVERY="0.01")
    yield processes
    processes.close()


@pytest.fixture
def own(tmp_path):
    """A scheduler of the test's own, without workers."""
    processes = DaskProcesses(tmp_path)
    processes.start_scheduler()
    yield processes
    processes.close()


@pytest.fixture(scope="module")
def facts_here():
    """What this machine's results depend on, which takes a process."""
    return cluster_worker.facts()


@pytest.fixture
def joined(digits_folder, facts_here, monkeypatch):
    """Connects to a cluster; `said` are the lines for a person. Workers collect their own facts, in their processes."""
    monkeypatch.setattr(cluster_worker, "facts", lambda: facts_here)

    def join(processes, kind=DaskPool, limit=64, **more):
        within(30, lambda: _listens(processes.address))
        said = []
        pool = kind(processes.address, limit, Source("digits"), digits_folder, said.append, **more)
        pool.said = said
        return pool

    return join


def _listens(address):
    try:
        dask_client.probe(address)
    except EnvironmentFailure:
        return False
    return True


class Watched(DaskPool):
    """Calls `act`, once, after so many epochs were heard."""

    def __init__(self, *arguments, after, act):
        super().__init__(*arguments)
        self.after, self.act = after, act

    def events(self, timeout):
        found = super().events(timeout)
        self.after -= sum(event.message.kind == "epoch" for event in found)
        if self.act and self.after <= 0:
            act, self.act = self.act, None
            act(self)
        return found


@pytest.fixture
def alone(made, tiny, opened, searched):
    """What worker processes on this machine find, in a home folder of their own; several tests compare with it."""

    def search(changes):
        database = opened(tiny(*changes), "alone")
        searched(tiny(*changes), database)
        return numbers(records.read(database.folder))

    return lambda *changes: made(changes, lambda: search(changes))


@pytest.fixture
def disturbed(tiny, opened, searched, joined, alone):
    """Searches on a cluster where something happens after 8 epochs; the numbers must be those of `alone`.

    Returns how many deaths were counted, and what was printed.
    """

    def run(processes, act, changes=LONG):
        database = opened(tiny(*changes))
        printed = searched(tiny(*changes), database, pool=joined(processes, Watched, after=8, act=act))
        record = records.read(database.folder)
        assert numbers(record) == alone(*changes)
        return deaths(record), printed

    return run


@pytest.mark.slow
@pytest.mark.parametrize("changes", [CHANGES, HALVING, FOLDED], ids=["median", "halving", "folds"])
def test_a_cluster_gives_the_same_result(tiny, opened, searched, joined, dask, alone, monkeypatch, changes):
    """Every setting, epoch and hash; the coordinator has the weights, and no other files of the trials are left.

    A paused trial is continued from its checkpoint by whichever worker is free.
    """
    first_legs, continued = set(), set()

    def checkpoint_sent(job):
        content = checkpoint_of(job)
        (first_legs if content is None else continued).add(job.id)
        return content

    monkeypatch.setattr(cluster, "checkpoint_of", checkpoint_sent)
    database = opened(tiny(*changes))
    pool = joined(dask)
    searched(tiny(*changes), database, pool=pool)
    record = records.read(database.folder)

    assert numbers(record) == alone(*changes)
    assert len(first_legs) == 10  # a worker lost under load is another start, but no other trial
    assert len(continued) >= (0 if changes == CHANGES else 4)
    assert {"complete", "pruned"} == {trial.outcome for trial in record.trials}
    for trial in record.trials:
        kept = sorted(path.name for path in (database.folder / f"trials/{trial.number:04d}").iterdir())
        assert kept == (["weights.npz"] if trial.outcome == "complete" else [])
    assert any(re.fullmatch(r"workers? .* joined; \d trainings? at once", line) for line in pool.said)


@pytest.mark.slow
def test_a_killed_worker_does_not_change_its_trial(disturbed, dask):
    """SIGKILL of a Dask worker: the exit is recorded, the trial runs on another worker with the same numbers."""

    def kill(_):
        dask.at_work().kill()
        dask.start_worker()

    died, printed = disturbed(dask, kill)

    assert died == 1
    assert re.search(r"worker \d \(127\.0\.0\.1\) was lost; starting again", printed)


@pytest.mark.slow
def test_a_killed_workers_trial_continues_from_the_fetched_checkpoint(disturbed, dask, monkeypatch):
    """It was fetched while the trial ran; the next worker gets the same numbers from it."""
    monkeypatch.setattr(cluster, "CHECKPOINT_INTERVAL_S", 0.05)
    monkeypatch.setattr(cluster, "MAX_TRANSFER_SHARE", 1)

    def kill_when_kept(pool):
        kept = [run for run in pool._runs.values() if (Path(run.job.folder) / "checkpoint.npz").exists()]
        if not kept:
            pool.act = kill_when_kept  # at the next look
            return
        dask.at(kept[0].address).kill()
        dask.start_worker(SWEEP_CHECKPOINT_EVERY="0.01")

    died, printed = disturbed(dask, kill_when_kept, LONGER)

    assert died == 1
    assert re.search(r"worker \d \(127\.0\.0\.1\) was lost; continuing from its last checkpoint", printed)
    assert "it was renamed" not in printed


@pytest.mark.slow
def test_a_retired_worker_is_not_counted_as_died(disturbed, dask):
    """As at the time limit of a batch system; a SIGTERM of its nanny is the same."""

    def retire(pool):
        with Client(dask.address) as client:
            client.retire_workers([next(iter(pool._runs.values())).address])
        dask.start_worker()

    died, printed = disturbed(dask, retire)

    assert died == 0
    assert re.search(r"worker \d \(127\.0\.0\.1\) was closed; starting again", printed)


@pytest.mark.slow
def test_a_killed_training_process_continues_from_its_checkpoint(disturbed, dask):
    """The Dask worker continues and returns the last checkpoint of the killed process."""

    def kill(_):
        os.kill(training(dask.at_work())[0], signal.SIGKILL)

    died, printed = disturbed(dask, kill)

    assert died == 1
    assert re.search(r"worker \d died \(signal SIGKILL\)", printed)


@pytest.mark.slow
def test_a_stop_fetches_checkpoints(tiny, opened, searched, joined, dask, alone):
    """Local workers continue from them with the same numbers."""
    stop = Stop()
    database = opened(tiny(*LONG))
    searched(
        tiny(*LONG),
        database,
        stop=stop,
        pool=joined(dask, Watched, after=8, act=lambda _: setattr(stop, "reason", signal.SIGTERM)),
    )
    stopped = records.read(database.folder)
    kept = sorted(database.folder.glob("trials/*/checkpoint.npz"))
    searched(tiny(*LONG), opened(tiny(*LONG)))
    record = records.read(database.folder)

    assert stopped.counts() == {"interrupted": 2}
    assert len(kept) == 2
    assert numbers(record) == alone(*LONG)
    assert deaths(record) == 0


@pytest.mark.slow
def test_the_limit_on_workers_is_respected(joined, dask):
    """Of two workers, one is used."""
    pool = joined(dask, limit=1)
    try:
        assert within(30, lambda: pool.events(0.1) or len(pool._workers) == 2)
        within(30, lambda: pool.events(0.1) or all(worker.dataset for worker in pool._workers.values()))
        assert pool.free == 1
    finally:
        pool.close()


@pytest.fixture
def begun(tiny, opened, joined, dask, digits_folder):
    """A pool with an endless job that has begun, and the key of its Dask task."""
    study = tiny(*ENDLESS)
    task = Search(study, opened(study).search, opened(study).folder, digits_folder).ask()
    pool = joined(dask)
    within(30, lambda: (pool.events(0.1) and False) or pool.free)
    pool.start(task.job)
    assert within(30, lambda: any(event.message.kind == "epoch" for event in pool.events(0.1)))
    yield pool, next(iter(pool._runs))
    pool.close()


def said(pool, key, token, number, message):
    """What comes out when this word comes in, the job's own words left out."""
    pool._inbox.put(("message", (key, token, number, message)))
    found = [event.message for event in pool.events(0)]
    return [message.as_dict() for message in found if message.content.get("mine") or message.kind == "died"]


@pytest.mark.slow
def test_duplicate_and_unknown_messages_are_ignored(begun):
    """Also messages out of order, of another sweep, or of an ended job."""
    pool, key = begun
    line = {"kind": "epoch", "mine": True}
    run = pool._runs[key]

    assert said(pool, key, run.token, run.received + 1000, line) == []
    assert said(pool, key, run.token, 0, line) == []
    assert said(pool, "sweep-of-another-0", run.token, 0, line) == []
    pool.end(run.job.id)
    assert said(pool, key, run.token, run.received, line) == []
    assert pool.busy == []


@pytest.mark.slow
def test_checkpoints_are_fetched_one_at_a_time(begun, monkeypatch):
    """This limits the scheduler's traffic; an unchanged checkpoint is not sent again."""
    pool, key = begun
    asked, run, now = [], pool._runs[key], [time.monotonic()]
    monkeypatch.setattr(pool._connection, "call", lambda *call, name: asked.append((now[0], *call[2:])))
    monkeypatch.setattr(cluster, "time", SimpleNamespace(monotonic=lambda: now[0]))  # Dask's threads keep their clock
    for _ in range(400):  # an answer takes 3 s
        now[0] += 0.5
        pool._fetch()
        if pool._fetching is not None and now[0] - pool._fetching >= 3:
            pool._fetched((key, 7, b"a checkpoint"))
    gaps = np.diff([moment for moment, *_ in asked])

    assert len(asked) >= 6
    assert gaps.min() >= 3 / cluster.MAX_TRANSFER_SHARE
    assert {(key, 0), (key, 7)} == {tuple(call) for _, *call in asked}
    assert (Path(run.job.folder) / "checkpoint.npz").read_bytes() == b"a checkpoint"


@pytest.mark.slow
def test_a_restarted_task_counts_as_died(begun):
    """Dask restarted it after its worker died and restarted with the same address."""
    pool, key = begun
    number = pool._numbers[pool._runs[key].address]

    assert said(pool, key, "another", 0, {"kind": "began"}) == [
        {"kind": "died", "reason": f"worker {number} died and was restarted"}
    ]
    assert pool.busy == []


@pytest.mark.slow
def test_a_worker_that_cannot_write_gets_no_more_work(tiny, opened, joined, own, digits_folder, tmp_path):
    """The exit is not counted, and the trial waits for another worker."""
    own.start_worker(DASK_TEMPORARY_DIRECTORY=str(tmp_path / "scratch"))
    study = tiny(*ENDLESS)
    task = Search(study, opened(study).search, opened(study).folder, digits_folder).ask()
    pool = joined(own)
    try:
        within(30, lambda: (pool.events(0.1) and False) or pool.free)
        shutil.rmtree(tmp_path / "scratch")
        pool.start(task.job)
        heard = within(30, lambda: [event.message for event in pool.events(0.1)])
        assert [message.kind for message in heard] == ["lost"]
        assert "gets no work: No such file or directory: " in pool.said[-1]
        assert pool.free == 0
    finally:
        pool.close()


@pytest.mark.slow
def test_a_late_worker_gets_work(tiny, opened, searched, joined, own):
    """The sweep waits for a worker and prints this once."""
    study = tiny("trials=2")
    database = opened(study)
    pool = joined(own)
    assert within(10, lambda: pool.events(0.1) or pool.said)
    own.start_worker()
    searched(study, database, pool=pool)

    assert records.read(database.folder).counts() == {"complete": 2}
    assert pool.said == [
        f"no workers; waiting for one, start it with: dask worker {own.address}",
        "worker 0 on 127.0.0.1 joined; 1 training at once",
    ]


@pytest.mark.slow
def test_a_restarted_scheduler_is_waited_for(tiny, opened, searched, joined, own, alone):
    """Its workers exit with it; no exit is counted, and the numbers are the same."""

    def restart(_):
        own.scheduler.kill()
        own.scheduler.wait()
        assert within(30, lambda: not own.alive())
        own.start_scheduler()
        own.start_worker()

    own.start_worker()
    own.start_worker()
    database = opened(tiny(*LONG))
    pool = joined(own, Watched, after=8, act=restart)
    searched(tiny(*LONG), database, pool=pool)
    record = records.read(database.folder)

    assert numbers(record) == alone(*LONG)
    assert deaths(record) == 0
    told = [line for line in pool.said if f"the scheduler {own.address} " in line]
    assert re.search(r"lost the scheduler .* \(.*\); waiting up to 5 minutes for it", told[0])
    assert told[-1] == f"the scheduler {own.address} is back"


@pytest.mark.slow
def test_a_lost_scheduler_ends_the_sweep(tiny, opened, searched, joined, own, monkeypatch):
    """After the timeout; the record is kept, and the same command resumes."""
    monkeypatch.setattr(cluster, "RECONNECT_TIMEOUT_S", 1.0)
    own.start_worker()
    database = opened(tiny(*ENDLESS))
    pool = joined(own, Watched, after=5, act=lambda _: own.scheduler.kill())
    with pytest.raises(EnvironmentFailure, match="nothing is lost; run the same command again to resume"):
        searched(tiny(*ENDLESS), database, pool=pool)

    assert records.read(database.folder).counts() == {"interrupted": 1}
    assert within(30, lambda: not own.alive())


@pytest.mark.slow
def test_a_silent_worker_loses_its_trial(tiny, opened, searched, joined, own, alone, monkeypatch):
    """A stopped process: its trial runs on another worker, and no exit is counted."""
    monkeypatch.setattr(cluster, "SILENCE_TIMEOUT_S", 8.0)
    held = []

    def freeze(_):
        held.append(frozen(own.at_work()))
        held[0].__enter__()

    own.start_worker()
    own.start_worker()
    database = opened(tiny(*LONG))
    try:
        printed = searched(tiny(*LONG), database, pool=joined(own, Watched, after=8, act=freeze))
    finally:
        held[0].__exit__(None, None, None)
    record = records.read(database.folder)

    assert numbers(record) == alone(*LONG)
    assert "sent no message for 8 s; starting again" in printed
    assert deaths(record) == 0


@pytest.mark.slow
def test_a_worker_with_other_code_gets_no_work(tiny, opened, searched, joined, dask, tmp_path):
    """A worker with another model/ is reported with both versions; the others continue."""
    for package in ("model", "sweep"):
        shutil.copytree(ROOT / package, tmp_path / "other" / package)
    with (tmp_path / "other/model/adam.py").open("a") as file:
        file.write("# another version\n")
    study = tiny("trials=3")
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
    assert re.search(r"the code in model/ and sweep/workers/ is [0-9a-f]{12} there, [0-9a-f]{12} here", refused)
    assert records.read(database.folder).counts() == {"complete": 3}


@pytest.mark.slow
def test_a_cluster_without_a_usable_worker_is_refused(joined, own, tmp_path):
    """At once, with the reason; the worker, which other sweeps may use, is not stopped."""
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep/__init__.py").write_text("raise ModuleNotFoundError('no sweep here')")
    own.start_worker(PYTHONPATH=str(tmp_path))
    pool = joined(own)
    try:
        with pytest.raises(
            EnvironmentFailure, match=r"no worker of the cluster can be used\nworker 0 .* no sweep here\nworkers and"
        ):
            within(30, lambda: pool.events(0.1))
    finally:
        pool.close()
    assert own.alive()


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ({"numpy": "2.3.1"}, rf"NumPy is 2\.3\.1 there, {re.escape(np.__version__)} here"),
        ({"python": "3.10"}, r"Python is 3\.10 there, 3\.\d+ here"),
        ({"digest": "0" * 64}, r"the digest of digits is 000000000000 there, 1{12} here"),
        ({"arithmetic": "other"}, None),
    ],
)
def test_differences_between_workers_are_reported(facts_here, monkeypatch, found, reason):
    """With both versions; floating-point results may differ from this machine's, but not between workers."""
    monkeypatch.setattr(cluster_worker, "facts", lambda: facts_here)
    said, same = [], {"facts": facts_here, "dataset": "/data/digits", "digest": "1" * 64}
    other = {**same, "facts": {**facts_here, **found}, "digest": found.get("digest", same["digest"])}
    admission = Admission("digits", same["digest"], said.append)

    if reason:
        assert re.fullmatch(reason, admission.objection(other))
    else:
        assert admission.objection(other) is None
        assert "a replay here may differ" in said[-1]
        assert "floating-point results differ" in admission.objection(same)


@pytest.mark.slow
def test_a_worker_without_the_data_is_reported(tmp_path, monkeypatch):
    """The message has the path; a copy with the same content under another name is accepted."""
    monkeypatch.setenv("SWEEP_HOME", str(tmp_path / "home"))
    rng = np.random.default_rng(0)
    arrays = {"x_train": rng.integers(0, 256, (60, 2, 2), np.uint8), "y_train": np.arange(60) % 3}
    np.savez(tmp_path / "mine.npz", **arrays)
    here = datasets.load(datasets.prepare(str(tmp_path / "mine.npz"), tmp_path / "data"), 0)
    (tmp_path / "mine.npz").rename(tmp_path / "other.npz")

    found = cluster_worker.check(Source(str(tmp_path / "mine.npz")), here.digest)
    assert found["trouble"] == f"{tmp_path / 'mine.npz'}: there is no such file"
    assert cluster_worker.check(Source(str(tmp_path / "other.npz")), here.digest)["digest"] == here.digest
    assert cluster_worker.check(Source(str(tmp_path / "mine.npz")), here.digest)["digest"] == here.digest


@pytest.fixture
def started(tmp_path, study_file):
    """Starts `sweep run` on a cluster as a process."""

    def start(address, *more):
        within(30, lambda: _listens(address))
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SWEEP_")}
        argv = [sys.executable, "-P", "-m", "sweep", "run", str(study_file), "--no-confirm"]
        argv += ["--tracking", "none", "--home", str(tmp_path / "home"), "--cluster", address, *more]
        return subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start


@pytest.mark.slow
def test_workers_stop_when_the_coordinator_is_killed(started, tiny, opened, searched, joined, dask, alone, tmp_path):
    """Within seconds no worker trains; the same command resumes with the same bits, and no exit is counted."""
    process = started(dask.address, *(word for change in LONGER for word in ("--set", change)))
    assert within(60, lambda: _trials(tmp_path / "home/tiny"))
    process.kill()
    process.communicate()
    idle = within(10, lambda: not any(training(worker) for worker in dask.alive()))
    before = records.read(tmp_path / "home/tiny")
    database = opened(tiny(*LONGER), "home")
    searched(tiny(*LONGER), database, pool=joined(dask))
    record = records.read(database.folder)

    assert idle
    assert set(before.counts()) == {"interrupted"}
    assert numbers(record) == alone(*LONGER)
    assert deaths(record) == 0


@pytest.mark.slow
def test_ctrl_c_stops_cleanly(started, dask, tmp_path):
    """Exit code 130, the command to resume, fetched checkpoints, idle workers."""
    process = started(dask.address, *(word for change in ENDLESS for word in ("--set", change)))
    folder = tmp_path / "home/tiny"
    assert within(60, lambda: _trials(folder))
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)

    assert (process.returncode, errors) == (130, "")
    assert f"--cluster {dask.address}" in output.rpartition("continue with: ")[2]
    assert list(folder.glob("trials/*/checkpoint.npz"))
    assert within(10, lambda: not any(training(worker) for worker in dask.alive()))


def _trials(folder):
    """The trials with an epoch, of a sweep that may be about to begin."""
    with contextlib.suppress(records.RecordError):
        return [trial for trial in records.read(folder, active=True).trials if len(trial.epochs)]
    return []


@pytest.mark.parametrize(
    ("address", "code", "reason"),
    [
        ("tcp://127.0.0.1:{port}", 3, "no Dask scheduler can be reached at tcp://127.0.0.1:{port}: Connection refused"),
        ("http://127.0.0.1:8786", 2, "must be the address of a Dask scheduler"),
        ("tcp://127.0.0.1", 2, "must be the address of a Dask scheduler"),
        ("tcp://127.0.0.1:99999", 2, "must be the address of a Dask scheduler"),
        ("tcp://me:canary@127.0.0.1:8786", 2, "must be the address of a Dask scheduler"),
    ],
)
def test_a_wrong_scheduler_address_is_reported(address, code, reason, tmp_path, capsys, monkeypatch):
    """In at most three lines, without a password, and before anything is written."""
    monkeypatch.setattr(dask_client, "CONNECT_TIMEOUT_S", 0.3)
    words = ["run", "digits", "--cluster", address.format(port=(port := free_port()))]
    with pytest.raises(SystemExit) as caught:
        main([*words, "--home", str(tmp_path), "--tracking", "none"])
    told = capsys.readouterr().err

    assert caught.value.code == code
    assert reason.format(port=port) in told
    assert len(told.splitlines()) <= 3
    assert "canary" not in told
    assert not list(tmp_path.iterdir())


def test_a_starting_scheduler_is_waited_for():
    """The commands of docs/cluster.md start both at once."""
    with socket.socket() as scheduler:
        scheduler.bind(("127.0.0.1", 0))
        threading.Timer(0.5, scheduler.listen).start()
        dask_client.probe(f"tcp://127.0.0.1:{scheduler.getsockname()[1]}")


def test_a_missing_extra_is_reported_with_the_command_that_installs_it(monkeypatch, tmp_path, capsys):
    """Exit code 3, with two lines."""
    monkeypatch.setitem(sys.modules, "sweep.workers.dask_client", None)
    with pytest.raises(SystemExit) as caught:
        main(["run", "digits", "--cluster", "tcp://127.0.0.1:1", "--home", str(tmp_path), "--tracking", "none"])
    told = capsys.readouterr().err

    assert caught.value.code == 3
    assert "pip install --require-hashes -r requirements-cluster.lock" in told
    assert len(told.strip().splitlines()) == 2
