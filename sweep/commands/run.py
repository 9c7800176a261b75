"""`sweep run`: search, confirmation, verdict and report of a study, with a child process that updates MLflow."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from rich.console import Console

from studies.definition import Study
from studies.folds import with_folds
from studies.record import reader
from studies.record.errors import DatabaseUnavailable, sql_errors
from studies.record.folder import Home, StudyFolder
from studies.record.reader import SweepRecord
from studies.record.schema import continued
from sweep.commands.conclusion import conclusion
from sweep.commands.confirmation import Confirmation
from sweep.commands.console import line_printer
from sweep.commands.preparation import Options, describe, recorded_command, require_scheduler, study_and_data
from sweep.commands.printed_command import command_here
from sweep.coordination.coordinator import Coordinator, Stop
from sweep.coordination.leftovers import remove_leftovers
from sweep.coordination.progress import Progress
from sweep.failpoints import failpoint
from sweep.search.budget import Budget
from sweep.search.search import Search
from sweep.storage.database import Database, open_study, study_lock
from sweep.storage.provenance import provenance
from sweep.tracking.sync_result import last_result
from sweep.workers.local import LocalPool
from sweep.workers.pool import Pool

MIRROR_TIMEOUT_S = 90.0
"""Longest wait at the end for MLflow to be up to date; the sweep itself is complete by then.

A working MLflow may need this long. If MLflow fails, the mirror process itself exits within seconds.
"""


LEAST_SHARE = 0.25
"""Share of the study's minutes that a start has at least: one that was killed late is still confirmed."""


def run_study(options: Options, console: Console) -> int:
    """Run or resume a study, not a data file; returns the exit code. Its lock is held until the report is written."""
    started = time.monotonic()
    if options.cluster is not None:
        with console.status(f"connecting to the scheduler {options.cluster}"):
            require_scheduler(options.cluster)
    study, dataset = study_and_data(options, console)
    study = with_folds(study, dataset)
    folder = Home(options.home).study(study.name).path
    folder.mkdir(exist_ok=True)
    with study_lock(folder), sql_errors(StudyFolder(folder).database):
        origin = provenance(recorded_command(options, study))
        database = open_study(folder, study, describe(dataset, study), origin)
        mirror = _start_mirror(options, folder)
        try:
            study = continued(study, database.attributes()["study"])
            _record_data_file(study, database)
            study = _with_more(study, options.more, database)
            reason = None
            if study.minutes and options.minutes is None and _is_answered(reader.read(folder, active=True)):
                _say_how_to_search_on(options, console)
            else:
                reason = _train_all(options, study, dataset, database, console, started)
        finally:
            database.close()
        if reason is not None:
            return _stopped(options, study, reason, console)
        record = reader.read(folder, active=False)
        with console.status("writing the report"):
            _write_report(record)
    return _finished(options, record, mirror, console)


def _record_data_file(study: Study, database: Database) -> None:
    """Record where the data file is now, for the proposed next study; the study has its path as written."""
    path = Path(study.dataset)
    if study.as_dict()["dataset"] == study.dataset or not path.exists():
        return  # built-in data, an absolute path, or data of which only the prepared copy is left
    there = os.path.relpath(path.parent.resolve() / path.name, database.folder.resolve())
    if database.attributes().get("data_file") != there:
        database.record("data_file", there)


def _with_more(study: Study, more: int | None, database: Database) -> Study:
    """The study with `more` trials than are recorded, and recorded so; unchanged for None."""
    if more is None:
        return study
    larger = study.model_copy(update={"trials": database.search.count() + more, "minutes": None})
    database.record("study", larger.as_dict())
    return larger


def _is_answered(record: SweepRecord) -> bool:
    """Whether the champion was chosen from all trials of the search, and its files are there."""
    if record.verdict is None or not StudyFolder(record.folder).has_champion:
        return False
    return record.verdict.get("searched") == len(record.trials)  # an older verdict does not say, and is searched on


