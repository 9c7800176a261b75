"""The worker process and its pool."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from model import weights
from model.data import datasets
from model.hyperparameters import Hyperparameters
from sweep.workers.local import ONE_THREAD, LocalPool
from sweep.workers.pool import Job

SETTINGS = Hyperparameters(hidden_sizes=(16,), batch_size=32, learning_rate=0.01, epochs=4)


@pytest.fixture
def pool(tmp_path):
    workers = LocalPool(1, tmp_path)
    yield workers
    workers.close()


def job(tmp_path, dataset, identity="search/0", settings=SETTINGS, **options):
    folder = tmp_path / "trials" / identity.replace("/", "-")
    return Job(identity, str(folder), str(dataset), 0, settings.as_dict(), [0, 1], "validation_loss", "best", **options)


def until(pool, *kinds, timeout=30):
    """Messages up to one of these kinds."""
    found, deadline = [], time.monotonic() + timeout
    while time.monotonic() < deadline:
        found += [event.message for event in pool.events(0.1)]
        if found and found[-1].kind in kinds:
            return found
    raise AssertionError(f"no {kinds} within {timeout} s, but {found}")


def without_seconds(messages):
    return [{k: v for k, v in m.content["epoch"].items() if k != "seconds"} for m in messages if m.kind == "epoch"]


def test_a_worker_imports_numpy_and_the_model_only(tmp_path, digits_folder):
    """It starts quickly and does not depend on Optuna, MLflow, pandas or matplotlib."""
    code = (
        "import sys, json, threading; from sweep.workers import worker;"
        "from sweep.workers.pool import Job; from sweep.workers.worker import run;"
        "inbox = type('Inbox', (), {'stopped': lambda self, job: False})();"
        f"run(Job(**json.loads({json.dumps(json.dumps(vars(job(tmp_path, digits_folder))))})), inbox);"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    output = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout
    *lines, modules = output.strip().split("\n")

    assert json.loads(lines[-1])["kind"] == "done"
    ours = {"numpy", "cython_runtime", "model", "studies", "sweep"}  # cython_runtime belongs to numpy.random
    foreign = set(json.loads(modules)) - set(sys.stdlib_module_names) - ours
    assert {name for name in foreign if not name.startswith("_")} == set()


def test_a_worker_has_one_blas_thread(pool, tmp_path, digits_folder):
    """Two processes with one thread each are faster than one with two."""
    pool.start(job(tmp_path, digits_folder))
    environment = Path(f"/proc/{pool._slots[0].process.pid}/environ")
    until(pool, "epoch")  # until the program runs, the file is empty
    if environment.exists():  # Linux tells what a process was started with
        assert {f"{name}=1".encode() for name in ONE_THREAD} <= set(environment.read_bytes().split(b"\0"))
    assert set(ONE_THREAD.values()) == {"1"}
    code = (
        "import numpy as np, os; a = np.ones((600, 600)); a @ a; "
        "print(len(os.listdir('/proc/self/task')) if os.path.isdir('/proc/self/task') else 1)"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **ONE_THREAD}, capture_output=True, text=True, check=True
    ).stdout

    assert output.strip() == "1"


def test_a_job_ends_with_weights_and_their_hash(pool, tmp_path, digits_folder):
    """Epochs are reported, then `done`; weights.npz has the reported hash; the confusion matrix is for validation."""
    one = job(tmp_path, digits_folder)
    pool.start(one)
    messages = until(pool, "done")

    assert [m.kind for m in messages] == ["epoch"] * 4 + ["done"]
    kept = weights.load(tmp_path / "trials/search-0/weights.npz").network
    assert weights.sha256(kept.theta) == messages[-1].content["weights_sha256"]
    assert kept.sizes == (64, 16, 10)
    assert sum(map(sum, messages[-1].content["confusion"])) == 144
    assert pool.free == 1


@pytest.mark.mnist
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells what a process had at its highest")
def test_training_on_mnist_fits_into_250_mib(pool, tmp_path):
    """With 512-256 hidden units, including validation and the weights file; the images are memory-mapped."""
    folder = datasets.prepare("mnist", tmp_path, download=False)
    pool.start(job(tmp_path, folder, settings=Hyperparameters(hidden_sizes=(512, 256), epochs=2)))
    status = Path(f"/proc/{pool._slots[0].process.pid}/status")
    until(pool, "done", timeout=120)
    peak = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))

    assert int(peak) / 1024 < 250


def test_a_stopped_job_continues_to_the_same_bits(pool, tmp_path, digits_folder):
    """After a stop, the epochs of the checkpoint are reported again, and the hash is the same."""
    long = Hyperparameters(hidden_sizes=(64,), batch_size=8, learning_rate=0.01, epochs=12, dropout=0.1)
    pool.start(job(tmp_path, digits_folder, "search/1", long))
    whole = until(pool, "done")
    broken = job(tmp_path, digits_folder, "search/2", long)
    pool.start(broken)
    first = until(pool, "epoch")
    pool.stop("search/2")
    first += until(pool, "stopped", "done")
    assert first[-1].kind == "stopped"
    pool.start(broken)
    second = until(pool, "done")

    assert without_seconds(second) == without_seconds(whole)
    assert second[-1].content["weights_sha256"] == whole[-1].content["weights_sha256"]


def test_a_killed_worker_is_detected_and_replaced(pool, tmp_path, digits_folder):
    """The job is reported with the signal within a second; the next job gets a new process."""
    long = Hyperparameters(hidden_sizes=(64,), batch_size=8, epochs=500)
    pool.start(job(tmp_path, digits_folder, "search/3", long))
    until(pool, "epoch")
    os.kill(pool._slots[0].process.pid, signal.SIGKILL)
    died = time.monotonic()
    messages = until(pool, "died")

    assert time.monotonic() - died < 1
    assert "SIGKILL" in messages[-1].content["reason"]
    pool.start(job(tmp_path, digits_folder, "search/4"))
    assert until(pool, "done")[-1].kind == "done"


@pytest.mark.slow
def test_two_workers_never_use_one_folder(pool, tmp_path, digits_folder):
    """A job waits until the other has released the lock."""
    one = job(tmp_path, digits_folder, "search/7")
    folder = tmp_path / "trials/search-7"
    folder.mkdir(parents=True)
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    pool.start(one)
    began = time.monotonic()
    while time.monotonic() - began < 1.5:
        assert not [event for event in pool.events(0.1) if event.message.kind == "epoch"]
    os.close(descriptor)

    assert until(pool, "done")[-1].kind == "done"


def test_a_worker_exits_with_its_coordinator(pool, tmp_path, digits_folder):
    """It detects the closed pipe, also during an epoch."""
    pool.start(job(tmp_path, digits_folder, "search/5", Hyperparameters(batch_size=1, epochs=1000)))
    process = pool._slots[0].process
    time.sleep(1)  # it imports NumPy first; the two seconds count for one that trains
    process.stdin.close()

    assert process.wait(2) == 0


@pytest.mark.parametrize(
    ("settings", "outcome"),
    [
        (Hyperparameters(hidden_sizes=(512,) * 8, learning_rate=10.0, beta1=0.0, beta2=0.0), "diverged"),
        (Hyperparameters(hidden_sizes=(16384,) * 8, batch_size=65536), "out of memory"),
    ],
)
def test_failures_are_reported_and_the_worker_continues(tmp_path, digits_folder, settings, outcome):
    """Divergence and lack of memory fail one job, with the reason; the next one runs."""
    if outcome == "out of memory":  # 8 layers of 16,384 squared are 7 GiB, and the moments as much again
        resource = pytest.importorskip("resource")
        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, before[1]))
    pool = LocalPool(1, tmp_path)
    try:
        pool.start(job(tmp_path, digits_folder, "search/6", settings))
        if outcome == "out of memory":
            resource.setrlimit(resource.RLIMIT_AS, before)
        message = until(pool, "failed")[-1]
        assert message.content["outcome"] == outcome
        assert outcome in message.content["reason"]
        pool.start(job(tmp_path, digits_folder, "search/7"))
        assert until(pool, "done")[-1].kind == "done"
    finally:
        if outcome == "out of memory":
            resource.setrlimit(resource.RLIMIT_AS, before)
        pool.close()


def test_a_damaged_checkpoint_is_renamed(pool, tmp_path, digits_folder):
    """The trial starts again, and a note is sent."""
    one = job(tmp_path, digits_folder, "search/8")
    folder = tmp_path / "trials/search-8"
    folder.mkdir(parents=True)
    (folder / "checkpoint.npz").write_bytes(b"half a check")
    pool.start(one)
    messages = until(pool, "done")

    assert "it was renamed" in messages[0].content["text"]
    assert (folder / "checkpoint.damaged").exists()
    assert [m.kind for m in messages[1:]] == ["epoch"] * 4 + ["done"]


def test_final_models_also_train_on_the_validation_examples(pool, tmp_path, digits_folder):
    """No validation metrics, no confusion matrix, and fewer epochs than the schedule."""
    pool.start(job(tmp_path, digits_folder, "confirm/0", whole=True, stop_after=2))
    messages = until(pool, "done")

    assert [m.content["epoch"]["validation_loss"] for m in messages[:-1]] == [None, None]
    assert messages[-1].content["confusion"] is None
