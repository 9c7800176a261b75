"""Checks of the search space: are its ranges wide enough, and can its settings be trained?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reports.analysis import importance
from reports.analysis.axes import Axis, axes, values
from reports.analysis.checks.finding import (
    CANNOT_TELL,
    PASS,
    WARN,
    Check,
    draws_to_tell,
    judged_share,
    tail,
    too_few,
    top_group,
)
from reports.analysis.failures import BROKEN, most_frequent_cause
from reports.analysis.importance import judged_trials, what_matters
from reports.analysis.standing import standing, winner
from reports.analysis.wording import counted, listed, percent
from studies.record.reader import SweepRecord, TrialRecord

ZONE = 0.2
"""Fraction of a range at its end in which the best trials cluster."""
CLUSTER = 0.01
"""Significance level of that cluster against uniform draws: at 5 % TPE, which draws near good trials, has too many."""
OUTER = 0.1
"""Fraction of a range at its end in which their median lies."""
FEW_BROKEN, MANY_BROKEN = 0.1, 0.2
"""Fractions of trials that fail: the first is fine, the second is too many."""


def boundary(record: SweepRecord) -> Check:
    """Are the best trials at a bound of the search space?

    The best tenth must cluster in the outermost fifth of a range, with its median in the outermost tenth, and the axis
    must matter beyond chance. Clustering alone is no evidence: TPE draws new trials near good ones, on every axis.

    Warns of 3 % of 100 studies whose best settings are inside, and of all of 40 whose best are beyond a bound.
    """
    name = "boundary"
    judged = 0 if winner(record) is None else len(judged_trials(record)[0])
    if judged < importance.FEWEST:
        return too_few(record, name, judged, importance.FEWEST, "compared trial")
    found = crowded(record)
    numbers = {"top": len(top_group(record)), "bounds": [{"axis": a.name, "end": end} for a, end in found.items()]}
    if not found:
        return Check(name, PASS, "The best trials do not cluster at a bound of a range that matters.", numbers)
    ends = listed(f"the {end} bound of {axis.name}" for axis, end in found.items())
    beyond = "it" if len(found) == 1 else "them"
    return Check(name, WARN, f"The best trials are at {ends}: better settings may lie beyond {beyond}.", numbers)


def crowded(record: SweepRecord) -> dict[Axis, str]:
    """The axes that matter with the best trials at a bound, and which bound: `lower` or `upper`.

    By hyperparameter: that there is a second layer, and how wide it is, say the same.
    """
    group = top_group(record)
    ends = {axis: _end(axis, group) for axis in axes(record.study["space"])}
    found = {axis: end for axis, end in ends.items() if end is not None}
    if not found:
        return {}
    named = what_matters(record)
    matters = {axis.key for axis in axes(record.study["space"]) if axis.name in named}
    return {axis: end for axis, end in found.items() if axis.key in matters}


def _end(axis: Axis, group: Sequence[TrialRecord]) -> str | None:
    """The bound at which significantly many of a group are, if there is one."""
    if axis.scale == "choice" or axis.low == axis.high or not group:
        return None
    place = np.array([axis.position(float(x)) for x in values(axis, group) if np.isfinite(x)])
    for is_high in (False, True):
        if (axis.floor and not is_high) or not _clusters(axis, 1 - place if is_high else place, len(group)):
            continue
        return "upper" if is_high != axis.complement else "lower"
    return None


def _clusters(axis: Axis, distance: np.ndarray, of: int) -> bool:
    """Whether significantly many are close to a bound; `distance` from it as a fraction of the range."""
    share = ZONE
    if axis.few:
        count = int(axis.high - axis.low) + 1
        share = max(1, int(ZONE * (count - 1) + 1e-9) + 1) / count
    near = int((distance <= ZONE + 1e-9).sum())
    is_close = bool(distance.size > of / 2) and float(np.median(distance)) <= OUTER
    return is_close and tail(near, of, share) <= CLUSTER


def infeasible(record: SweepRecord) -> Check:
    """Do too many trials fail? Then the space has regions that cannot be trained.

    A tenth is fine, a fifth is too many: the exact binomial test.

    Warns of none of 200 studies in which no trial fails, and of all of 40 in which half of the space fails.
    """
    name, finished = "infeasible share", standing(record).finished
    broken = sum(trial.outcome in BROKEN for trial in record.trials)
    status = judged_share(broken, finished, FEW_BROKEN, MANY_BROKEN)
    numbers = {"broken": broken, "finished": finished, "share": broken / finished if finished else 0.0}
    text = f"{broken} of {counted(finished, 'finished trial')} failed or diverged"
    if status == CANNOT_TELL:
        needed = draws_to_tell(broken, finished, FEW_BROKEN, MANY_BROKEN)
        more = f": about {counted(needed, 'trial')} would tell" if needed else ""
        return Check(name, status, f"{text}{more}.", {**numbers, "trials that would tell": needed})
    if status == PASS:
        return Check(name, PASS, f"{text}.", numbers)
    cause = most_frequent_cause(record)
    return Check(name, WARN, f"{text} ({percent(broken / finished)}); {cause}.", numbers)
