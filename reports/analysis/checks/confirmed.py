"""Checks of the confirmation: is the winner better than the baseline, and do the test rows agree with the others?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from reports.analysis import wording
from reports.analysis.checks.finding import CANNOT_TELL, PASS, WARN, Check
from reports.analysis.confirmation import (
    ConfirmedTrial,
    PairedDifference,
    better_than_champion,
    confirmed_trials,
    is_split,
    paired_difference,
    repeat_word,
    split_overlap,
    why_unpaired,
)
from reports.analysis.final_models import final_accuracy
from reports.analysis.standing import BASELINE
from reports.analysis.statistics import corrected_half_width, t_quantile
from reports.analysis.wording import counted
from studies.record.reader import SweepRecord

MOST_REPEATS = 20
"""If even so many would not tell the winner from the baseline, the difference is too small to matter."""
APART = 0.99
"""Level of the test of validation against test rows."""
LARGEST_UNSEEN = 0.05
"""Difference of two accuracies that must be told for a pass."""
FEWEST_SPLITS = 3
"""Fresh splits that the spread of an accuracy needs."""


def winner_against_baseline(record: SweepRecord) -> Check:
    """Is the winner better than the baseline on fresh splits? The paired 95 % interval decides.

    If it contains 0, the check says how many repeats would tell; if 20 are too few, that is a warning.

    Warns of 0.5 % of 200 studies whose winner is better by four standard deviations of a training, and of 88 % of 100
    whose winner is not better, of which it passes 2 %.
    """
    name, found = "champion against baseline", paired_difference(record)
    if not record.verdict:
        return Check(name, CANNOT_TELL, "No champion has been confirmed: 5 repeats would tell.")
    rows = confirmed_trials(record)
    if found is None and record.verdict["champion"] == BASELINE and rows:
        other = better_than_champion(record)
        why = "" if other is None else f"; trial {other}, with a better mean there, was not the first of the screening"
        return Check(name, WARN, f"The baseline is the champion after {_repeats(record, rows)}{why}.")
    if found is None:
        words = f"No comparison on {repeat_word(record)}s because {why_unpaired(record)}: 5 repeats would tell."
        return Check(name, CANNOT_TELL, words)
    numbers = {"difference": found.difference, "pairs": found.n}
    numbers |= {"low": found.low, "high": found.high} if math.isfinite(found.low) else {}
    on = f"{wording.objective(record).oriented(found.difference)} on {counted(found.n, repeat_word(record))}"
    if found.finding != "not distinguishable":
        return Check(name, PASS if found.finding == "better" else WARN, f"{on}: {found.finding}.", numbers)
    needed = repeats_to_tell(record, found)
    more = f"about {needed} would tell" if needed else f"{MOST_REPEATS} would not tell either"
    if found.n >= MOST_REPEATS:
        more = "so many would tell a difference that matters"
    text = f"{on}: not distinguishable; {more}."
    return Check(name, CANNOT_TELL if needed else WARN, text, {**numbers, "repeats that would tell": needed})


def _repeats(record: SweepRecord, rows: Sequence[ConfirmedTrial]) -> str:
    return counted(max(len(row.values) for row in rows), repeat_word(record))


def repeats_to_tell(record: SweepRecord, found: PairedDifference) -> int | None:
    """The number of repeats for which half the interval would be shorter than the difference; None above 20."""
    if not math.isfinite(found.low):
        return 5
    overlap = split_overlap(record)
    deviation = (found.high - found.low) / 2 / corrected_half_width(1.0, found.n, overlap)
    more = range(found.n + 1, MOST_REPEATS + 1)
    return next((n for n in more if corrected_half_width(deviation, n, overlap) < abs(found.difference)), None)


def validation_and_test(record: SweepRecord) -> Check:
    """Do the test rows agree with the validation rows?

    The champion's accuracy on fresh splits against that of its final models on the test rows: Welch's test at 1 %. The
    variance of the mean over splits is corrected for what they share (Nadeau and Bengio 2003), and no smaller than the
    binomial one of their rows; that of the test is the binomial one and the spread between the final models.

    Warns of none of 200 studies whose rows are alike, and of 96 % of 100 with three times the errors on the test rows.
    """
    name, test = "validation and test", final_accuracy(record)
    values = _split_accuracies(record)
    if test is None or len(values) < FEWEST_SPLITS or not is_split(record):
        return Check(name, CANNOT_TELL, f"The test and {FEWEST_SPLITS} repeats on fresh splits would tell.")
    n, rows, train = len(values), int(record.dataset["validation"]), int(record.dataset["train"])
    mean, shared = float(values.mean()), rows / train
    binomial = _binomial(mean, min(n * rows, rows + train))
    splits = max(float(values.var(ddof=1)) * (1 / n + shared), binomial)
    models = float(np.var(test.accuracies, ddof=1)) / len(test.accuracies) if len(test.accuracies) > 1 else 0.0
    tested = _binomial(test.mean, test.examples) + models
    freedom = (splits + tested) ** 2 / (splits**2 / (n - 1) + tested**2 / max(1, test.examples - 1))
    limit = t_quantile(freedom, (1 + APART) / 2) * math.sqrt(splits + tested)
    numbers = {"validation": mean, "test": test.mean, "limit": limit}
    shown = wording.accuracy(test.examples, "accuracy")
    text = f"Accuracy {shown.text(mean)} on fresh splits and {shown.text(test.mean)} on the test rows"
    if abs(test.mean - mean) > limit:
        why = "the test rows are of another kind (look for drift, sorted rows, duplicates)"
        return Check(name, WARN, f"{text}, more apart than chance explains: {why}.", numbers)
    if limit > LARGEST_UNSEEN:
        needed = math.ceil(test.examples * (limit / LARGEST_UNSEEN) ** 2)
        more = f"a difference below {shown.gain(limit)} cannot be seen; about {counted(needed, 'test row')} would tell"
        return Check(name, CANNOT_TELL, f"{text}: {more}.", {**numbers, "test rows that would tell": needed})
    return Check(name, PASS, f"{text}, no more apart than chance explains.", numbers)


def _split_accuracies(record: SweepRecord) -> np.ndarray:
    """The champion's validation accuracy on each fresh split."""
    champion = (record.verdict or {}).get("champion")
    repeats = [repeat for repeat in record.confirm if (repeat.role, repeat.candidate) == ("confirm", champion)]
    found = [repeat.validation_accuracy for repeat in repeats if repeat.state == "complete"]
    return np.array([value for value in found if value is not None])


def _binomial(share: float, n: int) -> float:
    """Variance of a fraction of n rows, with a success and a failure added so that it is never 0 (Laplace)."""
    share = (share * n + 1) / (n + 2)
    return share * (1 - share) / n
