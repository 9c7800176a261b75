"""Studies that an ordinary search is not made for: few settings, one setting, trials of different lengths."""

import io
import math
import statistics
from pathlib import Path

import empty_report
import pytest
from optuna.trial import FixedTrial
from pypdf import PdfReader
from rich.console import Console

from model.hyperparameters import Hyperparameters
from studies.record import reader as records
from studies.study_file import load
from sweep.commands.preparation import Options
from sweep.commands.run import run_study
from sweep.search.confirmation import candidates

FOUR_SETTINGS = """\
question = "Four settings and 24 trials: is each candidate another setting?"
dataset = "digits"
folds = 1
objective = "validation_loss"
seed = 7
trials = 24
[baseline]
hidden_sizes = [16]
batch_size = 32
epochs = 2
[space]
schedule = { choices = ["constant", "cosine"] }
batch_size = { choices = [32, 64] }
[confirm]
top = 3
repeats = 2
"""
ONE_SETTING = """\
question = "One setting: how noisy is it?"
dataset = "digits"
folds = 1
objective = "validation_loss"
seed = 1
trials = 12
[baseline]
hidden_sizes = [16]
batch_size = 128
epochs = 3
[space]
batch_size = { choices = [128] }
"""
SEARCHED_EPOCHS = """\
question = "Trials of different lengths: is a long one judged by a short one's clock?"
dataset = "digits"
folds = 1
objective = "validation_loss"
seed = 7
trials = 20
pruner = "median"
[baseline]
hidden_sizes = [32]
schedule = "cosine"
epochs = 30
[space]
epochs = { low = 3, high = 60 }
learning_rate = { low = 1e-4, high = 1e-2, log = true }
"""
WHOLE_NUMBERS = """\
question = "Is 0 the same as 0.0?"
dataset = "digits"
folds = 1
objective = "validation_loss"
seed = 1
trials = 27
[baseline]
hidden_sizes = [32]
learning_rate = 1
epochs = 1
[space]
dropout = { choices = [0, 0.2, 0.5] }
learning_rate = { choices = [0.01, 0.1, 1] }
batch_size = { choices = [32.0, 64.0, 128] }
"""


@pytest.fixture
def written(tmp_path):
    """Writes a study file."""

    def write(text):
        path = tmp_path / "unusual.toml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def recorded(written, opened, searched):
    """Runs the search of a study; returns the study and its record."""

    def run(text, workers=2):
        study = load(str(written(text)))
        database = opened(study)
        searched(study, database, workers=workers)
        return study, records.read(database.folder)

    return run


def test_candidates_are_different_settings_and_the_baseline_is_one_of_them(recorded):
    study, record = recorded(FOUR_SETTINGS)
    found = candidates(study, record)
    settings = [tuple(sorted(map(str, trial.hyperparameters.items()))) for trial in found]

    assert len(set(settings)) == len(settings)
    assert 0 in [trial.number for trial in found]
    assert 3 <= len(found) <= 4
    assert found[0].hyperparameters == record.ranked()[0].hyperparameters


@pytest.mark.slow
def test_a_study_of_one_setting_is_reported_to_the_last_page(recorded, tmp_path):
    from sweep.commands import report

    study, record = recorded(ONE_SETTING)
    report.write(record, tmp_path / "report.pdf")

    assert len(record.ranked()) >= 1
    assert len(candidates(study, record)) == 1
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF-")


@pytest.mark.slow
def test_a_study_of_one_setting_is_confirmed_and_reported(written, tmp_path):
    """The winner is the baseline itself: two final models, a test accuracy, and pages about noise."""
    code, home = _run(written(ONE_SETTING), tmp_path)
    record = records.read(home / "unusual")

    assert code == 0
    assert [trial.repeats for trial in record.trials] == [None, *[0] * 11]
    assert record.verdict["champion"] == 0
    assert record.verdict["paired"] is None
    assert {run.candidate for run in record.confirm} == {0}
    assert len(PdfReader(home / "unusual/report.pdf").pages) >= 5


