"""The winner's settings beside the baseline's, on the first page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reports.analysis import wording
from reports.analysis.axes import axes
from reports.analysis.standing import BASELINE, winner
from reports.analysis.wording import counted, in_words, setting
from reports.drawing.blocks import Cell
from reports.drawing.fonts import POINT
from reports.drawing.layout import INNER, MUTED, ROW, SMALL, Page, lines_height
from reports.pages.context import Report, name

HEAD_HEIGHT, SETTING_HEIGHT = 0.19, SMALL * ROW * POINT  # inches of a table's head, and of a setting's row
LEFT_OUT = "more searched hyperparameter"


def settings(page: Page, report: Report, below: float) -> None:
    """The winner's settings beside the baseline's, then the fixed ones; `below` is the height of what follows."""
    record, best = report.record, winner(report.record)
    baseline = {
        key: tuple(value) if isinstance(value, list) else value for key, value in record.study["baseline"].items()
    }
    shown = dict(best.hyperparameters) if best else baseline
    page.heading("Settings" if best else "Settings of the baseline, and what is searched")
    same = best is None or best.number == BASELINE
    head = ["hyperparameter", *([] if same else [name(best.number) if best else ""]), "baseline", "searched"]
    searched = list(record.study["space"].items())
    fixed = [f"{in_words(key)} {setting(value)}" for key, value in baseline.items() if key not in record.study["space"]]
    text = f"Not searched: {', '.join(fixed)}." if fixed else "Every hyperparameter was searched."
    room = page.room - HEAD_HEIGHT - 0.05 - lines_height(f"{LEFT_OUT} {text}", INNER, SMALL, most=3) - below
    most = max(1, int(room / SETTING_HEIGHT))
    kept = _most_telling(report, shown, baseline)[:most]
    rows = [_setting_row(key, shown, baseline, dimension, same) for key, dimension in searched if key in kept]
    page.table(head, rows)
    left = f"{counted(len(searched) - most, LEFT_OUT)}. " if len(searched) > most else ""
    page.space(0.05)
    page.paragraph(left + text, SMALL, colour=MUTED, most=3)


def _most_telling(report: Report, shown: Mapping[str, Any], baseline: Mapping[str, Any]) -> list[str]:
    """The searched hyperparameters: those that matter first, then those in which the winner is not the baseline."""
    space = report.record.study["space"]
    clear = {axis.key for axis in axes(space) if axis.name in report.importance.matters}
    return sorted(space, key=lambda key: (key not in clear, shown.get(key) == baseline.get(key)))


def _setting_row(
    key: str, shown: Mapping[str, Any], baseline: Mapping[str, Any], dimension: Mapping[str, Any], same: bool
) -> list[Cell]:
    mine, base = setting(shown.get(key, "–")), setting(baseline.get(key, "–"))
    winner = [] if same else [Cell(mine, bold=mine != base)]
    return [Cell(in_words(key)), *winner, Cell(base), Cell(wording.searched(dimension), colour=MUTED)]
