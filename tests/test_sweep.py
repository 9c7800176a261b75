"""End-to-end: from a study file to trials, MLflow, a verdict and a PDF, with interruptions."""

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from empty_report import PROGRAM
from PIL import Image
from pypdf import PdfReader

from model.data import datasets
from reports.analysis.final_models import final_accuracy
from studies.record import reader as records
from studies.record.folder import RESERVED
from sweep.cli import sweep
from sweep.commands.status import one_line

pytestmark = pytest.mark.slow

STUDY = """\
question = "Which width and learning rate?"
dataset = "digits"
folds = 1
objective = "validation_loss"
seed = 3
trials = 3
pruner = "median"

[baseline]
hidden_sizes = [64]
learning_rate = 0.003
batch_size = 16
epochs = 40

[space]
hidden_sizes = { layers = [1, 2], units = [32, 64], log = true }
learning_rate = { low = 1e-3, high = 3e-2, log = true }

[confirm]
top = 1
repeats = 2
"""


def command(home, *arguments):
    """The program's arguments and an environment without its variables."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SWEEP_")}
    return [sys.executable, "-P", "-m", "sweep", *map(str, arguments)], environment | {"SWEEP_HOME": str(home)}


def call(home, *arguments):
    """Run it to its end."""
    argv, environment = command(home, *arguments)
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120)


def undrawn(home, *arguments):
    """The same with an empty report."""
    argv, environment = command(home, *arguments)
    return subprocess.run([*PROGRAM, *argv[4:]], env=environment, capture_output=True, text=True, timeout=120)


def told(home, *arguments):
    """What a verb prints, run in this process."""
    found = CliRunner().invoke(sweep, [str(argument) for argument in (*arguments, "--home", home)])
    assert found.exit_code == 0, found.output
    return found.output


def interrupted(home, study, number, when):
    """Start a sweep and send it a signal once `when(record)` is true; returns exit code, output and seconds to end."""
    argv, environment = command(home, "run", study, "--tracking", "none")
    process = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(records.RecordError):
            if when(records.read(home / "tiny", active=True)):
                break
        time.sleep(0.02)
    process.send_signal(number)
    sent = time.monotonic()
    output, _ = process.communicate(timeout=60)
    return process.returncode, output, time.monotonic() - sent


def at_work(record, number):
    """Whether a trial of this number or a later one is some epochs in and far from its end."""
    return any(trial.state == "running" and 2 < len(trial.epochs) < 30 for trial in record.trials[number:])


def children(home):
    """Processes that work below this home folder, by their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(home).encode() in (path / "environ").read_bytes() and path.name != str(os.getpid()):
                found.append(int(path.name))
    return found


def settled(home, seconds):
    """No process is left within so many seconds."""
    deadline = time.monotonic() + seconds
    while children(home) and time.monotonic() < deadline:
        time.sleep(0.05)
    return children(home)


def mlflow_counts(home):
    with contextlib.closing(sqlite3.connect(home / "mlflow.db")) as connection:
        tables = ("runs", "metrics", "params", "tags", "model_versions")
        return {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}


@pytest.fixture(scope="module")
def road(tmp_path_factory, migrated):
    """A sweep that was interrupted by Ctrl-C, then killed, then run to its end."""
    folder = tmp_path_factory.mktemp("road")
    study, home = folder / "tiny.toml", folder / "home"
    study.write_text(STUDY)
    home.mkdir()
    shutil.copy(migrated, home)
    stopped = interrupted(home, study, signal.SIGINT, lambda record: at_work(record, 0))
    after_stop = records.read(home / "tiny")
    killed = interrupted(home, study, signal.SIGKILL, lambda record: at_work(record, 1))
    orphans = settled(home, 2) if killed[0] == -signal.SIGKILL else []
    argv, environment = command(home, "run", study)
    finished = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120)
    return {
        "home": home,
        "study": study,
        "stopped": stopped,
        "after_stop": after_stop,
        "killed": killed,
        "orphans": orphans,
        "finished": finished,
        "record": records.read(home / "tiny"),
    }


def test_ctrl_c_stops_within_five_seconds_and_prints_how_to_resume(road):
    """Exit code 130; the record is kept; running trials are interrupted."""
    code, output, seconds = road["stopped"]

    assert code == 130, output
    assert seconds < 5
    record = road["after_stop"]
    left = record.counts()["interrupted"]
    assert f"{len(record.trials) - left} of {record.study['trials']} trials done" in one_line(record)
    assert f"continue with: sweep run {road['study']}" in output
    assert road["after_stop"].counts().get("interrupted", 0) >= 1


