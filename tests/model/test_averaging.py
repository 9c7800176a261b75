"""Averaging: the mean over the latest steps, up to date after every epoch, and what is evaluated and kept."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from model.averaging import STEPS_PER_UPDATE, WeightAverage
from model.data.datasets import Examples
from model.evaluation import evaluate
from model.hyperparameters import Hyperparameters
from model.training import TrainingState, train

SETTINGS = Hyperparameters(hidden_sizes=(16,), batch_size=32, learning_rate=0.02, epochs=5, averaging=1 / 3)


def weights_of(step):
    """Weights (3,) that move with the steps and do not repeat."""
    return np.sin(np.arange(3) + 0.05 * step) + step * 0.01


def mean_over(weights, share):
    """The definition: step j of k weighs as the product of the later steps' (1 - a), and its own a."""
    eta, total = 1 / share - 1, np.zeros_like(weights[0])
    for k, theta in enumerate(weights, start=1):
        rate = (eta + 1) / (k + eta)
        total = (1 - rate) * total + rate * theta
    return total


@pytest.mark.parametrize("share", [0.1, 1 / 3, 1.0])
def test_updates_at_every_step_give_the_formula_of_the_paper(share):
    weights = [weights_of(step) for step in range(1, 60)]
    average = WeightAverage(np.zeros(3), share)

    for step, theta in enumerate(weights, start=1):
        average.update(theta, step)

    np.testing.assert_allclose(average.mean, mean_over(weights, share), rtol=1e-12)


def test_a_share_of_1_is_the_plain_mean():
    weights = [weights_of(step) for step in range(1, 40)]
    average = WeightAverage(np.zeros(3), 1.0)

    for step, theta in enumerate(weights, start=1):
        average.update(theta, step)

    np.testing.assert_allclose(average.mean, np.mean(weights, axis=0), rtol=1e-12)


@pytest.mark.parametrize("interval", [3, STEPS_PER_UPDATE])
def test_rare_updates_stand_for_all_steps_since_the_last(interval):
    """The mean is that of weights which change only at the updates."""
    steps = range(1, 50)
    average = WeightAverage(np.zeros(3), 0.4)
    updates = [step for step in steps if step % interval == 0 or step == steps[-1]]

    for step in updates:
        average.update(weights_of(step), step)

    held = [weights_of(next(update for update in updates if update >= step)) for step in steps]
    np.testing.assert_allclose(average.mean, mean_over(held, 0.4), rtol=1e-12)


def test_the_first_update_replaces_the_initial_weights():
    average = WeightAverage(np.full(3, 1e6), 0.3)

    average.update(weights_of(4), 4)

    np.testing.assert_allclose(average.mean, weights_of(4), atol=1e-9)


def test_the_averaged_network_is_evaluated_and_kept(blobs):
    """Its metrics are those of the mean, and so are the selected weights; the steps themselves do not change."""
    averaged = TrainingState.of(SETTINGS, blobs, (1, 2))
    plain = TrainingState.of(replace(SETTINGS, averaging=0.0), blobs, (1, 2))
    for _ in train(plain, blobs.train, blobs.validation):
        pass

    for epoch in train(averaged, blobs.train, blobs.validation):
        assert epoch.validation == evaluate(averaged.averaged, blobs.validation)
        if averaged.selected is epoch:
            np.testing.assert_array_equal(averaged.selected_theta, averaged.averaged.theta)

    np.testing.assert_array_equal(averaged.network.theta, plain.network.theta)
    assert not np.array_equal(averaged.averaged.theta, averaged.network.theta)
    assert [e.train_loss for e in averaged.epochs] == [e.train_loss for e in plain.epochs]


def test_an_epoch_shorter_than_an_update_is_averaged_too(blobs):
    """With fewer steps an epoch than between updates, the mean follows every epoch."""
    rows = blobs.train.rows[:64]
    examples = Examples(blobs.train.inputs, blobs.train.labels, rows)
    state = TrainingState.of(SETTINGS, blobs, (1, 2))
    assert len(rows) / SETTINGS.batch_size < STEPS_PER_UPDATE

    seen = [state.averaged.theta.copy() for _ in train(state, examples, blobs.validation)]

    assert all(not np.array_equal(one, other) for one, other in pairwise(seen))
