"""The command line: parse, call, print. Thin on purpose; what it calls lives where its idea lives.

Exit codes: 0 done; 2 bad input; 3 environment (disk, port, data not available); 4 stopped because trials keep
failing; 5 damaged data; 130 and 143 stopped by a signal. Errors take at most three lines on stderr; `--debug` adds
the traceback.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar, cast

import click

from sweep.errors import DAMAGED, exit_code
from sweep.passwords import Clean, checked_address, checked_storage

if TYPE_CHECKING:  # rich and the packages behind the verbs are imported by the verb that needs them
    from studies.record.reader import SweepRecord

Command = TypeVar("Command", bound=Callable[..., Any])

NOTHING = "nothing is recorded in {home}; begin with: sweep run"
EPILOG = """\b
Examples:
  sweep run                              the default study: mnist, or digits without MNIST
  sweep run mnist --trials 20            20 trials in total, however often it is started
  sweep run my-study.toml --set seed=8   a study file of your own, one key changed
  sweep status mnist                     how far it is
  sweep ui mnist                         every trial's curves in MLflow
  sweep report mnist                     the PDF
  sweep replay mnist 15                  trial 15 once more: are its numbers and weights the same?
  sweep predict seven.png                what the champion sees in a picture
  sweep run mnist --storage postgresql+psycopg://me@host/sweeps
                                         recorded in a PostgreSQL database (docs/postgres.md)
"""


class Seconds(click.FloatRange):
    """A length of time; click takes `nan` to be inside of every range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read the number."""
        seconds = super().convert(value, param, ctx)
        if not math.isfinite(seconds):
            self.fail(f"{seconds} is not a number of seconds.", param, ctx)
        return seconds


def shared(command: Command) -> Command:
    """The options that work on every verb."""
    command = click.option("--debug", is_flag=True, help="Show the traceback of an error.")(command)
    command = click.option(
        "--tracking",
        envvar="SWEEP_TRACKING",
        metavar="URI",
        callback=lambda _context, _option, value: value and checked_address(value),
        help="MLflow's address, or none; default: mlflow.db in the home folder. One with a password is better given "
        "as the variable SWEEP_TRACKING, which stays out of the list of processes.",
    )(command)
    command = click.option(
        "--storage",
        envvar="SWEEP_STORAGE",
        metavar="URL",
        expose_value=False,
        callback=_take_storage,
        help="PostgreSQL database for the records of studies that begin, postgresql+psycopg://USER@HOST/DATABASE; "
        "default: a file in the study's folder. A password is better in SWEEP_STORAGE, PGPASSWORD or ~/.pgpass.",
    )(command)
    return click.option(
        "--home",
        envvar="SWEEP_HOME",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("runs"),
        show_default=True,
        help="Folder for everything that is written.",
    )(command)


def _take_storage(_context: click.Context, _option: click.Parameter, value: str | None) -> None:
    """Leave the address where every reader of a study finds it, this command's mirror too: in the environment."""
    if value:
        os.environ["SWEEP_STORAGE"] = checked_storage(value)


def writable(_context: click.Context, option: click.Parameter, path: Path | None) -> Path | None:
    """The file to write: where a link leads, and never something that is no file, which a rename would replace."""
    if path is None or (path == Path("-") and getattr(option.type, "allow_dash", False)):
        return path
    target = path.resolve()
    if target.exists() and not target.is_file():
        raise click.BadParameter(f"{path} is no file")
    if not target.parent.is_dir():
        raise click.BadParameter(f"there is no folder {target.parent}")
    return target


def scheduler(address: str) -> str:
    """The address of a Dask scheduler."""
    found = re.fullmatch(r"(?:tcp|tls)://(?:\[[^\]\s/@]+\]|[^\s/@:\[\]]+):(\d{1,5})", address)
    if not found or not 0 < int(found[1]) < 1 << 16:
        raise click.BadParameter("it is the address of a Dask scheduler, as tcp://10.0.0.1:8786 or tls://10.0.0.1:8786")
    return address


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
def sweep() -> None:
    """Sweep the hyperparameters of a NumPy network, watch it in MLflow, and get a report."""


