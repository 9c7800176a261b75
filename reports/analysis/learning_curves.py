"""Classification of learning curves by rules that are robust to single outliers.

A validation loss is positive and its scatter is proportional to it, so every rule uses its logarithm: a difference of
0.05 is 5 %. The scatter between epochs is estimated from the curve (Gasser, Sroka and Jennen-Steinmetz 1986,
https://doi.org/10.1093/biomet/73.3.625: the distance of each point from the mean of its neighbours), with a median
instead of their mean, so that a spike has no influence. A rise or a fall must exceed several times that scatter, and
levels are medians of several epochs (Tukey 1977, running medians). The labels follow the Deep Learning Tuning Playbook,
"examining the training curves" (https://github.com/google-research/tuning_playbook).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reports.analysis.statistics import Floats
from studies.record.reader import SweepRecord, TrialRecord

FEWEST_EPOCHS = 8  # with fewer, scatter and trend cannot be separated
# Thresholds in units of the scatter of a median of three epochs; by chance about 1 of 50 curves exceeds them. The one
# for a rise is higher, because the rise is measured from the lowest of many levels.
RISE, GAIN = 4.0, 3.0
LEAST_RISE = 0.05  # a smaller rise of the loss is not called overfitting
LEAST_GAIN = 0.02  # a smaller fall over the last fifth does not justify more epochs
NOISY = 0.10  # relative scatter of the validation loss between epochs
BAND = (0.1, 0.9)  # quantiles of the grey band behind the learning curves
FEWEST_FOR_BAND = 5  # with fewer trials each one is drawn
LABELS = ("overfitting", "still improving", "noisy", "saturated", "diverged", "too short to judge")


@dataclass(frozen=True)
class Course:
    """Classification of the learning curve of one trial.

    Attributes:
        label: one of `LABELS`.
        counted: the selected epoch, from 1; 0 if there is none.
        epochs: number of epochs.
        rise: relative rise of the validation loss from its lowest level to the last tenth of the epochs; >= 0.
        gain: relative fall from the second last fifth of the epochs to the last.
        scatter: relative scatter of the validation loss between epochs.
        annealed: whether the schedule reduced the learning rate to 0, which flattens the curve.
        gap: training minus validation accuracy at the selected epoch, a fraction; NaN if not recorded.

    `rise`, `gain` and `scatter` are NaN if the curve is too short or the trial diverged.
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
    """Classification of a trial's learning curve; None without epochs."""
    n = len(trial.epochs)
    if not n:
        return None
    counted = trial.selected_epoch
    row = trial.epochs[counted or 0]
    gap = float(row["train_accuracy"] - row["validation_accuracy"])
    label, rise, gain, scatter = _shape(trial)
    return Course(label, 0 if counted is None else counted + 1, n, rise, gain, scatter, trial.annealed, gap)


def labels(record: SweepRecord) -> Mapping[str, int]:
    """Number of completed and diverged trials with each label, in the order of `LABELS`; only labels that occur."""
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
    learnt_on = bool(np.median(train[-last:]) <= train[lowest])  # otherwise both rose, which is not overfitting
    if learnt_on and rise > max(np.log1p(LEAST_RISE), RISE * noise * np.sqrt(3 / last)):
        label = "overfitting"
    elif gain > max(np.log1p(LEAST_GAIN), GAIN * noise * np.sqrt(3 / fifth)):
        label = "still improving"
    else:
        label = "noisy" if noise > NOISY else "saturated"
    return label, float(np.expm1(rise)), float(-np.expm1(-gain)), noise


def scatter(height: Floats) -> float:
    """Standard deviation of a curve (epochs,) around its local trend, in its own unit.

    The distance of a point from the mean of its neighbours has the variance 1.5 sigma^2 on a straight line. Only the
    last half of the distances (at least six) is used, because a curve bends most at its beginning.
    """
    distance = np.abs(height[1:-1] - (height[:-2] + height[2:]) / 2)
    used = distance[-max(6, len(distance) // 2) :]
    return float(1.4826 * np.median(used) / np.sqrt(1.5))


def last_part(curve: Floats) -> Floats:
    """The last third of a curve, (epochs,), at least four epochs."""
    return curve[-max(4, len(curve) // 3) :]


def longer_gain(curve: Floats) -> float:
    """How much a curve, (epochs,), of which less is better, is expected to fall if it were half again as long; >= 0.

    From two to three thirds of the epochs is such a step. The fall in it and in the step before are measured by
    straight lines over the logarithm of the epoch; the next fall is expected to be in the same ratio to the last, at
    most equal to it. A power law falls by ever less over such steps, an exponential by far less.
    """
    time = np.log(np.arange(1, len(curve) + 1))
    last = len(last_part(curve))
    before = max(3, round(2 / 9 * len(curve)))
    fall = -np.polyfit(time[-last:], curve[-last:], 1)[0]
    earlier = -np.polyfit(time[-last - before : -last], curve[-last - before : -last], 1)[0]
    ratio = min(1.0, fall / earlier) if earlier > 0 else 1.0
    return float(max(0.0, fall * ratio) * np.log(1.5))


@dataclass(frozen=True)
class Band:
    """One metric of the trials that are not highlighted: a band, or thin lines if they are few.

    Attributes:
        epoch: (epochs,), from 1.
        low, high: (epochs,), the 10 % and 90 % quantile over the trials still running at that epoch.
        lines: the curve of each trial, if there are fewer than five.
        trials: number of trials.
    """

    epoch: Floats
    low: Floats
    high: Floats
    lines: tuple[Floats, ...]
    trials: int


def band(record: SweepRecord, column: str, named: Sequence[int]) -> Band:
    """The learning curves of all trials that are not highlighted, as one band."""
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