def _run(study: Path, tmp_path):
    """The whole command; returns its exit code and the home folder."""
    home, console = tmp_path / "home", Console(file=io.StringIO())
    options = Options(home=home, tracking="none", study=str(study), workers=2, arguments=["run", str(study)])
    return run_study(options, console), home


def test_four_settings_are_all_tried_before_any_is_repeated(recorded):
    """Each repeat says of which trial, and Optuna's parameters are those of the settings."""
    _, record = recorded(FOUR_SETTINGS)
    first = {}
    for trial in record.trials:
        first.setdefault(Hyperparameters(**trial.hyperparameters), trial.number)

    assert sorted(first.values()) == [0, 1, 2, 3]
    assert [trial.repeats for trial in record.trials[:4]] == [None] * 4
    for trial in record.trials[4:]:
        assert trial.repeats == first[Hyperparameters(**trial.hyperparameters)]


def test_optunas_parameters_are_those_of_the_settings(written, opened, searched):
    """Also of settings that replaced a repeated draw."""
    study = load(str(written(FOUR_SETTINGS)))
    database = opened(study)
    searched(study, database)

    for trial in database.search.trials():
        assert study.draw(FixedTrial(trial.params)) == Hyperparameters(**trial.user_attrs["hyperparameters"])


@pytest.mark.slow
def test_a_confirmation_takes_different_settings(written, tmp_path, monkeypatch):
    empty_report.draw_none(monkeypatch)
    code, home = _run(written(FOUR_SETTINGS), tmp_path)
    record = records.read(home / "unusual")
    numbers = {run.candidate for run in record.confirm}

    assert code == 0
    assert len({Hyperparameters(**record.trials[number].hyperparameters) for number in numbers}) == len(numbers) >= 3


@pytest.mark.slow
def test_trials_of_different_lengths_are_compared_at_the_same_share_of_their_epochs(recorded):
    """A trial is pruned when its best so far is worse than the median of at least five others at its share."""
    _, record = recorded(SEARCHED_EPOCHS, workers=1)
    pruned = [trial for trial in record.trials if trial.outcome == "pruned"]

    assert len(pruned) >= 3
    assert len({trial.hyperparameters["epochs"] for trial in pruned}) >= 3
    for trial in record.trials:
        earlier = [other for other in record.trials[: trial.number] if other.outcome == "complete"]
        behind = [epoch for epoch in range(1, len(trial.epochs) + 1) if _is_behind(trial, epoch, earlier)]
        if trial.outcome == "pruned":
            assert behind == [len(trial.epochs)]
        elif trial.number:
            assert set(behind) <= {trial.hyperparameters["epochs"]}  # after the last epoch nothing is saved


def _is_behind(trial, epoch, others):
    """Whether a trial is worse after an epoch, from 1, than the median of five others or more at the same share.

    Shares are counted in epochs of the longest trial, of 60, that have begun; pruning begins with the third.
    """
    reached = math.ceil(epoch * 60 / trial.hyperparameters["epochs"])
    values = [_best(other, int(reached * other.hyperparameters["epochs"] / 60)) for other in others]
    values = [value for value in values if value is not None]
    return reached >= 3 and len(values) >= 5 and _best(trial, epoch) > statistics.median(values)


def _best(trial, epochs):
    return min(trial.epochs["validation_loss"][:epochs], default=None)


def test_whole_and_decimal_numbers_are_the_same_choices(recorded):
    """All 27 settings are tried once, the baseline among them."""
    study, record = recorded(WHOLE_NUMBERS)
    settings = {Hyperparameters(**trial.hyperparameters) for trial in record.trials}

    assert len(settings) == len(record.trials) == 27
    assert study.baseline in settings
    assert all(trial.repeats is None for trial in record.trials)
    assert {(type(one.batch_size), type(one.dropout)) for one in settings} == {(int, float)}
