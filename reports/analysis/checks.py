"""Checks of a sweep after the Deep Learning Tuning Playbook, each with its numbers.

https://github.com/google-research/tuning_playbook. A check passes, warns, or is inconclusive; a check without enough
data never passes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from reports.analysis import wording
from reports.analysis.axes import Axis, at_bounds, axes, values
from reports.analysis.best_epochs import best_epochs
from reports.analysis.confirmation import is_split, paired_difference, repeat_word, seed_noise
from reports.analysis.failures import BROKEN, failure_causes
from reports.analysis.learning_curves import Course, course
from reports.analysis.pruning import controls, misjudged
from reports.analysis.standing import BASELINE, standing, winner
from reports.analysis.statistics import wilson
from reports.analysis.trial_budget import enough
from reports.analysis.wording import counted, listed, percent
from studies.record.reader import SweepRecord, TrialRecord

PASS, WARN, INCONCLUSIVE = "pass", "warn", "not enough evidence"

FEWEST = 10  # completed trials: with fewer a check is inconclusive
FEWEST_FOR_HALVES = 20  # finished trials, needed to compare all with half of them
TOP_SHARE, TOP_FEWEST = 0.1, 5  # the best trials, which must cluster at a bound, or overfit, for a warning
ZONE = 0.2  # fraction of a range, at its end
CHANCE = 0.05  # significance level of the clustering at a bound
INFEASIBLE = 0.1  # fraction of trials that failed
EARLY, LATE = 0.1, 0.25  # of a trial's epochs: a best epoch in the first tenth is early, in the last quarter late
MEANINGFUL = 0.1  # fraction of the total gain of the search, used if the noise is unknown
FEWEST_REPEATS = 4  # degrees of freedom of the noise, such as two repeats of four trials
SPREAD = 2.5  # least ratio of spread to noise; below it the order of the trials may be mostly random
MISJUDGED = 0.05  # fraction of pruned trials that would have ended in the best quarter
MOST_MISJUDGED = 0.3  # upper limit of its interval for a pass


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        name: what was checked.
        status: `pass`, `warn` or `not enough evidence`.
        finding: the reason, as a sentence.
        numbers: the numbers behind the sentence, ready for JSON.
    """

    name: str
    status: str
    finding: str
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """All fields by name, ready for JSON."""
        return asdict(self)


def checks(record: SweepRecord) -> list[Check]:
    """All checks of a study, always the same in the same order."""
    return [check(record) for check in CHECKS]


def summary(found: Sequence[Check]) -> str:
    """All checks in one line: `boundary: warn; infeasible share: pass; ...`."""
    return "; ".join(f"{check.name}: {check.status}" for check in found)


# --- the search space


def boundary(record: SweepRecord) -> Check:
    """Are the best trials at a bound of the search space?

    By chance the winner is within 5 % of a bound on one axis in ten. So the top group (a tenth of the completed trials,
    at least five) must cluster there as well: a one-sided binomial test at 5 % of its number in the outermost fifth
    of the range, against a uniform distribution.
    """
    name, best, ranked = "boundary", winner(record), record.ranked()
    if best is None or len(ranked) < FEWEST:
        return _too_few(name, len(ranked), FEWEST)
    found = crowded(record)
    numbers = {"top": len(top_group(record)), "bounds": [{"axis": a.name, "end": end} for a, end in found.items()]}
    if found:
        ends = listed(f"the {end} bound of {axis.name}" for axis, end in found.items())
        return Check(name, WARN, f"The winner and the other best trials are at {ends}.", numbers)
    alone = list(at_bounds(record, best))
    text = f"; in {listed(alone)} only the winner is at one" if alone else ""
    return Check(name, PASS, f"The best trials do not cluster at any bound{text}.", {**numbers, "winner alone": alone})


