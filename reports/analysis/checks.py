"""The Deep Learning Tuning Playbook as code: what to doubt in a sweep, each with its numbers.

https://github.com/google-research/tuning_playbook. A check passes, warns, or says that the evidence is too thin for
either; what a record cannot show is never a pass.
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
from reports.analysis.confirmation import paired_difference, seed_noise
from reports.analysis.failures import BROKEN, failure_causes
from reports.analysis.learning_curves import Course, course
from reports.analysis.pruning import audited, misjudged
from reports.analysis.standing import BASELINE, standing, winner
from reports.analysis.statistics import wilson
from reports.analysis.trial_budget import enough
from reports.analysis.wording import counted, listed, percent
from studies.record.reader import SweepRecord, TrialRecord

PASS, WARN, THIN = "pass", "warn", "not enough evidence"

FEWEST = 10  # completed trials: below it a check says that the evidence is thin
FEWEST_FOR_HALVES = 20  # finished trials, to compare all with half of them
TOP_SHARE, TOP_FEWEST = 0.1, 5  # the group that must gather at a bound, or overfit, before it is no accident
ZONE = 0.2  # of a range, at its end
CHANCE = 0.05  # a group that gathers more than chance would in 1 of 20 sweeps
INFEASIBLE = 0.1  # share of trials that broke
EARLY, LATE = 0.1, 0.25  # of a trial's epochs: best in the first tenth is too long, in the last quarter too short
MEANINGFUL = 0.1  # of the whole gain of the search, where the noise is not known
FEWEST_REPEATS = 4  # degrees of freedom of the noise: two repeats of four trials, say
SPREAD = 2.5  # times the noise, itself known to a fifth: less, and the order of the trials may be mostly luck
MISJUDGED = 0.05  # share of the pruned that would have ended in the best quarter
MOST_MISJUDGED = 0.3  # the interval must end below it before pruning is called harmless


@dataclass(frozen=True)
class Check:
    """One line of doubt.

    Attributes:
        name: what was looked at.
        status: `pass`, `warn` or `not enough evidence`.
        finding: the reason, a sentence.
        numbers: what the sentence rests on, ready for JSON.
    """

    name: str
    status: str
    finding: str
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """All fields by name, ready for JSON."""
        return asdict(self)


def checks(record: SweepRecord) -> list[Check]:
    """Every check of a study, always the same ones in the same order."""
    return [check(record) for check in CHECKS]


def summary(found: Sequence[Check]) -> str:
    """All checks in one line: `boundary: warn; infeasible share: pass; ...`."""
    return "; ".join(f"{check.name}: {check.status}" for check in found)


# --- the search space


def boundary(record: SweepRecord) -> Check:
    """Does the best sit on a bound of the space?

    The winner within 5 % of a bound is an accident in one of ten axes, so the top group (a tenth of the completed
    trials, five at least) must gather there as well: more of it in the outermost fifth of the range than chance would
    bring in 1 of 20 sweeps, if it were spread evenly (binomial tail).
    """
    name, best, ranked = "boundary", winner(record), record.ranked()
    if best is None or len(ranked) < FEWEST:
        return _thin(name, len(ranked), FEWEST)
    found = crowded(record)
    numbers = {"top": len(top_group(record)), "bounds": [{"axis": a.name, "end": end} for a, end in found.items()]}
    if found:
        ends = listed(f"the {end} bound of {axis.name}" for axis, end in found.items())
        return Check(name, WARN, f"The winner and the best trials around it lie at {ends}.", numbers)
    alone = list(at_bounds(record, best))
    text = f"; the other good trials do not gather where the winner does in {listed(alone)}" if alone else ""
    return Check(name, PASS, f"The best trials gather at no bound{text}.", {**numbers, "winner alone": alone})


def crowded(record: SweepRecord) -> dict[Axis, str]:
    """The axes whose bound the winner and the top group crowd, and which bound: `lower` or `upper`."""
    best = winner(record)
    if best is None:
        return {}
    ends, group = at_bounds(record, best), top_group(record)
    there = [axis for axis in axes(record.study["space"]) if axis.name in ends]
    return {axis: ends[axis.name] for axis in there if _gathers(axis, float(values(axis, [best])[0]), group)}


def top_group(record: SweepRecord) -> list[TrialRecord]:
    """The best tenth of the completed trials, five at least."""
    ranked = record.ranked()
    return ranked[: max(TOP_FEWEST, round(TOP_SHARE * len(ranked)))]


def _gathers(axis: Axis, at: float, group: Sequence[TrialRecord]) -> bool:
    """Whether more of a group than chance explains lies in the outermost fifth of an axis, at the end near `at`."""
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
    """Probability of at least so many hits in n draws that each hit with probability `share` (binomial)."""
    return sum(math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(hits, n + 1))


def infeasible(record: SweepRecord) -> Check:
    """Do too many trials break? The space then holds regions that cannot be trained; Wilson's interval of the share."""
    name, finished = "infeasible share", standing(record).finished
    broken = sum(trial.outcome in BROKEN for trial in record.trials)
    if finished < FEWEST:
        return _thin(name, finished, FEWEST, "finished")
    low, high = wilson(broken / finished, finished)
    numbers = {"broken": broken, "finished": finished, "share": broken / finished, "low": low, "high": high}
    text = f"{broken} of {counted(finished, 'finished trial')} broke ({percent(low)} to {percent(high)})"
    if broken / finished <= INFEASIBLE:
        return Check(name, PASS, f"{text}.", numbers)
    return Check(name, WARN, f"{text}, most of them because: {next(iter(failure_causes(record)))}.", numbers)