def _say_how_to_search_on(options: Options, console: Console) -> None:
    command = command_here(options.home, options.tracking, *options.arguments, "--minutes", "3")
    line_printer(console)(
        "the minutes of the study are over, and its champion is named; for 3 more minutes: "
        + ("the same call with minutes=3" if options.embedded else command)
    )


def _train_all(
    options: Options, study: Study, dataset: Path, database: Database, console: Console, started: float
) -> int | None:
    """Search and confirm; returns the reason of an early stop (a signal number, 0 for a timeout), else None."""
    folder = database.folder
    stop = Stop(deadline=time.monotonic() + options.timeout if options.timeout else None)
    progress = Progress(console, list(study.space), study.metric, placed=options.cluster is not None)
    database.attend(progress.note, stop.asked)
    pool = _pool(options, study, dataset, folder, progress)
    with _signals(stop, pool, console, options.embedded), contextlib.closing(pool), progress:
        budget = _budget(options, study, folder, started, pool)
        search = Search(study, database.search, folder, dataset, budget)
        _remove_leftovers(database)
        coordinator = Coordinator(pool, progress, stop)
        _announce(options, study, search, progress)
        total = None if study.trials is None else max(study.trials, search.begun + search.again)
        progress.begin("search", total, search.counts, search.best, budget.search_until([]) if budget else None)
        try:
            coordinator.run(search)
            if options.confirm and not stop.asked():
                Confirmation(study, database, dataset, coordinator, progress, stop, budget).run()
        except DatabaseUnavailable:
            if stop.reason is None:  # otherwise the user stopped the sweep while the server was unreachable
                raise
    if stop.reason is None:  # else the database may be unreachable; the next start removes them
        _remove_leftovers(database)
    return stop.reason


def _budget(options: Options, study: Study, folder: Path, started: float, pool: Pool) -> Budget | None:
    """The wall time of this run: that of the command line, or what is left of the study's."""
    if options.minutes is not None:
        seconds = 60 * options.minutes
    elif study.minutes is not None:
        spent = sum(trial.seconds for trial in reader.read(folder, active=True).trials) / max(1, len(pool))
        seconds = max(60 * study.minutes - spent, LEAST_SHARE * 60 * study.minutes)
    else:
        return None
    return Budget(started, seconds, pool, study.confirm if options.confirm else None)


def _remove_leftovers(database: Database) -> None:
    for name, log in (("search", database.search), ("confirm", database.confirm)):
        remove_leftovers(StudyFolder(database.folder), name, log.finished())


def _announce(options: Options, study: Study, search: Search, progress: Progress) -> None:
    """Say which trials are repeated; or that none is added because all are recorded, and how to add some."""
    if search.again:
        progress.note(f"{search.again} settings that exceeded the former limit of trial_seconds are tried again")
    elif study.trials is not None and search.begun >= study.trials and not search.resumes:
        command = command_here(
            options.home, options.tracking, *_without(options.arguments, "--trials", "--more"), "--more", "20"
        )
        more = f"the same call with trials={search.begun + 20}" if options.embedded else command
        progress.note(f"{search.begun} trials are recorded, none is added; for 20 more: {more}")


def _pool(options: Options, study: Study, dataset: Path, folder: Path, progress: Progress) -> Pool:
    """The pool of workers: processes on this machine, or a Dask cluster."""
    if options.cluster is None:
        return LocalPool(options.workers, folder)
    from sweep.workers.dask import DaskPool

    return DaskPool(options.cluster, options.workers, study.source, dataset, progress.note)


