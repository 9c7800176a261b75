"""Sweeps that are limited by time: they end when they should, and with a champion."""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from empty_report import PROGRAM
from sklearn.datasets import load_digits

from model import weights
from model.data import datasets
from model.evaluation import evaluate
from studies.record import reader as records
from studies.study_file import load
from sweep.search.budget import REPORT_S
from sweep.search.confirmation import candidates

pytestmark = pytest.mark.slow

STUDY = """\
question = "Which width and learning rate, soon?"
dataset = "digits"
folds = 1
objective = "validation_loss"
seed = 3
minutes = 0.4

[baseline]
hidden_sizes = [32]
learning_rate = 0.003
averaging = 0.33
epochs = 9

[space]
hidden_sizes = { layers = [1, 2], units = [16, 128], log = true }
learning_rate = { low = 1e-3, high = 3e-2, log = true }

[confirm]
top = 2
repeats = 3
"""
WORSE = (
    STUDY.partition("[space]")[0]
    + """\
[space]
learning_rate = { choices = [0.003, 1e-6, 1e-7] }

[confirm]
top = 1
repeats = 3
"""
)
LONG = ("--set", "baseline.epochs=8000")
"""A training of a third of a minute or more: too long to be confirmed in twelve seconds."""
DIVERGING = """\
question = "A third of these settings diverge: does the sweep still end well with 16 workers?"
dataset = "digits"
folds = 1
objective = "validation_loss"
seed = 3
trials = 40
sampler = "random"
pruner = "none"
[baseline]
hidden_sizes = [64]
epochs = 30
learning_rate = 0.001
weight_decay = 3.0
[space]
learning_rate = { low = 1e-4, high = 10.0, log = true }
weight_decay = { low = 3.0, high = 10.0 }
[confirm]
top = 1
repeats = 2
"""


class Sweeps:
    """The program with a home folder of its own."""

    def __init__(self, folder):
        self.home, self.study = folder / "home", folder / "brief.toml"
        self.study.write_text(STUDY)

    def call(self, *arguments, program=(sys.executable, "-P", "-m", "sweep")):
        """Run a command to its end; returns what happened."""
        return subprocess.run(
            self._words(program, arguments), env=self._environment(), capture_output=True, text=True, timeout=240
        )

    def run(self, *options, drawn=False):
        """Run the study to its end, with an empty report if it is not `drawn`."""
        program = (sys.executable, "-P", "-m", "sweep") if drawn else PROGRAM
        done = self.call("run", self.study, "--tracking", "none", *options, program=program)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, *options):
        """Start the study, with an empty report."""
        words = self._words(PROGRAM, ("run", self.study, "--tracking", "none", *options))
        return subprocess.Popen(words, env=self._environment(), stdout=subprocess.DEVNULL)

    def record(self, *, active=False):
        """The recorded study; None if there is none yet."""
        with contextlib.suppress(records.RecordError):
            return records.read(self.home / "brief", active=active)
        return None

    def _words(self, program, arguments):
        return [*program, *map(str, arguments)]

    def _environment(self):
        kept = {key: value for key, value in os.environ.items() if not key.startswith("SWEEP_")}
        return kept | {"SWEEP_HOME": str(self.home)}


@pytest.fixture
def sweeps(tmp_path):
    return Sweeps(tmp_path)


def test_a_sweep_ends_in_its_minutes_with_a_champion_and_a_report(sweeps):
    """A study without a number of trials, with the whole report.

    On a loaded machine the report may take longer than the time that is kept for it; that is allowed for, and 20 s more
    for processes that wait for a core.
    """
    sweeps.run("--minutes", "0.05", drawn=True)  # what is compiled and prepared once is not measured
    began = time.monotonic()
    printed = sweeps.run("--minutes", "0.4", drawn=True)
    seconds = time.monotonic() - began
    record = sweeps.record()
    report = sweeps.home / "brief/report.pdf"
    drawing = report.stat().st_mtime - max(run.finished for run in record.confirm).timestamp()

    assert seconds - max(0.0, drawing - REPORT_S) < 24 + 20, printed
    assert record.study["trials"] is None
    assert len(record.trials) > 5
    assert re.search(rf"^champion on fresh .*: trial {record.verdict['champion']},", printed, re.MULTILINE)
    assert report.read_bytes().startswith(b"%PDF-")
    assert not list(sweeps.home.rglob("checkpoint*"))


def test_with_too_little_time_for_a_confirmation_the_best_trial_is_an_unconfirmed_champion(sweeps, tmp_path):
    """It is said what was left out; `sweep predict` uses the champion; its network is that of the recorded epochs."""
    printed = sweeps.run("--minutes", "0.2", *LONG)
    record = sweeps.record()
    best = record.contenders()[0]
    images = tmp_path / "images.npz"
    np.savez(images, x=load_digits().images[:5].astype(np.uint8))
    predicted = sweeps.call("predict", images, "--study", "brief")

    assert record.verdict is None
    assert record.confirm == ()
    assert f"there was no time to confirm the winner: trial {best.number} is the champion as it is" in printed
    assert "the test set stays closed" in printed
    assert not (sweeps.home / "test-set-openings.jsonl").exists()
    assert (predicted.returncode, predicted.stderr) == (0, "")
    assert len(predicted.stdout.splitlines()) == 6
    for said in (printed, sweeps.call("status", "brief").stdout):
        assert f"champion: trial {best.number}, validation " in said
        assert ", not confirmed for lack of time\n" in said
    assert not list(sweeps.home.rglob("checkpoint*"))

    validation = datasets.load(datasets.prepare("digits", sweeps.home / "data", download=False), seed=3).validation
    network = weights.load(sweeps.home / "brief/champion.npz").network
    assert evaluate(network, validation)["loss"] == pytest.approx(best.value, rel=1e-5)


