"""The checks of `sweep run` before the first trial: the home folder, the study, its dataset and the scheduler."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from model.data import datasets
from model.data.datasets import Source
from model.data.errors import DatasetUnavailable
from model.files import write_atomic
from studies.definition import NAME, Study, from_record
from studies.record import reader
from studies.record.folder import Home
from studies.record.reader import SweepRecord
from studies.study_file import load, load_recorded, names
from sweep.commands.console import line_printer
from sweep.commands.recorded import elsewhere
from sweep.storage.database import UNSAFE_CHARACTERS
from sweep.workers.pool import EnvironmentFailure


class HomeError(Exception):
    """The home folder cannot be written."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of `sweep run`; None means the value of the study file.

    Attributes:
        home: folder for everything the program writes.
        tracking: MLflow's address; None for the file in the home folder, `none` for no MLflow.
        study: name of a built-in, recorded or proposed study (the first of these that has the name), or path; None
            for the default study.
        trials: total number.
        more: number to add to the recorded trials; None if a total is given, or neither.
        workers: processes; on a cluster, the maximum number of concurrent training runs.
        cluster: address of a Dask scheduler; None for processes on this machine.
        changes: `key=value` pairs that override the study file.
        timeout: seconds after which the sweep stops; running it again resumes it.
        minutes: wall time of this run for everything up to the report; None for the study's, or no limit.
        confirm: whether to confirm the winner and open the test set.
        arguments: the command line, to print the command that resumes the study.
        target: of a data file in place of a study: the column to predict.
        prepared: a dataset that was just prepared, and its folder.
        embedded: whether the process is the user's own, such as a notebook, which a second Ctrl-C must not end.
    """

    home: Path
    tracking: str | None
    study: str | None
    trials: int | None = None
    more: int | None = None
    workers: int
    cluster: str | None = None
    changes: Sequence[str] = ()
    timeout: float | None = None
    minutes: float | None = None
    confirm: bool = True
    arguments: Sequence[str]
    target: str | None = None
    prepared: tuple[Source, Path] | None = None
    embedded: bool = False


def require_scheduler(address: str) -> None:
    """Check that the Dask cluster can be used, before the study is created.

    Raises:
        EnvironmentFailure: the extra is not installed, or the scheduler does not respond.
    """
    try:
        from sweep.workers.dask_client import probe
    except ModuleNotFoundError as error:
        raise EnvironmentFailure(
            "--cluster requires the optional dependency `cluster`; install it with make cluster\n"
            "or with pip install --require-hashes -r requirements-cluster.lock"
        ) from error
    probe(address)


def make_home(home: Path) -> None:
    """Create the home folder and check that it is writable.

    Raises:
        HomeError: it is not.
    """
    if unfit := UNSAFE_CHARACTERS & set(str(home.absolute())):
        raise HomeError(
            f"the path of the home folder {home} contains a {min(unfit)}, which a database address cannot contain\n"
            "choose another one with --home DIR or SWEEP_HOME"
        )
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):  # unnamed where the system supports it
            pass
    except OSError as error:
        raise HomeError(
            f"the home folder {home} cannot be written: {error.strerror}\n"
            "choose another one with --home DIR or SWEEP_HOME"
        ) from error


def study_and_data(options: Options, console: Console) -> tuple[Study, Path]:
    """The study and the folder of its prepared dataset.

    Without a name it is the home folder's default study: mnist, or digits if MNIST was not available when it started
    and SWEEP_DATA did not say where it is.

    Raises:
        StudyError: the study file is wrong.
        HomeError: the home folder cannot be written.
        DatasetError: the dataset is not available or not valid.
    """
    notify = line_printer(console)
    cache = Home(options.home).data
    if options.study is not None and is_recorded(options.study, options.home):
        return _recorded_study_and_data(options.study, options, notify)
    if options.study is not None:
        study = _loaded(_proposed(options.study, options.home) or options.study, options)
        make_home(options.home)
        if options.prepared is not None and options.prepared[0] == study.source:
            return study, options.prepared[1]
        return study, datasets.prepare(study.source, cache, notify=notify)
    make_home(options.home)
    default = Home(options.home).default_study
    name = default.read_text().strip() if default.exists() else "mnist"
    study = _loaded(name, options)
    if name == "digits":
        notify("continuing digits, the default study of this home folder; for MNIST: make sweep STUDY=mnist")
    try:
        data = datasets.prepare(study.source, cache, notify=notify)
    except DatasetUnavailable:
        if default.exists() or os.environ.get("SWEEP_DATA"):
            raise
        study = _loaded("digits", options)
        data = datasets.prepare(study.source, cache, notify=notify)
        notify(
            "MNIST is not available, so the study is digits; for MNIST put its four files into a folder "
            "and run: SWEEP_DATA=FOLDER make sweep STUDY=mnist"
        )
    if not default.exists():
        write_atomic(default, f"{study.name}\n".encode())
    return study, data


def is_recorded(name: str, home: Path) -> bool:
    """Whether a name means a recorded study: no built-in study has it, and it is not the path of a file."""
    if name.endswith(".toml") or name in names() or not NAME.fullmatch(name):
        return False
    return any(folder.name == name for folder in Home(home).recorded()) or name in elsewhere(home)


def _proposed(name: str, home: Path) -> str | None:
    """The path of the study that a report in the home folder proposed under this name; None if there is none."""
    if name in names() or not NAME.fullmatch(name):
        return None
    return next((str(path) for path in Home(home).proposals(name)), None)


def _recorded_study_and_data(name: str, options: Options, notify: Callable[[str], None]) -> tuple[Study, Path]:
    """A recorded study and its prepared dataset; the study file and, with a prepared copy, the data file may be gone.

    Raises:
        StudyError, HomeError, DatasetError: as `study_and_data`.
    """
    make_home(options.home)
    record = reader.read(options.home / name)
    file = Path(f"{name}.toml")
    other = f"; to run the file {file} of this folder, name it with its ending" if file.is_file() else ""
    notify(f"{name} is run as recorded in {record.folder}{other}")
    study = _with_trials(load_recorded(record.study, options.changes), options)
    if study.source != from_record(record.study).source or study.dataset in datasets.BUILT_IN:
        return study, datasets.prepare(study.source, Home(options.home).data, notify=notify)
    return study, _recorded_data(record, study, Home(options.home).data)


def _recorded_data(record: SweepRecord, study: Study, cache: Path) -> Path:
    """The prepared copy of a recorded study's data file, or else the file, which is prepared again."""
    if found := datasets.prepared(record.dataset["digest"], cache):
        return found
    path = Path(record.folder, record.data_file or study.dataset)
    if not path.exists():
        raise DatasetUnavailable(
            f"the data of {record.name} are not available: there is neither a prepared copy in {cache} nor {path}\n"
            "put the file back there, or run the study by the path of its study file"
        )
    return datasets.prepare(replace(study.source, name=str(path)), cache)


