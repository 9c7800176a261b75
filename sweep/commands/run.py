"""`sweep run`, from the study's name to the report: search, confirmation, verdict, PDF; MLflow beside it."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from model.data import datasets
from model.data.datasets import DatasetUnavailable
from model.files import write_atomic
from reports.analysis import findings as analysis
from studies.definition import Study
from studies.record import reader as records
from studies.record.errors import DatabaseUnavailable, sql_errors
from studies.record.folder import StudyFolder
from studies.record.reader import SweepRecord
from studies.study_file import load
from sweep.commands.status import one_line
from sweep.coordination.coordinator import Coordinator, Stop
from sweep.coordination.leftovers import remove_leftovers
from sweep.coordination.progress import Progress
from sweep.failpoints import failpoint
from sweep.passwords import shown_command
from sweep.search import confirmation as champion
from sweep.search.search import Search
from sweep.storage import database as storage
from sweep.storage.database import UNSAFE_CHARACTERS, Database
from sweep.storage.provenance import provenance
from sweep.workers.local import LocalPool
from sweep.workers.pool import EnvironmentFailure, Pool

MIRROR_PATIENCE = 90.0
"""Seconds to wait at the end for MLflow to be up to date; the sweep itself is complete by then.

An MLflow that takes what it is sent may need them. One that fails is given up by the mirror itself, within seconds.
"""


class HomeError(Exception):
    """The home folder cannot be written."""


class ConfirmationFailed(Exception):
    """Runs that the verdict needs failed; nothing is concluded from the others."""


@dataclass(frozen=True)
class Options:
    """What `sweep run` was asked for; None means: as the study says.

    Attributes:
        home: folder for everything the program writes.
        tracking: MLflow's address; None for the file in the home folder, `none` for no MLflow.
        study: name or path; None for the default study.
        trials: total number.
        workers: processes; on a cluster, most trainings at once.
        cluster: address of a Dask scheduler; None for processes on this machine.
        changes: `key=value` over the study file.
        timeout: seconds after which the sweep stops, to be continued.
        confirm: whether to confirm the winner and open the test set.
        arguments: of the command line, for the line that says how to continue.
    """

    home: Path
    tracking: str | None
    study: str | None
    trials: int | None
    workers: int
    cluster: str | None
    changes: Sequence[str]
    timeout: float | None
    confirm: bool
    arguments: Sequence[str]


def run(options: Options, console: Console) -> int:
    """Run or continue a study; return the exit code."""
    if options.cluster is not None:
        with console.status(f"looking for the scheduler {options.cluster}"):
            _require_scheduler(options.cluster)
    study, dataset = _study_and_data(options, console)
    folder = options.home / study.name
    folder.mkdir(exist_ok=True)
    with storage.study_lock(folder), sql_errors(StudyFolder(folder).database):
        database = storage.open_study(folder, study, describe(dataset, study), provenance(_command(options, study)))
        mirror = _start_mirror(options, folder)
        try:
            reason = _answer(options, study, dataset, database, console)
        finally:
            database.close()
        if reason is not None:
            return _stopped(options, reason, console)
        record = records.read(folder, active=False)
        with console.status("writing the report"):
            _write_report(record)
    return _farewell(options, record, mirror, console)


def _require_scheduler(address: str) -> None:
    """Make sure that a cluster can be used before a study begins that would have to wait for it.

    Raises:
        EnvironmentFailure: it cannot.
    """
    try:
        from sweep.workers.dask import probe
    except ModuleNotFoundError as error:
        raise EnvironmentFailure(
            "--cluster needs the extra `cluster`, which is not installed; make sweep CLUSTER=... installs it,\n"
            "and so does pip install --require-hashes -r requirements-cluster.lock"
        ) from error
    probe(address)


def make_home(home: Path) -> None:
    """Make the home folder, and make sure it can be written.

    Raises:
        HomeError: it cannot.
    """
    if unfit := UNSAFE_CHARACTERS & set(str(home.absolute())):
        raise HomeError(
            f"the path of the home folder {home} has a {min(unfit)}, which a database's address cannot hold\n"
            "choose another one with --home DIR or SWEEP_HOME"
        )
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):  # without a name where the system can: nothing to leave behind
            pass
    except OSError as error:
        raise HomeError(
            f"the home folder {home} cannot be written: {error.strerror}\n"
            "choose another one with --home DIR or SWEEP_HOME"
        ) from error


def _study_and_data(options: Options, console: Console) -> tuple[Study, Path]:
    """The study and its prepared data; without a name, the default study of this home folder."""

    def say(line: str) -> None:
        console.print(line, soft_wrap=True, markup=False, highlight=False)

    cache = options.home / "data"
    if options.study is not None:
        study = _loaded(options.study, options)
        make_home(options.home)
        return study, datasets.prepare(study.dataset, cache, notify=say)
    make_home(options.home)
    default = options.home / "default-study"
    name = default.read_text().strip() if default.exists() else "mnist"
    study = _loaded(name, options)
    if name == "digits":
        say("continuing digits, the default study of this home folder; for MNIST: make sweep STUDY=mnist")
    try:
        data = datasets.prepare(study.dataset, cache, notify=say)
    except DatasetUnavailable:
        if default.exists():
            raise
        study = _loaded("digits", options)
        data = datasets.prepare(study.dataset, cache, notify=say)
        say(
            "MNIST cannot be had here, so the study is digits; for MNIST put its four files into a folder "
            "and run: SWEEP_DATA=FOLDER make sweep STUDY=mnist"
        )
    if not default.exists():
        write_atomic(default, f"{study.name}\n".encode())
    return study, data


def _command(options: Options, study: Study) -> str:
    """The command that repeats the study anywhere: without the folders and addresses of this place."""
    name = Path(options.study).name if options.study else study.name
    trials = ["--trials", str(options.trials)] if options.trials else []
    changes = [word for change in options.changes for word in ("--set", change)]
    return shlex.join(["sweep", "run", name, *trials, *changes])


def _loaded(name: str, options: Options) -> Study:
    study = load(name, options.changes)
    return study.model_copy(update={"trials": options.trials}) if options.trials else study


def describe(folder: Path, study: Study) -> dict[str, Any]:
    """The dataset as it is recorded with the study."""
    data = datasets.load(folder, study.seed)
    return {
        "name": data.name,
        "digest": data.digest,
        "classes": data.classes,
        "shape": list(data.shape),
        "scale": data.scale,
        "train": len(data.train),
        "validation": len(data.validation),
        "test": len(data.test),
    }


def _answer(options: Options, study: Study, dataset: Path, database: Database, console: Console) -> int | None:
    """Search, confirm, conclude; returns why it stopped early, None when it did not."""
    folder = database.folder
    stop = Stop(deadline=time.monotonic() + options.timeout if options.timeout else None)
    progress = Progress(console, list(study.space), study.metric, placed=options.cluster is not None)
    database.attend(progress.note, stop.asked)
    search = Search(study, database.search, folder / "trials", dataset)
    for place, log in (("trials", database.search), ("confirm", database.confirm)):
        remove_leftovers(folder / place, log.finished())
    pool = _pool(options, study, dataset, folder, progress)
    with _signals(stop, pool, console), contextlib.closing(pool), progress:
        coordinator = Coordinator(pool, progress, stop)
        if search.begun > study.trials:
            progress.note(f"{search.begun} trials are recorded, more than {study.trials}: none is added or removed")
        progress.begin("search", max(study.trials, search.begun), search.counts, search.best)
        try:
            coordinator.run(search)
            if options.confirm and not stop.asked():
                _confirm(study, dataset, database, coordinator, progress, stop, options.home)
        except DatabaseUnavailable:
            if stop.reason is None:  # else it was to stop while its server was away
                raise
    return stop.reason


def _pool(options: Options, study: Study, dataset: Path, folder: Path, progress: Progress) -> Pool:
    """Where the trainings run."""
    if options.cluster is None:
        return LocalPool(options.workers, folder)
    from sweep.workers.dask import DaskPool

    return DaskPool(options.cluster, options.workers, study.dataset, dataset, progress.note)


def _confirm(
    study: Study,
    dataset: Path,
    database: Database,
    coordinator: Coordinator,
    progress: Progress,
    stop: Stop,
    home: Path,
) -> None:
    """Fresh seeds, final models, test set."""
    folder = database.folder
    reader = records.Reader(folder)  # it reads a finished trial once
    record = reader.read(active=True)
    if not record.ranked():
        progress.note("no trial completed, so there is no winner to confirm")
        return
    plan = champion.confirm_plan(study, record)
    _repeat("confirm", plan, study, dataset, database, coordinator, progress)
    confirmed = reader.read(active=True)
    found = champion.summaries(study, confirmed)
    if stop.asked() or not found:
        return
    if lacking := champion.missing(study, confirmed):
        raise ConfirmationFailed(f"the winner is not named: {', '.join(lacking)} failed\nthe same command tries again")
    final = champion.final_plan(study, record, champion.choose(study, found))
    _repeat("final", final, study, dataset, database, coordinator, progress)
    if stop.asked():
        return
    if champion.conclude(study, database, reader.read(active=True), dataset, home) is None:
        raise ConfirmationFailed("a final model failed, so the test set stays closed\nthe same command tries again")


def _repeat(
    phase: str,
    plan: Sequence[champion.Repeat],
    study: Study,
    dataset: Path,
    database: Database,
    coordinator: Coordinator,
    progress: Progress,
) -> None:
    repeats = champion.Repeats(study, database, dataset, plan)
    open_runs = repeats.remaining() + len(repeats.interrupted())
    done = {"complete": len(plan) - open_runs} if open_runs < len(plan) else {}
    progress.begin(phase, len(plan), done, None)
    coordinator.run(repeats)


@contextlib.contextmanager
def _signals(stop: Stop, pool: Pool, console: Console) -> Iterator[None]:
    """The first signal asks for a clean stop, the second ends everything at once; both can be continued."""

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop.reason is None:
            stop.reason = number
            return
        try:
            pool.kill()
            console.show_cursor(True)
        finally:
            os._exit(128 + number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _start_mirror(options: Options, folder: Path) -> subprocess.Popen[bytes] | None:
    """`sweep sync --follow` as a process of its own, which ends when the study's lock is free; None without MLflow.

    The address goes through the environment: a password in it must not show in the list of processes.
    """
    if options.tracking == "none":
        return None
    environment = {**os.environ, "SWEEP_HOME": str(options.home.resolve())}
    if options.tracking:
        environment["SWEEP_TRACKING"] = options.tracking
    with (folder / "mirror.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "sweep", "sync", folder.name, "--follow"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )


def _write_report(record: SweepRecord) -> None:
    from sweep.commands import report  # matplotlib takes a second to import, and is needed once, at the end

    failpoint("before_report")
    report.write(record, record.folder / "report.pdf")
    failpoint("after_report")


def _stopped(options: Options, reason: int, console: Console) -> int:
    """Say how to continue."""
    command = command_here(options.home, options.tracking, *options.arguments)
    line = f"stopped; nothing is lost, continue with: {command}"
    console.print(line, soft_wrap=True, markup=False, highlight=False)
    return 128 + reason if reason else 0


def _farewell(options: Options, record: SweepRecord, mirror: subprocess.Popen[bytes] | None, console: Console) -> int:
    """Say what came out, and where to look; the report's path is the last line."""

    def say(line: str) -> None:
        console.print(line, soft_wrap=True, markup=False, highlight=False)

    for line in conclusion(record):
        say(line)
    with console.status("bringing MLflow up to date"):
        lines = _mirror_lines(mirror, record, options)
    for line in lines:
        say(line)
    say(str(record.folder / "report.pdf"))
    return 0


