"""The confusion matrix, the calibration and the most confident mistakes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from reports.analysis import wording
from reports.analysis.calibration import Calibration, calibration
from reports.analysis.confusion import Confusion, confusion
from reports.analysis.mistakes import Mistake, confident_mistakes
from reports.analysis.statistics import wilson
from reports.analysis.wording import counted, listed
from reports.drawing import plots, style
from reports.drawing.fonts import measure, printable
from reports.drawing.layout import BODY, MUTED, SMALL, TINY, Page, wrap
from reports.drawing.sheets import Sheets
from reports.pages.context import Report, name

MOST_IN_A_MATRIX = 20
"""Classes of a confusion matrix that can be read; more are listed by their mistakes."""
AXIS_NAME = 16
"""Characters of a class name beside the matrix."""
PAIRS, RECALLS, ROWS = 15, 10, 18  # most rows of the tables
IMAGES = 18
SHORT_NAME = 3  # characters of class names that fit above the smaller images
HEADING_HEIGHT, ROW_HEIGHT = 0.4, 0.167  # inches


def mistakes(report: Report, sheets: Sheets) -> None:
    """The confusion matrix, the calibration and the most confident mistakes."""
    found = confusion(report.record)
    if found is None:
        return
    page = sheets.section(_confusion_finding(found), _confusion_note(report, found))
    calibrated = calibration(report.record)
    if len(found.names) > MOST_IN_A_MATRIX:
        _pairs(page, found)
        _lowest_recalls(page, found)
    else:
        _matrix(page, found, 4.3 if calibrated is None else 3.5)
    if calibrated is not None:
        _calibration(page, calibrated)
    _confident(page, confident_mistakes(report.record), found)


def _matrix(page: Page, found: Confusion, side: float) -> None:
    labels = [printable(name) for name in wording.short_names(found.names, AXIS_NAME)]
    widest = max(measure(label, TINY) for label in labels)
    rotated = widest > 0.95 * side / len(labels)
    below = 0.42 + (widest if rotated else 0)
    ax = page.grid(1, 1, side + 0.13 + below, left=max(1.25, widest + 0.4), below=below)[0]
    ax.set_anchor("W")
    style.frame(ax, x="predicted class", y="true class")
    plots.confusion(ax, found, labels, rotated=rotated)
    page.space(0.02)
    page.paragraph(_recalls(found), SMALL + 0.6, most=4)


def _pairs(page: Page, found: Confusion) -> None:
    """The most frequent mistakes, instead of a matrix that would be too large to read."""
    if not found.errors:
        page.paragraph("Every example was classified correctly.", BODY)
        return
    pairs = found.worst_pairs(PAIRS)
    page.heading(f"The {counted(len(pairs), 'most frequent mistake')}")
    rows = [[pair.true, pair.predicted, str(pair.n), wording.percent(pair.share, 1)] for pair in pairs]
    page.table(["true class", "predicted as", "mistakes", "share of the true class"], rows, right=(2, 3))


def _lowest_recalls(page: Page, found: Confusion) -> None:
    recall, sizes = found.recall(), found.counts.sum(axis=1)
    order = [int(index) for index in np.argsort(recall, kind="stable") if sizes[index]][:RECALLS]
    levels = [float(value) for value in recall if math.isfinite(value)]
    alike = sum(value <= recall[order[-1]] for value in levels)
    heading = f"The {len(order)} classes of the lowest recall"
    page.heading(heading if alike == len(order) else f"{len(order)} of the {alike} classes of the lowest recall")
    rows = []
    for index in order:
        low, high = wilson(float(recall[index]), int(sizes[index]))
        ends = f"{wording.percent(low, 1)} to {wording.percent(high, 1)}"
        rows.append([found.names[index], str(sizes[index]), wording.percent(float(recall[index]), 1), ends])
    page.table(["class", "examples", "recall", "95\u00a0% interval"], rows, right=(1, 2, 3))


def _confusion_finding(found: Confusion) -> str:
    who = "The first final model" if found.split == "test" else name(found.trial)
    first, second = [*found.worst_pairs(2), None, None][:2]
    is_clear = first is not None and (second is None or first.n > second.n)
    most = f", most often {first.true} as {first.predicted} ({first.n}\u00d7)" if first and is_clear else ""
    return f"{who} misclassifies {found.errors} of {counted(found.examples, f'{found.split} example')}{most}"


def _confusion_note(report: Report, found: Confusion) -> str:
    closed = "" if found.split == "test" else f" The test set has not been opened: {report.why_closed()}."
    matrix = len(found.names) <= MOST_IN_A_MATRIX
    how = " Rows are true classes; only mistakes are coloured." if matrix else ""
    return f"n = {counted(found.examples, f'{found.split} example')}, the whole set.{how}{closed}"


def _recalls(found: Confusion) -> str:
    if not found.errors:
        return "Every example was classified correctly."
    recall = found.recall()
    order = [int(index) for index in np.argsort(recall, kind="stable") if recall[index] < 1]
    worst = [f"{found.names[index]} ({wording.percent(float(recall[index]), 1)})" for index in order]
    pairs = [f"{pair.true} as {pair.predicted} ({pair.n}\u00d7)" for pair in found.worst_pairs(found.errors)]
    return f"Lowest recall: {_first(worst, 3)}. Most frequent mistakes: {_first(pairs, 4)}."


def _first(parts: Sequence[str], most: int) -> str:
    """The first parts, and how many more there are."""
    left = len(parts) - most
    return listed(parts) if left <= 0 else listed([*parts[:most], f"{left} more"])


def _calibration(page: Page, found: Calibration) -> None:
    n = int(found.n.sum())
    metric = wording.accuracy(n)
    confidence, accuracy = (float(values @ found.n) / n for values in (found.confidence, found.accuracy))
    page.heading(f"Expected calibration error: {metric.gain(found.error)}")
    page.space(-0.16)
    left, right = page.grid(2, 2, 2.1, left=0.6)
    style.frame(left, x="mean confidence of a group (%)", y="accuracy of the group (%)")
    plots.calibration(left, found)
    right.axis("off")
    off = abs(confidence - accuracy)
    words = "over" if confidence > accuracy else "under"
    confident = f"is {words}confident by {metric.gain(off)}" if off else "is as confident as it is accurate"
    lines = wrap(
        f"{counted(n, 'test example')} in {counted(len(found.n), 'group')} of about equal size by confidence. On the"
        " dotted line the accuracy equals the confidence; bars are 95\u00a0% Wilson intervals over test examples."
        f" Averaged over the examples, the model {confident}.",
        2.7,
        SMALL + 0.6,
    )
    right.text(
        0, 0.95, "\n".join(lines), fontsize=SMALL + 0.6, color=MUTED, va="top", parse_math=False, linespacing=1.4
    )


def _confident(page: Page, shown: Sequence[Mistake], found: Confusion) -> None:
    """The most confident mistakes as images, or as rows of the test set, as many as there is room for."""
    if any(mistake.image is not None for mistake in shown):
        _images(page, [mistake for mistake in shown if mistake.image is not None][:IMAGES], found)
    else:
        _rows(page, shown, found)


def _images(page: Page, shown: Sequence[Mistake], found: Confusion) -> None:
    small = max(map(len, found.names)) <= SHORT_NAME
    columns, height, above = (9, 0.86, 0.2) if small else (6, 1.34, 0.3)
    rows = min(math.ceil(len(shown) / columns), int((page.room - HEADING_HEIGHT) / height))
    if rows < 1:
        return
    shown = shown[: rows * columns]
    page.heading(
        f"The {counted(len(shown), 'most confident mistake')} on the test set: true → predicted class, probability"
    )
    for ax, mistake in zip(page.tiles(len(shown), columns, height, above), shown, strict=True):
        plots.image(ax, mistake, found.names)


def _rows(page: Page, shown: Sequence[Mistake], found: Confusion) -> None:
    shown = shown[: min(ROWS, int((page.room - HEADING_HEIGHT - 2 * ROW_HEIGHT) / ROW_HEIGHT))]
    if not shown:
        return
    page.heading(f"The {counted(len(shown), 'most confident mistake')} on the test set, whose rows are counted from 0")
    rows = [
        [str(one.row), found.names[one.label], found.names[one.predicted], wording.percent(one.probability, 1)]
        for one in shown
    ]
    page.table(["test row", "true class", "predicted class", "probability"], rows, right=(0, 3))