def crowded(record: SweepRecord) -> dict[Axis, str]:
    """The axes where the winner and the top group are at a bound, and which bound: `lower` or `upper`."""
    best = winner(record)
    if best is None:
        return {}
    ends, group = at_bounds(record, best), top_group(record)
    there = [axis for axis in axes(record.study["space"]) if axis.name in ends]
    return {axis: ends[axis.name] for axis in there if _clusters(axis, float(values(axis, [best])[0]), group)}


def top_group(record: SweepRecord) -> list[TrialRecord]:
    """The best tenth of the completed trials, at least five."""
    ranked = record.ranked()
    return ranked[: max(TOP_FEWEST, round(TOP_SHARE * len(ranked)))]


def _clusters(axis: Axis, at: float, group: Sequence[TrialRecord]) -> bool:
    """Whether significantly many of a group are in the outermost fifth of an axis, at the end near `at`."""
    upper = axis.position(at) > 0.5
    x = values(axis, group)
    x = x[np.isfinite(x)]
    inside = sum(_in_zone(axis, float(value), upper) for value in x)
    share = ZONE
    if axis.integer and axis.scale == "linear" and axis.high - axis.low < 1 / ZONE:  # few whole numbers
        every = range(int(axis.low), int(axis.high) + 1)
        share = sum(_in_zone(axis, value, upper) for value in every) / len(every)
    return bool(x.size) and tail(inside, len(x), share) <= CHANCE


def _in_zone(axis: Axis, value: float, upper: bool) -> bool:
    position = axis.position(value)
    return position >= 1 - ZONE - 1e-9 if upper else position <= ZONE + 1e-9


def tail(hits: int, n: int, share: float) -> float:
    """Binomial tail: probability of at least `hits` successes in n draws with success probability `share`."""
    return sum(math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(hits, n + 1))


def infeasible(record: SweepRecord) -> Check:
    """Do too many trials fail? Then the space has regions that cannot be trained. With a Wilson interval."""
    name, finished = "infeasible share", standing(record).finished
    broken = sum(trial.outcome in BROKEN for trial in record.trials)
    if finished < FEWEST:
        return _too_few(name, finished, FEWEST, "finished")
    low, high = wilson(broken / finished, finished)
    numbers = {"broken": broken, "finished": finished, "share": broken / finished, "low": low, "high": high}
    text = f"{broken} of {counted(finished, 'finished trial')} failed or diverged ({percent(low)} to {percent(high)})"
    if broken / finished <= INFEASIBLE:
        return Check(name, PASS, f"{text}.", numbers)
    return Check(name, WARN, f"{text}; the most frequent reason: {next(iter(failure_causes(record)))}.", numbers)


# --- the epochs


def overfitting(record: SweepRecord) -> Check:
    """Do the best trials overfit? More than half of the top group, by the rules of `learning_curves`."""
    name = "overfitting"
    group = _judged(record)
    if len(group) < TOP_FEWEST:
        return _too_few(name, len(group), TOP_FEWEST, "long enough to judge")
    bad = [seen for seen in group if seen.label == "overfitting"]
    numbers = {"overfitting": len(bad), "judged": len(group)}
    text = f"{len(bad)} of the best {len(group)} trials overfit"
    if len(bad) <= len(group) / 2:
        return Check(name, PASS, f"{text}.", numbers)
    rise = float(np.median([seen.rise for seen in bad]))
    words = f"{text}: their validation loss ends {percent(rise)} above its lowest level (median)."
    return Check(name, WARN, words, {**numbers, "median rise": rise})


