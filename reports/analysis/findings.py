"""What a recorded study says: pure functions from a record to arrays and findings, nothing drawn.

Each page of the report has its numbers from one function here, so that they can be tested by equality.
"""

from __future__ import annotations

import base64
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from studies.record.reader import SweepRecord, TrialRecord

Floats = NDArray[np.float64]

BASELINE = 0  # trial 0 of every study is its baseline
BAND = (0.1, 0.9)  # quantiles of the grey band behind the learning curves
FEWEST_FOR_BAND = 5  # below this many trials each one is drawn instead
NORMAL_975 = 1.959963984540054
"""The 97.5 % point of the normal distribution."""
BROKEN = ("diverged", "out of memory", "timeout", "failed")
UNFINISHED = ("running", "interrupted")


@dataclass(frozen=True)
class Standing:
    """How far the search has come, and what it found.

    Attributes:
        best: the best completed trial, or None.
        baseline: the completed trial 0, or None.
        gain: best minus baseline, oriented so that positive is better; None unless both exist.
        planned: how many trials the study asks for.
        finished: trials that have ended, in whatever way.
        unfinished: trials that run or were interrupted.
        complete: trials that completed.
    """

    best: TrialRecord | None
    baseline: TrialRecord | None
    gain: float | None
    planned: int
    finished: int
    unfinished: int
    complete: int

    @property
    def over(self) -> bool:
        """Whether the search has ended: every trial asked for has finished."""
        return self.finished >= self.planned and not self.unfinished


def standing(record: SweepRecord) -> Standing:
    """How far the search has come, and what it found."""
    ranked = record.ranked()
    best = ranked[0] if ranked else None
    base = next((trial for trial in ranked if trial.number == BASELINE), None)
    unfinished = sum(trial.outcome in UNFINISHED for trial in record.trials)
    return Standing(
        best=best,
        baseline=base,
        gain=oriented(record, best, base),
        planned=int(record.study["trials"]),
        finished=len(record.trials) - unfinished,
        unfinished=unfinished,
        complete=len(ranked),
    )


def oriented(record: SweepRecord, trial: TrialRecord | None, reference: TrialRecord | None) -> float | None:
    """By how much a trial's objective is better than another's; negative if it is worse."""
    if trial is None or reference is None or trial.value is None or reference.value is None:
        return None
    return (trial.value - reference.value) * (1 if record.maximize else -1)


@dataclass(frozen=True)
class Paired:
    """A paired difference on fresh seeds, positive where the champion is better than the baseline.

    Attributes:
        difference: mean of the differences, in the objective's unit.
        low, high: its 95 % interval; NaN where one seed gives none.
        n: number of pairs.
        among: number of candidates that the champion was chosen among on these seeds; the interval allows for it.
    """

    difference: float
    low: float
    high: float
    n: int
    among: int = 1

    @property
    def finding(self) -> str:
        """`better`, `worse`, or `not distinguishable` where the interval contains 0 or there is none."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "not distinguishable"


def paired(record: SweepRecord) -> Paired | None:
    """The verdict's paired difference; None without a verdict, or when the champion is the baseline itself."""
    found = (record.verdict or {}).get("paired")
    if not found:
        return None
    low, high = (math.nan if found[end] is None else float(found[end]) for end in ("low", "high"))
    return Paired(float(found["difference"]), low, high, int(found["n"]), int(found.get("among", 1)))


def winner(record: SweepRecord) -> TrialRecord | None:
    """The champion where there is a verdict, else the best completed trial."""
    if record.verdict:
        return next((t for t in record.trials if t.number == record.verdict["champion"]), None)
    return standing(record).best


def notable(record: SweepRecord, top: int = 3) -> list[int]:
    """Trials with a look of their own: the winner, the best of the search, all that were confirmed; no baseline."""
    first = winner(record)
    numbers = [first.number] if first else []
    numbers += [trial.number for trial in record.ranked()[:top]]
    numbers += [row.trial for row in confirmation(record)]
    return [number for number in dict.fromkeys(numbers) if number != BASELINE]


@dataclass(frozen=True)
class Progress:
    """Finished trials in the order in which they finished; every array is (finished,).

    Attributes:
        number: trial numbers.
        outcome: how each ended.
        value: the objective of a completed trial, else NaN.
        best: the best value so far, NaN before the first completed trial.
        seconds: training time of all trials up to and including this one.
    """

    number: NDArray[np.int64]
    outcome: tuple[str, ...]
    value: Floats
    best: Floats
    seconds: Floats


