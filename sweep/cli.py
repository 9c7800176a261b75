"""The command line: parse the arguments, call sweep/commands/, print the result.

Exit codes: 0 done; 2 bad input; 3 environment (disk, port, data not available); 4 stopped because trials keep
failing; 5 damaged data; 130 and 143 stopped by a signal; see sweep/entry.py. Commands import what they need inside
their function: `--help` must not wait for MLflow.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

from studies.record.folder import Home
from sweep.commands.mirror_lines import sent
from sweep.commands.options import Seconds, output_file, scheduler_address, shared_options
from sweep.errors import DAMAGED

EPILOG = """\b
Examples:
  sweep run                              the default study: mnist, or digits without MNIST
  sweep run mnist --trials 20            20 trials in total, over all runs of the command
  sweep run mnist --more 20              20 trials more than are recorded
  sweep run my-study.toml --set seed=8   your own study file, with one key changed
  sweep run flowers.csv --target species your own data: writes a study file and runs it
  sweep status mnist                     progress and best trial so far
  sweep ui mnist                         every trial's curves in MLflow
  sweep report mnist                     the PDF
  sweep replay mnist 15                  train trial 15 again and compare it with its record
  sweep predict seven.png                classify an image with the champion
  sweep run mnist --storage postgresql+psycopg://me@host/sweeps
                                         record in a PostgreSQL database (docs/postgres.md)