@sweep.command(
    epilog="Examples: sweep run mnist --trials 20 --set confirm.seeds=5; sweep run mnist --cluster tcp://10.0.0.1:8786"
)
@shared
@click.argument("study", required=False)
@click.option("--trials", type=click.IntRange(1, 1_000_000), help="Trials in total, instead of the study's number.")
@click.option(
    "--workers", type=click.IntRange(1, 256), help="Trainings at once; default: one a core, or a cluster's threads."
)
@click.option(
    "--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a key of the study file; repeatable."
)
@click.option(
    "--generation",
    type=click.IntRange(1, 1000),
    metavar="K",
    help="Ask for K trials at once: the same result for any number of workers.",
)
@click.option(
    "--timeout",
    type=Seconds(min=0, min_open=True),
    metavar="SECONDS",
    help="Stop after so long, to be continued.",
)
@click.option(
    "--cluster",
    metavar="ADDRESS",
    callback=lambda _context, _option, value: value and scheduler(value),
    help="Train on the workers of a Dask cluster: its scheduler's address, as tcp://10.0.0.1:8786 (docs/cluster.md).",
)
@click.option("--no-confirm", is_flag=True, help="Leave out the confirmation of the winner and the test set.")
def run(
    study: str | None,
    home: Path,
    tracking: str | None,
    trials: int | None,
    workers: int | None,
    changes: tuple[str, ...],
    generation: int | None,
    timeout: float | None,
    cluster: str | None,
    no_confirm: bool,
    debug: bool,
) -> int:
    """Run or continue STUDY: a name (see `sweep studies`) or the path of a .toml file."""
    changes += (f"generation={generation}",) if generation else ()
    from sweep.commands.console import make_console
    from sweep.commands.run import Options
    from sweep.commands.run import run as run_study

    workers = workers or (_cores() if cluster is None else sys.maxsize)
    options = Options(home, tracking, study, trials, workers, cluster, changes, timeout, not no_confirm, _arguments())
    return run_study(options, make_console())


@sweep.command()
@shared
@click.argument("study", required=False)
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
def status(study: str | None, home: Path, tracking: str | None, as_json: bool, debug: bool) -> None:
    """How far STUDY is, and what is best so far."""
    from sweep.commands.status import lines, summary

    record = _record(home, study)
    if as_json:
        click.echo(json.dumps(summary(record), indent=2))
    else:
        click.echo("\n".join(lines(record)))


@sweep.command()
@shared
def studies(home: Path, tracking: str | None, debug: bool) -> None:
    """The studies that ship, and those recorded in the home folder."""
    from studies.study_file import load, names
    from sweep.commands.status import one_line

    for name in names():
        click.echo(f"{name}: {load(name).question}")
    for folder in _recorded(home):
        click.echo(f"recorded in {folder}: {one_line(_record(home, folder.name))}")
    for name, place in _elsewhere(home).items():
        click.echo(f"recorded in {place}: {one_line(_record(home, name))}")


@sweep.group()
def data() -> None:
    """Get a dataset, or check the copy that is here."""


@data.command()
@shared
@click.argument("name")
def fetch(name: str, home: Path, tracking: str | None, debug: bool) -> None:
    """Get NAME (digits, mnist, or the path of an .npz file) and prepare it."""
    from model.data import datasets
    from sweep.commands.run import make_home

    if name in datasets.BUILT_IN:
        make_home(home)
    click.echo("\n".join(datasets.fetch(name, home / "data", notify=click.echo)))


@data.command()
@shared
@click.argument("name")
def verify(name: str, home: Path, tracking: str | None, debug: bool) -> None:
    """Check the prepared copy of NAME against its digest."""
    from model.data import datasets

    click.echo("\n".join(datasets.verify(name, home / "data")))


