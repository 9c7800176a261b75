"""Kills sweeps in many ways, and checks that nothing is lost, duplicated or left behind.

    make chaos              kills 200 workers, 20 coordinators, 40 at a system call, 50 mirrors, and at every failpoint
                            three times
    make chaos SEED=7       the same kills in the same order
    ... chaos.py --quick    6, 2, 5 and every failpoint once: what CI runs

A chain is one study, run again after every death until it is complete. It proposes trials by generations, so its result
must be bit-identical to that of an undisturbed sweep.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from itertools import chain as chain_together
from pathlib import Path
from typing import Any

import numpy as np

from reports.analysis.standing import UNFINISHED, winner
from studies.record import reader as records
from studies.record.reader import SweepRecord
from sweep.commands import report
from sweep.storage import database as storage
from sweep.tracking.trial_run import trial_key, trial_points

ROOT = Path(__file__).parent.parent.parent
EMPTY_REPORT = ROOT / "tests/sweep/empty_report.py"
TRIALS = 8
STUDY = """\
question = "Does it survive?"
dataset = "digits"
folds = 1
objective = "validation_loss"
seed = 3
trials = 8
generation = 4
pruner = "halving"
[baseline]
hidden_sizes = [48]
learning_rate = 0.003
batch_size = 32
epochs = 20
[space]
hidden_sizes = { layers = [1, 2], units = [32, 64], log = true }
learning_rate = { low = 1e-3, high = 3e-2, log = true }
[confirm]
top = 1
repeats = 2
"""
SYSTEM_CALLS = {"pwrite64": 2500, "fdatasync": 12, "fsync": 18, "rename": 9, "unlink": 50}
"""What a process is killed at, and how many of each a whole sweep makes at most, to draw from."""
EARLY = ("before_database", "after_database")
LATE = (
    "before_opening",
    "after_opening",
    "before_card",
    "before_verdict",
    "after_verdict",
    "before_report",
    "after_report",
)
"""Failpoints that are reached only before the first trial and only after the last one, in this order."""
DISK_CALLS = {"pwrite64": 600, "fdatasync": 30, "fsync": 10, "rename": 10, "mkdir": 10}
"""What finds a full disk, and from which call on at most."""
SYNC = [sys.executable, "-P", "-m", "sweep", "sync", "chaos"]
POINTS = """\
SELECT tags.value, metrics.key, step, timestamp, metrics.value FROM metrics JOIN tags USING (run_uuid)
WHERE tags.key = 'sweep.key' AND tags.value != 'study'
"""
"""As the record's points are told below; the study's own numbers change with it."""
DONE = re.compile(r"^(trial|confirm run|final model) (\d+): complete (\S+)", re.MULTILINE)


@dataclass
class Chain:
    """One study on its way through a list of deaths.

    Attributes:
        home: its home folder.
        acknowledged: value as printed of every trial that was said to be complete, by (kind, number).
        deaths: how many processes died, by kind.
        runs: how often the sweep was begun or continued.
        complaints: what was found wrong.
        reports: whether its runs draw reports, which takes longer than all of its trials; else they are empty files.
    """

    home: Path
    dice: random.Random
    reports: bool = True
    acknowledged: dict[tuple[str, str], str] = field(default_factory=dict)
    deaths: dict[str, int] = field(default_factory=dict)
    runs: int = 0
    complaints: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """The study's."""
        return self.home / "chaos"

    def environment(self, **variables: str) -> dict[str, str]:
        """This process's, without the program's variables but for the home folder and these."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("SWEEP_")}
        return kept | {"SWEEP_HOME": str(self.home)} | variables

    def start(self, *, prefix: list[str] | None = None, workers: int = 2, **variables: str) -> subprocess.Popen[str]:
        """Begin or continue the sweep, in a session of its own."""
        environment = self.environment(SWEEP_CHECKPOINT_EVERY="0.01", SWEEP_TRACKING="none", **variables)
        study = self.home.with_suffix(".study") / "chaos.toml"
        study.parent.mkdir(parents=True, exist_ok=True)
        study.write_text(STUDY)
        self.runs += 1
        program = [sys.executable, "-P", *(("-m", "sweep") if self.reports else (str(EMPTY_REPORT),))]
        return subprocess.Popen(
            [*(prefix or []), *program, "run", str(study), "--workers", str(workers)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def end(self, process: subprocess.Popen[str], expected: tuple[int, ...], what: str) -> tuple[int, str]:
        """Wait for its end, and note what it acknowledged; an exit code that was not expected is a complaint."""
        output, _ = process.communicate(timeout=120)
        for kind, number, value in DONE.findall(output):
            self.acknowledged[kind, number] = value
        if process.returncode not in expected:
            self.complaints.append(f"{what}: exit code {process.returncode}, expected {expected}: {output[-600:]}")
        return process.returncode, output

    def told(self) -> str:
        """What died, and what was found wrong, in lines."""
        said = ", ".join(f"{count} by {kind}" for kind, count in self.deaths.items())
        return "\n  ".join([f"{self.home.name}: {said} died, {self.runs} sweeps begun", *self.complaints])

    def died(self, kind: str) -> None:
        """Count a death."""
        self.deaths[kind] = self.deaths.get(kind, 0) + 1

    def record(self) -> SweepRecord | None:
        """What is recorded so far, if anything."""
        with contextlib.suppress(records.RecordError):
            return records.read(self.folder)
        return None

    def clear_when_done(self) -> None:
        """Check a study that is done and begin it again, so that there is something left to kill."""
        record = self.record()
        if record and record.verdict and (self.folder / "report.pdf").exists():
            self.complaints += invariants(self)
            shutil.rmtree(self.home)
            self.acknowledged.clear()


def kill_workers(chain: Chain, times: int) -> None:
    """SIGKILL to a random worker at random moments of one sweep after another."""
    left = times
    while left:
        chain.clear_when_done()
        process = chain.start()
        while left and process.poll() is None:
            time.sleep(chain.dice.uniform(0.02, 0.4))
            workers = [pid for pid in alive(chain.home) if b"sweep.workers.worker" in _cmdline(pid)]
            if workers and not _worn(chain) and killed(chain.dice.choice(workers)):
                chain.died("worker")
                left -= 1
        chain.end(process, (0,), "after killed workers")


def _worn(chain: Chain) -> bool:
    """Whether a trial that runs has lost two workers: a third would rightly fail it."""
    if not (chain.folder / "study.db").exists():
        return True
    with contextlib.closing(sqlite3.connect(f"file:{chain.folder / 'study.db'}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT value_json FROM trial_user_attributes WHERE key = 'deaths'").fetchall()
    return any(int(row[0]) >= 2 for row in rows)


def kill_coordinator(chain: Chain, times: int) -> None:
    """SIGKILL to the coordinator at random moments; its workers must be gone within two seconds."""
    for _ in range(times):
        chain.clear_when_done()
        process = chain.start()
        time.sleep(chain.dice.uniform(0.9, 3.0))
        process.kill()
        if chain.end(process, (0, -signal.SIGKILL), "killed coordinator")[0] == -signal.SIGKILL:
            chain.died("coordinator")
        if left := settled(chain.home, 2):
            chain.complaints.append(f"processes {left} live two seconds after their coordinator")


def killed(pid: int) -> bool:
    """Send SIGKILL; false where the process has ended since it was looked for."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def kill_at_system_calls(chain: Chain, times: int) -> None:
    """SIGKILL to the first, coordinator or worker, that comes to its n-th call of one kind.

    strace holds it there for a second, and whoever is held is killed; it can kill by itself, but with
    --seccomp-bpf its version 6.1 does not.
    """
    for _ in range(times):
        chain.clear_when_done()
        call = chain.dice.choices(list(SYSTEM_CALLS), [4, 1, 1, 1, 1])[0]  # most calls are writes of the database
        when = chain.dice.randint(1, SYSTEM_CALLS[call])
        process = chain.start(prefix=injecting(call, f"delay_enter=1000000:when={when}"))
        while process.poll() is None and not (held := [pid for pid in alive(chain.home) if _is_held(pid)]):
            time.sleep(0.05)
        if process.poll() is None and killed(held[0]):
            chain.died("system call")
        chain.end(process, (0, -signal.SIGKILL, 128 + signal.SIGKILL), f"killed at {call} {when}")
        settled(chain.home, 2)


