"""The Python and shell of docs/tracking.md, run as they stand there on a small sweep."""

import ast
import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
from dask_processes import free_port
from empty_report import PROGRAM
from sklearn.datasets import load_digits

from model import weights
from studies.record import reader as records

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parent.parent / "docs" / "tracking.md").read_text()
STUDY = """\
question = "Which learning rate?"
dataset = "digits"
folds = 1
objective = "validation_loss"
seed = 3
trials = 4

[baseline]
hidden_sizes = [16]
learning_rate = 0.003
epochs = 3

[space]
learning_rate = { low = 1e-3, high = 3e-2, log = true }

[confirm]
top = 1
repeats = 2
"""
PORT = "5001"
AGAIN = """\
print(trials["params.trial"].tolist())
print(trials["metrics.objective"].tolist())
print(champion.predict(load_digits().images[:3])["class"].tolist())
"""
"""What the page prints, whole."""


def block(heading, language):
    """The first block of a section in a language."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)[1]


def environment():
    """As a person has it who has followed the page: nothing is set but the path."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SWEEP_", "MLFLOW_"))}
    return kept | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "MLFLOW_DISABLE_TELEMETRY": "true"}


def execute(code, folder):
    """What a block of Python prints, in a process of its own."""
    argv = [sys.executable, "-P", "-W", "ignore", "-c", code]
    done = subprocess.run(argv, cwd=folder, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder in which a person swept, confirmed and mirrored a study called `digits`."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "digits.toml").write_text(STUDY)
    argv = [*PROGRAM, "run", "digits.toml", "--workers", "2"]
    done = subprocess.run(argv, cwd=folder, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "all trials in MLflow" in done.stdout
    return folder


@pytest.fixture(scope="module")
def champion(folder):
    """Our own class of each of the first three digits."""
    return weights.load(folder / "runs/digits/champion.npz").network.predict(load_digits().data[:3]).argmax(axis=1)


def test_the_trials_are_read_best_first_and_the_champion_predicts(folder, champion):
    """Every trial and no other run, in the order of the record; the model that the sweep confirmed."""
    code = block("Reading results and predicting in Python", "python")
    said = execute(f"{code}\n{AGAIN}", folder)
    numbers, objectives, classes = (ast.literal_eval(line) for line in said.splitlines()[-3:])

    record = records.read(folder / "runs/digits")
    ranked = sorted(record.trials, key=lambda trial: trial.value)
    assert len(ranked) == 4
    assert record.confirm != []
    assert (numbers, objectives) == ([str(trial.number) for trial in ranked], [trial.value for trial in ranked])
    assert classes == champion.tolist()
    assert said.split()[:3] == ["tags.mlflow.runName", "metrics.objective", "params.learning_rate"]
    assert "class  probability_0" in said


OWN = """
import mlflow

mlflow.set_tracking_uri("sqlite:///runs/mlflow.db")
with mlflow.start_run() as run:
    mlflow.log_metric("mine", 1.5)
    mlflow.log_dict({"mine": 1}, "mine.json")
mlflow.set_experiment("digits")
with mlflow.start_run() as other:
    mlflow.log_metric("mine", 2.5)
print([run.info.experiment_id, mlflow.get_run(run.info.run_id).data.metrics["mine"], run.info.artifact_uri])
"""


def test_runs_of_the_users_own_need_no_experiment_and_are_left_alone(folder):
    """Those without one are in MLflow's default; those in the study's are no difference for doctor."""
    experiment, value, place = ast.literal_eval(execute(OWN, folder).splitlines()[-1])
    argv = [*PROGRAM, "doctor", "digits"]
    compared = subprocess.run(argv, cwd=folder, env=environment(), capture_output=True, text=True, timeout=120)

    assert (experiment, value) == ("0", 1.5)
    assert Path(place.removeprefix("file://"), "mine.json").is_file()
    assert folder / "runs/mlartifacts/0" in Path(place.removeprefix("file://")).parents
    assert (compared.returncode, compared.stdout) == (0, "digits: no differences\n")


def test_the_champion_is_served(folder, champion):
    """By the command of the page, and asked by its request."""
    port = str(free_port())
    command = block("Serving the champion", "sh").replace(PORT, port)
    request = block("Serving the champion", "python").replace(PORT, port)
    with (folder / "serve.log").open("wb") as log:
        server = subprocess.Popen(
            ["env", *shlex.split(command)],
            cwd=folder,
            env=environment(),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_for(server, f"http://127.0.0.1:{port}/ping", folder / "serve.log")
        answer = ast.literal_eval(execute(request, folder))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)

    assert [row["class"] for row in answer["predictions"]] == champion.tolist()


def wait_for(server, address, log):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(requests.ConnectionError):
            assert requests.get(address, timeout=10).status_code == 200
            return
        time.sleep(0.2)
    pytest.fail(log.read_text())