"""


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
def sweep() -> None:
    """Search the hyperparameters of a NumPy network, follow the trials in MLflow, and write a report."""


@sweep.command(
    epilog="Examples: sweep run mnist --minutes 3; sweep run mnist --trials 20 --set confirm.repeats=5; "
    "sweep run mnist --cluster tcp://10.0.0.1:8786"
)
@shared_options
@click.argument("study", required=False)
@click.option(
    "--trials", type=click.IntRange(1, 1_000_000), help="Trials in total, instead of the study's number or minutes."
)
@click.option("--more", type=click.IntRange(1, 1_000_000), help="Trials in addition to those that are recorded.")
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    help="Trials to train at once; default: one per core, or one per thread of the cluster.",
)
@click.option(
    "--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a key of the study file; repeatable."
)
@click.option(
    "--generation",
    type=click.IntRange(1, 1000),
    metavar="K",
    help="Propose K trials at a time: the result is then the same for any number of workers.",
)
@click.option(
    "--timeout",
    type=Seconds(min=0, min_open=True),
    metavar="SECONDS",
    help="Stop after SECONDS; run again to resume.",
)
@click.option(
    "--minutes",
    type=Seconds(min=0, min_open=True),
    metavar="M",
    help="Wall time for everything up to the report; run again with M to work on for as long.",
)
@click.option(
    "--cluster",
    metavar="ADDRESS",
    callback=scheduler_address,
    help="Train on a Dask cluster; ADDRESS of its scheduler, such as tcp://10.0.0.1:8786 (docs/cluster.md).",
)
@click.option("--target", metavar="COLUMN", help="Of a data file: the column to predict; see `sweep data describe`.")
@click.option("--no-confirm", is_flag=True, help="Skip confirmation and do not evaluate on the test set.")
def run(
    study: str | None,
    home: Path,
    tracking: str | None,
    trials: int | None,
    more: int | None,
    workers: int | None,
    changes: tuple[str, ...],
    generation: int | None,
    timeout: float | None,
    minutes: float | None,
    cluster: str | None,
    target: str | None,
    no_confirm: bool,
    debug: bool,
) -> int:
    """Run or resume STUDY: a name (see `sweep studies`) or the path of a .toml file.

    A name means the built-in study, or else the recorded one, or else the one that a report proposed.
    """
    from sweep.commands.console import line_printer, make_console
    from sweep.commands.new_study import with_study_file
    from sweep.commands.preparation import Options
    from sweep.commands.run import run_study
    from sweep.workers.local import cores

    if trials and more:
        raise click.UsageError("--trials is the total and --more is added to what is recorded; give one of them")
    changes += (f"generation={generation}",) if generation else ()
    workers = workers or (cores() if cluster is None else sys.maxsize)
    options = Options(
        home=home,
        tracking=tracking,
        study=study,
        trials=trials,
        more=more,
        workers=workers,
        cluster=cluster,
        changes=changes,
        timeout=timeout,
        minutes=minutes,
        confirm=not no_confirm,
        arguments=sys.argv[1:],
        target=target,
    )
    console = make_console()
    return run_study(with_study_file(options, line_printer(console)), console)


@sweep.command(epilog="Example: sweep status mnist --json")
@shared_options
@click.argument("study", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(study: str | None, home: Path, tracking: str | None, as_json: bool, debug: bool) -> None:
    """Show the progress of STUDY and its best trial so far."""
    from sweep.commands.recorded import read_record
    from sweep.commands.status import lines, summary

    record = read_record(home, study)
    if as_json:
        click.echo(json.dumps(summary(record), indent=2))
    else:
        click.echo("\n".join(lines(record)))


@sweep.command(epilog="Example: sweep studies --home other-runs")
@shared_options
def studies(home: Path, tracking: str | None, debug: bool) -> None:
    """List the built-in studies and those that are recorded."""
    from studies.study_file import load, names
    from sweep.commands.recorded import elsewhere, read_record
    from sweep.commands.status import one_line

    for name in names():
        click.echo(f"{name}: {load(name).question}")
    places = {folder.name: str(folder.path) for folder in Home(home).recorded()} | elsewhere(home)
    for name, place in places.items():
        click.echo(f"recorded in {place}: {one_line(read_record(home, name))}")


@sweep.group(epilog="Examples: sweep data fetch mnist; sweep data verify mnist")
def data() -> None:
    """Prepare a dataset, or check a prepared one."""


@data.command(epilog="Examples: sweep data fetch mnist; sweep data fetch my-data.npz")
@shared_options
@click.argument("name")
def fetch(name: str, home: Path, tracking: str | None, debug: bool) -> None:
    """Prepare NAME (digits, mnist, or the path of a data file); MNIST is downloaded if needed."""
    from model.data import datasets
    from sweep.commands.preparation import make_home

    if name in datasets.BUILT_IN:
        make_home(home)
    click.echo("\n".join(datasets.fetch(name, Home(home).data, notify=click.echo)))


@data.command(
    "describe", epilog="Examples: sweep data describe flowers.csv --target species; sweep data describe mnist"
)
@shared_options
@click.argument("name")
@click.option("--target", metavar="COLUMN", help="The column to predict; default: label, target, class, y or the last.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def describe_data(name: str, home: Path, tracking: str | None, target: str | None, as_json: bool, debug: bool) -> None:
    """Show the rows, columns, classes and gaps of NAME (digits, mnist, or the path of a data file)."""
    from model.data.datasets import Source
    from sweep.commands.describe import lines, read_dataset, summary

    arrays = read_dataset(Source(name, target), Home(home).data, lambda line: click.echo(line, err=True))
    shown = Path(name).name
    click.echo(json.dumps(summary(shown, arrays), indent=2) if as_json else "\n".join(lines(shown, arrays)))


@data.command(epilog="Example: sweep data verify mnist")
@shared_options
@click.argument("name")
def verify(name: str, home: Path, tracking: str | None, debug: bool) -> None:
    """Check the prepared copy of NAME against its digest."""
    from model.data import datasets

    click.echo("\n".join(datasets.verify(name, Home(home).data)))


@sweep.command(epilog="Examples: sweep report mnist; sweep report mnist --html; sweep report mnist mnist-2")
@shared_options
@click.argument("study", nargs=-1)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=output_file,
    help="The file to write, as HTML if it ends in .html; default: report.pdf or report.html in the study's folder, a "
    "comparison in the home folder.",
)
@click.option("--html", is_flag=True, help="Write one HTML file, whose charts show a trial's settings when pointed at.")
@click.option(
    "--paper", type=click.Choice(["a4", "letter"]), default="a4", show_default=True, help="Paper size of a PDF."
)
@click.option("--short", is_flag=True, help="Only the first two pages: the answer, and whether it is real.")
@click.option("--json", "as_json", is_flag=True, help="Print the paths and the checks as JSON.")
def report(
    study: tuple[str, ...],
    home: Path,
    tracking: str | None,
    out: Path | None,
    html: bool,
    paper: str,
    short: bool,
    as_json: bool,
    debug: bool,
) -> None:
    """Write the report of STUDY as a PDF or as HTML, also while it runs; of two or three studies, their comparison."""
    from sweep.commands.recorded import read_record

    records = [read_record(home, name) for name in study or (None,)]
    from sweep.commands.report import report_on  # imports matplotlib: after the studies are found

    click.echo(report_on(records, home, out, paper=paper, html=html, short=short, as_json=as_json))


@sweep.command(epilog="Examples: sweep export mnist --out trials.csv; sweep export mnist --epochs --out - | head")
@shared_options
@click.argument("study", required=False)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    required=True,
    callback=output_file,
    help="The CSV file to write; - for standard output.",
)
@click.option("--epochs", is_flag=True, help="One row per epoch instead of one per trial.")
def export(study: str | None, home: Path, tracking: str | None, out: Path, epochs: bool, debug: bool) -> None:
    """Write all trials of STUDY to a CSV file, one row per trial."""
    from sweep.commands.export import write_table
    from sweep.commands.recorded import read_record

    write_table(read_record(home, study), out, epochs=epochs)


@sweep.command(epilog="Examples: sweep ui; sweep ui mnist --port 5001")
@shared_options
@click.argument("study", required=False)
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
@click.option("--no-browser", is_flag=True, help="Print the links without opening a browser.")
def ui(study: str | None, home: Path, tracking: str | None, port: int, no_browser: bool, debug: bool) -> None:
    """Show the recorded sweeps in MLflow on 127.0.0.1.

    Prints the link to the page of all trials, best first, with the curves of the ten best side by side, and opens it
    in a browser on a desktop. The eye icon above the run names shows or hides the others.
    """
    from sweep.commands.recorded import NOTHING, study_folder
    from sweep.commands.ui import on_desktop, serve

    if study is not None:
        study_folder(home, study)
    elif not tracking and not home.is_dir():
        raise click.UsageError(NOTHING.format(home=home))
    serve(home, tracking, port, study, browser=not no_browser and on_desktop())


@sweep.command(epilog="Example: sweep dashboard mnist --port 8081")
@shared_options
@click.argument("study", required=False)
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True)
def dashboard(study: str | None, home: Path, tracking: str | None, port: int, debug: bool) -> None:
    """Show STUDY in optuna-dashboard (an extra) on 127.0.0.1, read-only."""
    from sweep.commands.dashboard import serve
    from sweep.commands.recorded import latest_folder, study_folder

    serve(study_folder(home, study) if study else latest_folder(home), port, click.echo)


@sweep.command(epilog="Examples: sweep sync; sweep sync mnist --tracking http://tracker:5000")
@shared_options
@click.argument("study", required=False)
@click.option("--follow", is_flag=True, help="Keep updating until the sweep ends.")
@click.option("--json", "as_json", is_flag=True, help="Print each result as a line of JSON.")
def sync(study: str | None, home: Path, tracking: str | None, follow: bool, as_json: bool, debug: bool) -> None:
    """Make MLflow equal to the record of STUDY (or of all studies); safe to repeat and to interrupt."""
    from sweep.commands.recorded import study_folders

    folders = study_folders(home, study)
    if follow:
        os.nice(10)  # training has priority
    from sweep.commands.sync import sync_study
    from sweep.tracking.reconcile import MirrorError
    from sweep.tracking.sync_result import SyncResult

    for folder in folders:
        try:
            changes = sync_study(folder, _tracking_uri(home, tracking), until_end=follow)
        except MirrorError as error:
            if as_json:
                click.echo(error.result.line())
            raise
        result = SyncResult(folder.name, sent=vars(changes))
        click.echo(result.line() if as_json else f"{folder.name}: {sent(changes)}")


@sweep.command(epilog="Examples: sweep doctor mnist; sweep doctor mnist --fix")
@shared_options
@click.argument("study", required=False)
@click.option("--fix", is_flag=True, help="Repair the differences; runs with wrong params or metrics are replaced.")
@click.option("--force", is_flag=True, help="With --fix: also write over names, notes and tags that you changed.")
def doctor(study: str | None, home: Path, tracking: str | None, fix: bool, force: bool, debug: bool) -> int:
    """Compare the record of STUDY (or of all) with MLflow and the files; exit code 0 only if they are equal.

    What you changed or added in MLflow is listed as yours and is no difference.
    """
    if force and not fix:
        raise click.UsageError("--force is for --fix")
    from sweep.commands.doctor import examine_studies
    from sweep.commands.recorded import study_folders

    lines = examine_studies(study_folders(home, study), home, tracking, _tracking_uri(home, tracking), fix, force)
    left = 0
    for line, still in lines:
        click.echo(line)
        left += still
    return DAMAGED if left else 0


@sweep.command(epilog="Example: sweep replay mnist 15")
@shared_options
@click.argument("study")
@click.argument("trial", type=click.IntRange(min=0))
def replay(study: str, trial: int, home: Path, tracking: str | None, debug: bool) -> None:
    """Train TRIAL of STUDY again and compare every recorded number and the weights."""
    from sweep.commands.recorded import read_record
    from sweep.commands.replay import replay_trial

    click.echo(replay_trial(read_record(home, study), trial, Home(home).data))


@sweep.command(
    epilog="Examples: sweep predict seven.png; sweep predict test.csv --out predictions.csv --id PassengerId"
)
@shared_options
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--study", help="Study whose champion to use; default: the newest champion.")
@click.option("--out", type=click.Path(path_type=Path), callback=output_file, help="CSV file to write.")
@click.option("--id", "identifiers", multiple=True, metavar="COLUMN", help="Copy COLUMN to the output; repeatable.")
@click.option("--photo", is_flag=True, help="Crop, scale and centre images, which may have any size and polarity.")
def predict(
    files: tuple[Path, ...],
    home: Path,
    tracking: str | None,
    study: str | None,
    out: Path | None,
    identifiers: tuple[str, ...],
    photo: bool,
    debug: bool,
) -> int:
    """Classify images, or the rows of a .csv, .parquet or .npz file, with the champion."""
    from sweep.commands.predict import predict_files
    from sweep.commands.recorded import champion_of

    return predict_files(files, champion_of(home, study), out, identifiers, photo=photo, debug=debug)


def _tracking_uri(home: Path, tracking: str | None) -> str:
    """MLflow's address; by default mlflow.db in the home folder."""
    if tracking == "none":
        raise click.UsageError("this command requires MLflow: set its address, or omit --tracking and SWEEP_TRACKING")
    return tracking or f"sqlite:///{Home(home).mlflow.resolve()}"
