"""Was the number of epochs right?"""

from __future__ import annotations

from reports.analysis.best_epochs import BestEpochs, best_epochs
from reports.analysis.learning_curves import FEWEST_EPOCHS, labels
from reports.analysis.wording import counted, percent
from reports.drawing import plots, style
from reports.drawing.layout import BODY, Page
from reports.pages.context import Report, capital

MEANING = {
    "overfitting": "the validation loss ends above its lowest level while the training loss falls",
    "still improving": "the validation loss still fell over the last fifth of the epochs",
    "noisy": "the validation loss scatters by more than 10 % from epoch to epoch",
    "saturated": "the validation loss stayed level",
    "diverged": "the loss was no longer a number",
    "too short to judge": f"fewer than {FEWEST_EPOCHS} epochs",
}


def epochs(report: Report) -> list[Page]:
    """When the completed trials were at their best, and what their curves show."""
    found = best_epochs(report.record)
    n = len(found.counted)
    if not n:
        return []
    note = f"n = {counted(n, 'completed trial')}; where the last epoch counts by rule, its best one is shown here."
    page = Page(_finding(report, found), note)
    ax = page.grid(1, 1, 3.0)[0]
    style.frame(ax, x="best epoch, as a share of the trial's epochs (%)", y="completed trials")
    plots.shares(ax, found.counted)
    page.paragraph(_text(found), BODY)
    seen = labels(report.record)
    page.heading("What the curves show")
    rows = [[label, str(number), MEANING[label]] for label, number in seen.items()]
    page.table(["course", "trials", "meaning"], rows, right=(1,))
    return [page]


def _finding(report: Report, found: BestEpochs) -> str:
    n, check = len(found.counted), next(check for check in report.checks if check.name == "best epoch")
    if check.status == "warn" and found.early > 0.5:
        return f"Too many epochs: {percent(found.early)} of {n} trials were best in their first tenth"
    if check.status == "warn":
        return f"Too few epochs: {percent(found.late)} of {n} trials were best in their last quarter, still improving"
    if check.status == "pass" and found.late > 0.5:
        return "The number of epochs fits: trials were best in their last quarter, where their curves are level"
    if check.status == "pass":
        return f"The number of epochs fits: {percent(1 - found.late)} of {n} trials were best before their last quarter"
    if found.annealed > 0.5:
        return "A schedule ended the trainings: the best epochs say nothing of their number"
    return f"Too little is known to say whether the number of epochs fits (n = {n})"


def _text(found: BestEpochs) -> str:
    schedule = (
        f" {capital(percent(found.annealed))} of the trials ended with a learning rate near 0: a schedule is best near"
        " its end by design, so that this says nothing of more epochs; only a longer one, trained anew, would."
        if found.annealed
        else ""
    )
    return (
        f"Shaded: the first tenth ({percent(found.early)} of the completed trials; many there mean that the epochs were"
        f" too many) and the last quarter ({percent(found.late)}; many there mean that they were too few).{schedule}"
    )
