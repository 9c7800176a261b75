"""Checks of the trials: were there enough, can they be told apart, and were the right ones stopped?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reports.analysis import wording
from reports.analysis.checks.finding import (
    CANNOT_TELL,
    FEWEST_BEST,
    PASS,
    WARN,
    Check,
    best_completed,
    draws_to_tell,
    judged_share,
    too_few,
    too_few_best,
)
from reports.analysis.pruning import controls, misjudged
from reports.analysis.rungs import best_so_far, longest_epochs
from reports.analysis.standing import standing
from reports.analysis.statistics import Floats
from reports.analysis.training_noise import (
    TrainingNoise,
    about,
    difference_words,
    heights,
    least_difference,
    noise_at,
    noise_words,
    training_noise,
)
from reports.analysis.trial_budget import ADAPTIVE, enough
from reports.analysis.wording import counted
from studies.record.reader import SweepRecord, TrialRecord
from studies.rungs import rung_epochs

FEWEST = 6
"""Trials drawn at random that a spread needs."""
FIRST_DRAWN = 10
"""So many first trials are drawn at random before TPE learns from them."""
FEWEST_FOR_HALVES = 20
"""Finished trials, needed to compare all with half of them."""
ALIKE, SPREAD = 1.6, 3.0
"""Ratio of the spread of trials to the noise from which on their order is not mostly random: 3. With nine trials and
eight degrees of freedom the estimate of such a ratio is below 1.6 in 1 of 20 studies (F test)."""
FEW_MISJUDGED, MANY_MISJUDGED = 0.05, 0.3
"""Fractions of the trials given up that were among the better half: the first is fine, the second is not."""
TIED = 3
"""Best trials with the same value that say that the validation rows do not rank them."""


def enough_trials(record: SweepRecord) -> Check:
    """Did the later trials still gain more than repeating a training changes the result?

    Two gains are compared with the noise of a training: that of all trials over a random half of them, and for an
    adaptive sampler that of the last tenth over the trials before. Without repeats the limit is a tenth of the gain of
    the search.

    Warns of 4 % of 200 studies in which one axis matters, and of all of 40 of 30 trials in which five do.
    """
    name, found = "enough trials", enough(record)
    finished = standing(record).finished
    if found is None and finished >= FEWEST_FOR_HALVES:
        return too_few(record, name, 0, 1, "completed trial")
    if found is None or finished < FEWEST_FOR_HALVES:
        return too_few(record, name, finished, FEWEST_FOR_HALVES, "finished trial")
    (limit, _), (gain, late) = least_difference(record), _gains(record, found.best, found.of_half, found.before)
    numbers = {"gain of second half": gain, "limit": limit, "late gain": late, "adaptive": found.adaptive}
    than = noise_words(record)
    if gain > limit:
        words = f"The second half of the trials is worth {difference_words(record, gain)}, more than {than}."
        return Check(name, WARN, words, numbers)
    if found.adaptive and late > limit:
        words = f"The search gained {difference_words(record, late)} in its last tenth, more than {than}."
        return Check(name, WARN, words, numbers)
    words = f"The second half of the trials is worth {difference_words(record, gain)}, no more than {than}."
    return Check(name, PASS, words, numbers)


def _gains(record: SweepRecord, best: float, *before: float) -> tuple[float, ...]:
    """How far the heights of other values are above that of the best one; 0 for one that is not known."""
    found = heights(record, before) - heights(record, best)
    return tuple(float(gain) if np.isfinite(gain) else 0.0 for gain in found)


def noise(record: SweepRecord) -> Check:
    """Are the differences between settings larger than those between repeats of one?

    The spread is the standard deviation of the trials that were drawn at random: an adaptive sampler draws its later
    ones near each other, and halving completes only the best, which are alike. So all are compared at the first rung,
    and with the repeats after as many epochs.

    Warns of 2.5 % of 200 studies whose spread is four times the noise, and of 91 % of 100 in which nothing matters.
    """
    name, (every, found, where) = "noise", _compared(record)
    if found is None:
        return Check(name, CANNOT_TELL, "The noise of a training is not known: 5 repeats on fresh splits would tell.")
    if len(every) < FEWEST:
        return too_few(record, name, len(every), FEWEST, "comparable trial")
    spread, ratio = float(np.std(every, ddof=1)), float(np.std(every, ddof=1)) / max(found.deviation, 1e-12)
    numbers = {"noise": found.deviation, "freedom": found.freedom, "spread": spread}
    means = f" of means of {record.folds} folds" if record.folds > 1 else ""
    text = (
        f"Repeating a training changes the {wording.objective(record).name}{means} by"
        f" {about(record, found.deviation)}, other settings by {difference_words(record, spread)}{where}"
    )
    if ratio >= SPREAD:
        return Check(name, PASS, f"{text}.", numbers)
    if ratio < ALIKE:
        return Check(name, WARN, f"{text}: the order of the trials is mostly random.", numbers)
    repeats = 2 * int(record.study["confirm"]["repeats"])
    return Check(
        name, CANNOT_TELL, f"{text}: {repeats} repeats would tell.", {**numbers, "repeats that would tell": repeats}
    )


def _compared(record: SweepRecord) -> tuple[Floats, TrainingNoise | None, str]:
    """The heights of trials drawn at random, the noise of one of them, and where they are compared, in words."""
    drawn = [trial for trial in record.contenders() if _is_random(record, trial)]
    if record.study.get("pruner") != "halving" or not record.confirm:
        values = [trial.value for trial in drawn if trial.outcome == "complete"]
        return heights(record, values), training_noise(record), ""
    longest = longest_epochs(record)

    def epochs(trial: TrialRecord) -> int:
        return rung_epochs(int(trial.hyperparameters["epochs"]), longest)[0]

    def measured(trial: TrialRecord) -> float:
        return best_so_far(record, trial, epochs(trial))

    reached = [trial for trial in drawn if len(trial.epochs) >= epochs(trial)]
    return heights(record, list(map(measured, reached))), noise_at(record, measured), " at the first rung"


def _is_random(record: SweepRecord, trial: TrialRecord) -> bool:
    """Whether the settings of a trial were drawn without regard to others."""
    is_early = trial.number < FIRST_DRAWN or record.study["sampler"] not in ADAPTIVE
    return is_early and record.given(trial.number) is None


def pruning(record: SweepRecord) -> Check:
    """Did pruning stop trials that would have been good? Answered by the unpruned control trials.

    One in twenty of those that the pruner would have stopped may end among the better half of the trials that
    it let finish, three in ten are too many: the exact binomial test, which needs nine of them to pass.

    Warns of 1 % of 200 studies whose early epochs rank the trials, and of all of 100 in which they rank them the wrong
    way round, with three in ten trials as controls.
    """
    name = "pruning"
    given_up, good = misjudged(record, controls(record))
    if not record.counts().get("pruned", 0) and not given_up:
        return Check(name, PASS, "No trial was pruned.", {"pruned": 0})
    numbers = {"given up": given_up, "misjudged": good}
    status = judged_share(good, given_up, FEW_MISJUDGED, MANY_MISJUDGED)
    text = (
        f"{good} of {counted(given_up, 'unpruned control trial')} that the pruner would have stopped ended among the"
        " better half of those it let finish"
    )
    if status != CANNOT_TELL:
        return Check(name, status, f"{text}.", numbers)
    needed = draws_to_tell(good, given_up, FEW_MISJUDGED, MANY_MISJUDGED) or 0
    if not given_up:
        words = f"The pruner would have stopped no control trial: {needed} would tell; `control` sets their share."
        if any(one.given_up is not None for one in controls(record)):
            words = "The pruner has let no other trial finish, to compare with the controls that it would have stopped."
        return Check(name, status, words, numbers)
    trials = -(-standing(record).finished * needed // given_up)
    more = f": {needed} would tell, from about {counted(trials, 'trial')} or a larger `control`" if needed else ""
    return Check(name, status, f"{text}{more}.", {**numbers, "trials that would tell": trials or None})


def saturated(record: SweepRecord) -> Check:
    """Do the validation rows still rank the best trials?

    Not if three of them have the very same value of a metric that counts rows, or two make no error at all. A loss
    ranks them also then, by their confidence.

    Warns of none of 100 studies of 6,000 rows, and of all of 40 in which the best make an error or none on 144 rows.
    """
    name, best = "validation rows", best_completed(record)
    if len(best) < FEWEST_BEST:
        return too_few_best(record, name)
    rows, top = record.validated, min((trial.value or 0.0 for trial in best), key=record.metric.cost)
    tied = sum(trial.value == top for trial in best)
    errors = [round((1 - (trial.validation_accuracy or 0.0)) * rows) for trial in best]
    numbers = {"best": len(best), "tied": tied, "fewest errors": min(errors), "rows": rows}
    few = f"The best trials make {_errors(errors)} on {counted(rows, 'validation row')}"
    words = f"{tied} of the best {len(best)} trials tie at {wording.objective(record).text(top)}"
    if not record.metric.percent:
        return Check(name, PASS, f"{few}; {'the lowest loss is that of one trial' if tied == 1 else words}.", numbers)
    if tied < TIED and not (tied >= 2 and top == 1):
        differ = "the best of them does not tie" if tied == 1 else f"only {tied} of them tie for the best value"
        return Check(name, PASS, f"{few}; {differ}.", numbers)
    return Check(
        name, WARN, f"{words} on {counted(rows, 'validation row')}, too few to rank them. {_more_rows(record)}", numbers
    )


def _errors(errors: Sequence[int]) -> str:
    """How many errors several trials make."""
    fewest, most = min(errors), max(errors)
    if fewest == most:
        return f"{counted(most, 'error')} each" if most else "no error"
    return f"{fewest} to {most} errors"


def _more_rows(record: SweepRecord) -> str:
    """What makes the ranking finer, of what the study does not do yet."""
    folds = "" if record.folds > 1 else ", folds = 5"
    return f'Try objective = "validation_loss"{folds} or more rows.'
