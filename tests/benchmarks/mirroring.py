"""What MLflow's mirror costs: a study of 1,000 trials of 20 epochs, from nothing to SQLite, and again unchanged.

And what a tracker that hangs costs the training beside it.

    make bench          runs this too; about four minutes
"""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import optuna
import scipy.stats
from aims import as_json, show
from optuna.trial import TrialState

from model import weights
from model.classifier import Classifier
from model.data import datasets
from model.network import MLP
from studies.record import reader as records
from studies.record.schema import trial_seal
from studies.study_file import load
from sweep.commands.preparation import describe
from sweep.storage import database as storage

TRIALS, EPOCHS, SIZES = 1_000, 20, (64, 64, 10)
STUDY = f"""\
question = "What does a mirror cost?"
dataset = "digits"
folds = 1
trials = {TRIALS}
sampler = "random"
[baseline]
hidden_sizes = [64]
epochs = {EPOCHS}
[space]
learning_rate = {{ low = 1e-4, high = 1e-2, log = true }}
batch_size    = {{ choices = [32, 64, 128] }}
beta1         = {{ low = 0.8, high = 0.99 }}
"""


def record(place: Path) -> Path:
    """Record the study with made-up numbers, as a sweep would have; returns its folder."""
    (place / "cost.toml").write_text(STUDY)
    study = load(str(place / "cost.toml"))
    folder = place / study.name
    folder.mkdir()
    dataset = datasets.prepare("digits", place / "data")
    database = storage.open_study(folder, study, describe(dataset, study), {"command": "make bench"})
    memory = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1), direction=study.direction)
    rng = np.random.default_rng(1)
    for number in range(TRIALS):
        drawn = memory.ask()
        network = MLP(SIZES, scale=1 / 16)
        network.theta[...] = rng.normal(0, 0.1, network.theta.size)
        path = folder / "trials" / f"{number:04d}" / "weights.npz"
        path.parent.mkdir(parents=True)
        digest = weights.save(path, Classifier.of(network))
        begun = datetime(2026, 3, 1) + timedelta(seconds=10 * number)
        epochs = {f"epoch.{epoch}": _epoch(epoch, begun, rng) for epoch in range(EPOCHS)}
        last = epochs[f"epoch.{EPOCHS - 1}"]
        result = {
            "value": last["validation_accuracy"],
            "counted_epoch": EPOCHS - 1,
            "validation_loss": last["validation_loss"],
            "validation_accuracy": last["validation_accuracy"],
            "seconds": 5.0,
            "weights_sha256": digest,
            "confusion": (np.full((10, 10), 1) + np.diag([12] * 10)).tolist(),
        }
        settings = {"hyperparameters": study.draw(drawn).as_dict(), "attempt": 1, "worker": number % 2}
        trial = optuna.trial.create_trial(
            state=TrialState.COMPLETE,
            value=last["validation_accuracy"],
            params=drawn.params,
            distributions=drawn.distributions,
            user_attrs={**settings, **epochs, "outcome": "complete", "reason": "all epochs run", "result": result},
        )
        trial.number, trial.datetime_start = number, begun
        trial.datetime_complete = begun + timedelta(seconds=5)
        trial.user_attrs["seal"] = trial_seal(trial)
        database.search.begin(trial)
    database.close()
    return folder


def _epoch(epoch: int, begun: datetime, rng: np.random.Generator) -> dict[str, float]:
    loss = float(2.3 * 0.8**epoch + 0.1 + rng.uniform(0, 0.02))
    return {
        "learning_rate": 0.001,
        "train_loss": loss,
        "train_accuracy": 1 - loss / 3,
        "validation_loss": loss + 0.05,
        "validation_accuracy": 1 - (loss + 0.05) / 3,
        "seconds": 0.25,
        "time": begun.timestamp() + 0.25 * (epoch + 1),
    }


def sync(home: Path) -> float:
    """Seconds of one `sweep sync`."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-P", "-m", "sweep", "sync", "cost", "--home", str(home)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - started


HANGING = """\
question = "Does a tracker that hangs slow the training?"
dataset = "digits"
folds = 1
trials = 3
pruner = "none"
[baseline]
hidden_sizes = [16]
epochs = 1000
[space]
learning_rate = { low = 1e-3, high = 3e-2, log = true }
"""
PAIRS = 5


def trained(place: Path, home: str, tracking: str) -> list[float]:
    """Seconds of all epochs together, and of the median one, which says more where others use the machine.

    Those of the first trial are left out: MLflow is being imported beside them, whether its server answers or not.
    """
    study = place / "hanging.toml"
    study.write_text(HANGING)
    argv = [sys.executable, "-P", "-m", "sweep", "run", str(study), "--home", str(place / home), "--tracking", tracking]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SWEEP_")}
    subprocess.run([*argv, "--workers", "1", "--no-confirm"], env=environment, check=True, stdout=subprocess.DEVNULL)
    trials = records.read(place / home / "hanging").trials
    seconds = np.concatenate([trial.epochs["seconds"] for trial in trials[1:]])
    return [float(seconds.sum()), float(np.median(seconds))]


def slowed(place: Path) -> list[tuple[float, float, float]]:
    """By how much training is slower beside a tracker that takes every connection and never answers.

    Returns:
        mean, low and high end of the 95 % interval of Student's t over the pairs, each a share: of the sum of all
        epochs, and of the median epoch.
    """
    found = []
    with socket.create_server(("127.0.0.1", 0), backlog=100) as mute:
        address = f"http://127.0.0.1:{mute.getsockname()[1]}"
        for pair in range(PAIRS):
            order = [address, "none"] if pair % 2 else ["none", address]
            seconds = {kind: trained(place, f"{pair}-{kind[:4]}", kind) for kind in order}
            found.append(np.divide(seconds[address], seconds["none"]) - 1)
    means, margins = np.mean(found, axis=0), scipy.stats.t.ppf(0.975, PAIRS - 1) * scipy.stats.sem(found)
    return [(mean, mean - margin, mean + margin) for mean, margin in zip(means, margins, strict=True)]


def main() -> None:
    """Measure, print the table and the JSON line."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        home = Path(name)
        record(home)
        first = sync(home)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        again = sync(home)
        hanging = slowed(home)
    judged = [
        (f"seconds to mirror {TRIALS:,} trials of {EPOCHS} epochs to SQLite, at most 90", first, first <= 90),
        ("seconds to see that nothing changed, at most 5", again, again <= 5),
        ("MiB of memory at most, at most 600", peak, peak <= 600),
    ]
    for what, (mean, low, high) in zip(("all epochs", "the median epoch"), hanging, strict=True):
        text = (
            f"% that a hanging tracker adds to {what}, 95 % {100 * low:+.2f} to {100 * high:+.2f}, 0 in it or below 1"
        )
        judged.append((text, 100 * float(mean), bool(low <= 0 or high < 0.01)))
    show(judged)
    print(as_json(judged))


if __name__ == "__main__":
    main()
