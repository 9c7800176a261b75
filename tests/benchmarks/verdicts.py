"""Verdicts held against other splits: does the interval contain what 50 further splits say, and is "better" true?

    .venv/bin/python tests/benchmarks/verdicts.py            21 sweeps, half an hour on two cores
    .venv/bin/python tests/benchmarks/verdicts.py wine iris

Each sweep is `sweep run` of a small table with the study file that it writes, one for each of three study seeds. Then
champion and baseline are trained on 50 further splits and seeds, as the confirmation does. Their mean paired difference
stands for the truth: its own standard error is a third of that of a verdict with 5 repeats. The last line is everything
as JSON.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from aims import Aim, as_json, show
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine, make_classification

from model.data import datasets
from model.epoch_selection import EpochSelection
from model.hyperparameters import Hyperparameters
from model.training import TrainingState, train
from studies.definition import Study, from_record
from studies.record.reader import SweepRecord, read
from sweep.search.confirmation import CONFIRM_STREAM, split_seed
from sweep.workers.local import ONE_THREAD

SEEDS = (1, 2, 3)
SPLITS = 50
FIRST_SPLIT = 1_000
"""Index of the first further split: the sweep's own are below 30."""
AT_ONCE = 2
HEADER = """\
| table | seed | champion against baseline | 95 % interval | verdict | 50 other splits | contained |
|---|---|---|---|---|---|---|"""


@dataclass(frozen=True)
class Held:
    """A verdict and what other splits say.

    Attributes:
        table, seed: of the sweep.
        difference, low, high: of the verdict, positive if the champion is better; None if the baseline is the champion.
        better: whether the verdict says so.
        others: mean paired difference on the other splits.
    """

    table: str
    seed: int
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    better: bool = False
    others: float | None = None

    @property
    def contained(self) -> bool | None:
        """Whether the interval contains what the other splits say; None without an interval."""
        if self.low is None or self.high is None or self.others is None:
            return None
        return self.low <= self.others <= self.high


def tables() -> dict[str, pd.DataFrame]:
    """Seven tables of 150 to 1,000 rows, each with the column `target`."""
    found = {
        "iris": load_iris(as_frame=True).frame,
        "wine": load_wine(as_frame=True).frame,
        "cancer": load_breast_cancer(as_frame=True).frame,
        "digits": load_digits(as_frame=True).frame.sample(600, random_state=0),
    }
    for name, rows, informative, noise in (("easy", 300, 8, 0.0), ("noisy", 600, 6, 0.15), ("many", 1_000, 12, 0.05)):
        inputs, labels = make_classification(
            rows, 20, n_informative=informative, n_classes=3, flip_y=noise, random_state=rows
        )
        found[name] = pd.DataFrame(inputs).add_prefix("x").assign(target=labels)
    return found


def hold(name: str, frame: pd.DataFrame, seed: int) -> Held:
    """Run a sweep on one worker, and train its champion and its baseline on further splits."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        frame.to_csv(folder / "table.csv", index=False)
        home = folder / "runs"
        command = [sys.executable, "-m", "sweep", "run", "table.csv", "--target", "target", "--set", f"seed={seed}"]
        options = ["--workers", "1", "--tracking", "none", "--home", str(home)]
        subprocess.run([*command, *options], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        record = read(home / "table")
        paired = (record.verdict or {}).get("paired")
        if not paired or paired["low"] is None:
            return Held(name, seed)
        others = list(_differences(record, home))
    return Held(
        name, seed, paired["difference"], paired["low"], paired["high"], paired["better"], statistics.fmean(others)
    )


def _differences(record: SweepRecord, home: Path) -> Iterator[float]:
    """By how much the champion is better than the baseline, on each of the further splits."""
    study, verdict = from_record(record.study), record.verdict
    assert verdict is not None
    folder = datasets.prepared(record.dataset["digest"], home / "data")
    assert folder is not None
    lengths = {candidate["trial"]: candidate["epochs"] for candidate in verdict["candidates"]}
    for split in range(FIRST_SPLIT, FIRST_SPLIT + SPLITS):
        champion, baseline = (
            _value(study, record, folder, number, lengths[number], split) for number in (verdict["champion"], 0)
        )
        yield study.metric.cost(baseline - champion)


def _value(study: Study, record: SweepRecord, folder: Path, number: int, epochs: int, split: int) -> float:
    """The objective of a trial's settings on a split, after a training as in the confirmation."""
    data = datasets.load(folder, split_seed(study, split))
    settings = Hyperparameters(**record.trials[number].hyperparameters)
    seed = [study.seed, CONFIRM_STREAM, split]
    state = TrainingState.of(settings, data, seed, EpochSelection(study.objective, "last"))
    for _ in train(state, data.train, data.validation, epochs):
        pass
    assert state.selected is not None
    return state.selected.validation[study.metric.name]


def row(held: Held) -> str:
    """A row of the table in README.md."""
    if held.difference is None:
        return f"| {held.table} | {held.seed} | | | the baseline is the champion | | |"
    verdict = "better" if held.better else "not distinguishable"
    contained = "yes" if held.contained else "**no**"
    return (
        f"| {held.table} | {held.seed} | {held.difference:+.4f} | {held.low:+.4f} to {held.high:+.4f} | {verdict} |"
        f" {held.others:+.4f} | {contained} |"
    )


def aims(found: Sequence[Held]) -> list[Aim]:
    """Whether the intervals contain what they should, and "better" is true."""
    judged = [held.contained for held in found if held.contained is not None]
    better = [held for held in found if held.better and held.others is not None]
    wrong = sum(held.others <= 0 for held in better if held.others is not None)
    share, false = 100 * float(np.mean(judged)), 100 * wrong / max(1, len(found))
    return [
        (
            f"% of {len(judged)} intervals that contain the mean of {SPLITS} other splits, at least 93",
            share,
            share >= 93,
        ),
        (f"% of {len(found)} sweeps that say better ({len(better)} do) and are not, at most 3", false, false <= 3),
    ]


def main(names: Sequence[str]) -> None:
    """Hold the verdicts on the named tables, or all."""
    os.environ.update(ONE_THREAD)
    print(HEADER, flush=True)
    chosen = [(name, frame, seed) for name, frame in tables().items() if not names or name in names for seed in SEEDS]
    found = []
    with ProcessPoolExecutor(AT_ONCE) as processes:
        for held in processes.map(hold, *zip(*chosen, strict=True)):
            found.append(held)
            print(row(held), flush=True)
    measured = aims(found)
    show(measured)
    print(as_json(measured, sweeps=[asdict(held) for held in found]))


if __name__ == "__main__":
    main(sys.argv[1:])