def _is_held(pid: int) -> bool:
    """Whether a tracer has stopped the process, and still does 50 ms later."""
    with contextlib.suppress(OSError):
        for _ in range(2):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "t":
                return False
            time.sleep(0.05)
        return True
    return False


def injecting(call: str, what: str) -> list[str]:
    """The command before a command whose system calls of one kind, and its children's, are tampered with.

    Without --seccomp-bpf, which needs -f, strace stops at every call: a sweep of 4 s then takes 50.
    """
    flags = ["-qqq", "-f", "--seccomp-bpf", "-o", os.devnull]
    return ["strace", *flags, "-e", f"trace={call}", "-e", f"inject={call}:{what}"]


def kill_mirrors(chain: Chain, times: int) -> None:
    """SIGKILL to `sweep sync` at random moments, beside a sweep and after it; then one more makes MLflow equal."""
    while chain.deaths.get("mirror", 0) < times:
        chain.clear_when_done()
        process = chain.start()
        while process.poll() is None and chain.record() is None:
            time.sleep(0.05)
        for _ in range(min(4, times - chain.deaths.get("mirror", 0))):
            _kill_mirror(chain)
        chain.end(process, (0,), "beside killed mirrors")
        chain.complaints += mirrored(chain)


def _kill_mirror(chain: Chain) -> None:
    """Once it has its turn: it takes seconds to start, and two to send such a study."""
    lock = chain.folder / "mirror.lock"
    before = lock.read_text() if lock.exists() else ""
    mirror = subprocess.Popen(
        SYNC, env=chain.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    while mirror.poll() is None and not (lock.exists() and lock.read_text() not in ("", before)):
        time.sleep(0.01)
    time.sleep(chain.dice.uniform(0, 2))
    mirror.kill()
    output, _ = mirror.communicate()
    if mirror.returncode == -signal.SIGKILL:
        chain.died("mirror")
    elif mirror.returncode:
        chain.complaints.append(f"a mirror failed after others were killed: {output[-600:]}")


def fill_the_disk(chain: Chain, times: int) -> None:
    """From its n-th call of one kind on, every write of coordinator and workers finds no space.

    The sweep must end with exit code 3 and at most three lines of error, or not notice.
    """
    for _ in range(times):
        chain.clear_when_done()
        call = chain.dice.choice(list(DISK_CALLS))
        when = chain.dice.randint(1, DISK_CALLS[call])
        process = chain.start(prefix=injecting(call, f"error=ENOSPC:when={when}+"))
        code, output = chain.end(process, (0, 3), f"no space from {call} {when} on")
        errors = [line for line in output.splitlines() if line.startswith("sweep: ")]
        if "Traceback" in output or (code == 3 and not errors):
            chain.complaints.append(f"no space from {call} {when} on: said {output[-800:]}")
        if code == 3:
            chain.died("full disk")
        settled(chain.home, 2)


def kill_at_failpoints(chain: Chain, times: int) -> None:
    """One death at every failpoint, `times` times over; each must be reached."""
    for names in [names for _ in range(times) for names in failpoints()]:
        tokens = {name: chain.home.with_suffix(f".{name}") for name in names}
        for token in tokens.values():
            token.touch()
        wishes = ",".join(f"{name}@{token}" for name, token in tokens.items())
        for _ in range(2):  # a study that was nearly done does not come there again: then from the beginning
            chain.clear_when_done()
            process = chain.start(workers=1, SWEEP_FAILPOINT=wishes)
            chain.end(process, (0, -signal.SIGKILL), f"failpoint {wishes}")
            settled(chain.home, 2)
            if not any(token.exists() for token in tokens.values()):
                break
        for name, token in tokens.items():
            if token.exists():
                chain.complaints.append(f"failpoint {name} was not reached")
            else:
                chain.died("failpoint")


def failpoints() -> list[list[str]]:
    """All that stand in the source, in the order of one study; together what one run can bear.

    A worker's death does not end the run, but three of one trial would fail it. No two failpoints have the same name.
    """
    text = {path.name: path.read_text() for path in sorted((ROOT / "sweep").rglob("*.py"))}
    found = {file: re.findall(r'failpoint\("(\w+)"\)', content) for file, content in text.items()}
    workers = found.pop("worker.py")
    between = [name for names in found.values() for name in names if name not in (*EARLY, *LATE)]
    pairs = [workers[first : first + 2] for first in range(0, len(workers), 2)]
    return [*pairs, *([name] for name in (*EARLY, *between, *LATE))]


def finish(chain: Chain) -> None:
    """Run to the end and check everything."""
    chain.end(chain.start(), (0,), "the last run")
    chain.complaints += invariants(chain)
    chain.complaints += drawn(chain) if chain.reports else []


_DRAWING = threading.Lock()
"""matplotlib's settings belong to the process: one thread draws at a time."""
REFERENCE: dict[str, Any] = {}
"""What an undisturbed sweep finds; filled once."""


def invariants(chain: Chain) -> list[str]:
    """Everything that must be true of a finished study; what is not, in words."""
    record = chain.record()
    if record is None:
        return ["there is no record"]
    found = [] if findings(record) == REFERENCE else [f"{chain.folder}: the result is not that of an undisturbed sweep"]
    everything = [*record.trials, *record.confirm]
    if [trial.number for trial in record.trials] != list(range(TRIALS)):
        found.append(f"trials {[trial.number for trial in record.trials]} instead of 0 to {TRIALS - 1}")
    if unfinished := [trial.number for trial in everything if trial.outcome in UNFINISHED]:
        found.append(f"trials {unfinished} are not finished")
    disorder = [trial.number for trial in everything if (np.diff(trial.epochs["time"]) < 0).any()]
    found += [f"trial {number}: its epochs were recorded out of order" for number in disorder]
    for (kind, number), value in chain.acknowledged.items():
        trial = (record.trials if kind == "trial" else record.confirm)[int(number)]
        kept = record.metric.format(trial.value) if trial.value is not None else None
        if trial.outcome != "complete" or (kept is not None and kept != value):
            found.append(f"{kind} {number} was acknowledged with {value}, but the record has {trial.outcome} {kept}")
    return found + left_behind(chain) + consistent(chain)


def left_behind(chain: Chain) -> list[str]:
    """Processes, locks, temporary files, sockets."""
    found = [f"process {pid} is still there" for pid in settled(chain.home, 2)]
    if storage.is_active(chain.folder):
        found.append("the study's lock is held")
    left = [path for path in chain.home.rglob("*") if path.name.startswith("checkpoint") or path.suffix == ".part"]
    left += [path for path in chain.home.rglob("*") if path.is_socket()]
    found += [f"{path} was left behind" for path in left]
    return found


def consistent(chain: Chain) -> list[str]:
    """Database, ledger and PDF: whole, and once."""
    found = []
    with contextlib.closing(sqlite3.connect(chain.folder / "study.db")) as connection:
        if (said := connection.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
            found.append(f"the database is damaged: {said}")
    openings = (chain.home / "test-set-openings.jsonl").read_text().splitlines()
    models = [len(json.loads(line)["models"]) for line in openings]
    if models != [4]:  # two final models of the champion, two of the baseline
        found.append(f"the test set was opened {len(openings)} times, for {models} models")
    content = (chain.folder / "report.pdf").read_bytes()
    if not content.startswith(b"%PDF-") or not content.rstrip().endswith(b"%%EOF"):
        found.append("the PDF is not whole")
    return found


def drawn(chain: Chain) -> list[str]:
    """The PDF, drawn once more: its winner and every other word are the record's."""
    record = chain.record()
    if record is None:
        return []
    with _DRAWING, tempfile.TemporaryDirectory() as place:
        report.write(record, Path(place) / "again.pdf")
        same = (Path(place) / "again.pdf").read_bytes() == (chain.folder / "report.pdf").read_bytes()
    return [] if same else ["the PDF is not that of the record"]


def mirrored(chain: Chain) -> list[str]:
    """After one `sweep sync`, MLflow has every run and every point once, finished, and the same winner."""
    done = subprocess.run(SYNC, env=chain.environment(), capture_output=True, text=True, check=False)
    record = chain.record()
    assert record is not None
    best = winner(record)
    with contextlib.closing(sqlite3.connect(chain.home / "mlflow.db")) as connection:
        states = connection.execute("SELECT status, count(*) FROM runs GROUP BY status").fetchall()
        champion = connection.execute("SELECT value FROM latest_metrics WHERE key = 'champion_trial'").fetchall()
        there = Counter(connection.execute(POINTS).fetchall())
    wanted = Counter(_points(record))
    found = [] if done.returncode == 0 else [f"sweep sync failed: {done.stderr[-400:]}"]
    if sum(count for _, count in states) != 1 + len(record.trials) + len(record.confirm):
        found.append(f"MLflow has {states} for {len(record.trials)} trials and {len(record.confirm)} confirm runs")
    if any(status in ("RUNNING", "SCHEDULED") for status, _ in states):
        found.append(f"MLflow shows running runs: {states}")
    if there != wanted:
        lost, doubled = (wanted - there).total(), (there - wanted).total()
        found.append(f"of {wanted.total()} points MLflow lacks {lost} and has {doubled} more often or other ones")
    if best is None or [number for (number,) in champion] != [best.number]:
        found.append(f"MLflow's champion is {champion}, the record's {best and best.number}")
    return found


def _points(record: SweepRecord) -> Iterator[tuple[str, str, int, int, float]]:
    """Key of the run, name, step, time and value of every point that the trials' runs should have."""
    trials = [("search", trial) for trial in record.trials] + [("confirm", trial) for trial in record.confirm]
    for study, trial in trials:
        for point in chain_together(*trial_points(record, trial)):
            yield trial_key(study, trial), point.key, point.step, point.time, point.value


def findings(record: SweepRecord) -> dict[str, Any]:
    """What must not depend on any death: settings, outcomes, every number, every hash, the verdict."""

    def plain(trial: records.TrialRecord) -> list[Any]:
        epochs = str(trial.epochs[[name for name in records.EPOCH_COLUMNS if name not in ("seconds", "time")]].tolist())
        return [
            dict(trial.hyperparameters),
            trial.outcome,
            trial.value,
            trial.weights_sha256,
            epochs,
            trial.role,
            trial.candidate,
        ]

    verdict = record.verdict or {}
    return {
        "trials": [plain(trial) for trial in record.trials],
        "confirm": [plain(trial) for trial in record.confirm],
        "champion": verdict.get("champion"),
        "test": verdict.get("test", {}).get("accuracies"),
    }


def alive(home: Path) -> list[int]:
    """Processes that work below this home folder, by their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (path / "environ").read_bytes().split(b"\0")
            if f"SWEEP_HOME={home}".encode() in words and _cmdline(int(path.name)):
                found.append(int(path.name))
    return found


def _cmdline(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def settled(home: Path, seconds: float) -> list[int]:
    """Who is left after so many seconds at most."""
    deadline = time.monotonic() + seconds
    while (left := alive(home)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


@contextlib.contextmanager
def chain_of(seed: int, place: Path, name: str, *, reports: bool) -> Iterator[Chain]:
    """A chain in a home folder of its own, whose dice are thrown by (seed, name)."""
    chain = Chain(place / name, random.Random(f"{seed} {name}"), reports)
    try:
        yield chain
    finally:
        for pid in alive(chain.home):
            killed(pid)


def reference(place: Path) -> None:
    """Run the study once, undisturbed."""
    if not REFERENCE:
        chain = Chain(place / "reference", random.Random(0))
        chain.end(chain.start(), (0,), "the undisturbed sweep")
        record = chain.record()
        assert record is not None, chain.complaints
        REFERENCE.update(findings(record))


def run(name: str, seed: int, place: Path, *, quick: bool) -> Chain:
    """One chain under one nemesis, to its end; in the quick form only the last run of one chain draws a report."""
    nemesis, few, many = NEMESES[name]
    with chain_of(seed, place, name, reports=not quick) as chain:
        nemesis(chain, few if quick else many)
        chain.reports = not quick or name == REPORTED
        finish(chain)
        if name == MIRRORED:
            chain.complaints += mirrored(chain)
    return chain


def run_all(seed: int, place: Path, *, quick: bool) -> dict[str, Chain]:
    """All chains at once: they wait more than they work."""
    reference(place)
    with ThreadPoolExecutor(len(NEMESES)) as pool:
        running = {
            name: pool.submit(run, name, seed, place, quick=quick)
            for name, (_, few, _) in NEMESES.items()
            if few or not quick
        }
        for future in as_completed(running.values()):
            print(future.result().told(), flush=True)
        return {name: chain.result() for name, chain in running.items()}


MIRRORED = "coordinator"
"""The chain whose end MLflow is compared with; a first `sweep sync` takes six seconds of a processor."""
REPORTED = "failpoints"
"""The chain that dies before and after its report is written."""
NEMESES: dict[str, tuple[Callable[[Chain, int], None], int, int]] = {
    "failpoints": (kill_at_failpoints, 1, 3),
    "workers": (kill_workers, 6, 200),
    "coordinator": (kill_coordinator, 2, 20),
    "system-calls": (kill_at_system_calls, 5, 40),
    "disk": (fill_the_disk, 0, 40),
    "mirror": (kill_mirrors, 0, 50),
}
"""Name, and how often it strikes in the quick and in the long form."""


def main() -> int:
    """Run all chains, print a line each and the complaints; the exit code is 1 when there are any."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options.add_argument("--quick", action="store_true")
    chosen = options.parse_args()
    began = time.monotonic()
    print(f"seed {chosen.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        chains = run_all(chosen.seed, Path(folder), quick=chosen.quick)
    bad = sum(len(chain.complaints) for chain in chains.values())
    print(
        f"{time.monotonic() - began:.0f} s; " + (f"{bad} complaints" if bad else "nothing lost, doubled or left behind")
    )
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
