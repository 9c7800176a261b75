"""What a sweep found, for notebooks and scripts: tables of trials and epochs, the champion, and the report."""

from __future__ import annotations

import base64
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from studies.record import reader
from studies.record.folder import StudyFolder
from studies.record.reader import SweepRecord
from sweep.champion_classifier import ChampionClassifier


class NoChampion(Exception):
    """The study was stopped before its confirmation named a champion."""


class Report:
    """A report file; Jupyter shows the PDF in the notebook.

    Attributes:
        path: Of the PDF.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        """The path, for `open` and other functions that take one."""
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"Report({str(self.path)!r})"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """The PDF for Jupyter, and its path for everything that cannot show it."""
        shown = {"text/plain": str(self.path)}
        if self.path.exists():
            shown["application/pdf"] = base64.b64encode(self.path.read_bytes()).decode()
        return shown


class Result:
    """The record of a study, read when an attribute is first used.

    Args:
        folder: The study's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = StudyFolder(folder)

    @cached_property
    def record(self) -> SweepRecord:
        """Everything that was recorded."""
        return reader.read(self.folder.path)

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row a trial: number, outcome, value, hyperparameters, times; as `sweep export` writes it."""
        return self.record.table()

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """One row an epoch of a trial: its number, learning rate, losses and metrics."""
        return self.record.epoch_table()

    @cached_property
    def champion(self) -> ChampionClassifier:
        """The winner, trained on all but the test rows, as a fitted scikit-learn classifier.

        Raises:
            NoChampion: the sweep was stopped before it named one.
        """
        if not self.folder.champion.exists():
            raise NoChampion(
                f"{self.record.name} has no champion yet: {len(self.record.trials)} trials are recorded\n"
                "call run or fit again to finish the study"
            )
        return ChampionClassifier.load(self.folder.champion)

    @property
    def report(self) -> Report:
        """The PDF report."""
        return Report(self.folder.report)

    def __repr__(self) -> str:
        return f"Result({self.record.name!r}, {len(self.record.trials)} trials, {str(self.folder.path)!r})"
