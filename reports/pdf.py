"""A recorded study becomes a PDF: the same record gives the same bytes, and a reader never sees half a file."""

from __future__ import annotations

import io
import os
import secrets
from pathlib import Path
from typing import IO

import matplotlib
from matplotlib.backends.backend_pdf import PdfPages

from reports.layout import printable, settings
from reports.next_study import Proposal
from reports.pages import pages
from reports.records import SweepRecord


def write(record: SweepRecord, out: Path, following: Proposal | None = None) -> None:
    """Write the report of a study to `out`, replacing what is there at once or not at all.

    Args:
        record: the study, in whatever state: not begun, under way, or confirmed.
        out: the PDF; its folder must exist.
        following: the next study, to be shown on a page of its own.
    """
    content = io.BytesIO()  # 100 KB; the temporary file is there for a millisecond, not for the drawing's two seconds
    _draw(record, content, following)
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


def _draw(record: SweepRecord, file: IO[bytes], following: Proposal | None) -> None:
    with matplotlib.rc_context(settings()):
        sheets = pages(record, following)
        with PdfPages(file, metadata=_metadata(record, sheets[0].finding)) as pdf:
            for number, sheet in enumerate(sheets, 1):
                sheet.footer(f"{record.name} · {record.dataset['name']}", number, len(sheets))
                pdf.savefig(sheet.figure)


def _metadata(record: SweepRecord, finding: str) -> dict[str, str | None]:
    """A title for the window; no date, no user and no path, so that the bytes depend on the record alone."""
    return {"Title": printable(f"{record.name}: {finding}"), "Creator": "numpy-sweep", "CreationDate": None}