@contextlib.contextmanager
def _signals(stop: Stop, pool: Pool, console: Console, embedded: bool) -> Iterator[None]:
    """Handle signals: the first stops cleanly, the second kills the workers at once; both can be resumed.

    Python allows handlers in the main thread only; in another thread signals keep their meaning.
    """

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop.reason is None:
            stop.reason = number
            return
        try:
            pool.kill()
            console.show_cursor(True)
        finally:
            if not embedded:
                os._exit(128 + number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _start_mirror(options: Options, folder: Path) -> subprocess.Popen[bytes] | None:
    """Start `sweep sync --follow` as a process, which exits when the study's lock is free; None without MLflow.

    The address is passed in the environment, so that a password in it is not visible in the process list.
    """
    if options.tracking == "none":
        return None
    environment = {**os.environ, "SWEEP_HOME": str(options.home.resolve())}
    if options.tracking:
        environment["SWEEP_TRACKING"] = options.tracking
    with StudyFolder(folder).mirror_log.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "sweep", "sync", folder.name, "--follow", "--json"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )


def _write_report(record: SweepRecord) -> None:
    from sweep.commands import report  # matplotlib takes a second to import and is needed only at the end

    failpoint("before_report")
    report.write(record, StudyFolder(record.folder).report)
    failpoint("after_report")


def _stopped(options: Options, study: Study, reason: int, console: Console) -> int:
    """Print the command that resumes the study and names a champion; returns the exit code.

    It has the total instead of --more, and no --timeout if that was the reason.
    """
    words = list(options.arguments)
    if options.more:
        words = [*_without(words, "--trials", "--more"), "--trials", str(study.trials)]
    if not reason:
        words = _without(words, "--timeout")
    command = "the same call" if options.embedded else command_here(options.home, options.tracking, *words)
    what = "stopped" if reason else "stopped by --timeout before a champion was named"
    line_printer(console)(f"{what}; nothing is lost, continue with: {command}")
    return 128 + reason if reason else 0


def _without(arguments: Sequence[str], *left_out: str) -> list[str]:
    """The arguments without these options and their values."""
    kept: list[str] = []
    words = iter(arguments)
    for word in words:
        if word in left_out:
            next(words)  # its value
        elif word.partition("=")[0] not in left_out:
            kept.append(word)
    return kept


def _finished(options: Options, record: SweepRecord, mirror: subprocess.Popen[bytes] | None, console: Console) -> int:
    """Print the results and where to look; the report's path is the last line. Returns the exit code."""
    notify = line_printer(console)
    for line in conclusion(record):
        notify(line)
    with console.status("updating MLflow"):
        lines = _mirror_lines(mirror, record, options)
    for line in lines:
        notify(line)
    notify(str(StudyFolder(record.folder).report))
    return 0


def _mirror_lines(mirror: subprocess.Popen[bytes] | None, record: SweepRecord, options: Options) -> list[str]:
    """The links to MLflow, or the command that updates it later."""
    later = command_here(options.home, options.tracking, "sync", record.name)
    if mirror is None:
        return [f"MLflow was not updated; update it later with: {later}"]
    log = StudyFolder(record.folder).mirror_log
    try:
        code = mirror.wait(MIRROR_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return [f"MLflow is still being updated; see {log}"]
    if code:
        result = last_result(log)
        if result is None or result.error is None:
            return [f"Could not sync {record.name}: see {log}; try again with: {later}"]
        again = f"{result.fix}; then try again with: {later}" if result.fix else f"try again with: {later}"
        return [f"Could not sync {record.name}: {result.error}", f"{result.unsent} ({log}); {again}"]
    return _links(record, options)


def _links(record: SweepRecord, options: Options) -> list[str]:
    from sweep.commands import ui  # imports urllib and more, which would delay the first epoch

    address = ui.address_of(options.tracking)
    places = ui.links(record.folder, address, ui.workspace_of(options.tracking))
    command = command_here(options.home, options.tracking, "ui", record.name)
    if places is None:
        return [f"all trials in MLflow: {command}"]
    here = [] if address == options.tracking else [f"all trials in MLflow: {command} (these links work while it runs)"]
    winner = [f"the winner: {places.winner}"] if places.winner else []
    return [*here, f"all trials side by side: {places.charts}", *winner]