@sweep.command(epilog="Examples: sweep report mnist; sweep report mnist mnist-2; sweep report mnist --paper letter")
@shared
@click.argument("study", nargs=-1)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=writable,
    help="Where to write it; default: report.pdf in the study's folder, of several a file in the home folder.",
)
@click.option("--paper", type=click.Choice(["a4", "letter"]), default="a4", show_default=True, help="Its size.")
@click.option("--json", "as_json", is_flag=True, help="Print what was checked as JSON, for programs.")
def report(
    study: tuple[str, ...], home: Path, tracking: str | None, out: Path | None, paper: str, as_json: bool, debug: bool
) -> None:
    """Write the PDF report of STUDY; works at any time, also while it runs. Of several studies: their comparison."""
    records = [_record(home, name) for name in study] or [_record(home, None)]
    from reports import pdf  # a second of matplotlib, after the name was found to be one
    from reports.analysis import comparison as versus
    from sweep.commands.report import summary, write

    if len(records) > 1:
        out = out or home / f"{'-against-'.join(record.name for record in records)[:200]}.pdf"
        try:
            pdf.write_comparison(records, out, paper=paper)
        except versus.IncomparableError as error:
            raise click.UsageError(str(error)) from error
        click.echo(json.dumps({"report": str(out)}) if as_json else str(out))
        return
    record = records[0]
    written = write(record, out or record.folder / "report.pdf", paper)
    if as_json:
        click.echo(json.dumps(summary(record, written), indent=2))
    else:
        click.echo("\n".join(str(path) for path in written))


@sweep.command()
@shared
@click.argument("study", required=False)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    required=True,
    callback=writable,
    help="The CSV file to write; - for standard output.",
)
@click.option("--epochs", is_flag=True, help="One row an epoch, with the curves, instead of one a trial.")
def export(study: str | None, home: Path, tracking: str | None, out: Path, epochs: bool, debug: bool) -> None:
    """Write all trials of STUDY to a CSV file, one row a trial."""
    from model.files import write_atomic

    record = _record(home, study)
    table = record.epoch_table() if epochs else record.table()
    text = table.to_csv(index=False)
    if out == Path("-"):
        click.echo(text, nl=False)
        return
    write_atomic(out, text.encode())
    click.echo(f"{len(record.trials)} trials in {out}" + (f", {len(table)} epochs" if epochs else ""))


@sweep.command()
@shared
@click.argument("study", required=False)
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
@click.option("--no-browser", is_flag=True, help="Print the links, and open none on a desktop.")
def ui(study: str | None, home: Path, tracking: str | None, port: int, no_browser: bool, debug: bool) -> None:
    """Show the recorded sweeps in MLflow on 127.0.0.1.

    Prints, and on a desktop opens, the page of all trials, best first, with the curves of the ten best side by side;
    the eye above the names draws the others too.
    """
    from sweep.commands import ui as server

    if study is not None:
        _folder(home, study)
    elif not tracking and not home.is_dir():
        raise click.UsageError(NOTHING.format(home=home))
    server.serve(home, tracking, port, study, browser=not no_browser and server.on_desktop())


@sweep.command()
@shared
@click.argument("study", required=False)
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True)
def dashboard(study: str | None, home: Path, tracking: str | None, port: int, debug: bool) -> None:
    """Show STUDY in optuna-dashboard (an extra) on 127.0.0.1; nothing can be changed there."""
    from sweep.commands import dashboard as server

    server.serve(_folder(home, study) if study else _last_recorded(home), port, click.echo)


@sweep.command()
@shared
@click.argument("study", required=False)
@click.option("--follow", is_flag=True, help="Stay until the sweep ends.")
def sync(study: str | None, home: Path, tracking: str | None, follow: bool, debug: bool) -> None:
    """Make MLflow equal to the record of STUDY (or of all studies); safe to repeat and to interrupt."""
    folders = _chosen(home, study)
    if follow:
        os.nice(10)  # training goes first
    from sweep.storage import database as storage
    from sweep.tracking import reconcile as mirror

    tracking = _tracker(home, tracking)
    for folder in folders:
        if follow:
            changes = mirror.follow(folder, tracking, lambda folder=folder: storage.is_active(folder))  # type: ignore[misc]
        else:
            changes = mirror.sync(folder, tracking, active=storage.is_active(folder))
        click.echo(f"{folder.name}: {_sent(changes)}")


