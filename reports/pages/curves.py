"""Learning curves of the best trials against the rest."""

from __future__ import annotations

from collections.abc import Sequence

from reports import analysis, plots, wording
from reports.layout import Page
from reports.pages.report import Report, epoch, name
from reports.records import TrialRecord
from reports.wording import counted

OVERFIT = 0.05  # a rise of the validation loss beyond its own scatter from epoch to epoch


def curves(report: Report) -> list[Page]:
    """Learning curves of the best trials against the rest."""
    record = report.record
    if not any(len(trial.epochs) for trial in record.trials):
        return []
    by_number = {trial.number: trial for trial in record.trials}
    named = [n for n in report.looks if n in by_number and len(by_number[n].epochs)]
    others = analysis.band(record, "validation_loss", named)
    page = Page(_curves_finding(report), _curves_note(others))
    page.keys(report.keys(named, ("band",) if others.trials else ()))
    grid = page.grid(2, 2, min(6.5, page.room), left=0.5)
    for row, kind in enumerate(("loss", "accuracy")):
        scale = 1.0 if kind == "loss" else 100.0
        for ax, split in zip(grid[2 * row :], ("train", "validation"), strict=False):
            column = f"{split}_{kind}"
            plots.frame(
                ax, title=f"{split} {kind}".capitalize(), x="epoch", y=f"{kind}" if kind == "loss" else "accuracy (%)"
            )
            plots.rest(ax, analysis.band(record, column, named), scale)
            for number in reversed(named):
                trial = by_number[number]
                plots.curve(
                    ax,
                    trial.epochs[column] * scale,
                    trial.counted_epoch,
                    report.looks[number],
                )
        shared = [by_number[n].epochs[f"{split}_{kind}"] * scale for n in named for split in ("train", "validation")]
        plots.same_window(grid[2 * row : 2 * row + 2], shared, log=kind == "loss")
    _curves_table(page, report, [by_number[n] for n in named if by_number[n].counted_epoch is not None])
    return [page]


def _curves_table(page: Page, report: Report, trials: Sequence[TrialRecord]) -> None:
    """The named trials at the epoch that counts."""
    if not trials:
        return
    losses, accuracies = wording.loss(), wording.accuracy(int(report.record.dataset["validation"]))
    page.heading("At the epoch that counts")
    rows: list[list[str]] = []
    for trial in trials:
        row, seen = trial.epochs[trial.counted_epoch or 0], analysis.course(trial)
        gap = accuracies.signed(seen.gap) if seen else "–"
        losses_shown = [losses.text(float(row[f"{split}_loss"])) for split in ("train", "validation")]
        accuracies_shown = [accuracies.text(float(row[f"{split}_accuracy"])) for split in ("train", "validation")]
        rows.append(
            [name(trial.number), f"{epoch(trial)} of {len(trial.epochs)}", *losses_shown, *accuracies_shown, gap]
        )
    head = [
        "trial",
        "epoch",
        "train_loss",
        "validation_loss",
        "train_accuracy",
        "validation_accuracy",
        "train minus_validation",
    ]
    page.table(head, rows[:6], right=range(1, 7))


def _curves_finding(report: Report) -> str:
    best = analysis.winner(report.record)
    seen = analysis.course(best) if best else None
    if best is None or seen is None:
        return "Learning curves of trials that have not completed"
    who = name(best.number)
    if seen.improving:
        return f"{who} was still improving in its last epoch, {seen.epochs}: more epochs may help"
    if seen.overfit > OVERFIT:
        rise = wording.percent(seen.overfit)
        return (
            f"{who} is best at epoch {seen.counted} of {seen.epochs} and then overfits: its validation loss"
            f" rises by {rise}"
        )
    return f"{who} has converged: it is best at epoch {seen.counted} of {seen.epochs} and stays level"


def _curves_note(others: analysis.Band) -> str:
    drawn = (
        "as thin lines"
        if others.lines
        else "as a band from the 10 % to the 90 % quantile of those still running at that epoch"
    )
    rest = (
        f" The other {counted(others.trials, 'trial')} with at least one epoch are drawn {drawn}."
        if others.trials
        else ""
    )
    return (
        f"A mark stands on the epoch that counts; epochs are numbered from 1.{rest} Training numbers are"
        " means over the epoch, each batch before its update and with the regularisation on; validation"
        " is measured after the epoch."
    )