def test_a_killed_sweep_leaves_no_worker(road):
    """Workers exit with the pipe; the mirror exits after its last pass."""
    assert road["killed"][0] == -signal.SIGKILL
    assert not [pid for pid in road["orphans"] if _is_worker(pid)]


def _is_worker(pid):
    with contextlib.suppress(OSError):
        return b"sweep.workers.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def test_the_same_command_ends_with_the_requested_number(road):
    """Three trials, contiguous, all finished; the report's path is the last line."""
    finished, record = road["finished"], road["record"]

    assert finished.returncode == 0, finished.stderr
    assert [trial.number for trial in record.trials] == list(range(3))
    assert {trial.outcome for trial in record.trials} <= {"complete", "pruned"}
    assert finished.stdout.strip().splitlines()[-1] == str(road["home"] / "tiny" / "report.pdf")
    assert any(trial.attempt > 1 for trial in record.trials)


def test_epochs_of_resumed_trials_are_recorded_once(road):
    """Each trial has epochs 0, 1, 2 ... without gaps, and training continued where it stopped."""
    for trial in road["record"].trials:
        assert len(trial.epochs) == 40 if trial.outcome == "complete" else 0 < len(trial.epochs) < 40
        assert (np.diff(trial.epochs["time"]) >= 0).all()


def test_no_temporary_files_or_processes_are_left(road):
    """No process, no checkpoint, no temporary file."""
    assert settled(road["home"], 5) == []
    left = [
        path for path in road["home"].rglob("*") if path.name.startswith("checkpoint") or path.name.endswith(".part")
    ]
    assert left == []


def test_no_study_can_have_the_name_of_a_file_in_the_home_folder(road):
    """Of everything that a sweep with MLflow and a report writes there."""
    assert {path.name for path in road["home"].iterdir()} - {"tiny"} <= RESERVED


def test_the_pdf_is_valid(road):
    """Written atomically, with pages."""
    content = (road["home"] / "tiny" / "report.pdf").read_bytes()

    assert content.startswith(b"%PDF-")
    assert content.rstrip().endswith(b"%%EOF")


def test_the_first_page_and_status_agree(road):
    """Every number of `sweep status` is on the page, rounded to the printed digits."""
    status = json.loads(told(road["home"], "status", "tiny", "--json"))
    page = PdfReader(road["home"] / "tiny" / "report.pdf").pages[0].extract_text().replace("\u2212", "-")
    printed = re.findall(r"(?<![\w.])-?\d+\.\d+", page)

    def stands(number):
        return any(abs(number - float(text)) <= 0.51 * 10.0 ** -len(text.partition(".")[2]) for text in printed)

    confirmed, sign = status["confirmed"], -1  # of a loss, less is better, and the page gives the change
    assert status["question"] in " ".join(page.split())
    assert f"{status['done']} trials of {status['trials']} finished" in " ".join(page.split())
    assert stands(confirmed["mean"])
    if status["champion"]:
        assert f"Trial {status['champion']}" in page
        assert all(stands(sign * confirmed[key]) for key in ("difference", "low", "high"))
    assert stands(100 * status["mean_test_accuracy"])
    assert all(stands(100 * end) for end in status["test_interval"])
    assert not stands(0.7654321)  # the comparison can fail


def test_the_verdict_is_recorded_and_printed(road):
    """The last lines equal the database."""
    test = road["record"].verdict["test"]
    mean = sum(test["accuracies"]) / len(test["accuracies"])

    assert (
        f"test accuracy: {100 * mean:.2f} %, mean of {len(test['accuracies'])} final models" in road["finished"].stdout
    )
    assert test["opening"] == 1


@pytest.mark.filterwarnings("ignore:The ``noload`` loader:sqlalchemy.exc.SADeprecationWarning")
def test_mlflow_has_everything_and_a_second_sync_changes_nothing(road):
    """One parent run, one run per trial; numbers of runs, metrics, params and tags are equal after another sync."""
    record, home = road["record"], road["home"]
    before = mlflow_counts(home)
    again = told(home, "sync", "tiny")

    assert before["runs"] == 1 + len(record.trials) + len(record.confirm)
    assert before["model_versions"] == 1
    assert mlflow_counts(home) == before
    assert "MLflow is already up to date" in again


