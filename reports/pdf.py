"""A recorded study becomes a PDF: the same record gives the same bytes, and a reader never sees half a file."""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import matplotlib
from matplotlib.backends.backend_pdf import PdfPages

from reports.layout import Page, printable, settings
from reports.next_study import Proposal
from reports.pages import pages
from reports.pages.versus import comparison
from reports.records import SweepRecord
from reports.versus import sides


def write(record: SweepRecord, out: Path, following: Proposal | None = None) -> None:
    """Write the report of a study to `out`, replacing what is there at once or not at all.

    Args:
        record: the study, in whatever state: not begun, under way, or confirmed.
        out: the PDF; its folder must exist.
        following: the next study, to be shown on a page of its own.
    """
    with matplotlib.rc_context(settings()):
        _write(pages(record, following), record.name, record.dataset["name"], out)


def write_comparison(records: Sequence[SweepRecord], out: Path) -> None:
    """Write the comparison of several studies to `out`, as `write` does.

    Raises:
        IncomparableError: their numbers do not compare.
    """
    compared = sides(records)
    with matplotlib.rc_context(settings()):
        names = " against ".join(side.name for side in compared)
        _write(comparison(compared), names, records[0].dataset["name"], out)


def _write(sheets: Sequence[Page], name: str, dataset: str, out: Path) -> None:
    content = io.BytesIO()  # some 100 KB; the temporary file is there for a millisecond, not for the seconds of drawing
    _draw(sheets, name, dataset, content)
    part = out.with_name(f".{out.name}.{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        part.replace(out)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _draw(sheets: Sequence[Page], name: str, dataset: str, file: IO[bytes]) -> None:
    # A title for the window; no date, no user and no path, so that the bytes depend on the record alone.
    title = printable(f"{name}: {sheets[0].finding}")
    with PdfPages(file, metadata={"Title": title, "Creator": "numpy-sweep", "CreationDate": None}) as pdf:
        for number, sheet in enumerate(sheets, 1):
            sheet.footer(f"{name} · {dataset}", number, len(sheets))
            pdf.savefig(sheet.figure)
