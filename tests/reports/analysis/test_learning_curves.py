"""The labels of synthetic learning curves with known truth."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from reports.analysis import learning_curves as courses
from studies.record.schema import EPOCH


@pytest.fixture
def shaped(made_up):
    """A completed trial with this validation loss; its training loss falls, its learning rate stays unless told."""
    trial = made_up(1, outcome="complete").trials[0]

    def shape(loss, train=None, rate=0.001, **more):
        epochs = np.zeros(len(loss), EPOCH)
        epochs["validation_loss"] = loss
        epochs["train_loss"] = np.linspace(1, 0.1, len(loss)) if train is None else train
        epochs["learning_rate"] = rate
        return replace(trial, epochs=epochs, selected_epoch=int(np.argmin(loss)), **more)

    return shape


def label(trial):
    return courses.course(trial).label


T = np.arange(40.0)
FALLEN = 0.1 * (1 + 3 * np.exp(-T / 3))  # has reached its floor by epoch 20


def test_a_loss_that_rises_while_the_training_loss_falls_is_overfitting(shaped):
    found = courses.course(shaped(FALLEN + 0.002 * np.maximum(0, T - 20)))

    assert found.label == "overfitting"
    assert found.rise == pytest.approx(0.35, abs=0.02)  # the last four epochs are near 0.135, the lowest near 0.1


def test_one_dip_of_the_loss_is_not_overfitting(shaped):
    """The lowest epoch is 30 % below its neighbours; relative to it the end would be 42 % worse."""
    loss = FALLEN * np.exp(np.random.default_rng(1).normal(0, 0.02, 40))
    loss[25] *= 0.7

    assert loss[-1] / loss.min() > 1.35
    assert label(shaped(loss)) == "saturated"


def test_a_loss_that_rises_with_the_training_loss_is_not_overfitting(shaped):
    rising = FALLEN + 0.002 * np.maximum(0, T - 20)

    assert label(shaped(rising, train=rising)) != "overfitting"


def test_a_loss_that_falls_to_the_end_is_still_improving(shaped):
    found = courses.course(shaped(np.exp(-T / 20)))

    assert found.label == "still improving"
    assert found.gain == pytest.approx(1 - np.exp(-8 / 20), abs=0.01)
    assert not found.annealed


def test_the_best_epoch_alone_does_not_make_it_improving(shaped):
    """It is the last epoch by chance; the level has not changed."""
    loss = FALLEN * np.exp(np.random.default_rng(3).normal(0, 0.03, 40))
    loss[-1] = loss.min() * 0.99

    assert label(shaped(loss)) == "saturated"


def test_a_learning_rate_that_fell_to_zero_is_reported(shaped):
    cosine = 0.0005 * (1 + np.cos(np.pi * T / 40))

    assert courses.course(shaped(np.exp(-T / 20), rate=cosine)).annealed
    assert not courses.course(shaped(np.exp(-T / 20))).annealed


def test_the_other_labels(shaped):
    jumping = FALLEN * np.exp(np.random.default_rng(2).normal(0, 0.3, 40))
    broken = FALLEN.copy()
    broken[-1] = np.nan

    assert label(shaped(jumping)) == "noisy"
    assert label(shaped(FALLEN[:7])) == "too short to judge"
    assert label(shaped(broken)) == "diverged"
    assert label(shaped(FALLEN, outcome="diverged")) == "diverged"


@pytest.mark.parametrize("epochs", [8, 12, 30, 100])
@pytest.mark.parametrize("noise", [0.01, 0.05, 0.15])
def test_a_flat_curve_is_rarely_classified_otherwise(shaped, epochs, noise):
    """Of 300 flat curves, at most 1 in 25 is classified as overfitting, and as many as improving."""
    rng = np.random.default_rng(epochs)
    found = Counter(label(shaped(np.exp(rng.normal(0, noise, epochs)))) for _ in range(300))

    assert found["overfitting"] <= 12
    assert found["still improving"] <= 12


def test_scatter_equals_the_noise_for_any_trend():
    rng = np.random.default_rng(5)
    found = [courses.scatter(np.log(FALLEN) + rng.normal(0, 0.05, 40)) for _ in range(200)]

    assert np.mean(found) == pytest.approx(0.05, rel=0.1)


@pytest.mark.parametrize("epochs", [12, 30, 90])
def test_the_gain_of_more_epochs_is_that_of_a_power_law_or_an_exponential(epochs):
    """The true fall from `epochs` to 1.5 times as many; an exponential falls by less than that of a power law."""
    t = np.arange(1, epochs + 1)
    power, fast = t**-0.3, np.exp(-6 * t / epochs)

    assert courses.longer_gain(power) == pytest.approx(epochs**-0.3 * (1 - 1.5**-0.3), rel=0.1)
    assert 0 < courses.longer_gain(fast) < 0.3 * courses.longer_gain(power)
    assert courses.longer_gain(np.ones(epochs)) == pytest.approx(0, abs=1e-12)
    assert courses.longer_gain(t / epochs) == 0


def test_labels_of_a_record_are_counted(made_up):
    record = made_up(40)
    found = courses.labels(record)

    assert list(found) == [name for name in courses.LABELS if name in found]
    assert sum(found.values()) == record.counts()["complete"] + sum(
        1 for trial in record.trials if trial.outcome == "diverged" and len(trial.epochs)
    )