def test_with_hardly_any_time_one_epoch_of_the_baseline_makes_the_champion(sweeps):
    """Three seconds are over before the first trial."""
    printed = sweeps.run("--minutes", "0.05", *LONG)
    record = sweeps.record()

    assert 1 <= len(record.trials) <= 2
    assert 1 <= len(record.trials[0].epochs) < 8000
    assert "is the champion as it is" in printed
    assert "none is added" not in printed
    assert (sweeps.home / "brief/champion.npz").exists()


def confirmed_again(sweeps, trials):
    """The record after a run of 15 s, or longer ones until a champion is named after more than so many trials."""
    for minutes in (0.25, 0.5, 1, 2):
        sweeps.run("--minutes", str(minutes))
        found = sweeps.record()
        if found.verdict and found.verdict["searched"] > trials:
            break
    return found


def test_more_minutes_search_on_and_confirm_again(sweeps):
    """An unconfirmed champion is replaced by a confirmed one, and that by the best of all later trials."""
    sweeps.run("--minutes", "0.01")  # over before the first epoch, on any machine
    first = sweeps.record()
    second = confirmed_again(sweeps, len(first.trials))
    third = confirmed_again(sweeps, len(second.trials))
    printed = sweeps.run()

    assert first.verdict is None
    assert len(first.trials) < len(second.trials) < len(third.trials)
    for record in (second, third):
        judged = {one["trial"] for one in record.verdict["candidates"]}
        best = {trial.number for trial in candidates(load(str(sweeps.study)), record)}
        assert judged <= best | {0}
        assert record.verdict["champion"] in judged
    assert [str(trial) for trial in third.trials[: len(second.trials)]] == [str(trial) for trial in second.trials]
    assert "the minutes of the study are over, and its champion is named; for 3 more minutes: sweep run" in printed
    assert (len(sweeps.record().trials), sweeps.record().verdict) == (len(third.trials), third.verdict)


def test_the_same_champion_after_more_minutes_ends_the_study_too(sweeps):
    """All other settings are far worse than the baseline, whose final models are trained once."""
    sweeps.study.write_text(WORSE)
    first = confirmed_again(sweeps, 1)
    second = confirmed_again(sweeps, len(first.trials))
    printed = sweeps.run()

    assert first.verdict["champion"] == second.verdict["champion"] == 0
    assert first.verdict["time"] == second.verdict["time"]
    assert "the minutes of the study are over, and its champion is named" in printed
    assert len(sweeps.record().trials) == len(second.trials)


def test_a_study_that_was_killed_late_is_still_confirmed(sweeps):
    """Its own minutes are over then; a start has a quarter of them at least."""
    process = sweeps.start()
    _wait(lambda: (record := sweeps.record(active=True)) and any(run.state == "running" for run in record.confirm))
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed = sweeps.record()
    began = time.monotonic()
    sweeps.run()
    seconds = time.monotonic() - began
    record = sweeps.record()

    assert killed.verdict is None
    assert record.verdict is not None
    assert seconds < 24 + 5
    numbers = [run.number for run in record.confirm if run.outcome == "complete"]
    assert {run.number for run in killed.confirm if run.outcome == "complete"} <= set(numbers)


def _wait(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_timeout_says_that_no_champion_was_named_and_which_command_names_one(sweeps):
    printed = sweeps.run("--timeout", "4", "--minutes", "0.25")
    said = "stopped by --timeout before a champion was named; nothing is lost, continue with: "
    last = printed.splitlines()[-1]

    assert last.startswith(said)
    assert not (sweeps.home / "brief/champion.npz").exists()
    assert "--timeout" not in last.removeprefix(said)

    program, *words = shlex.split(last.removeprefix(said))
    assert program == "sweep"
    done = sweeps.call(*words, program=PROGRAM)
    assert done.returncode == 0, done.stderr
    assert sweeps.record().verdict is not None


@pytest.mark.parametrize(("workers", "options"), [(1, ()), (4, ()), (16, ()), (16, ("--generation", "16"))])
def test_diverging_settings_end_no_sweep(sweeps, workers, options):
    """However many workers report them in a row; each is recorded with its reason."""
    sweeps.study.write_text(DIVERGING)
    sweeps.run("--workers", workers, *options)
    record = sweeps.record()

    assert set(record.counts()) == {"complete", "diverged"}
    assert record.counts()["diverged"] >= 8
    assert len(record.trials) == 40
    assert record.verdict is not None
