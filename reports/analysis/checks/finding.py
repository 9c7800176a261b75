"""The result of a check, and what several checks need to come to one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from reports.analysis.importance import judged_trials
from reports.analysis.standing import standing
from reports.analysis.wording import counted
from studies.record.reader import SweepRecord, TrialRecord

PASS, WARN, CANNOT_TELL = "pass", "warn", "cannot tell yet"

CHANCE = 0.05
"""Significance level: the most studies without a fault in which a check may warn."""
TOP_SHARE, TOP_FEWEST = 0.1, 5
"""The best trials of a search: a tenth of all, and at least so many."""
FEWEST_COMPARED = 10
"""Compared trials, of which the best are then a choice."""
FEWEST_BEST = 3
"""Of the best trials so many must have completed for a statement on their curves; a search confirms as many."""
MOST_TRIALS = 10_000
"""Where not even so many trials would tell, no number is given."""


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        name: what was checked.
        status: `pass`, `warn` or `cannot tell yet`.
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


def too_few(record: SweepRecord, name: str, there: int, needed: int, what: str) -> Check:
    """The result of a check that needs more of something, and how many trials are likely to have it.

    Args:
        record: the study.
        name: of the check.
        there: how many there are.
        needed: how many the check needs.
        what: what they are, in the singular, such as `finished trial`.
    """
    finished = standing(record).finished
    trials = math.ceil(finished * needed / there) if there else 0
    words = f"{counted(there, what)}, {needed} needed"
    words += f": about {counted(trials, 'trial')} would tell." if 0 < trials <= MOST_TRIALS else "."
    return Check(name, CANNOT_TELL, words, {"there": there, "needed": needed, "trials that would tell": trials or None})


def top_group(record: SweepRecord) -> list[TrialRecord]:
    """The best tenth of the trials that were compared, at least five of at least ten, best first; see `judged_trials`.

    Some of them may have been stopped, but not before all the others that did worse at the same rung.
    """
    judged = judged_trials(record)[0] if record.ranked() else []
    return [] if len(judged) < FEWEST_COMPARED else judged[: max(TOP_FEWEST, round(TOP_SHARE * len(judged)))]


def best_completed(record: SweepRecord) -> list[TrialRecord]:
    """Those of the top group that ran to their end; the baseline and unpruned controls only if they belong to it."""
    return [trial for trial in top_group(record) if trial.outcome == "complete" and trial.value is not None]


def too_few_best(record: SweepRecord, name: str) -> Check:
    """The result of a check that needs more completed trials among the best."""
    compared = len(judged_trials(record)[0])
    if compared < FEWEST_COMPARED:
        return too_few(record, name, compared, FEWEST_COMPARED, "compared trial")
    return too_few(record, name, len(best_completed(record)), FEWEST_BEST, "completed trial")


def steadier(record: SweepRecord) -> str:
    """What makes late epochs steadier, of what the study does not do yet."""
    last = "" if record.study.get("epoch") == "last" else 'epoch = "last", '
    averaging = "" if record.averages_weights else " or averaging = 0.33"
    return f"{last}lower learning rates{averaging}"


def tail(hits: int, n: int, share: float) -> float:
    """Binomial tail: probability of at least `hits` successes in n draws, each with probability `share`, in 0..1."""
    logs = math.log(share), math.log1p(-share)
    ways = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(hits, n + 1)]
    return math.fsum(math.exp(way + k * logs[0] + (n - k) * logs[1]) for k, way in enumerate(ways, hits))


def judged_share(hits: int, n: int, fine: float, bad: float) -> str:
    """Whether a share is at most `fine` or at least `bad`: the exact binomial test of Clopper and Pearson (1934).

    It warns where so many hits have a probability below 5 % if the share is `fine`, and passes where so few have one of
    at most 5 % if it is `bad`.
    """
    if n and tail(hits, n, fine) < CHANCE - 1e-12:
        return WARN
    return PASS if n and 1 - tail(hits + 1, n, bad) <= CHANCE else CANNOT_TELL


def draws_to_tell(hits: int, n: int, fine: float, bad: float) -> int | None:
    """Fewest draws with about this share of hits that `judged_share` decides on; None if 200 are too few."""
    share = hits / n if n else 0.0
    more = range(n + 1, 201)
    return next((m for m in more if judged_share(round(share * m), m, fine, bad) != CANNOT_TELL), None)
