"""From the baseline to the winner: the estimated effect of each change."""

from __future__ import annotations

import math
from dataclasses import dataclass

from reports.analysis import wording
from reports.analysis.axes import Axis, values
from reports.analysis.isolation import PARTS, Isolation, isolations
from reports.analysis.standing import BASELINE, winner
from reports.analysis.wording import counted, setting
from reports.drawing import plots, style
from reports.drawing.layout import BODY, Cell, Page
from reports.pages.context import Report, name
from studies.record.reader import TrialRecord


@dataclass(frozen=True)
class Step:
    """One axis on which the winner differs from the baseline.

    Attributes:
        axis: the axis.
        before, after: the values of the baseline and the winner on it.
        worth: difference of the expected best in the winner's part of the range and in the baseline's, at equal numbers
            of trials, positive if better; NaN if both are in one part or a part has too few trials.
        even: that number of trials.
    """

    axis: Axis
    before: float
    after: float
    worth: float
    even: int


def steps(report: Report) -> list[Step]:
    """The axes on which baseline and winner differ, the largest gain first, those that cannot be compared last."""
    record, best = report.record, winner(report.record)
    baseline = next((trial for trial in record.trials if trial.number == BASELINE), None)
    if best is None or baseline is None or best.number == BASELINE:
        return []
    found = [_step(report, one, baseline, best) for one in isolations(record)]
    changed = [step for step in found if not _same(step.before, step.after)]
    return sorted(changed, key=lambda step: -step.worth if math.isfinite(step.worth) else math.inf)


def _step(report: Report, found: Isolation, baseline: TrialRecord, best: TrialRecord) -> Step:
    before, after = (float(values(found.axis, [trial])[0]) for trial in (baseline, best))
    old, new = found.part_of(before), found.part_of(after)
    worth = new.even - old.even if old is not None and new is not None and old is not new else math.nan
    return Step(found.axis, before, after, worth if report.metric.maximize else -worth, found.even)


def _same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


def changes(report: Report) -> list[Page]:
    """Every change between baseline and winner, with its effect over all trials."""
    found = steps(report)
    if not found:
        return []
    best = winner(report.record)
    assert best is not None
    told = [step for step in found if math.isfinite(step.worth)]
    page = Page(_finding(report, best, found, told), _note())
    if told:
        ax = page.grid(1, 1, 0.8 + 0.36 * len(told), left=1.5)[0]
        unit = " (points)" if report.metric.scale != 1 else ""
        style.frame(ax, x=f"gain from the baseline's part of the range to the winner's{unit}: {report.metric.name}")
        labels = [step.axis.name for step in told]
        plots.gains(ax, [step.worth * report.metric.scale for step in told], labels)
    page.space(0.1)
    page.table(
        ["axis", "baseline", name(best.number), "gain", "at equal"],
        [_row(report, step) for step in found],
        right=(3, 4),
    )
    page.space(0.1)
    for line in _one_change(report):
        page.paragraph(line, BODY)
    return [page]


def _row(report: Report, step: Step) -> list[Cell | str]:
    told = math.isfinite(step.worth)
    worth = report.metric.signed(step.worth) if told else "not comparable"
    return [
        step.axis.label,
        _place(step.axis, step.before),
        _place(step.axis, step.after),
        Cell(worth, bold=told and step.axis.name in report.importance.matters),
        f"{step.even} trials" if told else "–",
    ]


def _place(axis: Axis, value: float) -> str:
    if not math.isfinite(value):
        return "none"
    return axis.choices[int(value)] if axis.scale == "choice" else setting(float(f"{value:.6g}"))


def _finding(report: Report, best: TrialRecord, found: list[Step], told: list[Step]) -> str:
    text = f"From the baseline to {name(best.number).lower()}: {counted(len(found), 'change')}"
    clear = [step for step in told if step.axis.name in report.importance.matters and step.worth > 0]
    if not clear:
        return f"{text}; none of them matters beyond chance"
    return f"{text}; the best supported by other trials is {clear[0].axis.name}"


def _note() -> str:
    return (
        "This is not an ablation: the trials do not change one setting at a time. Each change is estimated from all"
        " completed trials: the expected best of those in the winner's part of that range (a choice, or one of"
        f" {PARTS} parts) against that of those in the baseline's part, over all other settings, at equal numbers of"
        " trials. The changes were selected because the winner did well; they interact, and the gains do not add up."
        " Bold: the axis matters beyond chance."
    )


def _one_change(report: Report) -> list[str]:
    """Completed trials that differ from the baseline in only one searched hyperparameter, if there are any."""
    keys, base = list(report.record.study["space"]), report.standing.baseline
    if base is None:
        return []
    found = []
    for trial in report.record.ranked():
        differs = [key for key in keys if trial.hyperparameters.get(key) != base.hyperparameters.get(key)]
        if len(differs) == 1:
            value = setting(trial.hyperparameters[differs[0]])
            compared = report.metric.compared(trial.value or 0.0, base.value or 0.0)
            found.append(
                f"{name(trial.number)} changed {differs[0]} alone, to {value}: {compared} the baseline,"
                f" {wording.measured_on(report.record)} each."
            )
    missing = "No trial differs from the baseline in one hyperparameter alone, so single changes were not measured."
    return found[:5] or [missing]
