"""Processes of `sweep`, forked off one that has imported MLflow, which takes most of the time of a short command."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from pathlib import Path

import pytest
from recorded import replace_pictures

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["sweep.commands.sync", "mlflow.store.tracking.sqlalchemy_store", "recorded"])


class Sweep(FORKS.Process):
    """`sweep` with these arguments, none of the settings in the environment, and text in place of pictures."""

    def __init__(self, *words: str) -> None:
        super().__init__()
        file, path = tempfile.mkstemp()
        os.close(file)
        self.words, self.output = words, Path(path)

    def run(self) -> None:
        """In the new process: all that is printed goes into a file."""
        from sweep.entry import main

        for name in [name for name in os.environ if name.startswith("SWEEP_")]:
            del os.environ[name]
        with self.output.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        replace_pictures(pytest.MonkeyPatch())
        main(self.words)

    def said(self) -> str:
        """What it printed until its end."""
        self.join()
        said = self.output.read_text()
        self.output.unlink()
        return said


def start(*words: str) -> Sweep:
    """`sweep` with these arguments, started."""
    sweep = Sweep(*words)
    sweep.start()
    return sweep
