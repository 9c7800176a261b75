"""A study recorded by an older version, with fewer keys, can be resumed, replayed and reported."""

import gzip
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from studies.folds import with_folds
from studies.record import reader as records
from studies.record.schema import continued, seal, trial_seal
from studies.record.trials import read_trials
from studies.study_file import load
from sweep.commands import report
from sweep.commands.replay import replay_trial
from sweep.coordination.coordinator import Stop


class AfterTwo(Stop):
    """Stops a search once two trials have ended."""

    def __init__(self, database):
        super().__init__()
        self.database = database

    def asked(self):
        return len(self.database.search.finished()) >= 2


def forget(database, field):
    """Remove a hyperparameter from the record, sealed as a version without it would have sealed it."""
    storage, log = database._storage, database.search
    attributes = database._attributes()
    del attributes["study"]["baseline"][field]
    trials = list(read_trials(storage.engine, log.study_id))
    with closing(sqlite3.connect(database.folder / "study.db")) as connection, connection:
        change = "UPDATE study_user_attributes SET value_json = ? WHERE key = ?"
        connection.execute(change, [json.dumps(attributes["study"]), "study"])
        connection.execute(change, [json.dumps(seal(attributes)), "seal"])
        for trial in trials:
            del trial.user_attrs["hyperparameters"][field]
            changed = {"hyperparameters": trial.user_attrs["hyperparameters"]}
            if trial.state.is_finished():
                changed["seal"] = trial_seal(trial)
            for key, content in changed.items():
                connection.execute(
                    "UPDATE trial_user_attributes SET value_json = ? WHERE trial_id = ? AND key = ?",
                    [json.dumps(content), trial._trial_id, key],
                )


@pytest.mark.slow
@pytest.mark.parametrize("field", ["dropout", "schedule"])
def test_a_record_without_a_hyperparameter_continues_and_is_reported(
    field, tiny, opened, searched, digits_folder, tmp_path
):
    study = tiny("trials=4")
    database = opened(study)
    default = getattr(study.baseline, field)
    searched(study, database, stop=AfterTwo(database))
    assert 2 <= len(database.search.finished()) < 4
    forget(database, field)
    database.close()
    before = records.read(database.folder)
    assert {trial.hyperparameters[field] for trial in before.trials} == {default}
    assert before.study["baseline"][field] == default

    database = opened(study)
    searched(study, database)
    database.close()

    record = records.read(database.folder)
    assert [trial.state for trial in record.trials] == ["complete"] * 4
    assert {trial.hyperparameters[field] for trial in record.trials} == {default}
    assert "equal to the record" in replay_trial(record, 0, tmp_path / "cache")
    (written, *_) = report.write(record, tmp_path / "report.pdf")
    assert written.read_bytes().startswith(b"%PDF")


BEFORE_HALVING = """\
question = "Which width and learning rate?"
dataset = "digits"
objective = "validation_loss"
seed = 9
trials = 19
generation = 4
sampler = "random"
pruner = "median"
control = 0.2

[baseline]
hidden_sizes = [16]
learning_rate = 0.003
epochs = 5

[space]
hidden_sizes = { layers = [1, 2], units = [8, 32], log = true }
learning_rate = { low = 1e-3, high = 3e-2, log = true }

[confirm]
top = 1
seeds = 2
"""
"""The study of before_halving.db.gz, which has 14 trials: three and a half generations."""


@pytest.mark.parametrize("left_out", ["", 'pruner = "median"\n'])
def test_a_study_recorded_before_trials_were_paused_continues(opened, searched, tmp_path, digits_folder, left_out):
    """With its pruner, the default then, one fold, generations and controls; nothing of what was recorded changes."""
    (tmp_path / "older.toml").write_text(BEFORE_HALVING.replace(left_out, ""))
    study = with_folds(load(str(tmp_path / "older.toml")), digits_folder)
    assert study.folds == 5  # of a new study
    folder = tmp_path / "runs/older"
    folder.mkdir(parents=True)
    compressed = Path(__file__).parent / "before_halving.db.gz"
    (folder / "study.db").write_bytes(gzip.decompress(compressed.read_bytes()))
    before = records.read(folder)
    assert before.study["minutes"] is None
    database = opened(study)
    searched(continued(study, database.attributes()["study"]), database)
    record = records.read(folder)

    assert record.folds == 1
    assert before.counts() == {"complete": 12, "pruned": 2}
    assert [str(trial) for trial in record.trials[:14]] == [str(trial) for trial in before.trials]
    assert len(record.trials) == 19
    assert {trial.outcome for trial in record.trials} == {"complete", "pruned"}
    assert not any("leg" in trial.user_attrs for trial in database.search.trials())
