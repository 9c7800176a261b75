"""Write the report of a record as one HTML file, which needs nothing else: the pages of the PDF to scroll through.

Pointing at a trial in a chart shows its outcome, value and settings. The same record gives the same bytes, and the
file is replaced atomically. A policy inside the file forbids it to load anything.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import matplotlib

from model.files import write_atomic
from reports.analysis.comparison import sides
from reports.analysis.next_study import Proposal
from reports.drawing import fonts
from reports.drawing.layout import Page, settings
from reports.pages import pages
from reports.pages.card import Card, cards
from reports.pages.comparison import comparison
from reports.web import svg
from reports.web.charts import Drawer
from reports.web.markup import contents, section
from reports.web.text import data, element, visible
from studies.record.reader import SweepRecord

WEB = Path(__file__).parent / "web"
FONTS = {400: "IBMPlexSans-Regular.ttf", 700: "IBMPlexSans-Bold.ttf"}
HINT = (
    "Point at a mark in a chart to see its trial, or move to the chart with Tab and go through its trials with the"
    " arrow keys."
)


def write(record: SweepRecord, out: Path, following: Proposal | None = None, *, short: bool = False) -> None:
    """Write the report of a study to `out`, replacing an existing file atomically.

    Args:
        record: the study, in any state: empty, running, or confirmed.
        out: the HTML file; its folder must exist.
        following: the proposed next study, which gets its own section.
        short: whether to write the first two pages only.
    """
    with matplotlib.rc_context({**settings(), **svg.settings()}):
        _write(pages(record, following, short=short), record.name, record.dataset["name"], cards(record), out)


def write_comparison(records: Sequence[SweepRecord], out: Path) -> None:
    """Write the comparison of several studies to `out`, as `write` does.

    Raises:
        IncomparableError: their results cannot be compared.
    """
    compared = sides(records)
    known = {
        (record.uid, number): card for record in records for number, card in cards(record, study=record.name).items()
    }
    with matplotlib.rc_context({**settings(), **svg.settings()}):
        names = " against ".join(side.name for side in compared)
        _write(comparison(compared), names, records[0].dataset["name"], known, out)


def _write(sheets: Sequence[Page], name: str, dataset: str, trials: Mapping[Any, Card], out: Path) -> None:
    drawer = Drawer({trial: place for place, trial in enumerate(trials)})
    sections = [section(sheet, number, drawer) for number, sheet in enumerate(sheets, 1)]
    script, style = (WEB / "report.js").read_text("utf-8"), (WEB / "report.css").read_text("utf-8")
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_policy(script))}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="generator" content="numpy-sweep">',
        element("title", f"{name}: {sheets[0].finding}"),
        f"<style>\n{_faces()}{style}</style>",
        "</head>",
        "<body>",
        f"<header>{element('a', 'To the findings', classes='skip', href='#finding-1')}",
        f"{element('h1', name if name == dataset else f'{name} · {dataset}')}",
        f'<details open><summary>Contents</summary><nav aria-label="Contents">{contents(sheets)}</nav></details>',
        f"</header><main>{element('p', HINT, classes='hint muted') if trials else ''}",
        *sections,
        "</main>",
        '<div id="card" role="status" hidden></div>',
        f'<script type="application/json" id="trials">{data([[t.title, t.rows] for t in trials.values()])}</script>',
        f"<script>{script}</script>",
        "</body>",
        "</html>",
        "",
    ]
    write_atomic(out, visible("\n".join(lines)).encode())


def _policy(script: str) -> str:
    """What the browser may run and load: this script, and what is in the file."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; font-src data:"


def _faces() -> str:
    """The font of text and charts."""
    folder = Path(fonts.__file__).parent / "fonts"
    return "".join(
        f'@font-face {{ font-family: "{fonts.SANS}"; font-weight: {weight};'
        f" src: url(data:font/ttf;base64,{base64.b64encode((folder / file).read_bytes()).decode()}); }}\n"
        for weight, file in FONTS.items()
    )
