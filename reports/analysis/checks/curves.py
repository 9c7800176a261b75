"""Checks of the learning curves of the best trials: their length, their end, and the epoch that was selected."""

from __future__ import annotations

import numpy as np

from reports.analysis.best_epochs import EARLY, best_epochs
from reports.analysis.checks.finding import (
    CANNOT_TELL,
    FEWEST_BEST,
    PASS,
    WARN,
    Check,
    best_completed,
    draws_to_tell,
    judged_share,
    steadier,
    too_few_best,
    top_group,
)
from reports.analysis.learning_curves import FEWEST_EPOCHS, Course, course, last_part, longer_gain, scatter
from reports.analysis.statistics import Floats
from reports.analysis.training_noise import about, difference_words, finest, heights, least_difference, noise_words
from reports.analysis.wording import counted, percent
from studies.record.reader import SweepRecord, TrialRecord

AGREEING = 0.75
"""Fraction of the best trials that must gain from more epochs."""
LONGER = 1.5
"""Times the epochs for which the gain is expected, which the report then proposes."""
UNSTEADY = 2.0
"""Times the difference between the best trials, which so few of them say only roughly, that the scatter must be."""
FEW_EARLY, MANY_EARLY = 0.25, 0.75
"""Fractions of trials that are best in the first tenth: the first is fine, the second says too many epochs."""


def overfitting(record: SweepRecord) -> Check:
    """Do the best trials overfit? More than half of the best, by the rules of `learning_curves`.

    Warns of none of 200 studies of curves that fall, and of all of 40 whose loss ends about 10 % above its lowest.
    """
    name, seen = "overfitting", [one for one in map(course, best_completed(record)) if _is_judged(one)]
    if len(seen) < FEWEST_BEST:
        return _too_few_curves(record, name, len(seen))
    bad = [one for one in seen if one is not None and one.label == "overfitting"]
    numbers = {"overfitting": len(bad), "judged": len(seen)}
    text = f"{len(bad)} of the best {counted(len(seen), 'completed trial')} overfit"
    if len(bad) <= len(seen) / 2:
        return Check(name, PASS, f"{text}.", numbers)
    rise = float(np.median([one.rise for one in bad]))
    words = f"{text}: their validation loss ends {percent(rise)} above its lowest level (median)."
    return Check(name, WARN, words, {**numbers, "median rise": rise})


def _is_judged(seen: Course | None) -> bool:
    return seen is not None and seen.label not in ("too short to judge", "diverged")


def still_improving(record: SweepRecord) -> Check:
    """Would longer trainings be better by more than repeating one changes the result?

    The gain of half as many epochs more is extrapolated from each of the best curves (`longer_gain`). The check warns
    if its median is larger than the noise of a training, and three in four of the best trials agree. A schedule that
    reduces the learning rate to 0 flattens every curve, so that a flat one then says nothing.

    The numbers `low` and `high` are the 10 % and 90 % quantiles of the gains, as heights like their median, `gain`.

    Warns of none of 200 studies of averaged weights, and of all of 40 that would gain 22 %, twice the noise.
    """
    name, best = "still improving", _long_enough(record)
    if len(best) < FEWEST_BEST:
        return _too_few_curves(record, name, len(best))
    gains = np.array([longer_gain(_curve(record, trial)) for trial in best])
    (limit, _), gain = least_difference(record), float(np.median(gains))
    agreeing, annealed = int((gains > limit).sum()), sum(trial.annealed for trial in best)
    low, high = map(float, np.quantile(gains, (0.1, 0.9)))
    numbers = {"judged": len(best), "gain": gain, "low": low, "high": high, "limit": limit, "agreeing": agreeing}
    numbers |= {"schedule ended": annealed}
    text = f"With {LONGER:g} times the epochs the best trials would gain {about(record, gain)}"
    than = noise_words(record)
    if gain > limit and agreeing >= AGREEING * len(best):
        ended = f"; the schedule of {annealed} of {len(best)} ended at 0, so more epochs require a new, longer one"
        way = ended if annealed else ""
        return Check(name, WARN, f"{text}, more than {than}{way}.", numbers)
    if annealed > len(best) / 2:
        words = "The schedule reduced the learning rate to 0, which flattens any curve: a longer study would tell."
        return Check(name, CANNOT_TELL, words, numbers)
    if gain > limit:
        few = f"only {agreeing} of {len(best)} would gain more than {than}"
        return Check(name, PASS, f"{text}, but {few}.", numbers)
    return Check(name, PASS, f"{text}, no more than {than}.", numbers)


