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
from matplotlib.ticker import NullFormatter, ScalarFormatter

OURS = "ours"
GRID = 200
"""Points in time of a curve."""
COLOURS = {
    OURS: "#0072b2",
    "optuna_median": "#d55e00",
    "optuna_hyperband": "#e69f00",
    "ray_asha": "#009e73",
    "sklearn_halving": "#7f7f7f",
    "flaml_automl": "#cc79a7",
}


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
    times = np.linspace(1, end, GRID)
    last_first = sorted(logs, key=lambda name: -float(_mean(logs[name], end)))
    for contender in last_first:
        by_seed = logs[contender]
        curves = np.array([[log.at(time, log.validation) for time in times] for log in by_seed.values()])
        known = ~np.isnan(curves).any(axis=0)
        colour = COLOURS[contender]
        median = np.median(curves[:, known], axis=0)
        axes.plot(times[known], median, color=colour, lw=2.5 if contender == OURS else 1.5, label=contender)
        axes.fill_between(
            times[known], curves[:, known].min(0), curves[:, known].max(0), color=colour, alpha=0.15, lw=0
        )
    axes.set_yscale("log")
    for axis in (axes.yaxis, axes.xaxis):
        axis.set_major_formatter(ScalarFormatter())
        axis.set_minor_formatter(NullFormatter())
    ticks = [1, 1.5, 2, 3, 4, 6, 10, 20, 40, 90]
    low, high = axes.get_ylim()
    axes.set_yticks([tick for tick in ticks if low <= tick <= high])
    axes.set_xlim(0, end)
    axes.set_xlabel("seconds since the start of the process")
    axes.set_ylabel("validation error of the best so far, %")
    axes.set_title(f"{path.stem.rpartition('-')[0]}: median over the seeds, lowest to highest", loc="left", fontsize=10)
    axes.legend(frameon=False, loc="upper right", title="in the order of the last error", title_fontsize=9, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
