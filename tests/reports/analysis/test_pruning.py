"""Savings and costs of pruning, calculated by hand."""

from dataclasses import replace

import numpy as np
import pytest

from reports.analysis import pruning
from studies.record.schema import EPOCH


def with_curves(record, table):
    """The record with these accuracies, (trials, epochs); the last is the value."""

    def curve(trial, row):
        epochs = np.zeros(len(row), EPOCH)
        epochs["validation_accuracy"], epochs["seconds"] = row, 2.0
        return replace(trial, epochs=epochs, value=float(row[-1]), seconds=2.0 * len(row), selected_epoch=len(row) - 1)

    return replace(record, trials=tuple(curve(t, row) for t, row in zip(record.trials, table, strict=True)))


def test_the_rank_correlation_equals_spearmans():
    """1 2 3 4 against 1 3 2 4: rho = 1 - 6 * 2 / (4 * 15) = 0.8; ties get the mean rank."""
    assert pruning.spearman(np.array([1.0, 2, 3, 4]), np.array([1.0, 3, 2, 4])) == pytest.approx(0.8)
    assert pruning.spearman(np.array([1.0, 1, 2]), np.array([5.0, 5, 9])) == pytest.approx(1)
    assert pruning.spearman(np.ones(3), np.arange(3.0)) == 0


def test_the_correlation_of_each_epoch_with_the_end(made_up):
    """Correlations 0, -1 and 1."""
    end = np.linspace(0.5, 0.9, 20)
    table = np.stack([np.tile([0.5, 0.6], 10), end[::-1], end], axis=1)
    found = pruning.foresight(with_curves(made_up(20, outcome="complete"), table))

    assert found.correlation[1:] == pytest.approx([-1, 1], abs=1e-9)
    assert abs(found.correlation[0]) < 0.1
    assert found.low[0] < 0 < found.high[0]
    assert found.trials == 20


def test_too_few_trials_give_no_correlation(made_up):
    assert pruning.foresight(made_up(pruning.FEWEST - 1, outcome="complete")) is None
    assert pruning.foresight(made_up(0)) is None


def test_saved_time_is_estimated_from_each_trials_epoch_time(made_up):
    """Two of four trials stopped after 3 and 6 of 12 epochs of 2 s: 15 epochs, 30 s, of 66 s that all would take."""
    record = made_up(3, outcome="complete")
    record = with_curves(record, [[0.5] * 3, [0.5] * 6, [0.5] * 9])
    outcomes = ("pruned", "pruned", "complete")
    trials = [replace(t, outcome=o, state=o) for t, o in zip(record.trials, outcomes, strict=True)]
    trials[1] = replace(trials[1], reason="paused after 6 epochs; the time for the search was over")
    found = pruning.spared(replace(record, trials=tuple(trials)))

    assert (found.pruned, found.late, found.epochs, found.seconds) == (2, 1, 15, 30)
    assert found.share == pytest.approx(30 / 66)


def test_given_up_controls_that_ended_well_are_counted(made_up):
    """The pruner gave up two controls; one ended above the middle of the four trials that it let finish."""
    record = with_curves(made_up(8, outcome="complete"), np.linspace(0.5, 0.9, 16).reshape(8, 2))
    given_up = {7: 3, 1: 2, 4: None}
    trials = [
        replace(t, control={"would_prune_at": given_up[t.number]} if t.number in given_up else None)
        for t in record.trials
    ]
    found = pruning.controls(replace(record, trials=tuple(trials)))

    assert [(one.trial, one.given_up, one.rank) for one in found] == [(7, 4, 1), (4, None, 4), (1, 3, 7)]
    assert pruning.misjudged(record, found) == (2, 1)
