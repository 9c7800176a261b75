"""Write a study's report, and the proposed next study if its checks suggest one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from model.files import remove_parts, write_atomic
from model.hyperparameters import HyperparameterError, check
from reports import html as page
from reports import pdf
from reports.analysis.checks import checks
from reports.analysis.comparison import IncomparableError
from reports.analysis.next_study import HEADER, propose
from studies.record.folder import StudyFolder
from studies.record.reader import SweepRecord

HTML = (".html", ".htm")


def report_on(
    records: Sequence[SweepRecord],
    home: Path,
    out: Path | None,
    *,
    paper: str = "a4",
    html: bool = False,
    short: bool = False,
    as_json: bool = False,
) -> str:
    """Write the report of one study, or the comparison of several; returns what the command prints.

    Args:
        records: the studies.
        home: the folder of a comparison, if no file is given.
        out: the file; HTML if its name says so; by default in the study's folder.
        paper: `a4` or `letter`, of a PDF.
        html: whether to write HTML instead of a PDF.
        short: whether to write the first two pages only.
        as_json: whether to return JSON instead of the paths.

    Raises:
        click.UsageError: the options contradict each other, or the studies cannot be compared.
    """
    if html and out is not None and out.suffix.lower() == ".pdf":
        raise click.UsageError(f"--html writes HTML, but --out {out.name} is the name of a PDF; give one of them")
    if len(records) > 1:
        if short:
            raise click.UsageError("--short is for the report of one study")
        compared = str(compare(records, home, out, paper, html=html))
        return json.dumps({"report": compared}) if as_json else compared
    kept = StudyFolder(records[0].folder).report
    written = write(records[0], out or (kept.with_suffix(".html") if html else kept), paper, html=html, short=short)
    return json.dumps(summary(records[0], written), indent=2) if as_json else "\n".join(map(str, written))


def write(record: SweepRecord, out: Path, paper: str = "a4", *, html: bool = False, short: bool = False) -> list[Path]:
    """Write the report to `out`, and the proposed study into the study's folder; remove an outdated proposal.

    The report is written last, so that what it refers to exists.

    Args:
        record: the study.
        out: the file; its folder must exist.
        paper: `a4` or `letter`, of a PDF.
        html: whether to write HTML, which the name of the file can also say.
        short: whether to write the first two pages only.

    Returns:
        The paths written, the report first.
    """
    record.folder.mkdir(parents=True, exist_ok=True)  # a study on a server may have no folder here
    proposal = propose(record, _allowed)
    following = [] if proposal is None else [record.folder / f"{proposal.name}.toml"]
    if proposal is not None:
        write_atomic(following[0], proposal.text.encode())
    remove_parts(record.folder, "*.toml")
    for path in record.folder.glob("*.toml"):
        if path not in following and path.read_text(errors="replace").startswith(HEADER):
            path.unlink()
    if _is_html(out, html):
        page.write(record, out, proposal, short=short)
    else:
        pdf.write(record, out, proposal, paper=paper, short=short)
    return [out, *following]


def compare(records: Sequence[SweepRecord], home: Path, out: Path | None, paper: str, *, html: bool = False) -> Path:
    """Write the comparison of several studies, into the home folder if no file is given; returns its path.

    Raises:
        click.UsageError: their results cannot be compared.
    """
    name = "-against-".join(record.name for record in records)[:200]
    out = out or home / f"{name}{'.html' if html else '.pdf'}"
    try:
        if _is_html(out, html):
            page.write_comparison(records, out)
        else:
            pdf.write_comparison(records, out, paper=paper)
    except IncomparableError as error:
        raise click.UsageError(str(error)) from error
    return out


def _is_html(out: Path, asked: bool) -> bool:
    return asked or out.suffix.lower() in HTML


def summary(record: SweepRecord, written: Sequence[Path]) -> dict[str, Any]:
    """The report for `--json`: study, report, next (a study file, or None) and checks."""
    report, *following = (str(path) for path in written)
    found = [check.as_dict() for check in checks(record)]
    return {"study": record.name, "report": report, "next": following[0] if following else None, "checks": found}


def _allowed(key: str, value: Any) -> bool:
    try:
        check(key, value)
    except HyperparameterError:
        return False
    return True
