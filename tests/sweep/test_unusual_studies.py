"""Studies that an ordinary search is not made for: few settings, one setting, many that diverge."""

import pytest

from studies.record import reader as records
from studies.study_file import load
from sweep.search.confirmation import candidates

FOUR_SETTINGS = """\
question = "Four settings and 24 trials: is each candidate another setting?"
dataset = "digits"
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
seeds = 2
"""
ONE_SETTING = """\
question = "One setting: how noisy is it?"
dataset = "digits"
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


@pytest.fixture
def recorded(tmp_path, opened, searched):
    """Runs the search of a study; returns the study and its record."""

    def run(text):
        path = tmp_path / "unusual.toml"
        path.write_text(text)
        study = load(str(path))
        database = opened(study)
        searched(study, database)
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


def test_a_study_of_one_setting_is_reported_to_the_last_page(recorded, tmp_path):
    from sweep.commands import report

    study, record = recorded(ONE_SETTING)
    report.write(record, tmp_path / "report.pdf")

    assert len(record.ranked()) >= 1
    assert len(candidates(study, record)) == 1
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF-")
