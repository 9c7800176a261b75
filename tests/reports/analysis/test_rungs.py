"""What each rung of a halving search cost and was worth, calculated by hand."""

from dataclasses import replace

import numpy as np
import pytest

from reports.analysis.rungs import left_behind_after, rungs
from studies.record.schema import EPOCH


@pytest.fixture
def halved(made_up):
    """Twelve trials of nine epochs: four stop after one, two after three; their accuracies grow by the epoch."""
    record = made_up(12, outcome="complete", epochs=9)
    lengths = [9, 9, 9, 9, 9, 9, 3, 3, 1, 1, 1, 1]

    def cut(trial, length):
        epochs = np.zeros(length, EPOCH)
        quality = (trial.number * 5 % 12) / 100  # another order than that of the numbers
        epochs["validation_accuracy"], epochs["seconds"] = 0.5 + quality + 0.001 * np.arange(length), 2.0
        return replace(trial, epochs=epochs, outcome="complete" if length == 9 else "pruned")

    trials = tuple(cut(trial, length) for trial, length in zip(record.trials, lengths, strict=True))
    return replace(record, trials=trials, study={**record.study, "pruner": "halving"})


def test_each_rung_counts_who_reached_it_and_what_it_cost(halved):
    found = rungs(halved)

    assert [(one.epochs, one.reached, one.continued) for one in found] == [(1, 12, 8), (3, 8, 6), (9, 6, 0)]
    assert [one.seconds for one in found] == [12 * 2.0, 8 * 2 * 2.0, 6 * 6 * 2.0]


def test_the_correlation_is_over_the_trials_that_reached_both_rungs(halved):
    """The order never changes: 1. Turned round at the last rung: -1."""
    first, second, last = rungs(halved)

    assert (first.correlation, second.correlation, last.correlation) == (pytest.approx(1), pytest.approx(1), None)
    assert first.low < 1 <= first.high + 1e-5

    def turned(trial):
        epochs = trial.epochs.copy()
        epochs["validation_accuracy"][3:] = 2 - 1.2 * epochs["validation_accuracy"][3:]
        return replace(trial, epochs=epochs)

    assert rungs(replace(halved, trials=tuple(map(turned, halved.trials))))[1].correlation == pytest.approx(-1)


def test_too_few_trials_have_no_correlation(halved):
    found = rungs(replace(halved, trials=halved.trials[3:]))

    assert [one.correlation is None for one in found] == [True, True, True]


def test_shorter_trials_reach_the_rungs_at_the_same_shares(halved):
    """Of a trial with three epochs, the rungs are after one, one and three."""
    short = replace(halved.trials[6], hyperparameters={**halved.trials[6].hyperparameters, "epochs": 3})
    found = rungs(replace(halved, trials=(*halved.trials[:6], short)))

    assert [one.reached for one in found] == [7, 7, 7]


def test_other_pruners_have_no_rungs(made_up):
    assert rungs(made_up(12)) == []


def test_a_control_is_left_behind_where_all_continued_trials_are_better(halved):
    """Of the others, those with 0.50 to 0.55 after one epoch went on; trials 1, 6 and 7 are controls."""
    quality = {1: (0.9, 0.9), 6: (0.2, 0.9), 7: (0.9, 0.2)}

    def control(trial):
        epochs = np.zeros(9, EPOCH)
        epochs["validation_accuracy"][:1], epochs["validation_accuracy"][1:] = quality[trial.number]
        return replace(trial, epochs=epochs, outcome="complete", control={"would_prune_at": None})

    trials = tuple(control(trial) if trial.number in quality else trial for trial in halved.trials)
    record = replace(halved, trials=trials)

    assert [left_behind_after(record, trials[number]) for number in quality] == [None, 1, None]
    record = replace(halved, trials=tuple(t if t.number in (0, *quality) else replace(t, control={}) for t in trials))
    assert left_behind_after(record, trials[6]) is None  # nobody is left to compare with