@sweep.command(epilog="Examples: sweep doctor mnist; sweep doctor mnist --fix")
@shared
@click.argument("study", required=False)
@click.option("--fix", is_flag=True, help="Mend what differs; a run with wrong params or points is written anew.")
def doctor(study: str | None, home: Path, tracking: str | None, fix: bool, debug: bool) -> int:
    """Compare the record of STUDY (or of all) with MLflow and the files, both ways; exit 0 only when they are equal."""
    folders = _chosen(home, study)
    from sweep.storage import database as storage
    from sweep.tracking.doctor import examine, in_words

    left = 0
    for folder in folders:
        found, still = examine(folder, _tracker(home, tracking), active=storage.is_active(folder), fix=fix)
        for one in found:
            mended = ", mended" if one not in still and fix else ""
            click.echo(f"{folder.name}: {in_words(one)}{mended}")
        click.echo(f"{folder.name}: {_diagnosis(home, tracking, folder.name, len(found), len(still), fix)}")
        left += len(still)
    return DAMAGED if left else 0


@sweep.command(epilog="Example: sweep replay mnist 15")
@shared
@click.argument("study")
@click.argument("trial", type=click.IntRange(min=0))
def replay(study: str, trial: int, home: Path, tracking: str | None, debug: bool) -> None:
    """Train TRIAL of STUDY again, and say whether every recorded number and the weights come out equal."""
    from sweep.commands.replay import replay as again

    click.echo(again(_record(home, study), trial, home / "data"))


@sweep.command()
@shared
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--study", help="Whose champion to ask; default: the one recorded last.")
def predict(images: tuple[Path, ...], home: Path, tracking: str | None, study: str | None, debug: bool) -> int:
    """Say which class the champion sees in each of the IMAGES (any size and polarity)."""
    from sweep.commands.predict import Prediction
    from sweep.commands.predict import predict as look

    folder = _folder(home, study) if study else _last_champion(home)
    code = 0
    for found in look(images, folder / "champion.npz"):
        if isinstance(found, Prediction):
            click.echo(f"{found.image}: {found.label} ({100 * found.probability:.1f} %)")
        elif debug:
            raise found
        else:
            click.echo(f"sweep: {'; '.join(str(found).splitlines())}", err=True)
            code = code or exit_code(found) or 1
    return code


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a verb and exit with its code; what is known to go wrong is told in at most three lines.

    Nothing that anyone writes to stderr meanwhile, a library's log or a traceback, holds a password.
    """
    words = _arguments() if arguments is None else list(arguments)
    stderr = cast(
        TextIO, Clean(sys.stderr, [*words, *(os.environ.get(name, "") for name in ("SWEEP_TRACKING", "SWEEP_STORAGE"))])
    )
    with contextlib.redirect_stderr(stderr):
        code = _call(words, stderr)
    sys.exit(code)


def _call(words: list[str], stderr: TextIO) -> int:
    try:
        return sweep.main(words, prog_name="sweep", standalone_mode=False) or 0
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "sweep"
        stderr.write(f"sweep: {error.format_message()}\n{command} --help tells more\n")
        return error.exit_code
    except click.ClickException as error:
        stderr.write(f"sweep: {error.format_message()}\n")
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        going_on = words[:1] in (["run"], ["sync"])
        stderr.write(f"sweep: interrupted{'; nothing is lost, the same command continues' if going_on else ''}\n")
        return 130
    except SystemExit:  # no verb exits: click and rich do, when the reader of our output has gone, as `head` does
        return 128 + signal.SIGPIPE
    except Exception as error:
        code = exit_code(error)
        if "--debug" in words or code is None:
            traceback.print_exc(file=stderr)
        else:
            stderr.write("\n".join(f"sweep: {error}".splitlines()[:3]) + "\n")
        return code or 1


def _arguments() -> list[str]:
    return sys.argv[1:]


def _cores() -> int:
    """Cores this process may use; a container may have fewer than the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _tracker(home: Path, tracking: str | None) -> str:
    """MLflow's address."""
    if tracking == "none":
        raise click.UsageError("this needs MLflow: give its address, or leave --tracking and SWEEP_TRACKING out")
    return tracking or f"sqlite:///{(home / 'mlflow.db').resolve()}"


