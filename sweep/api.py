"""The Python API: run a study. The same engine and record as `sweep`.

    import sweep

    result = sweep.run("study.toml", minutes=3)
    result.champion.predict(X_new)

Ctrl-C ends the sweep and keeps what there is; the same call continues it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from studies.record.folder import Home
from sweep.commands.console import make_console
from sweep.commands.preparation import Options
from sweep.commands.run import run_study
from sweep.objective import Objective
from sweep.result import Result
from sweep.workers.local import cores

__all__ = ["Objective", "Result", "run"]


def run(
    study: str | Path,
    *,
    minutes: float | None = None,
    trials: int | None = None,
    workers: int | None = None,
    home: str | Path = "runs",
    tracking: str | None = None,
    changes: Sequence[str] = (),
    confirm: bool = True,
) -> Result:
    """Run or continue a study, as `sweep run` does, and return what it found.

    Args:
        study: the name of a built-in or recorded study, or the path of a study file.
        minutes: about how long the sweep may take; None for all trials.
        trials: total number, instead of the study's.
        workers: trials to train at once; None for one per core.
        home: folder for everything that is written.
        tracking: MLflow's address; None for the file in the home folder, "none" for no MLflow.
        changes: "key=value" pairs that override the study file.
        confirm: whether to confirm the winner and evaluate it on the test set; without it there is no champion.

    Raises:
        StudyError, DatasetError: the study or its data cannot be used; sweep/errors.py lists all errors.
    """
    arguments = ["run", str(study), *(["--minutes", str(minutes)] if minutes else [])]
    options = Options(
        home=Path(home),
        tracking=tracking,
        study=str(study),
        trials=trials,
        more=None,
        workers=workers or cores(),
        cluster=None,
        changes=changes,
        timeout=None,
        minutes=minutes,
        confirm=confirm,
        arguments=arguments,
        embedded=True,
    )
    run_study(options, make_console())
    return Result(Home(options.home).study(Path(study).stem).path)