def _mirror_lines(mirror: subprocess.Popen[bytes] | None, record: SweepRecord, options: Options) -> list[str]:
    """Where to look in MLflow, or what is still to be done for it."""
    later = command_here(options.home, options.tracking, "sync", record.name)
    if mirror is None:
        return [f"MLflow was left out; later: {later}"]
    log = record.folder / "mirror.log"
    try:
        code = mirror.wait(MIRROR_PATIENCE)
    except subprocess.TimeoutExpired:
        return [f"MLflow is still being brought up to date; look at {log}"]
    if code:
        waiting = re.search(r"\d+ runs with \d+ points wait", log.read_text().strip().rpartition("\n")[2])
        detail = f"{waiting[0]} ({log})" if waiting else f"see {log}"
        return [f"MLflow could not be brought up to date, {detail}; later: {later}"]
    return _links(record, options)


def _links(record: SweepRecord, options: Options) -> list[str]:
    from sweep.commands import ui  # the first epoch need not wait for urllib and what else it imports

    address = ui.address_of(options.tracking)
    places = ui.links(record.folder, address)
    command = command_here(options.home, options.tracking, "ui", record.name)
    if places is None:
        return [f"all trials in MLflow: {command}"]
    here = [] if address == options.tracking else [f"all trials in MLflow: {command} (these links work while it runs)"]
    winner = [f"the winner: {places.winner}"] if places.winner else []
    return [*here, f"all trials side by side: {places.charts}", *winner]


