"""Write a study's PDF, and the proposed next study if its checks suggest one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from model.files import remove_parts, write_atomic
from model.hyperparameters import HyperparameterError, check
from reports import pdf
from reports.analysis.checks import checks
from reports.analysis.comparison import IncomparableError
from reports.analysis.next_study import HEADER, propose
from studies.record.reader import SweepRecord


def write(record: SweepRecord, out: Path, paper: str = "a4", *, short: bool = False) -> list[Path]:
    """Write the report to `out`, and the proposed study into the study's folder; remove an outdated proposal.

    The report is written last, so that what it refers to exists.

    Args:
        record: the study.
        out: the PDF; its folder must exist.
        paper: `a4` or `letter`.
        short: whether to draw the first two pages only.

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
    pdf.write(record, out, proposal, paper=paper, short=short)
    return [out, *following]


def compare(records: Sequence[SweepRecord], home: Path, out: Path | None, paper: str) -> Path:
    """Write the comparison of several studies, into the home folder if no file is given; returns its path.

    Raises:
        click.UsageError: their results cannot be compared.
    """
    out = out or home / f"{'-against-'.join(record.name for record in records)[:200]}.pdf"
    try:
        pdf.write_comparison(records, out, paper=paper)
    except IncomparableError as error:
        raise click.UsageError(str(error)) from error
    return out


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
