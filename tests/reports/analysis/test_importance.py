"""Importance: its parts calculated by hand, and made-up studies with known truth, drawn as real ones are."""

import math
from dataclasses import replace

import numpy as np
import pytest
from drawn import drawn_study

from reports.analysis.axes import Axis
from reports.analysis.importance import FEWEST, explained_fraction, importance, judged_trials, parts
from studies.record.schema import EPOCH

RATE, RATE_NAME = "learning_rate", "learning rate"


def flat(settings):
    """Nothing matters."""
    return -2.0


def dominant(settings):
    """The learning rate has four fifths of the variance of uniform draws after one epoch; the rest is noise."""
    return -2.0 + (math.log10(settings[RATE]) + 2.8) ** 2


@pytest.fixture(scope="module")
def drawn(made_up):
    """Draws a study with a known truth."""
    base = made_up(1, objective="validation_loss", epochs=12, outcome="complete")
    return lambda truth, seed, **options: drawn_study(base, truth, seed=seed, **options)


def test_the_axis_that_matters_is_found_and_no_other(drawn):
    """In a study drawn by TPE, of which halving completed a tenth."""
    found = importance(drawn(dominant, 1))

    assert found.matters == (RATE_NAME,)
    assert found.names[0] == RATE_NAME
    assert found.share[0] > 0.3 > 0.1 > found.share[1:].max()
    assert 0 < found.low[0] < found.share[0] < found.high[0] <= 1
    assert found.judged == 60


@pytest.mark.slow
def test_a_forest_that_only_learnt_noise_has_no_shares(drawn):
    found = importance(drawn(flat, 1))

    assert found.matters == ()
    assert found.share.max() < 0.05


@pytest.mark.slow
def test_of_studies_in_which_nothing_matters_few_say_that_something_does(drawn):
    assert sum(bool(importance(drawn(flat, seed)).matters) for seed in range(20)) <= 2


@pytest.mark.slow
def test_a_dominant_axis_is_found_in_nearly_every_study(drawn):
    """And hardly ever another one beside it, although the sampler's draws are correlated."""
    found = [importance(drawn(dominant, seed)).matters for seed in range(20)]

    assert sum(matters[:1] == (RATE_NAME,) for matters in found) >= 19
    assert sum(len(matters) > 1 for matters in found) <= 2


@pytest.mark.slow
def test_an_interval_contains_the_mean_over_repetitions(drawn):
    """In at least 10 of 12 studies with random settings."""
    found = [importance(drawn(dominant, seed, sampler="random")) for seed in range(12)]
    places = [one.names.index(RATE_NAME) for one in found]
    mean = np.mean([one.share[place] for one, place in zip(found, places, strict=True)])

    assert sum(one.low[place] <= mean <= one.high[place] for one, place in zip(found, places, strict=True)) >= 10


def test_too_few_trials_are_not_ranked(made_up):
    assert importance(made_up(FEWEST - 1, outcome="complete")).names == ()
    assert importance(made_up(FEWEST, outcome="complete")).names != ()


def test_a_study_of_equal_results_has_no_important_axis(made_up):
    """All accuracies are 1.0, of which no logarithm of an error exists."""
    record = made_up(30, outcome="complete", epochs=9)
    whole = np.ones(9, EPOCH)
    found = importance(replace(record, trials=tuple(replace(trial, epochs=whole) for trial in record.trials)))

    assert found.matters == ()
    assert not found.share.any()


def test_stopped_trials_are_compared_at_the_last_rung_that_both_reached(made_up):
    """Of nine epochs the rungs are 1, 3 and 9. Losses after them, by trial; the order at the first rung is 3 1 0 2."""
    losses = {0: (0.3, 0.25, 0.1), 1: (0.2, 0.19), 2: (0.9,), 3: (0.1, 0.09, 0.2)}
    record = made_up(6, outcome="complete", epochs=9, objective="validation_loss")

    def stopped(trial):
        at = losses.get(trial.number, ())
        epochs = np.zeros((1, 3, 9)[len(at) - 1] if at else 0, EPOCH)
        for rung, loss in zip((1, 3, 9), at, strict=False):
            epochs["validation_loss"][rung // 2 :] = loss
        outcome = "complete" if len(at) == 3 else "pruned" if at else "diverged"
        return replace(trial, epochs=epochs, outcome=outcome, state="complete" if len(at) == 3 else "pruned")

    trials, results = judged_trials(replace(record, trials=tuple(map(stopped, record.trials))))

    assert [trial.number for trial in trials] == [3, 1, 0, 2, 4, 5]  # at the second rung 3 1 0, at the last 3 and 0
    assert results.tolist() == pytest.approx([math.log(loss) for loss in (0.1, 0.2, 0.3, 0.9, 0.9, 0.9)])

    losses[0] = (0.3, 0.25, 0.08)  # now better than 3 at the end: they change places
    trials, _ = judged_trials(replace(record, trials=tuple(map(stopped, record.trials))))
    assert [trial.number for trial in trials] == [0, 1, 3, 2, 4, 5]


def test_the_explained_fraction_calculated_by_hand():
    """1 2 3 | 4 5 6 in two groups: between 13.5 of 17.5, adjusted (27/35 * 5 - 1) / 4."""
    group = np.array([0, 0, 0, 1, 1, 1])
    results = np.array([[1.0, 2, 3, 4, 5, 6], [7.0] * 6])

    assert explained_fraction(group, results).tolist() == pytest.approx([(27 / 35 * 5 - 1) / 4, 0])
    assert explained_fraction(np.zeros(6, int), results).tolist() == [0, 0]
    assert explained_fraction(np.arange(6), results).tolist() == [0, 0]


def test_parts_divide_the_range_on_its_own_scale():
    rate = Axis("a", "a", "a", "log", False, 1e-4, 1e-2)

    assert parts(rate, np.array([1e-4, 2e-4, 3e-4, 1e-3, 9e-3, 1e-2, np.nan])).tolist() == [0, 0, 1, 2, 4, 4, -1]
    assert parts(rate, np.array([1e-4, 9e-3, 9e-3])).tolist() == [0, 1, 1]  # few values are parts by themselves
    assert parts(Axis("c", "c", "c", "choice", False, 0, 2, ("x", "y", "z")), np.array([2.0, 0, 2])).tolist() == [
        1,
        0,
        1,
    ]
