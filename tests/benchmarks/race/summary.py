"""The picture and the tables of a race, from its logs."""

from __future__ import annotations

import json
import math
import statistics
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from contest import MARKS_S
from numpy.typing import NDArray

mpl.use("agg")
from matplotlib import pyplot as plt

OURS = "ours"
GRID = 200
"""Points in time of a curve."""


@dataclass(frozen=True)
class Log:
    """The improvements of one contender with one seed, in order.

    Attributes:
        seconds: (n,) since the start.
        validation: (n,) errors in percent.
        test: (n,) errors in percent; NaN where the model was not tested.
    """

    seconds: NDArray[np.float64]
    validation: NDArray[np.float64]
    test: NDArray[np.float64]

    @classmethod
    def read(cls, path: Path) -> Log:
        """The log of a file."""
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        test = [math.nan if row["test_error"] is None else row["test_error"] for row in rows]
        errors = [row["validation_error"] for row in rows]
        return cls(np.array([row["seconds"] for row in rows]), 100 * np.array(errors), 100 * np.array(test))

    def at(self, seconds: float, errors: NDArray[np.float64]) -> float:
        """The error of the best so far at a time; NaN before the first."""
        place = int(np.searchsorted(self.seconds, seconds, side="right")) - 1
        return float(errors[place]) if place >= 0 else math.nan

    def seconds_to(self, error: float) -> float:
        """Seconds until the validation error is at most `error`; infinite if it never is."""
        reached = self.seconds[self.validation <= error]
        return float(reached[0]) if reached.size else math.inf


def summarise(folder: Path) -> None:
    """Write `<folder>.png`, and print tables for README.md."""
    logs: dict[str, dict[int, Log]] = defaultdict(dict)
    for path in sorted(folder.glob("*.jsonl")):
        contender, _, seed = path.stem.rpartition("-")
        logs[contender][int(seed)] = Log.read(path)
    end = float(folder.name.rpartition("-")[2])
    marks = [mark for mark in MARKS_S if mark < end] + [end]
    cells = [f"validation / test error at {mark:g} s" for mark in marks]
    header = ["contender", "seeds", *cells, "seconds to its last error: it / ours", "ratio"]
    print(f"\n{folder.name}\n\n| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for contender, by_seed in logs.items():
        errors = [f"{_mean(by_seed, mark)} / {_mean(by_seed, mark, test=True)}" for mark in marks]
        print(f"| {contender} | {len(by_seed)} | {' | '.join(errors)} | {_head_start(by_seed, logs.get(OURS, {}))} |")
    _draw(logs, end, folder.with_suffix(".png"))


def _mean(by_seed: dict[int, Log], seconds: float, *, test: bool = False) -> str:
    values = [log.at(seconds, log.test if test else log.validation) for log in by_seed.values()]
    return f"{statistics.mean(values):.2f}"


def _head_start(theirs: dict[int, Log], ours: dict[int, Log]) -> str:
    """Medians over the common seeds of both times to the last error of the other, and of their ratio ours / its."""
    pairs = [
        (theirs[seed].seconds[-1], ours[seed].seconds_to(theirs[seed].validation[-1]))
        for seed in sorted(theirs.keys() & ours.keys())
    ]
    if not pairs:
        return " | "
    its, our, ratio = (statistics.median(each) for each in zip(*[(a, b, b / a) for a, b in pairs], strict=True))
    return f"{its:.0f} / {our:.0f} | {ratio:.2f}"


def _draw(logs: dict[str, dict[int, Log]], end: float, path: Path) -> None:
    """The validation error of the best so far over time: the median over the seeds, and lowest to highest."""
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    times = np.geomspace(1, end, GRID)
    for contender, by_seed in logs.items():
        curves = np.array([[log.at(time, log.validation) for time in times] for log in by_seed.values()])
        known = ~np.isnan(curves).any(axis=0)
        (line,) = axes.plot(times[known], np.median(curves[:, known], axis=0), label=contender)
        low, high = curves[:, known].min(axis=0), curves[:, known].max(axis=0)
        axes.fill_between(times[known], low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.set(xscale="log", yscale="log", xlabel="seconds", ylabel="validation error of the best so far in %")
    axes.set_title(f"{path.stem.rpartition('-')[0]}: median over seeds, lowest to highest")
    axes.legend()
    figure.savefig(path, dpi=150)
    plt.close(figure)