def progress(record: SweepRecord) -> Progress:
    """Best so far, trial by trial and second by second."""
    ended = [trial for trial in record.trials if trial.outcome not in UNFINISHED]
    ended.sort(key=lambda trial: (trial.finished.timestamp() if trial.finished else math.inf, trial.number))
    value = np.array([_completed(trial) for trial in ended], dtype=np.float64)
    best = np.fmax.accumulate(value) if record.maximize else np.fmin.accumulate(value)
    return Progress(
        number=np.array([trial.number for trial in ended], dtype=np.int64),
        outcome=tuple(trial.outcome for trial in ended),
        value=value,
        best=best,
        seconds=np.cumsum([trial.seconds for trial in ended], dtype=np.float64),
    )


def _completed(trial: TrialRecord) -> float:
    return trial.value if trial.state == "complete" and trial.value is not None else math.nan


def many_magnitudes(values: Floats, keep: Sequence[float], *, maximize: bool) -> bool:
    """Whether an objective needs a log axis: a loss whose lowest value is less than a thirtieth of what is shown.

    What is shown ends where `window` does, whose arguments these are.
    """
    known = values[np.isfinite(values)]
    if maximize or not known.size:
        return False
    return bool(0 < 30 * known.min() < window(values, keep, maximize=False)[1])


def window(values: Floats, keep: Sequence[float], *, maximize: bool, log: bool = False) -> tuple[float, float]:
    """Ends of an objective axis on which the good values can be told apart.

    The good side ends at the best value; the bad side at Tukey's outer fence, three interquartile ranges beyond the
    worse quartile, so that a diverged trial does not flatten the rest.

    Args:
        values: (trials,), NaN where there is none.
        keep: values that stay inside whatever they are, such as the baseline's.
        maximize: whether the good side is the upper one.
        log: whether the axis is logarithmic; what is not above 0 has no place on it.
    """
    if log:
        logs = np.log(np.where(values > 0, values, math.nan))
        low, high = window(logs, [math.log(value) for value in keep if value > 0], maximize=maximize)
        return math.exp(low), math.exp(high)
    sign = 1.0 if maximize else -1.0
    goodness = sign * values[np.isfinite(values)]
    if not goodness.size:
        return 0.0, 1.0
    lower, upper = np.quantile(goodness, [0.25, 0.75])
    inside = goodness[goodness >= lower - 3 * (upper - lower)]
    shown = np.concatenate([inside, sign * np.array([k for k in keep if math.isfinite(k)])])
    worst, best = float(shown.min()), float(shown.max())
    pad = 0.06 * (best - worst) or 0.02 * abs(best) or 0.01
    ends = (sign * (worst - pad), sign * (best + pad))
    return min(ends), max(ends)


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


@dataclass(frozen=True)
class BestEpochs:
    """At which epoch the completed trials were at their best.

    Attributes:
        counted: (complete,), share of its epochs after which each was at its best, in 0..1.
        early: share of them that were at their best in the first tenth of their epochs.
        late: share that were at their best in the last quarter.
        annealed: share whose schedule had taken the learning rate to nothing: that these are best late is no finding.
    """

    counted: Floats
    early: float
    late: float
    annealed: float


def best_epochs(record: SweepRecord) -> BestEpochs:
    """At which epoch the completed trials were at their best."""
    ranked = [trial for trial in record.ranked() if trial.counted_epoch is not None]
    if not ranked:
        return BestEpochs(np.empty(0), 0.0, 0.0, 0.0)
    shares = np.array([(_at_best(record, trial) + 1) / len(trial.epochs) for trial in ranked])
    annealed = float(np.mean([trial.annealed for trial in ranked]))
    return BestEpochs(shares, float(np.mean(shares <= 0.1)), float(np.mean(shares > 0.75)), annealed)


def _at_best(record: SweepRecord, trial: TrialRecord) -> int:
    """Index of the epoch that was best; not the one that counts, where that is the last by rule."""
    if record.study.get("epoch") != "last":
        return int(trial.counted_epoch or 0)
    values = trial.epochs[record.objective]
    return int(values.argmax() if record.maximize else values.argmin())


@dataclass(frozen=True)
class Confirmed:
    """One trial of the search, repeated on fresh seeds.

    Attributes:
        trial: its number in the search.
        search_value: what the search had measured.
        values: (seeds,), the objective of each repeat.
    """

    trial: int
    search_value: float
    values: Floats

    @property
    def mean(self) -> float:
        """Mean of the repeats."""
        return float(self.values.mean())


