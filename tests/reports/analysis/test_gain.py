"""The expected gains of a proposal, on made-up studies whose true gains are known."""

import math
from dataclasses import replace

import numpy as np
import pytest

from reports.analysis.axes import axes
from reports.analysis.checks.curves import still_improving
from reports.analysis.checks.trials import enough_trials
from reports.analysis.gain import gain_of_range
from reports.analysis.trial_budget import enough
from studies.record.schema import EPOCH

RATE = {"learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True}}


def place(settings):
    """Where the learning rate lies in its range, 0 to 1."""
    return (math.log10(settings["learning_rate"]) + 4) / 2


def with_loss(record, loss):
    """The record with this learning curve in all trials."""
    epochs = np.zeros(len(loss), EPOCH)
    epochs["validation_loss"] = epochs["train_loss"] = loss
    trials = [replace(trial, epochs=epochs, value=float(loss[-1])) for trial in record.trials]
    return replace(record, trials=tuple(trials))


def gain_of_epochs(record):
    numbers = still_improving(record).numbers
    return numbers["low"], numbers["high"]


def test_a_longer_training_gains_what_a_power_law_says(made_up):
    """A loss that falls as the root of the epoch falls by a factor of 1.5 ** -0.5 over half as many epochs more."""
    record = made_up(20, objective="validation_loss", outcome="complete")
    low, high = gain_of_epochs(with_loss(record, np.arange(1.0, 31.0) ** -0.5))

    assert low == pytest.approx(0.5 * math.log(1.5), rel=1e-6)
    assert high == pytest.approx(low)


def test_a_curve_that_ended_gains_nothing(made_up):
    record = made_up(20, objective="validation_loss", outcome="complete")

    assert gain_of_epochs(with_loss(record, np.full(30, 0.25))) == pytest.approx((0, 0), abs=1e-9)


def test_more_trials_gain_at_most_what_the_second_half_was_worth(made_up):
    record = made_up(40, outcome="complete")
    found = enough(record)

    assert enough_trials(record).numbers["gain of second half"] == pytest.approx(found.best - found.of_half)


@pytest.mark.parametrize("seed", range(5))
def test_a_wider_range_gains_as_much_for_each_fifth_as_the_last_one(known, seed):
    """The score rises by 0.1 over the range, and half as much beyond it, of which draws near the bound say less."""
    record = known(60, lambda settings: 0.8 + 0.1 * place(settings), space=RATE, seed=seed, noise=0.0)
    axis = axes(record.study["space"])[0]
    low, high = gain_of_range(record, axis, axis.low, axis.at(1.5))

    assert low == 0
    assert high == pytest.approx(0.05, rel=0.5)


def test_a_wider_range_gains_nothing_where_the_score_falls(known):
    record = known(60, lambda settings: 0.9 - 0.1 * place(settings), space=RATE, seed=1, noise=0.0)
    axis = axes(record.study["space"])[0]

    assert gain_of_range(record, axis, axis.low, axis.at(1.5)) == (0.0, 0.0)


def test_it_is_unknown_where_the_last_parts_have_too_few_trials(known):
    record = known(8, lambda settings: 0.8, space=RATE, seed=1)
    axis = axes(record.study["space"])[0]

    assert gain_of_range(record, axis, axis.low, axis.at(1.5)) is None
