"""This program's command line. Its models are trained again after the race, to the same bits."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from contest import CORES, Contest, write_offer
from numpy.typing import NDArray

from model.evaluation import predict
from model.hyperparameters import Hyperparameters
from model.training import TrainingState, train
from studies.record import reader
from studies.record.folder import Home


@dataclass(frozen=True)
class Retrained:
    """The network of a trial after an epoch, counted from 0."""

    contest: Contest
    number: int
    hyperparameters: Hyperparameters
    epoch: int
    accuracy: float

    def predict(self, inputs: NDArray[np.float32]) -> NDArray[Any]:
        """Train it, and classify the inputs."""
        data = self.contest.dataset
        state = TrainingState.of(self.hyperparameters, data, (self.contest.seed, self.number))
        *_, last = train(state, data.train, data.validation, stop_after=self.epoch + 1)
        assert last.validation["accuracy"] == self.accuracy, "the same settings and seed gave another network"
        return np.argmax(predict(state.evaluated, data.test).logits, axis=1)


def compete(contest: Contest) -> None:
    """Search until the end of the race, with the mirror to MLflow and without a confirmation."""
    home = contest.path / "runs"
    shutil.copytree(Path(contest.prepared).parent, home / "data")  # the others find it prepared, too
    changes = [word for change in contest.changes for word in ("--set", change)]
    run = ["run", str(contest.study_path), "--minutes", str(contest.remaining() / 60), "--workers", str(CORES)]
    command = [sys.executable, "-m", "sweep", *run, "--no-confirm", "--home", str(home), *changes]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "COLUMNS": "100"})


def finish(contest: Contest) -> None:
    """Keep the improvements of the record."""
    best = 1.0
    record = reader.read(Home(contest.path / "runs").study(contest.study.name).path, active=False)
    epochs = [(row["time"], trial, place) for trial in record.trials for place, row in enumerate(trial.epochs)]
    for at, trial, place in sorted(epochs, key=lambda epoch: epoch[0]):
        accuracy = float(trial.epochs["validation_accuracy"][place])
        if 1 - accuracy < best:
            best = 1 - accuracy
            hyperparameters = Hyperparameters(**trial.hyperparameters)
            model = Retrained(contest, trial.number, hyperparameters, place, accuracy)
            write_offer(contest.path, at, best, model)