def _recorded(home: Path) -> list[Path]:
    from studies.record.folder import Home

    return [folder.path for folder in Home(home).recorded()]


def _elsewhere(home: Path) -> dict[str, str]:
    """Studies in the database of SWEEP_STORAGE that no folder here is of, and where each is."""
    from studies.record.database import study_names
    from studies.record.location import locate
    from studies.record.server import environment_url

    url = environment_url()
    here = {folder.name for folder in _recorded(home)}
    names = [name for name in study_names(url) if name not in here] if url else []
    return {name: str(locate(home / name)) for name in names}


def _chosen(home: Path, study: str | None) -> list[Path]:
    """Folder of the study, or of all that are recorded; there is at least one."""
    folders = [_folder(home, study, here=True)] if study else _recorded(home)
    if not folders:
        raise click.UsageError(NOTHING.format(home=home))
    return folders


def _folder(home: Path, study: str, *, here: bool = False) -> Path:
    """Folder of a recorded study, by its name or the path of its file; not `here` it may be one on a server alone.

    Raises:
        click.UsageError: nothing of that name was recorded.
    """
    name = Path(study).stem if study.endswith(".toml") else study
    known = [path.name for path in _recorded(home)]
    if name not in known and (here or name not in _elsewhere(home)):
        from studies.study_file import names

        hint = f"recorded: {', '.join(known)}" if known else "nothing is recorded yet"
        if name in names() or (study.endswith(".toml") and Path(study).is_file()):
            hint += f"; begin with: sweep run {shlex.quote(study)}"
        elif not known:
            hint += "; begin with: sweep run"
        raise click.UsageError(f"no study named {name!r} is recorded in {home}; {hint}")
    return home / name


def _last_champion(home: Path) -> Path:
    """Folder of the study whose champion was written last."""
    found = list(home.glob("*/champion.npz"))
    if not found:
        nothing = f"no study in {home} has a champion.npz yet; begin with: sweep run"
        raise click.UsageError(nothing if _recorded(home) else NOTHING.format(home=home))
    return max(found, key=lambda path: path.stat().st_mtime).parent


def _last_recorded(home: Path) -> Path:
    from studies.record.location import last_written

    if not (folders := _recorded(home)):
        raise click.UsageError(NOTHING.format(home=home))
    return max(folders, key=last_written)


def _record(home: Path, study: str | None) -> SweepRecord:
    from studies.record import reader as records
    from sweep.storage import database as storage

    folder = _folder(home, study) if study else _last_recorded(home)
    return records.read(folder, active=storage.is_active(folder))


def _sent(changes: Any) -> str:
    """What a mirror did, in a line."""
    if not changes:
        return "MLflow has it all already"
    runs = {"created": changes.runs_created, "updated": changes.runs_updated}
    done = [f"{did} {_counted(count, 'run')}" for did, count in runs.items() if count]
    sent = [
        _counted(getattr(changes, f"{what}s"), what)
        for what in ("metric", "param", "tag", "artifact", "model")
        if getattr(changes, f"{what}s")
    ]
    return "; ".join(done + (["sent " + ", ".join(sent)] if sent else []))


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _diagnosis(home: Path, tracking: str | None, name: str, found: int, left: int, fix: bool) -> str:
    """The last line about a study, with the command that mends what differs."""
    if not found:
        return "no differences"
    differences = _counted(found, "difference")
    if fix:
        return f"{differences}, {left} left" if left else f"{differences}, mended"
    from sweep.commands.run import command_here

    command, _, note = command_here(home, tracking, "doctor", name, "--fix").partition("\n")
    return f"{differences}; `{command}` mends {'it' if found == 1 else 'them'}" + (f"\n{note}" if note else "")