def still_improving(record: SweepRecord) -> Check:
    """Were the best trials still improving at their end? More than half of the top group, as in `learning_curves`.

    A schedule that reduces the learning rate to 0 flattens every curve, so a flat curve is then inconclusive.
    """
    name = "still improving"
    group = _judged(record)
    if len(group) < TOP_FEWEST:
        return _too_few(name, len(group), TOP_FEWEST, "long enough to judge")
    going = [seen for seen in group if seen.label == "still improving"]
    annealed = sum(seen.annealed for seen in group)
    numbers = {"still improving": len(going), "judged": len(group), "schedule ended": annealed}
    text = f"{len(going)} of the best {len(group)} trials were still improving in their last epochs"
    if len(going) > len(group) / 2:
        way = "; their schedule ended at 0, so more epochs require a new, longer schedule" if annealed else ""
        return Check(name, WARN, f"{text}{way}.", numbers)
    if annealed > len(group) / 2:
        words = "The schedule reduced the learning rate to 0, which flattens any curve; a longer one was not tried."
        return Check(name, INCONCLUSIVE, words, numbers)
    return Check(name, PASS, f"{text}.", numbers)


def best_epoch(record: SweepRecord) -> Check:
    """Was the number of epochs right? Best in the first tenth: too many; in the last quarter: too few.

    Among equal epochs the best is random, so late best epochs warn only if the top group was still improving.
    """
    name = "best epoch"
    time = best_epochs(record)
    n = len(time.counted)
    if n < FEWEST:
        return _too_few(name, n, FEWEST)
    numbers = {"completed": n, "first tenth": time.early, "last quarter": time.late, "schedule ended": time.annealed}
    if time.early > 0.5:
        return Check(name, WARN, f"{percent(time.early)} of {n} trials were at their best in the first tenth.", numbers)
    if time.annealed > 0.5:
        words = "With a schedule that ends at 0 the best epoch is late by design, so this check is inconclusive."
        return Check(name, INCONCLUSIVE, words, numbers)
    text = f"{percent(time.late)} of {n} trials had their best epoch in the last quarter"
    if time.late <= 0.5:
        return Check(name, PASS, f"{text}.", numbers)
    going = still_improving(record).status
    if going == INCONCLUSIVE:
        return Check(name, INCONCLUSIVE, f"{text}; their curves are too short to tell if they are flat.", numbers)
    level = "" if going == WARN else ", but their curves are flat there: among equal epochs the best is random"
    return Check(name, going, f"{text}{level}.", numbers)


def _judged(record: SweepRecord) -> list[Course]:
    seen = [course(trial) for trial in top_group(record)]
    return [one for one in seen if one is not None and one.label not in ("too short to judge", "diverged")]


# --- the trials


def enough_trials(record: SweepRecord) -> Check:
    """Is the gain of the second half of the trials larger than the noise, or than a tenth of the total gain?"""
    name, found = "enough trials", enough(record)
    finished = standing(record).finished
    if found is None or finished < FEWEST_FOR_HALVES:
        return _too_few(name, finished, FEWEST_FOR_HALVES, "finished")
    metric, noise = wording.objective(record), seed_noise(record)
    known = noise is not None and noise.freedom >= FEWEST_REPEATS
    limit = noise.of_trial if noise and known else MEANINGFUL * found.total
    of = "one seed" if record.folds == 1 else "a trial"
    than = f"the {f'noise of {of}' if known else 'tenth of the total gain'}, {metric.gain(limit)}"
    numbers = {"gain of second half": found.gain, "limit": limit, "late gain": found.late, "adaptive": found.adaptive}
    if found.gain > limit:
        words = f"The second half of the trials is worth {metric.gain(found.gain)}, more than {than}."
        return Check(name, WARN, words, numbers)
    if found.adaptive and found.late > limit:
        words = f"The search gained {metric.gain(found.late)} in its last tenth, more than {than}."
        return Check(name, WARN, words, numbers)
    guess = " (underestimated: the sampler is adaptive)" if found.adaptive else ""
    words = f"The second half of the trials is worth {metric.gain(found.gain)}{guess}, no more than {than}."
    return Check(name, PASS, words, numbers)


