"""Interactions: true and false positives."""

import math

import pytest

from reports.analysis.importance import importance
from reports.analysis.interactions import MIN_TRIALS, pairs

SPACE = {
    "learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True},
    "beta1": {"kind": "float", "low": 0.8, "high": 0.99, "log": False},
}


def sides(settings):
    return math.log10(settings["learning_rate"]) + 3, (settings["beta1"] - 0.895) / 0.095


def found(record):
    return pairs(record, importance(record))


def test_an_interaction_is_found(known):
    """A saddle: high-high and low-low are good, and neither axis has a main effect."""
    pair = found(known(80, lambda settings: 0.9 + 0.03 * math.prod(sides(settings)), space=SPACE))[0]

    assert {pair.x.key, pair.y.key} == set(SPACE)
    assert pair.interacts
    assert pair.share > 0.3


@pytest.mark.slow
def test_additive_effects_are_not_an_interaction(known):
    """At most 2 of 20 sweeps: the chance level is exceeded in 1 of 20."""
    records = [
        known(60, lambda settings: 0.9 + 0.02 * sum(sides(settings)), noise=0.01, space=SPACE, seed=seed)
        for seed in range(20)
    ]

    assert sum(found(record)[0].interacts for record in records) <= 2


def test_too_few_trials_are_inconclusive(known):
    pair = found(known(MIN_TRIALS - 1, lambda settings: 0.9 + 0.03 * math.prod(sides(settings)), space=SPACE))[0]

    assert pair.share is None
    assert not pair.interacts


@pytest.mark.slow
def test_one_axis_has_no_pair(known):
    assert found(known(40, lambda settings: 0.9, space={"beta1": SPACE["beta1"]})) == []