def best_epoch(record: SweepRecord) -> Check:
    """Were there too many epochs? Most trials are then best in the first tenth: the exact binomial test.

    A late best epoch is no fault: averaged weights and schedules improve by a hair until the end. Whether that hair
    is worth more epochs is what `still_improving` says.

    Warns of none of 200 studies of averaged weights, and of all of 40 that are best after the first of 12 epochs.
    """
    name, time = "best epoch", best_epochs(record)
    n, early = len(time.counted), int((time.counted <= EARLY).sum())
    numbers = {"completed": n, "first tenth": time.early, "last quarter": time.late}
    if not top_group(record):
        return too_few_best(record, name)
    text = f"{early} of {counted(n, 'completed trial')} had their best epoch in the first tenth"
    status = judged_share(early, n, FEW_EARLY, MANY_EARLY)
    if status == CANNOT_TELL:
        needed = draws_to_tell(early, n, FEW_EARLY, MANY_EARLY)
        more = f": about {counted(needed, 'completed trial')} would tell" if needed else ""
        return Check(name, status, f"{text}{more}.", numbers)
    return Check(name, status, f"{text}{': fewer epochs would do' if status == WARN else ''}.", numbers)


def unsteady(record: SweepRecord) -> Check:
    """Is the objective unsteady over the last epochs, so that the order of the best trials depends on the epoch?

    Over the last two thirds of the epochs, which is the last rung, the scatter of the objective around its trend is
    compared with the differences between the levels at which the best trials end. The variance that the scatter gives
    to the levels themselves is taken away.

    Warns of 2 % of 100 studies whose scatter is half of the differences, and of 85 % of 40 whose epochs are 40 % off.
    """
    name, best = "late epochs", _long_enough(record)
    if len(best) < FEWEST_BEST:
        return _too_few_curves(record, name, len(best))
    curves = [_curve(record, trial) for trial in best]
    noise = float(np.median([scatter(curve[len(curve) // 3 :]) for curve in curves]))
    ends = [last_part(curve) for curve in curves]
    own = float(np.mean([noise**2 / len(end) for end in ends]))
    apart = float(np.sqrt(max(0.0, np.var([end.mean() for end in ends], ddof=1) - own)))
    numbers = {"judged": len(best), "scatter": noise, "difference": apart}
    text = f"Late epochs of a trial scatter by {difference_words(record, noise)}"
    than = f"the best {counted(len(best), 'trial')} differ by {difference_words(record, apart)}"
    if noise <= max(UNSTEADY * apart, finest(record)):
        return Check(name, PASS, f"{text}; {than}.", numbers)
    lucky = "the selected epoch is a lucky one" if record.study.get("epoch") != "last" else "their order is by chance"
    return Check(name, WARN, f"{text}, but {than}: {lucky}. Try {steadier(record)}.", numbers)


def _curve(record: SweepRecord, trial: TrialRecord) -> Floats:
    """The objective after each epoch, (epochs,), as heights."""
    return heights(record, trial.epochs[record.objective])


def _long_enough(record: SweepRecord) -> list[TrialRecord]:
    """The best completed trials whose curves can be judged."""
    return [
        trial
        for trial in best_completed(record)
        if len(trial.epochs) >= FEWEST_EPOCHS and np.isfinite(trial.epochs[record.objective]).all()
    ]


def _too_few_curves(record: SweepRecord, name: str, there: int) -> Check:
    best = best_completed(record)
    if len(best) >= FEWEST_BEST:
        words = (
            f"{there} of the best {len(best)} completed trials {'has' if there == 1 else 'have'} a curve of at least"
            f" {FEWEST_EPOCHS} finite epochs, {FEWEST_BEST} needed: a study of longer trainings would tell."
        )
        return Check(name, CANNOT_TELL, words, {"there": there, "needed": FEWEST_BEST})
    return too_few_best(record, name)
