"""Write the PDF report of a record: the same record gives the same bytes, and the file is replaced atomically."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.transforms import Bbox
from pypdf import PdfReader, PdfWriter
from pypdf.generic import BooleanObject, DictionaryObject, NameObject, TextStringObject

from model.files import write_atomic
from reports.analysis.comparison import sides
from reports.analysis.next_study import Proposal
from reports.drawing.fonts import printable
from reports.drawing.layout import HEIGHT, WIDTH, Page, settings
from reports.pages import pages
from reports.pages.comparison import comparison
from reports.tags import Tag, add_structure, tagged
from studies.record.reader import SweepRecord

PAPERS = {"a4": (0.0, 0.0, WIDTH, HEIGHT), "letter": (-0.115, 0.29, 8.385, 11.29)}
"""Corners of the paper, in inches of the page layout: everything drawn is inside each of them."""


def write(
    record: SweepRecord, out: Path, following: Proposal | None = None, *, paper: str = "a4", short: bool = False
) -> None:
    """Write the report of a study to `out`, replacing an existing file atomically.

    Args:
        record: the study, in any state: empty, running, or confirmed.
        out: the PDF; its folder must exist.
        following: the proposed next study, which gets its own page.
        paper: a key of `PAPERS`.
        short: whether to draw the first two pages only.
    """
    with matplotlib.rc_context(settings()):
        _write(pages(record, following, short=short), record.name, record.dataset["name"], out, paper)


def write_comparison(records: Sequence[SweepRecord], out: Path, *, paper: str = "a4") -> None:
    """Write the comparison of several studies to `out`, as `write` does.

    Raises:
        IncomparableError: their results cannot be compared.
    """
    compared = sides(records)
    with matplotlib.rc_context(settings()):
        names = " against ".join(side.name for side in compared)
        _write(comparison(compared), names, records[0].dataset["name"], out, paper)


def _write(sheets: Sequence[Page], name: str, dataset: str, out: Path, paper: str) -> None:
    for number, sheet in enumerate(sheets, 1):
        sheet.footer(name if name == dataset else f"{name} · {dataset}", number, len(sheets))
    tags = [tagged(sheet) for sheet in sheets]
    write_atomic(out, _completed(_drawn(sheets, name, paper), sheets, tags).getvalue())


def _drawn(sheets: Sequence[Page], name: str, paper: str) -> io.BytesIO:
    content = io.BytesIO()
    # No date, user or path in the metadata, so that the bytes depend only on the record.
    title = printable(f"{name}: {sheets[0].finding}")
    with PdfPages(content, metadata={"Title": title, "Creator": "numpy-sweep", "CreationDate": None}) as pdf:
        for sheet in sheets:
            pdf.savefig(sheet.figure, bbox_inches=Bbox.from_extents(*PAPERS[paper]))
    return content


def _completed(drawn: io.BytesIO, sheets: Sequence[Page], tags: Sequence[Tag]) -> io.BytesIO:
    """Add what matplotlib cannot write: an outline of the findings, the structure, the window title, the language."""
    writer = PdfWriter(clone_from=PdfReader(drawn))
    writer.pdf_header = "%PDF-1.4"  # as matplotlib; pypdf writes 1.3, which has no transparency
    shown = DictionaryObject({NameObject("/DisplayDocTitle"): BooleanObject(True)})
    writer.root_object.update({NameObject("/ViewerPreferences"): shown, NameObject("/Lang"): TextStringObject("en")})
    for number, sheet in enumerate(sheets):
        title, *sections = map(printable, sheet.findings)
        entry = writer.add_outline_item(title=title, page_number=number)
        for section in sections:
            writer.add_outline_item(title=section, page_number=number, parent=entry)
    add_structure(writer, tags)
    content = io.BytesIO()
    writer.write(content)
    return content
