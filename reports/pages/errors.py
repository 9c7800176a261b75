"""The confusion matrix, the calibration and the most confident mistakes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from reports.analysis import wording
from reports.analysis.calibration import Calibration, calibration
from reports.analysis.confusion import Confusion, confusion
from reports.analysis.mistakes import Mistake, confident_mistakes
from reports.analysis.wording import counted, listed
from reports.drawing import plots, style
from reports.drawing.layout import MUTED, SMALL, Page, wrap
from reports.pages.context import Report, name

IMAGES, COLUMNS = 18, 9
TILE_HEIGHT, HEADING_HEIGHT = 0.86, 0.4  # inches


def mistakes(report: Report) -> list[Page]:
    """The confusion matrix, the calibration and the most confident mistakes."""
    found = confusion(report.record)
    if found is None:
        return []
    page = Page(_confusion_finding(found), _confusion_note(report, found))
    calibrated = calibration(report.record)
    side = 4.3 if calibrated is None else 3.5
    ax = page.grid(1, 1, side + 0.55, left=1.25)[0]
    ax.set_anchor("W")
    style.frame(ax, x="predicted class", y="true class")
    plots.confusion(ax, found)
    page.space(0.02)
    page.paragraph(_recalls(found), SMALL + 0.6, most=4)
    if calibrated is not None:
        _calibration(page, calibrated)
    shown = confident_mistakes(report.record)[:IMAGES]
    if shown and page.room > HEADING_HEIGHT + TILE_HEIGHT:
        _images(page, shown, found)
    return [page]


def _confusion_finding(found: Confusion) -> str:
    who = "The first final model" if found.split == "test" else name(found.trial)
    pairs = found.worst_pairs(1)
    most = f", most often {pairs[0][0]} as {pairs[0][1]} ({pairs[0][2]}\u00d7)" if pairs else ""
    return f"{who} misclassifies {found.errors} of {counted(found.examples, f'{found.split} example')}{most}"


def _confusion_note(report: Report, found: Confusion) -> str:
    closed = "" if found.split == "test" else f" The test set has not been opened: {report.why_closed()}."
    return (
        f"n = {counted(found.examples, f'{found.split} example')}, the whole set. Rows are true classes;"
        f" only mistakes are coloured.{closed}"
    )


def _recalls(found: Confusion) -> str:
    if not found.errors:
        return "Every example was classified correctly."
    recall = found.recall()
    order = [int(index) for index in np.argsort(recall) if math.isfinite(recall[index])][:3]
    worst = listed(f"{found.names[index]} ({wording.percent(float(recall[index]), 1)})" for index in order)
    pairs = [f"{true} as {taken} ({number}\u00d7)" for true, taken, number in found.worst_pairs(4)]
    return f"Lowest recall: {worst}. Most frequent mistakes: {listed(pairs)}."


def _calibration(page: Page, found: Calibration) -> None:
    n = int(found.n.sum())
    metric = wording.accuracy(n)
    off = abs(found.confidence.mean() - found.accuracy.mean())
    page.heading(f"Expected calibration error: {metric.gain(found.error)}")
    page.space(-0.16)
    left, right = page.grid(2, 2, 2.1, left=0.6)
    style.frame(left, x="mean confidence of a group (%)", y="accuracy of the group (%)")
    plots.calibration(left, found)
    right.axis("off")
    words = "over" if found.confidence.mean() > found.accuracy.mean() else "under"
    lines = wrap(
        f"{counted(n, 'test example')} in {len(found.n)} groups of equal size by confidence. On the dotted line the"
        " accuracy equals the confidence; bars are 95\u00a0% Wilson intervals over test examples. Averaged over the"
        f" groups, the model is {words}confident by {metric.gain(float(off))}.",
        2.7,
        SMALL + 0.6,
    )
    right.text(
        0, 0.95, "\n".join(lines), fontsize=SMALL + 0.6, color=MUTED, va="top", parse_math=False, linespacing=1.4
    )


def _images(page: Page, shown: Sequence[Mistake], found: Confusion) -> None:
    rows = min(math.ceil(len(shown) / COLUMNS), int((page.room - HEADING_HEIGHT) / TILE_HEIGHT))
    shown = shown[: rows * COLUMNS]
    page.heading(f"The {len(shown)} most confident mistakes on the test set: true → predicted class, probability")
    for ax, mistake in zip(page.tiles(len(shown), COLUMNS, TILE_HEIGHT), shown, strict=True):
        plots.image(ax, mistake, found.names)