def confirmation(record: SweepRecord) -> list[Confirmed]:
    """The confirmed trials, best mean first: from the verdict, or from the repeats that have completed so far."""
    rows = _judged(record.verdict["candidates"]) if record.verdict else _repeated(record)
    return sorted(rows, key=lambda row: (-row.mean if record.maximize else row.mean, row.trial))


def _judged(candidates: Sequence[Mapping[str, Any]]) -> list[Confirmed]:
    rows = [Confirmed(c["trial"], float(c["search_value"]), np.array(c["values"], dtype=float)) for c in candidates]
    return [row for row in rows if row.values.size]


def _repeated(record: SweepRecord) -> list[Confirmed]:
    found: dict[int, list[float]] = {}
    for repeat in record.confirm:
        if repeat.role == "confirm" and repeat.candidate is not None and math.isfinite(value := _completed(repeat)):
            found.setdefault(repeat.candidate, []).append(value)
    searched = {trial.number: _completed(trial) for trial in record.trials}
    return [Confirmed(number, searched.get(number, math.nan), np.array(seen)) for number, seen in found.items()]


@dataclass(frozen=True)
class Noise:
    """How much the objective changes when nothing but the seed does.

    Attributes:
        deviation: standard deviation of one training, pooled over the trials that were repeated.
        freedom: its degrees of freedom: repeats minus trials.
    """

    deviation: float
    freedom: int


def seed_noise(record: SweepRecord) -> Noise | None:
    """From the repeats on fresh seeds of the best trials; the baseline, far from them, only if there is no other."""
    rows = [row for row in confirmation(record) if len(row.values) > 1]
    used = [row for row in rows if row.trial != BASELINE] or rows
    if not used:
        return None
    freedom = sum(len(row.values) - 1 for row in used)
    squares = math.fsum(float(((row.values - row.mean) ** 2).sum()) for row in used)
    return Noise(math.sqrt(squares / freedom), freedom)


