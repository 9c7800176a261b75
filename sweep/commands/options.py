"""Options that several commands share, and the checks of their values."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from sweep.passwords import checked_address, checked_storage

Command = TypeVar("Command", bound=Callable[..., Any])


class Seconds(click.FloatRange):
    """A finite number of seconds: click's range check accepts `nan`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse the value and reject `nan` and `inf`."""
        seconds = super().convert(value, param, ctx)
        if not math.isfinite(seconds):
            self.fail(f"{seconds} is not a finite number of seconds.", param, ctx)
        return seconds


def shared_options(command: Command) -> Command:
    """Add the options that every command takes: --home, --storage, --tracking and --debug."""
    command = click.option("--debug", is_flag=True, help="Show the traceback of an error.")(command)
    command = click.option(
        "--tracking",
        envvar="SWEEP_TRACKING",
        metavar="URI",
        callback=lambda _context, _option, value: value and checked_address(value),
        help="Address of the MLflow server or database, or `none` for no MLflow; default: mlflow.db in the home "
        "folder. Set an address with a password as SWEEP_TRACKING, which keeps it out of the process list.",
    )(command)
    command = click.option(
        "--storage",
        envvar="SWEEP_STORAGE",
        metavar="URL",
        expose_value=False,
        callback=_export_storage,
        help="PostgreSQL database that records new studies, postgresql+psycopg://USER@HOST/DATABASE; default: a file "
        "in the study's folder. Set a password in SWEEP_STORAGE, PGPASSWORD or ~/.pgpass.",
    )(command)
    return click.option(
        "--home",
        envvar="SWEEP_HOME",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("runs"),
        show_default=True,
        help="Folder for everything that is written.",
    )(command)


def _export_storage(_context: click.Context, _option: click.Parameter, value: str | None) -> None:
    """Set SWEEP_STORAGE, from which readers of a study and child processes take the address."""
    if value:
        os.environ["SWEEP_STORAGE"] = checked_storage(value)


def output_file(_context: click.Context, option: click.Parameter, path: Path | None) -> Path | None:
    """The file to write, with symbolic links resolved: the final rename must not replace a link or a device."""
    if path is None or (path == Path("-") and getattr(option.type, "allow_dash", False)):
        return path
    target = path.resolve()
    if target.exists() and not target.is_file():
        raise click.BadParameter(f"{path} is not a regular file")
    if not target.parent.is_dir():
        raise click.BadParameter(f"there is no folder {target.parent}")
    return target


def scheduler_address(_context: click.Context, _option: click.Parameter, address: str | None) -> str | None:
    """The address of a Dask scheduler; only its syntax is checked."""
    if not address:
        return address
    found = re.fullmatch(r"(?:tcp|tls)://(?:\[[^\]\s/@]+\]|[^\s/@:\[\]]+):(\d{1,5})", address)
    if not found or not 0 < int(found[1]) < 1 << 16:
        raise click.BadParameter(
            "must be the address of a Dask scheduler, such as tcp://10.0.0.1:8786 or tls://10.0.0.1:8786"
        )
    return address
