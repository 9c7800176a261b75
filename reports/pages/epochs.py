"""Was the number of epochs right?"""

from __future__ import annotations

from reports.analysis.best_epochs import BestEpochs, best_epochs
from reports.analysis.checks.finding import PASS, WARN
from reports.analysis.learning_curves import FEWEST_EPOCHS, labels
from reports.analysis.training_noise import limit_words
from reports.analysis.wording import counted, listed, percent
from reports.drawing import plots, style
from reports.drawing.layout import BODY, Page
from reports.drawing.sheets import Sheets, height
from reports.pages.context import Report, capital

CHART = 1.35  # inches
MEANING = {
    "overfitting": "the validation loss ends above its lowest level while the training loss falls",
    "still improving": "the validation loss still fell over the last fifth of the epochs",
    "noisy": "the validation loss scatters by more than 10 % between epochs",
    "saturated": "the validation loss is flat at the end",
    "diverged": "the loss became infinite or NaN",
    "too short to judge": f"fewer than {FEWEST_EPOCHS} epochs",
}


def epochs(report: Report, sheets: Sheets) -> None:
    """The best epochs of the completed trials, and the classes of their learning curves."""
    found = best_epochs(report.record)
    n = len(found.counted)
    if not n:
        return
    note = f"Best epochs: n = {counted(n, 'completed trial')}; shown also if the study selects the last epoch."
    said = _finding(report, found), note
    page = sheets.section(*said, room=CHART + height(*said, lambda page: _content(page, report, found)))
    ax = page.grid(1, 1, CHART)[0]
    style.frame(ax, x="best epoch, in % of the trial's epochs", y="completed trials")
    plots.shares(ax, found.counted)
    _content(page, report, found)


def _content(page: Page, report: Report, found: BestEpochs) -> None:
    """All below the chart."""
    page.paragraph(_text(found), BODY)
    page.space(0.05)
    classes = [f"{number} {label} ({MEANING[label]})" for label, number in labels(report.record).items()]
    page.paragraph(f"Learning curves of the trials: {listed(classes)}.", BODY)


def _finding(report: Report, found: BestEpochs) -> str:
    n, by_name = len(found.counted), {check.name: check for check in report.checks}
    longer = by_name["still improving"]
    if by_name["best epoch"].status == WARN:
        return f"Too many epochs: {percent(found.early)} of {n} trials had their best epoch in the first tenth"
    limit = limit_words(report.record)
    if longer.status == WARN:
        return f"Too few epochs: longer trainings would gain more than {limit}"
    if longer.status == PASS and longer.numbers["gain"] > longer.numbers["limit"]:
        return f"Enough epochs: few of the best trials would gain more than {limit} in longer trainings"
    if longer.status == PASS:
        return f"Enough epochs: longer trainings would gain no more than {limit}"
    epochs = report.record.study["baseline"]["epochs"]
    return f"Cannot tell whether {epochs} epochs were enough (n = {n})"


def _text(found: BestEpochs) -> str:
    schedule = (
        f" {capital(percent(found.annealed))} of the trials ended with a learning rate near 0. With such a schedule the"
        " best epoch is late by design, so this does not show whether more epochs would help; only training with a"
        " longer schedule would."
        if found.annealed
        else ""
    )
    return (
        f"Shaded: the first tenth ({percent(found.early)} of the completed trials; many here suggest too many epochs)"
        f" and the last quarter ({percent(found.late)}; expected with averaged weights and with schedules that"
        f" end at 0).{schedule}"
    )
