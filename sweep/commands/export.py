"""`sweep export`: the trials or the epochs of a recorded study as CSV."""

from __future__ import annotations

from pathlib import Path

import click

from model.files import write_atomic
from studies.record.reader import SweepRecord


def write_table(record: SweepRecord, out: Path, *, epochs: bool) -> None:
    """Write one row per trial, or one row per epoch, to `out`; `-` is standard output."""
    table = record.epoch_table() if epochs else record.table()
    text = table.to_csv(index=False)
    if out == Path("-"):
        click.echo(text, nl=False)
        return
    write_atomic(out, text.encode())
    click.echo(f"{len(record.trials)} trials in {out}" + (f", {len(table)} epochs" if epochs else ""))