def command_here(home: Path, tracking: str | None, *words: str) -> str:
    """A command for the same places: with the home folder and MLflow's address, where it would find others by itself.

    The program is named by its path where a shell would not find it, as after `make sweep`.
    """
    path = Path(sys.argv[0])
    known = path.name != "sweep" or shutil.which("sweep")
    places = {"--home": str(home)} if home != Path("runs") else {}
    if tracking not in (None, "none", os.environ.get("SWEEP_TRACKING")):
        places["--tracking"] = str(tracking)
    named = {word.partition("=")[0] for word in words}
    new = [word for option, place in places.items() if option not in named for word in (option, place)]
    return shown_command(["sweep" if known else os.path.relpath(path), *words, *new])


def conclusion(record: SweepRecord) -> list[str]:
    """The answer in a few lines, as far as it is known."""
    lines = [one_line(record)]
    if best := record.ranked()[:1]:
        value = record.metric.format(best[0].value or 0.0)
        lines.append(f"best in the search: trial {best[0].number}, validation {record.metric.label} {value}")
    if record.verdict:
        mean = record.metric.format(record.verdict["confirm_mean"])
        number = record.verdict["champion"]
        lines.append(f"champion on fresh seeds: trial {number}, {mean} on average; {_against_baseline(record)}")
    if test := analysis.tested(record):
        lines.append(
            f"test accuracy: {100 * test.mean:.2f} %, mean of {len(test.accuracies)} final models "
            f"(95 % interval over test examples {100 * test.low:.2f} to {100 * test.high:.2f} %)"
        )
    return lines


def _against_baseline(record: SweepRecord) -> str:
    assert record.verdict is not None
    pair = record.verdict["paired"]
    if pair is None:
        return "it is the baseline" if record.verdict["champion"] == 0 else "the baseline has no confirm runs"
    return "better than the baseline" if pair["better"] else "not distinguishable from the baseline"