def _loaded(name: str, options: Options) -> Study:
    return _with_trials(load(name, options.changes), options)


def _with_trials(study: Study, options: Options) -> Study:
    """The study with the number of trials of the command line, which ends the search instead of the study's minutes."""
    return study.model_copy(update={"trials": options.trials, "minutes": None}) if options.trials else study


def recorded_command(options: Options, study: Study) -> str:
    """The command that repeats the study anywhere: without the folders and addresses of this machine."""
    name = Path(options.study).name if options.study else study.name
    total = options.trials or options.more  # recorded when the study is created, so that there are no others
    trials = ["--trials", str(total)] if total else []
    minutes = ["--minutes", f"{options.minutes:g}"] if options.minutes else []
    changes = [word for change in options.changes for word in ("--set", change)]
    return shlex.join(["sweep", "run", name, *minutes, *trials, *changes])


def describe(folder: Path, study: Study) -> dict[str, Any]:
    """The description of the prepared dataset that is recorded with the study: name, digest, shape, sizes."""
    data = datasets.load(folder, study.seed)
    return {
        "name": data.name,
        "digest": data.digest,
        "classes": data.classes,
        "shape": list(data.shape),
        "class_names": list(data.class_names),
        "columns": None if data.columns is None else [column.name for column in data.columns],
        "notes": list(data.notes),
        "train": len(data.train),
        "validation": len(data.validation),
        "test": len(data.test),
    }
