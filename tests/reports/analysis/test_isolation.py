"""The best of each part of a range, calculated by hand and on synthetic studies with known truth."""

from types import SimpleNamespace

import numpy as np
import pytest

from reports.analysis.axes import Axis, axes, values
from reports.analysis.isolation import SOLID, isolation, isolations

RATE = {"learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True}}
SIZE = {"batch_size": {"kind": "choice", "choices": [32, 64, 128, 256]}}


def test_every_trial_is_in_one_part(known):
    record = known(60, lambda settings: 0.9, space=RATE, broken=lambda settings: settings["learning_rate"] > 5e-3)
    found = isolations(record)[0]

    assert sum(part.judged for part in found.parts) == 60
    assert sum(part.complete for part in found.parts) == record.counts()["complete"]
    assert found.parts[0].low == pytest.approx(1e-4)
    assert found.parts[-1].high == pytest.approx(1e-2)


def test_a_part_is_as_good_as_its_best_trial(known):
    record = known(60, lambda settings: 0.9 + settings["batch_size"] / 10_000, space=SIZE, noise=0.0)
    found = isolations(record)[0]

    assert [part.best for part in found.parts] == pytest.approx([0.9032, 0.9064, 0.9128, 0.9256])
    assert [part.even for part in found.parts] == pytest.approx([0.9032, 0.9064, 0.9128, 0.9256])
    assert found.spread == pytest.approx(0.0224)


def test_whole_numbers_that_are_written_otherwise_are_their_choice():
    """A study file may say 0 and 64.0 where the settings are 0.0 and 64: no trial is left out of its part."""
    space = {
        "dropout": {"kind": "choice", "choices": [0, 0.25]},
        "batch_size": {"kind": "choice", "choices": [64.0, 128]},
        "hidden_sizes": {"kind": "choice", "choices": [[64.0, 32], [128]]},
    }
    trials = [
        SimpleNamespace(hyperparameters={"dropout": 0.0, "batch_size": 64, "hidden_sizes": [64, 32]}),
        SimpleNamespace(hyperparameters={"dropout": 0.25, "batch_size": 128, "hidden_sizes": [128]}),
    ]
    found = {axis.key: values(axis, trials).tolist() for axis in axes(space)}

    assert found == {"dropout": [0, 1], "batch_size": [0, 1], "hidden_sizes": [0, 1]}


@pytest.mark.slow
def test_a_part_with_more_trials_is_not_better_for_its_size(known):
    """Pure noise, but nine tenths of the trials have one choice: its best is better by chance."""
    gaps, evened = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        record = known(80, lambda settings: 0.9, space=SIZE, noise=0.01, seed=seed)
        trials = [
            t.__class__(
                **{**vars(t), "hyperparameters": {**t.hyperparameters, "batch_size": 32 if rng.random() < 0.9 else 64}}
            )
            for t in record.trials
        ]
        crowded, other = isolation(record.__class__(**{**vars(record), "trials": tuple(trials)}), axes(SIZE)[0]).parts[
            :2
        ]
        gaps.append(crowded.best - other.best)
        evened.append(crowded.even - other.even)

    assert np.mean(gaps) > 0.004
    assert abs(np.mean(evened)) < 0.004


def test_parts_with_too_few_trials_are_not_compared(known):
    found = isolation(known(3, lambda settings: 0.9, space=SIZE), axes(SIZE)[0])

    assert found.even < SOLID
    assert found.spread == 0


def test_a_range_of_one_value_is_not_compared(known):
    record = known(5, lambda settings: 0.9, space={"dropout": {"kind": "float", "low": 0.1, "high": 0.1, "log": False}})

    assert isolations(record) == []
    assert isolation(record, Axis("x", "x", "x", "linear", False, 0, 1)).spread == 0