# --- the epochs


def overfitting(record: SweepRecord) -> Check:
    """Do the best trials overfit? More than half of the top group, by the rules of `courses`."""
    name = "overfitting"
    group = _judged(record)
    if len(group) < TOP_FEWEST:
        return _thin(name, len(group), TOP_FEWEST, "long enough to judge")
    bad = [seen for seen in group if seen.label == "overfitting"]
    numbers = {"overfitting": len(bad), "judged": len(group)}
    text = f"{len(bad)} of the best {len(group)} trials overfit"
    if len(bad) <= len(group) / 2:
        return Check(name, PASS, f"{text}.", numbers)
    rise = float(np.median([seen.rise for seen in bad]))
    words = f"{text}: their validation loss ends {percent(rise)} above its lowest level (median)."
    return Check(name, WARN, words, {**numbers, "median rise": rise})


def still_improving(record: SweepRecord) -> Check:
    """Were the best trials still improving when they ended? More than half of the top group, by the rules of `courses`.

    A learning rate that a schedule has taken to 0 stops every curve: level curves then show nothing.
    """
    name = "still improving"
    group = _judged(record)
    if len(group) < TOP_FEWEST:
        return _thin(name, len(group), TOP_FEWEST, "long enough to judge")
    going = [seen for seen in group if seen.label == "still improving"]
    annealed = sum(seen.annealed for seen in group)
    numbers = {"still improving": len(going), "judged": len(group), "schedule ended": annealed}
    text = f"{len(going)} of the best {len(group)} trials were still improving in their last epochs"
    if len(going) > len(group) / 2:
        way = "; their schedule ended them, so that more epochs mean a new, longer schedule" if annealed else ""
        return Check(name, WARN, f"{text}{way}.", numbers)
    if annealed > len(group) / 2:
        words = "The schedule took the learning rate to 0, which levels any curve: a longer one was not tried."
        return Check(name, THIN, words, numbers)
    return Check(name, PASS, f"{text}.", numbers)


def best_epoch(record: SweepRecord) -> Check:
    """Was the number of epochs right? Best in the first tenth: too many; in the last quarter: too few.

    The best of many equal epochs lies anywhere: late ones count only where the top group was still improving.
    """
    name = "best epoch"
    time = best_epochs(record)
    n = len(time.counted)
    if n < FEWEST:
        return _thin(name, n, FEWEST)
    numbers = {"completed": n, "first tenth": time.early, "last quarter": time.late, "schedule ended": time.annealed}
    if time.early > 0.5:
        return Check(name, WARN, f"{percent(time.early)} of {n} trials were best in their first tenth.", numbers)
    if time.annealed > 0.5:
        words = "Under a schedule that ends at 0 the best epoch is late by design, which says nothing of their number."
        return Check(name, THIN, words, numbers)
    text = f"{percent(time.late)} of {n} trials were best in their last quarter"
    if time.late <= 0.5:
        return Check(name, PASS, f"{text}.", numbers)
    going = still_improving(record).status
    if going == THIN:
        return Check(name, THIN, f"{text}; their curves are too short to say whether they had levelled.", numbers)
    level = "" if going == WARN else ", where their curves are level: the best of equal epochs lies anywhere"
    return Check(name, going, f"{text}{level}.", numbers)


def _judged(record: SweepRecord) -> list[Course]:
    seen = [course(trial) for trial in top_group(record)]
    return [one for one in seen if one is not None and one.label not in ("too short to judge", "diverged")]


# --- the trials


