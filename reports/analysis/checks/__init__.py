"""Checks of a sweep after the Deep Learning Tuning Playbook, each with its numbers.

https://github.com/google-research/tuning_playbook. A check passes, warns, or cannot tell yet, and then says what would
tell. A warning is worth acting on: of made-up studies without a fault, drawn by the shipped sampler and pruner, at most
1 in 20 has one (tests/reports/analysis/test_check_rates.py, which draws them). Every check says how often it warns of
studies of 60 trials without a fault, and with the fault that it looks for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reports.analysis.checks.confirmed import validation_and_test, winner_against_baseline
from reports.analysis.checks.curves import best_epoch, overfitting, still_improving, unsteady
from reports.analysis.checks.finding import CANNOT_TELL, PASS, WARN, Check
from reports.analysis.checks.space import boundary, infeasible
from reports.analysis.checks.trials import enough_trials, noise, pruning, saturated
from reports.analysis.wording import counted, listed
from studies.record.reader import SweepRecord

CHECKS: Sequence[Callable[[SweepRecord], Check]] = (
    winner_against_baseline,
    validation_and_test,
    noise,
    saturated,
    boundary,
    infeasible,
    overfitting,
    still_improving,
    best_epoch,
    unsteady,
    enough_trials,
    pruning,
)


def checks(record: SweepRecord) -> list[Check]:
    """All checks of a study, always the same in the same order."""
    return [check(record) for check in CHECKS]


def summary(found: Sequence[Check]) -> str:
    """All checks in one line: `5 checks passed, 1 needs attention (boundary), 3 cannot tell yet`."""
    warned = [check.name for check in found if check.status == WARN]
    passed, unsure = (sum(check.status == status for check in found) for status in (PASS, CANNOT_TELL))
    attention = f"{len(warned)} need{'s' if len(warned) == 1 else ''} attention ({listed(warned)})" if warned else ""
    parts = [f"{counted(passed, 'check')} passed", attention, f"{unsure} cannot tell yet" if unsure else ""]
    return ", ".join(part for part in parts if part)
