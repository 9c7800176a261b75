"""Learning curves of the best trials against the rest."""

from __future__ import annotations

from collections.abc import Sequence

from reports.analysis import wording
from reports.analysis.learning_curves import Band, Course, band, course
from reports.analysis.standing import winner
from reports.analysis.wording import counted
from reports.drawing import plots, scales, style
from reports.drawing.layout import Page
from reports.drawing.sheets import Sheets
from reports.pages.context import FEWEST_COMPLETE, Report, epoch, name
from studies.record.reader import TrialRecord

MOST_ROWS = 4


def curves(report: Report, sheets: Sheets) -> None:
    """Learning curves of the best trials against the rest."""
    record = report.record
    if not any(len(trial.epochs) for trial in record.trials):
        return
    by_number = {trial.number: trial for trial in record.trials}
    named = [n for n in report.looks if n in by_number and len(by_number[n].epochs)]
    others = band(record, "validation_loss", named)
    page = sheets.section(_curves_finding(report), _curves_note(others))
    page.keys(report.keys(named, ("band",) if others.trials else ()))
    grid = page.grid(4, 2, 5.0 if report.standing.complete < FEWEST_COMPLETE else 3.3, left=0.5)
    for row, kind in enumerate(("loss", "accuracy")):
        scale = 1.0 if kind == "loss" else 100.0
        for ax, split in zip(grid[2 * row :], ("train", "validation"), strict=False):
            column = f"{split}_{kind}"
            style.frame(
                ax, title=f"{split} {kind}".capitalize(), x="epoch", y=f"{kind}" if kind == "loss" else "accuracy (%)"
            )
            plots.rest(ax, band(record, column, named), scale)
            for number in reversed(named):
                trial = by_number[number]
                plots.curve(
                    ax,
                    trial.epochs[column] * scale,
                    trial.selected_epoch,
                    report.looks[number],
                    number,
                )
        shared = [by_number[n].epochs[f"{split}_{kind}"] * scale for n in named for split in ("train", "validation")]
        scales.same_window(grid[2 * row : 2 * row + 2], shared, log=kind == "loss")
    _curves_table(page, report, [by_number[n] for n in named if by_number[n].selected_epoch is not None])


def _curves_table(page: Page, report: Report, trials: Sequence[TrialRecord]) -> None:
    """The highlighted trials at the selected epoch, and the classes of their curves."""
    if not trials:
        return
    page.heading("At the selected epoch")
    measured = [f"{split}\n{kind}" for kind in ("loss", "accuracy") for split in ("train", "validation")]
    head = ["trial", "curve", "epoch", *measured, "gap"]
    page.table(head, [_curve_row(report, trial) for trial in trials[:MOST_ROWS]], right=range(2, 8))


def _curve_row(report: Report, trial: TrialRecord) -> list[str]:
    row, seen = trial.epochs[trial.selected_epoch or 0], course(trial)
    accuracies = wording.accuracy(report.record.validated)
    return [
        name(trial.number),
        seen.label if seen else "–",
        f"{epoch(trial)} of {len(trial.epochs)}",
        *(wording.small(float(row[f"{split}_loss"])) for split in ("train", "validation")),
        *(accuracies.text(float(row[f"{split}_accuracy"])) for split in ("train", "validation")),
        accuracies.signed(seen.gap) if seen else "–",
    ]


def _curves_finding(report: Report) -> str:
    best = winner(report.record)
    seen = course(best) if best else None
    if best is None:
        return "Learning curves of trials that have not completed"
    if seen is None or not seen.counted:
        return f"{name(best.number)} did not complete in the search"
    return f"{name(best.number)} {_course_in_words(seen, report.selected)}"


def _course_in_words(seen: Course, selected: str) -> str:
    where = "is best at epoch" if selected == "best" else "is judged by its last epoch,"
    at = f"{where} {seen.counted} of {seen.epochs}"
    if seen.label == "overfitting":
        return f"overfits: its validation loss ends {wording.percent(seen.rise)} above its lowest level; it {at}"
    if seen.label == "still improving" and seen.annealed:
        return "improved until its schedule ended; only a longer schedule can show whether it would improve further"
    if seen.label == "still improving":
        return f"was still improving when it ended, at epoch {seen.epochs}"
    if seen.label == "noisy":
        return f"{at}; its validation loss scatters by {wording.percent(seen.scatter)} between epochs"
    if seen.label == "saturated":
        return f"{at} and its loss is flat at the end" + (", where its schedule ends at 0" if seen.annealed else "")
    return at


def _curves_note(others: Band) -> str:
    drawn = (
        "as thin lines" if others.lines else "as a band from the 10 % to the 90 % quantile of those that ran that epoch"
    )
    if others.trials == 1:
        drawn = "as a thin line"
    be = "is" if others.trials == 1 else "are"
    rest = (
        f" The other {counted(others.trials, 'trial')} with at least one epoch {be} drawn {drawn}."
        if others.trials
        else ""
    )
    return (
        f"Learning curves: a mark shows the selected epoch; epochs are numbered from 1.{rest} Training values are"
        " means over the epoch, each batch before its update and with regularisation; validation values are measured"
        " after the epoch. Curves are classified by medians of several epochs relative to the scatter of the curve;"
        " the gap is training minus validation accuracy."
    )
