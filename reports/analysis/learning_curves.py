"""What a learning curve shows, by rules that a single odd epoch cannot trip.

A validation loss is positive and its scatter grows with it, so every rule works on its logarithm: a difference of 0.05
is 5 %. The scatter from epoch to epoch is taken from the curve itself (Gasser, Sroka and Jennen-Steinmetz 1986,
https://doi.org/10.1093/biomet/73.3.625: how far each point lies from the middle of its neighbours), with a median in
place of their mean, so that a spike does not count as scatter. A rise or a fall has to exceed several times that
scatter, and levels are medians of several epochs (Tukey 1977, running medians). The labels follow the Deep Learning
Tuning Playbook, "examining the training curves" (https://github.com/google-research/tuning_playbook).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reports.analysis.statistics import Floats
from studies.record.reader import SweepRecord, TrialRecord

FEWEST_EPOCHS = 8  # below it there are too few neighbours to tell scatter from course
# So many times the scatter of a median of three epochs is more than chance, which exceeds it in about 1 of 50 curves;
# more for a rise, because it starts at the luckiest of many levels.
RISE, GAIN = 4.0, 3.0
LEAST_RISE = 0.05  # a smaller rise of the loss is no overfitting worth a word, however clean the curve
LEAST_GAIN = 0.02  # a smaller fall over the last fifth is no improvement worth more epochs
NOISY = 0.10  # scatter of the validation loss from epoch to epoch
BAND = (0.1, 0.9)  # quantiles of the grey band behind the learning curves
FEWEST_FOR_BAND = 5  # below this many trials each one is drawn instead
LABELS = ("overfitting", "still improving", "noisy", "saturated", "diverged", "too short to judge")


@dataclass(frozen=True)
class Course:
    """What the learning curve of one trial shows.

    Attributes:
        label: one of `LABELS`.
        counted: the epoch that counts, from 1; 0 where there is none.
        epochs: how many it ran.
        rise: validation loss over the last tenth of the epochs against its lowest level, as a fraction of that; >= 0.
        gain: by how much it fell from the second last fifth of the epochs to the last, as a fraction.
        scatter: of the validation loss from epoch to epoch, as a fraction.
        annealed: whether the learning rate had fallen to nothing: what then stays level was stopped by its schedule.
        gap: training minus validation accuracy at the epoch that counts, a fraction; NaN when not recorded.

    `rise`, `gain` and `scatter` are NaN where the course is too short or broke.
    """

    label: str
    counted: int
    epochs: int
    rise: float
    gain: float
    scatter: float
    annealed: bool
    gap: float


def course(trial: TrialRecord) -> Course | None:
    """What a trial's learning curve shows; None without epochs."""
    n = len(trial.epochs)
    if not n:
        return None
    counted = trial.counted_epoch
    row = trial.epochs[counted or 0]
    gap = float(row["train_accuracy"] - row["validation_accuracy"])
    label, rise, gain, scatter = _shape(trial)
    return Course(label, 0 if counted is None else counted + 1, n, rise, gain, scatter, trial.annealed, gap)


def labels(record: SweepRecord) -> Mapping[str, int]:
    """How many completed and diverged trials have each label, in the order of `LABELS`; only labels that occur."""
    ended = [trial for trial in record.trials if trial.outcome in ("complete", "diverged")]
    found = Counter(seen.label for seen in map(course, ended) if seen is not None)
    return {label: found[label] for label in LABELS if found[label]}


def _shape(trial: TrialRecord) -> tuple[str, float, float, float]:
    loss, train = trial.epochs["validation_loss"], trial.epochs["train_loss"]
    unknown = (float("nan"),) * 3
    if trial.outcome == "diverged" or not np.isfinite(loss).all():
        return "diverged", *unknown
    if len(loss) < FEWEST_EPOCHS:
        return "too short to judge", *unknown
    height = np.log(np.maximum(loss, 1e-12))
    noise = scatter(height)
    last, fifth = max(3, len(loss) // 10), max(3, len(loss) // 5)
    levels = np.median(np.lib.stride_tricks.sliding_window_view(height, last), axis=1)
    lowest = int(levels.argmin()) + last // 2
    rise = float(levels[-1] - levels.min())
    gain = float(np.median(height[-2 * fifth : -fifth]) - np.median(height[-fifth:]))
    learnt_on = bool(np.median(train[-last:]) <= train[lowest])  # else both got worse, which is no overfitting
    if learnt_on and rise > max(np.log1p(LEAST_RISE), RISE * noise * np.sqrt(3 / last)):
        label = "overfitting"
    elif gain > max(np.log1p(LEAST_GAIN), GAIN * noise * np.sqrt(3 / fifth)):
        label = "still improving"
    else:
        label = "noisy" if noise > NOISY else "saturated"
    return label, float(np.expm1(rise)), float(-np.expm1(-gain)), noise


def scatter(height: Floats) -> float:
    """Scatter of a curve (epochs,) from point to point, around whatever course it takes; in its own unit.

    The distance of a point from the middle of its neighbours has the variance 1.5 sigma^2 on a straight course; the
    last half of the distances (but six at least) is used, since a curve bends most at its beginning.
    """
    distance = np.abs(height[1:-1] - (height[:-2] + height[2:]) / 2)
    used = distance[-max(6, len(distance) // 2) :]
    return float(1.4826 * np.median(used) / np.sqrt(1.5))


@dataclass(frozen=True)
class Band:
    """One metric of the trials that are not named: a band, or thin lines when they are few.

    Attributes:
        epoch: (epochs,), from 1.
        low, high: (epochs,), the 10 % and 90 % quantile over the trials still running at that epoch.
        lines: each trial by itself, when there are fewer than five.
        trials: how many trials it shows.
    """

    epoch: Floats
    low: Floats
    high: Floats
    lines: tuple[Floats, ...]
    trials: int


def band(record: SweepRecord, column: str, named: Sequence[int]) -> Band:
    """The learning curves of every trial that is not named, as one band."""
    others = [trial for trial in record.trials if trial.number not in named and len(trial.epochs)]
    curves = [trial.epochs[column] for trial in others]
    table = np.full((len(curves), max((len(curve) for curve in curves), default=0)), np.nan)
    for row, curve in zip(table, curves, strict=True):
        row[: len(curve)] = curve
    table[~np.isfinite(table)] = np.nan
    enough = np.isfinite(table).sum(axis=0) >= FEWEST_FOR_BAND
    edges = np.nanquantile(table[:, enough], BAND, axis=0) if enough.any() else np.empty((2, 0))
    low, high = np.asarray(edges, dtype=np.float64)
    lines = tuple(curves) if len(curves) < FEWEST_FOR_BAND else ()
    epoch = np.flatnonzero(enough).astype(np.float64) + 1
    return Band(epoch, low, high, lines, len(curves))
