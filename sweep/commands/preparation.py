"""The checks of `sweep run` before the first trial: the home folder, the study, its dataset and the scheduler."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from model.data import datasets
from model.data.errors import DatasetUnavailable
from model.files import write_atomic
from studies.definition import Study
from studies.record.folder import Home
from studies.study_file import load
from sweep.storage.database import UNSAFE_CHARACTERS
from sweep.workers.pool import EnvironmentFailure


class HomeError(Exception):
    """The home folder cannot be written."""


@dataclass(frozen=True)
class Options:
    """Options of `sweep run`; None means the value of the study file.

    Attributes:
        home: folder for everything the program writes.
        tracking: MLflow's address; None for the file in the home folder, `none` for no MLflow.
        study: name or path; None for the default study.
        trials: total number.
        more: number to add to the recorded trials; None if a total is given, or neither.
        workers: processes; on a cluster, the maximum number of concurrent training runs.
        cluster: address of a Dask scheduler; None for processes on this machine.
        changes: `key=value` pairs that override the study file.
        timeout: seconds after which the sweep stops; running it again resumes it.
        minutes: about how long the sweep may take, confirmation included; None for all trials.
        confirm: whether to confirm the winner and open the test set.
        arguments: the command line, to print the command that resumes the study.
        embedded: whether the process is the user's own, such as a notebook, which a second Ctrl-C must not end.
    """

    home: Path
    tracking: str | None
    study: str | None
    trials: int | None
    more: int | None
    workers: int
    cluster: str | None
    changes: Sequence[str]
    timeout: float | None
    minutes: float | None
    confirm: bool
    arguments: Sequence[str]
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

    Without a name it is the home folder's default study: mnist, or digits if MNIST was not available when it started.

    Raises:
        StudyError: the study file is wrong.
        HomeError: the home folder cannot be written.
        DatasetError: the dataset is not available or not valid.
    """

    def notify(line: str) -> None:
        console.print(line, soft_wrap=True, markup=False, highlight=False)

    cache = Home(options.home).data
    if options.study is not None:
        study = _loaded(options.study, options)
        make_home(options.home)
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
        if default.exists():
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


def _loaded(name: str, options: Options) -> Study:
    study = load(name, options.changes)
    return study.model_copy(update={"trials": options.trials}) if options.trials else study


def recorded_command(options: Options, study: Study) -> str:
    """The command that repeats the study anywhere: without the folders and addresses of this machine."""
    name = Path(options.study).name if options.study else study.name
    total = options.trials or options.more  # recorded when the study is created, so that there are no others
    trials = ["--trials", str(total)] if total else []
    changes = [word for change in options.changes for word in ("--set", change)]
    return shlex.join(["sweep", "run", name, *trials, *changes])


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