@dataclass(frozen=True)
class Confusion:
    """Who was taken for whom.

    Attributes:
        counts: (classes, classes), rows are true classes.
        names: of the classes.
        split: `test` or `validation`.
        trial: whose predictions they are.
    """

    counts: NDArray[np.int64]
    names: tuple[str, ...]
    split: str
    trial: int

    @property
    def examples(self) -> int:
        """How many examples were judged."""
        return int(self.counts.sum())

    @property
    def errors(self) -> int:
        """How many of them were taken for another class."""
        return int(self.counts.sum() - np.trace(self.counts))

    def worst_pairs(self, most: int = 3) -> list[tuple[str, str, int]]:
        """The most frequent mistakes: true class, predicted class, how often."""
        wrong = self.counts - np.diag(np.diag(self.counts))
        order = np.argsort(-wrong, axis=None, kind="stable")[:most]
        pairs = [(int(flat // len(wrong)), int(flat % len(wrong))) for flat in order]
        return [(self.names[t], self.names[p], int(wrong[t, p])) for t, p in pairs if wrong[t, p] > 0]

    def recall(self) -> Floats:
        """Share of each class that was recognised, (classes,); NaN for a class without examples."""
        totals = self.counts.sum(axis=1)
        return np.where(totals > 0, np.diag(self.counts) / np.maximum(totals, 1), np.nan)


def confusion(record: SweepRecord) -> Confusion | None:
    """The champion's on the test set where that was opened, else the best trial's on the validation set."""
    if record.verdict:
        return _confusion(record, record.verdict["test"]["confusion"], "test", int(record.verdict["champion"]))
    best = standing(record).best
    if best is None or best.confusion is None:
        return None
    return _confusion(record, best.confusion, "validation", best.number)


def _confusion(record: SweepRecord, counts: Sequence[Sequence[int]], split: str, trial: int) -> Confusion:
    table = np.array(counts, dtype=np.int64)
    classes = record.dataset["classes"]
    given = [str(name) for name in classes] if isinstance(classes, (list, tuple)) else []
    names = tuple(given) if len(given) == len(table) else tuple(str(index) for index in range(len(table)))
    return Confusion(table, names, split, trial)


@dataclass(frozen=True)
class Mistake:
    """A wrongly classified test example.

    Attributes:
        image: (height, width), any scale.
        label, predicted: class indices.
        probability: what the model gave to its wrong answer, in 0..1.
    """

    image: Floats
    label: int
    predicted: int
    probability: float


@dataclass(frozen=True)
class Tested:
    """What the final models, one a fresh seed, made of the test set.

    Attributes:
        examples: how many there are.
        accuracies: of each final model, in 0..1; the first is the model that is shipped.
        mean: of the accuracies.
        low, high: 95 % interval of the mean over other test examples, Wilson's for one model of that accuracy. All
            models share the examples, so that averaging them narrows it little; for these models it is, if anything,
            too wide. Of other seeds it says nothing: the spread of `accuracies` does.
        shipped_low, shipped_high: the same for the shipped model alone.
        opening: how often this test set had been opened, this time included.
        epochs: for which the final models were trained.
    """

    examples: int
    accuracies: tuple[float, ...]
    mean: float
    low: float
    high: float
    shipped_low: float
    shipped_high: float
    opening: int
    epochs: int


def tested(record: SweepRecord) -> Tested | None:
    """The test set's numbers; None while it is closed."""
    if not record.verdict:
        return None
    test = record.verdict["test"]
    n, accuracies = int(test["examples"]), tuple(float(value) for value in test["accuracies"])
    mean = math.fsum(accuracies) / len(accuracies)
    opening, epochs = int(test["opening"]), int(record.verdict["epochs"])
    return Tested(n, accuracies, mean, *wilson(mean, n), *wilson(accuracies[0], n), opening, epochs)


@dataclass(frozen=True)
class Calibration:
    """Whether the shipped model's confidence is its accuracy, on the test set; arrays are (groups,), least first.

    Attributes:
        n: examples in each group.
        confidence: mean probability of the predicted class.
        accuracy: share classified rightly.
        low, high: Wilson's 95 % interval of it, over other test examples.
        error: expected calibration error (Guo et al. 2017, https://arxiv.org/abs/1706.04599): mean distance of the two.
    """

    n: NDArray[np.int64]
    confidence: Floats
    accuracy: Floats
    low: Floats
    high: Floats
    error: float


def calibration(record: SweepRecord) -> Calibration | None:
    """The shipped model's calibration; None while the test set is closed, or where it was not recorded."""
    groups = (record.verdict or {}).get("test", {}).get("calibration")
    if not groups:
        return None
    n = np.array([group["n"] for group in groups])
    confidence, accuracy = (np.array([group[key] for group in groups], float) for key in ("confidence", "accuracy"))
    ends = np.array([wilson(share, int(size)) for share, size in zip(accuracy, n, strict=True)])
    error = float(np.abs(confidence - accuracy) @ n / n.sum())
    return Calibration(n, confidence, accuracy, ends[:, 0], ends[:, 1], error)


def ranks(values: NDArray[Any]) -> Floats:
    """Ranks from 1 of values (n,); equal ones share the mean of their places."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((count.cumsum() - (count - 1) / 2)[place], dtype=np.float64)


def wilson(share: float, n: int) -> tuple[float, float]:
    """95 % interval of a share of n (Wilson 1927): exact enough near 100 %, where the normal one leaves [0, 1]."""
    z2 = NORMAL_975**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = NORMAL_975 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(0.0, middle - half), min(1.0, middle + half)  # rounding may lead a last bit out


def mistakes(record: SweepRecord) -> list[Mistake]:
    """The most confident mistakes on the test set, most confident first; none if the examples are not images."""
    shape = tuple(record.dataset["shape"])
    if not record.verdict or len(shape) != 2:
        return []
    found = [_mistake(entry, shape) for entry in record.verdict["test"].get("mistakes", [])]
    return sorted((m for m in found if m is not None), key=lambda mistake: -mistake.probability)


def _mistake(entry: Mapping[str, Any], shape: tuple[int, ...]) -> Mistake | None:
    pixels = np.frombuffer(base64.b64decode(entry["image"]), dtype=np.dtype(entry["dtype"]))
    if pixels.size != math.prod(shape):
        return None
    image = pixels.reshape(shape).astype(np.float64)
    return Mistake(image, int(entry["label"]), int(entry["predicted"]), float(entry["probability"]))


def causes(record: SweepRecord) -> dict[str, int]:
    """Why trials broke, most frequent first.

    Reasons that differ in their numbers only are one cause, named by the first of them.
    """
    broken = [trial.reason or trial.outcome for trial in record.trials if trial.outcome in BROKEN]
    kinds = [re.sub(r"\d+", "#", reason) for reason in broken]
    first = dict(zip(reversed(kinds), reversed(broken), strict=True))
    return {first[kind]: count for kind, count in Counter(kinds).most_common()}


def last_finish(record: SweepRecord) -> datetime | None:
    """When the last trial, or the last repeat of one, finished."""
    return max((trial.finished for trial in (*record.trials, *record.confirm) if trial.finished), default=None)