def test_a_finished_study_trains_nothing_when_run_again(tmp_path):
    """Also with a smaller number of trials."""
    (tmp_path / "tiny.toml").write_text(STUDY)
    run = ("run", tmp_path / "tiny.toml", "--tracking=none", "--workers=1", "--set=baseline.epochs=1", "--trials")
    assert undrawn(tmp_path, *run, 3).returncode == 0
    before = records.read(tmp_path / "tiny")
    again = undrawn(tmp_path, *run, 2)
    after = records.read(tmp_path / "tiny")

    assert again.returncode == 0
    assert len(before.trials) == 3
    assert "3 trials are recorded, none is added; for 20 more: sweep run " in again.stdout
    assert f" --more 20 --home {tmp_path}\n" in again.stdout
    assert after.verdict == before.verdict
    assert [trial.weights_sha256 for trial in after.trials] == [trial.weights_sha256 for trial in before.trials]


def test_status_prints_json(road):
    """With the numbers of the record."""
    status = json.loads(told(road["home"], "status", "tiny", "--json"))
    record = road["record"]

    assert status["outcomes"] == record.counts()
    assert (status["trials"], status["begun"], status["done"]) == (len(record.trials),) * 3
    assert status["best"]["trial"] == record.ranked()[0].number
    assert status["best"]["value"] == record.ranked()[0].value
    assert status["baseline"]["value"] == record.trials[0].value
    assert status["mean_test_accuracy"] == final_accuracy(record).mean
    assert "champion: trial" in told(road["home"], "status")
    assert "recorded in" in told(road["home"], "studies")


def test_the_champion_is_as_accurate_on_pngs_as_on_the_test_set(road, tmp_path):
    """`sweep predict` on PNGs of ten test digits: at most two fewer correct than expected from its accuracy."""
    data = datasets.load(road["home"] / "data" / "digits", 0)
    paths = []
    for i in range(10):
        path = tmp_path / f"{i}-{data.test.labels[data.test.rows[i]]}.png"
        pixels = data.test.inputs[data.test.rows[i]].reshape(8, 8)
        Image.fromarray((pixels.astype(np.uint16) * 255 // 16).astype(np.uint8)).save(path)
        paths.append(path)
    output = told(road["home"], "predict", *paths, "--study", "tiny")
    right = sum(f"-{line.split(': ')[1][0]}.png" in line for line in output.strip().splitlines())

    assert right >= 8, output


def test_the_csv_has_one_row_per_trial(road, tmp_path):
    """The header has the hyperparameters."""
    out = tmp_path / "trials.csv"
    told(road["home"], "export", "tiny", "--out", out)
    lines = out.read_text().splitlines()

    assert len(lines) == 4
    assert "learning_rate" in lines[0]


def test_digits_by_generations_is_the_same_for_any_number_of_workers(tmp_path):
    """Settings, every epoch's numbers, outcomes, hashes, the champion and its test accuracies: for 1 and 4."""
    found = []
    for workers in (1, 4):
        home = tmp_path / str(workers)
        changes = ("baseline.epochs=9", "confirm.top=1", "confirm.repeats=2")
        smaller = ("--trials", 16, "--generation", 8, *(f"--set={change}" for change in changes))
        done = undrawn(home, "run", "digits", *smaller, "--workers", workers, "--tracking", "none")
        assert (done.returncode, done.stderr) == (0, "")
        found.append(results(records.read(home / "digits")))

    assert len(found[0]["trials"]) == 16
    assert {row[1] for row in found[0]["trials"]} == {"complete", "pruned"}
    assert found[0] == found[1]


def results(record):
    """All that a sweep finds; seconds and times excepted."""
    columns = [name for name in records.EPOCH_COLUMNS if name not in ("seconds", "time")]

    def row(trial):
        numbers = str(trial.epochs[columns].tolist())  # as text, for NaN is not equal to itself
        return [dict(trial.hyperparameters), trial.outcome, trial.value, trial.weights_sha256, trial.reason, numbers]

    verdict = {key: value for key, value in record.verdict.items() if key != "time"}
    return {
        "trials": [row(trial) for trial in record.trials],
        "confirm": [row(trial) for trial in record.confirm],
        "ranked": [trial.number for trial in record.ranked()],
        "verdict": verdict,
    }