def noise(record: SweepRecord) -> Check:
    """Are the differences between trials larger than those between repeats of a trial?

    The noise is the standard deviation over the repeats, pooled over the confirmed trials; that of a mean of folds is
    smaller (`Noise.of_trial`). The spread of the completed trials is their interquartile range divided by 1.349, the
    standard deviation of a normal distribution.
    """
    name, found = "noise", seed_noise(record)
    every = np.array([trial.value for trial in record.ranked()], dtype=np.float64)
    if found is None or found.freedom < FEWEST_REPEATS:
        return Check(name, INCONCLUSIVE, "Without repeats the noise between them is unknown.")
    if len(every) < FEWEST:
        return _too_few(name, len(every), FEWEST)
    metric = wording.objective(record)
    spread = float(np.subtract(*np.quantile(every, [0.75, 0.25]))) / 1.349
    near = int((np.abs(every - every[0]) <= 1.96 * math.sqrt(2) * found.of_trial).sum()) - 1
    numbers = {"noise": found.of_trial, "freedom": found.freedom, "spread": spread, "near the best": near}
    what = "repeats on other splits" if is_split(record) else "seeds"
    means = f", about {metric.gain(found.of_trial)} of means of {record.folds} folds" if record.folds > 1 else ""
    text = (
        f"Standard deviation {metric.gain(found.deviation)} between {what}{means}, {metric.gain(spread)} between trials"
    )
    others = f"; {counted(near, 'other')} not distinguishable from the best by one run each" if near else ""
    return Check(name, PASS if spread >= SPREAD * found.of_trial else WARN, f"{text}{others}.", numbers)


def pruning(record: SweepRecord) -> Check:
    """Did pruning stop trials that would have been good? Answered by the unpruned control trials.

    Wilson's interval of the share of those given up by the pruner that ended in the best quarter all the same.
    """
    name, ranked = "pruning", record.ranked()
    given_up, good = misjudged(controls(record), len(ranked))
    if not record.counts().get("pruned", 0) and not given_up:
        return Check(name, PASS, "No trial was pruned.", {"pruned": 0})
    if not given_up:
        text = "The pruner gave up no unpruned control trial: its mistakes cannot be counted."
        return Check(name, INCONCLUSIVE, text)
    low, high = wilson(good / given_up, given_up)
    numbers = {"given up": given_up, "misjudged": good, "low": low, "high": high}
    text = (
        f"{good} of {counted(given_up, 'unpruned control trial')} that the pruner gave up ended in the best quarter"
        f" ({percent(low)} to {percent(high)})."
    )
    status = WARN if low > MISJUDGED else PASS if high <= MOST_MISJUDGED else INCONCLUSIVE
    return Check(name, status, text, numbers)


def winner_against_baseline(record: SweepRecord) -> Check:
    """Is the winner better than the baseline on fresh splits? The paired 95 % interval decides."""
    name, found = "winner against baseline", paired_difference(record)
    if not record.verdict:
        return Check(name, INCONCLUSIVE, "The winner has not been confirmed.")
    if found is None:
        ahead = record.verdict["champion"] == BASELINE
        words = (
            f"No candidate beat the baseline on {repeat_word(record)}s." if ahead else "The baseline was not confirmed."
        )
        return Check(name, WARN if ahead else INCONCLUSIVE, words)
    metric = wording.objective(record)
    finite = math.isfinite(found.low)
    numbers = {"difference": found.difference, "pairs": found.n}
    numbers |= {"low": found.low, "high": found.high} if finite else {}
    text = f"{metric.oriented(found.difference)} on {counted(found.n, repeat_word(record))}: {found.finding}"
    return Check(name, PASS if found.finding == "better" else WARN, f"{text}.", numbers)


def _too_few(name: str, there: int, needed: int, what: str = "completed") -> Check:
    return Check(name, INCONCLUSIVE, f"{there} {what}, {needed} needed.", {"there": there, "needed": needed})


CHECKS: Sequence[Callable[[SweepRecord], Check]] = (
    winner_against_baseline,
    noise,
    boundary,
    infeasible,
    overfitting,
    still_improving,
    best_epoch,
    enough_trials,
    pruning,
)
