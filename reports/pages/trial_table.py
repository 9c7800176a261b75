"""The best trials with all their settings, and every failed trial."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reports.analysis import wording
from reports.analysis.failures import BROKEN, most_frequent_cause
from reports.analysis.wording import counted, setting
from reports.drawing.blocks import INK, Cell
from reports.drawing.layout import MUTED, SMALL, TINY, Page
from reports.drawing.sheets import Sheets
from reports.pages.context import Report, epoch
from studies.record.reader import TrialRecord

TOP_ROWS = 15
MOST_FAILURES = 40
FEW_FAILURES = 15  # up to this many fit below the best trials


def table(report: Report, sheets: Sheets) -> None:
    """The best trials with all their settings."""
    ranked = report.record.ranked()
    if not ranked:
        return
    shown = ranked[:TOP_ROWS]
    left = len(ranked) - len(shown)
    more = f" {left} more: {export(report)}." if left else ""
    page = sheets.section(
        _best_finding(report, shown),
        f"Best trials: n = {len(ranked)} completed, by {report.metric.name}; ties are decided by the lower validation"
        f" loss, then by the lower number.{more}",
    )
    baseline = report.standing.baseline
    below = [] if baseline is None or baseline in shown else [(ranked.index(baseline) + 1, baseline)]
    keys = list(report.record.study["space"])[:9]
    head = [
        "",
        "trial",
        report.metric.name.replace(" ", "\n", 1),
        *_other(report)[0],
        "epoch",
        "time",
        *map(_head, keys),
    ]
    page.table(
        head,
        [_row(report, rank, trial, keys) for rank, trial in [*enumerate(shown, 1), *below]],
        right=(0, 1, 2, 3, 4, 5),
        size=TINY,
    )
    if (broken := _broken(report)) and len(broken) <= FEW_FAILURES:
        page.space(0.2)
        page.heading(_failures_finding(report))
        _failures_table(page, report, broken)


def _best_finding(report: Report, shown: Sequence[TrialRecord]) -> str:
    """How far the best trials are apart."""
    if len(shown) == 1:
        return "One trial has completed"
    spread = (shown[-1].value or 0.0) - (shown[0].value or 0.0)
    return f"The best {len(shown)} trials " + (
        f"are within {report.metric.gain(spread)}" if spread else "have the same value"
    )


def _head(key: str) -> str:
    """A hyperparameter as the head of a narrow column."""
    return key.replace("_", "\n")


def export(report: Report) -> str:
    """The command that writes every trial to a file."""
    return f"sweep export {report.record.name} --out trials.csv"


def _other(report: Report) -> tuple[list[str], Callable[[TrialRecord], str]]:
    """A second metric for the table, one that does not rank the trials."""
    if report.metric.maximize:
        return ["validation\nloss"], lambda trial: wording.loss().text(trial.validation_loss)
    metric = wording.accuracy(report.record.validated)
    return ["validation\naccuracy"], lambda trial: metric.text(trial.validation_accuracy)


def _row(report: Report, rank: int, trial: TrialRecord, keys: Sequence[str]) -> list[Cell]:
    look = report.looks.get(trial.number)
    given = report.record.given(trial.number)
    number = f"{trial.number} ({given})" if given else str(trial.number)
    named = Cell(number, bold=look is not None, colour=look.colour if look else INK)
    value = Cell(report.metric.text(trial.value), bold=True)
    at = f"{epoch(trial)} of {len(trial.epochs)}"
    settings = [Cell(setting(trial.hyperparameters.get(key, "–"))) for key in keys]
    return [
        Cell(str(rank), colour=MUTED),
        named,
        value,
        Cell(_other(report)[1](trial)),
        Cell(at),
        Cell(wording.duration(trial.seconds)),
        *settings,
    ]


def failures(report: Report, sheets: Sheets) -> None:
    """Every failed trial, with its reason."""
    broken = _broken(report)
    if not broken or (len(broken) <= FEW_FAILURES and report.standing.complete):
        return  # the section of the best trials has room for a few
    note = f"Failed trials: n = {len(broken)}, in order of number; {most_frequent_cause(report.record)}."
    page = sheets.section(_failures_finding(report), note)
    _failures_table(page, report, broken)
    sheets.turn()


def _broken(report: Report) -> list[TrialRecord]:
    return [trial for trial in report.record.trials if trial.outcome in BROKEN]


def _failures_finding(report: Report) -> str:
    counts = {name: count for name, count in report.record.counts().items() if name in BROKEN}
    return f"{counted(sum(counts.values()), 'trial')} failed or diverged: {wording.outcomes(counts)}"


def _failures_table(page: Page, report: Report, broken: Sequence[TrialRecord]) -> None:
    keys = list(report.record.study["space"])[:6]
    rows = [_failure(trial, keys) for trial in broken[:MOST_FAILURES]]
    page.table(
        ["trial", "outcome", "epochs", *map(_head, keys), "reason"],
        rows,
        right=(0, 2),
        size=TINY,
    )
    if len(broken) > MOST_FAILURES:
        page.space(0.08)
        page.paragraph(f"{len(broken) - MOST_FAILURES} more: {export(report)}.", SMALL, colour=MUTED)


def _failure(trial: TrialRecord, keys: Sequence[str]) -> list[str]:
    settings = [setting(trial.hyperparameters.get(key, "–")) for key in keys]
    return [str(trial.number), trial.outcome, str(len(trial.epochs)), *settings, trial.reason or "–"]
