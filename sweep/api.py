"""The Python API: run a study, or search a network for a DataFrame or arrays; engine and record are those of `sweep`.

    import sweep

    result = sweep.run("study.toml", minutes=3)
    result = sweep.fit(X, y, minutes=3)
    result.champion.predict(X_new)

Ctrl-C ends the sweep and keeps what there is; the same call continues it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from model.data import npz
from model.data.errors import DatasetInvalid
from model.files import write_atomic
from studies.record.folder import Home
from studies.study_file import StudyError
from sweep.commands.console import line_printer, make_console
from sweep.commands.new_study import with_study_file
from sweep.commands.preparation import Options
from sweep.commands.run import run_study
from sweep.objective import Objective
from sweep.result import Result
from sweep.workers.local import cores

__all__ = ["Objective", "Result", "fit", "run"]


def run(
    study: str | Path,
    *,
    target: str | None = None,
    minutes: float | None = None,
    trials: int | None = None,
    workers: int | None = None,
    home: str | Path | None = None,
    tracking: str | None = None,
    changes: Sequence[str] = (),
    confirm: bool = True,
) -> Result:
    """Run or continue a study, as `sweep run` does, and return what it found.

    Args:
        study: the name of a built-in or recorded study, or the path of a study file or a data file.
        target: of a data file: the column to predict.
        minutes: wall time for everything up to the report; None for the study's, or no limit.
        trials: total number, instead of the study's.
        workers: trials to train at once; None for one per core.
        home: folder for everything that is written; None for SWEEP_HOME, or else `runs`.
        tracking: MLflow's address, or "none" for no MLflow; None for SWEEP_TRACKING, or else the file in the home
            folder.
        changes: "key=value" pairs that override the study file.
        confirm: whether to confirm the winner and evaluate it on the test set; without it there is no champion.

    Raises:
        StudyError, DatasetError: the study or its data cannot be used; sweep/errors.py lists all errors.
    """
    for what, value, least in (("trials", trials, 1), ("workers", workers, 1), ("minutes", minutes, 0)):
        if value is not None and (value < least or not value):
            raise StudyError(f"{what} must be at least 1, or None" if least else f"{what} must be above 0, or None")
    arguments = ["run", str(study), *(["--minutes", str(minutes)] if minutes else [])]
    options = Options(
        home=_home(home),
        tracking=tracking or os.environ.get("SWEEP_TRACKING") or None,
        study=str(study),
        trials=trials,
        workers=workers or cores(),
        changes=changes,
        minutes=minutes,
        confirm=confirm,
        arguments=arguments,
        target=target,
        embedded=True,
    )
    console = make_console()
    options = with_study_file(options, line_printer(console))
    run_study(options, console)
    return Result(Home(options.home).study(Path(str(options.study)).stem).path)


def fit(
    X: pd.DataFrame | ArrayLike,
    y: pd.Series | ArrayLike,
    *,
    name: str | None = None,
    home: str | Path | None = None,
    **options: Any,
) -> Result:
    """Search a network for these examples: write them and a study file into the home folder, and run the study.

    Args:
        X: a DataFrame of numbers and text, with gaps; or an array (n, features), or of images (n, height, width) or
            (n, height, width, 3).
        y: (n,) class labels: numbers, bool or text.
        name: of the study; by default it depends on the data, so that the same call continues it.
        home: as for `run`.
        **options: as for `run`.

    Raises:
        DatasetError: the examples cannot be used; the message says which.
    """
    y = _one_column(y)
    folder = _home(home)
    folder.mkdir(parents=True, exist_ok=True)
    if not isinstance(X, pd.DataFrame) and np.asarray(X).dtype.kind in "OUS":  # numbers and text in one array
        X = pd.DataFrame(np.asarray(X)).infer_objects()
    if not isinstance(X, pd.DataFrame):
        return run(_array_file(np.asarray(X), np.asarray(y), folder, name), home=home, **options)
    target = _target(X, y)
    return run(_table_file(X, y, target, folder, name), target=target, home=home, **options)


def _home(home: str | Path | None) -> Path:
    return Path(home or os.environ.get("SWEEP_HOME") or "runs")


def _one_column(y: Any) -> Any:
    """The labels as (n,), of a DataFrame or an array with one column too."""
    if isinstance(y, str):
        raise DatasetInvalid(f"y is {y!r}, but must be the labels\nGive df[{y!r}], and df without that column as X.")
    if isinstance(y, pd.DataFrame) and y.shape[1] == 1:
        return y.iloc[:, 0]
    shape = np.shape(y)
    return np.ravel(y) if len(shape) == 2 and shape[1] == 1 else y


def _target(X: pd.DataFrame, y: Any) -> str:
    """A name for the labels that no column has: that of y if it has one."""
    name = str(getattr(y, "name", None) or "target")
    while name in set(map(str, X.columns)):
        name += "_"
    return name


def _table_file(X: pd.DataFrame, y: Any, target: str, folder: Path, name: str | None) -> Path:
    if len(X) != len(y):
        raise DatasetInvalid(f"X has {len(X):,} rows and y {len(y):,} labels\nGive one label for each row.")
    table = X.rename(columns=str).reset_index(drop=True).assign(**{target: np.asarray(y)})
    return _data_file(table.to_parquet(index=False), "parquet", folder, name)


def _array_file(X: NDArray[Any], y: NDArray[Any], folder: Path, name: str | None) -> Path:
    labels = y.astype(str) if y.dtype == object else y
    return _data_file(npz.write({"x_train": X, "y_train": labels}), "npz", folder, name)


def _data_file(content: bytes, ending: str, folder: Path, name: str | None) -> Path:
    """The written file; without a name it is named by its content, so that the same data have the same study."""
    path = folder / f"{name or 'fit-' + hashlib.sha256(content).hexdigest()[:8]}.{ending}"
    write_atomic(path, content)
    return path
