"""What a whole sweep costs beyond its trainings, and what a second worker brings: MNIST, MLflow beside it.

    SWEEP_DATA=FOLDER make bench    runs this last; some twenty minutes, in which nothing else should run

The trainings of the sweeps are repeated bare: the same settings in a plain loop, alone on the machine, and once two
at a time, which tells how much of the difference is the machine's. The last line is everything as JSON.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from aims import as_json, show

from model.data import datasets
from model.epoch_selection import EpochSelection
from model.hyperparameters import Hyperparameters
from model.training import TrainingState, train
from studies.record import reader as records
from studies.record.reader import SweepRecord
from sweep.workers.local import ONE_THREAD

STUDY = """\
question = "What does a sweep cost beyond its trainings?"
dataset = "mnist"
trials = 40
sampler = "random"
pruner = "none"
[baseline]
hidden_sizes = [128, 64]
learning_rate = 0.001
batch_size = 128
epochs = 37
[space]
learning_rate = { low = 3e-4, high = 3e-3, log = true }
"""
"""Forty trainings of equal length: some 300 s on one core, and at the end no worker waits long for the other."""
SWEEPS = 3


def sweep(place: Path, name: str, workers: int) -> SweepRecord:
    """Run the study on a fresh home folder, the mirror beside it."""
    study = place / "cost.toml"
    study.write_text(STUDY)
    home = place / name
    home.mkdir()
    (home / "data").symlink_to(place / "data")
    argv = [sys.executable, "-P", "-m", "sweep", "run", str(study), "--home", str(home)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SWEEP_")}
    subprocess.run(
        [*argv, "--workers", str(workers), "--no-confirm"], env=environment, check=True, stdout=subprocess.DEVNULL
    )
    return records.read(home / "cost")


def wall(record: SweepRecord) -> float:
    """Seconds from the first dispatch to the last tell."""
    ends = [trial.finished for trial in record.trials if trial.finished]
    starts = [trial.started for trial in record.trials if trial.started]
    return (max(ends) - min(starts)).total_seconds()


def bare(place: Path, settings: list[dict[str, object]], processes: int) -> list[float]:
    """Seconds of each training in a plain loop; so many processes at once share them in turns."""
    shares = [settings[i::processes] for i in range(processes)]
    running = [
        subprocess.Popen(
            [sys.executable, __file__, str(place / "data" / "mnist")],
            env=os.environ | ONE_THREAD,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in shares
    ]
    for process, share in zip(running, shares, strict=True):
        assert process.stdin is not None
        process.stdin.write(json.dumps(share))
        process.stdin.close()
    found = []
    for process in running:
        assert process.stdout is not None
        found += json.loads(process.stdout.read())
        process.wait()
    return found


def train_bare(dataset: Path) -> None:
    """In a process of its own: train what stdin says, and print the seconds of each."""
    data = datasets.load(dataset, 0)
    seconds = []
    for settings in json.load(sys.stdin):
        started = time.perf_counter()
        selection = EpochSelection("validation_accuracy", "best")
        state = TrainingState.fresh(
            Hyperparameters(**settings), data.features, data.classes, [0, 0], selection, scale=data.scale
        )
        for _ in train(state, data.train, data.validation):
            pass
        seconds.append(time.perf_counter() - started)
    print(json.dumps(seconds))


def main() -> None:
    """Measure, print the table and the JSON line."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        place = Path(name)
        try:
            datasets.prepare("mnist", place / "data")
        except datasets.DatasetUnavailable as error:
            print(f"whole sweeps are not timed: {error}")
            return
        two = [sweep(place, f"two-{turn}", 2) for turn in range(SWEEPS)]
        one = sweep(place, "one", 1)
        settings = [dict(trial.hyperparameters) for trial in one.trials]
        alone, together = bare(place, settings, 1), bare(place, settings, 2)
    walls = [wall(record) for record in two]
    cost = statistics.median(walls) / (sum(alone) / 2)
    gain = wall(one) / statistics.median(walls)
    judged = [
        ("sweep on 2 workers / (bare trainings / 2), median of 3, at most 1.05", cost, cost <= 1.05),
        ("sweep on 1 worker / sweep on 2 workers, at least 1.9", gain, gain >= 1.9),
    ]
    show(judged)
    pair = sum(together) / sum(alone)
    print(f"\nbare trainings: {sum(alone):.0f} s alone; two at a time each takes {pair:.3f} of that")
    print(f"sweeps on 2 workers: {', '.join(f'{seconds:.1f}' for seconds in walls)} s; on 1 worker: {wall(one):.1f} s")
    print(
        f"a sweep on 2 workers / (bare trainings two at a time / 2): {statistics.median(walls) / sum(together) * 2:.3f}"
    )
    print(as_json(judged, walls=walls, wall_one=wall(one), alone=alone, together=together))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        train_bare(Path(sys.argv[1]))
    else:
        main()