def enough_trials(record: SweepRecord) -> Check:
    """Did the second half of the trials still bring more than noise, or than a tenth of the whole gain?"""
    name, found = "enough trials", enough(record)
    finished = standing(record).finished
    if found is None or finished < FEWEST_FOR_HALVES:
        return _thin(name, finished, FEWEST_FOR_HALVES, "finished")
    metric, noise = wording.objective(record), seed_noise(record)
    known = noise is not None and noise.freedom >= FEWEST_REPEATS
    limit = noise.deviation if noise and known else MEANINGFUL * found.total
    than = f"the {'noise of one seed' if known else 'tenth of the whole gain'}, {metric.gain(limit)}"
    numbers = {"gain of second half": found.gain, "limit": limit, "late gain": found.late, "adaptive": found.adaptive}
    if found.gain > limit:
        words = f"The second half of the trials is worth {metric.gain(found.gain)}, more than {than}."
        return Check(name, WARN, words, numbers)
    if found.adaptive and found.late > limit:
        words = f"The search gained {metric.gain(found.late)} in its last tenth, more than {than}."
        return Check(name, WARN, words, numbers)
    guess = " (a low guess: the sampler learns)" if found.adaptive else ""
    words = f"The second half of the trials is worth {metric.gain(found.gain)}{guess}, no more than {than}."
    return Check(name, PASS, words, numbers)


def noise(record: SweepRecord) -> Check:
    """Are the differences between trials larger than what another seed alone would make?

    The noise is the standard deviation over the fresh seeds, pooled over the confirmed trials; the spread of the
    completed trials is their interquartile range, as a normal standard deviation (divided by 1.349).
    """
    name, found = "noise", seed_noise(record)
    every = np.array([trial.value for trial in record.ranked()], dtype=np.float64)
    if found is None or found.freedom < FEWEST_REPEATS:
        return Check(name, THIN, "Without repeats on fresh seeds the noise of one training is not known.")
    if len(every) < FEWEST:
        return _thin(name, len(every), FEWEST)
    metric = wording.objective(record)
    spread = float(np.subtract(*np.quantile(every, [0.75, 0.25]))) / 1.349
    near = int((np.abs(every - every[0]) <= 1.96 * math.sqrt(2) * found.deviation).sum()) - 1
    numbers = {"noise": found.deviation, "freedom": found.freedom, "spread": spread, "near the best": near}
    text = f"One seed scatters by {metric.gain(found.deviation)}, the completed trials by {metric.gain(spread)}"
    others = f"; {counted(near, 'other')} cannot be told from the best by one training each" if near else ""
    return Check(name, PASS if spread >= SPREAD * found.deviation else WARN, f"{text}{others}.", numbers)


def pruning(record: SweepRecord) -> Check:
    """Did pruning stop trials that would have been good? Judged by those that were audited: judged, but never stopped.

    Wilson's interval of the share of the audited, given up by the pruner, that ended in the best quarter.
    """
    name, ranked = "pruning", record.ranked()
    given_up, good = misjudged(audited(record), len(ranked))
    if not record.counts().get("pruned", 0) and not given_up:
        return Check(name, PASS, "No trial was pruned.", {"pruned": 0})
    if not given_up:
        return Check(name, THIN, "No audited trial was given up by the pruner: its mistakes cannot be counted.")
    low, high = wilson(good / given_up, given_up)
    numbers = {"given up": given_up, "misjudged": good, "low": low, "high": high}
    text = (
        f"{good} of {counted(given_up, 'audited trial')} that the pruner gave up ended in the best quarter"
        f" ({percent(low)} to {percent(high)})."
    )
    status = WARN if low > MISJUDGED else PASS if high <= MOST_MISJUDGED else THIN
    return Check(name, status, text, numbers)


def winner_against_baseline(record: SweepRecord) -> Check:
    """Is the winner better than the baseline on fresh seeds? The paired 95 % interval decides."""
    name, found = "winner against baseline", paired_difference(record)
    if not record.verdict:
        return Check(name, THIN, "The winner has not been confirmed on fresh seeds.")
    if found is None:
        ahead = record.verdict["champion"] == BASELINE
        words = "No candidate beat the baseline on fresh seeds." if ahead else "The baseline was not confirmed."
        return Check(name, WARN if ahead else THIN, words)
    metric = wording.objective(record)
    finite = math.isfinite(found.low)
    numbers = {"difference": found.difference, "pairs": found.n}
    numbers |= {"low": found.low, "high": found.high} if finite else {}
    text = f"{metric.oriented(found.difference)} on {counted(found.n, 'fresh seed')}: {found.finding}"
    return Check(name, PASS if found.finding == "better" else WARN, f"{text}.", numbers)


def _thin(name: str, there: int, needed: int, what: str = "completed") -> Check:
    return Check(name, THIN, f"{there} {what}, {needed} needed.", {"there": there, "needed": needed})


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
