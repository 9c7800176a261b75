"""Importance: equal to Optuna's PED-ANOVA, and correct on synthetic studies with known truth."""

import warnings

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from reports.analysis.axes import Axis, axes, values
from reports.analysis.importance import FEWEST, divergence, explained, importance

AXES = (
    Axis("a", "a", "a", "log", False, 1e-4, 1e-2),
    Axis("b", "b", "b", "linear", False, -1.0, 3.0),
    Axis("c", "c", "c", "choice", False, 0, 3, ("w", "x", "y", "z")),
    Axis("d", "d", "d", "log", True, 16, 256),
    Axis("e", "e", "e", "linear", True, 1, 4),
    Axis("f", "f", "f", "linear", True, 0, 300),
)


def drawn(axis, n, rng):
    if axis.scale == "choice":
        return rng.integers(0, len(axis.choices), n).astype(float)
    low, high = (np.log(end) if axis.scale == "log" else end for end in (axis.low, axis.high))
    x = rng.uniform(low, high, n)
    x = np.exp(x) if axis.scale == "log" else x
    return np.round(x) if axis.integer else x


def distribution(axis):
    if axis.scale == "choice":
        return CategoricalDistribution(tuple(range(len(axis.choices))))
    kind, number = (IntDistribution, int) if axis.integer else (FloatDistribution, float)
    return kind(number(axis.low), number(axis.high), log=axis.scale == "log")


def optunas(axis, x, top):
    """The same score by Optuna's evaluator; it multiplies by the square of the share, which is taken out again."""
    number = int if axis.integer or axis.scale == "choice" else float
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for rank, value in enumerate(x):
        there = {axis.name: number(value)} if np.isfinite(value) else {}
        kinds = {axis.name: distribution(axis)} if there else {}
        study.add_trial(optuna.trial.create_trial(params=there, distributions=kinds, value=float(rank)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=top / len(x)).evaluate(study)
    return found.get(axis.name, 0.0) / (top / len(x)) ** 2


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("axis", AXES, ids=lambda axis: axis.name)
@pytest.mark.parametrize("absent", [0.0, 0.4])
def test_it_equals_optunas_ped_anova(axis, absent):
    """On every kind of axis, also if some trials have no such layer."""
    rng = np.random.default_rng(3)
    x = drawn(axis, 60, rng)
    x[rng.random(60) < absent] = np.nan
    top = np.arange(60) < 8

    assert divergence(axis, x, top) == pytest.approx(optunas(axis, x, 8), rel=1e-6, abs=1e-9)


def test_the_axis_that_matters_is_first_by_both_methods(made_up):
    found = importance(made_up(120, outcome="complete"))

    assert found.names[0] == found.clear()[0] == found.ordering()[0] == "learning_rate"
    assert found.top == 12
    assert found.best.low[0] > found.best.chance[0]
    assert found.all.low[0] > 0.4


def test_too_few_trials_are_not_ranked(made_up):
    assert importance(made_up(FEWEST - 1, outcome="complete")).names == ()
    assert importance(made_up(FEWEST, outcome="complete")).names != ()


@pytest.mark.slow
def test_pure_noise_is_rarely_above_the_chance_level(known):
    """Each of seven axes exceeds its chance level in 1 of 20 records, by either method."""
    found = [importance(known(40, lambda settings: 0.9, seed=seed)) for seed in range(10)]
    tests = sum(len(one.names) for one in found)

    assert sum(len(one.clear()) for one in found) <= 0.12 * tests
    assert sum(len(one.ordering()) for one in found) <= 0.12 * tests


def test_the_explained_variance_of_ranks_calculated_by_hand():
    """Ranks 1 2 3 | 4 5 6 in two choices: between 13.5 of 17.5, H = 5 * 27/35, adjusted (H - 1) / 4."""
    axis = Axis("c", "c", "c", "choice", False, 0, 1, ("a", "b"))
    x = np.array([0.0, 0, 0, 1, 1, 1])

    assert explained(axis, x, np.arange(6)) == pytest.approx((5 * 27 / 35 - 1) / 4)
    assert explained(axis, x, np.zeros(6, dtype=int)) == 0
    assert explained(axis, np.zeros(6), np.arange(6)) == 0


def test_an_interval_covers_the_score_of_many_trials(known):
    """In at least 34 of 40 sweeps of 60 trials, the interval contains the score of 4,000 trials."""
    space = {"learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True}}
    axis = axes(space)[0]
    rng = np.random.default_rng(0)

    def ranks(x):
        value = -((np.log10(x) + 2.8) ** 2) + rng.normal(0, 0.4, len(x))
        return np.argsort(np.argsort(-value))

    x = drawn(axis, 4000, rng)
    truth = explained(axis, x, ranks(x))
    held = 0
    for _ in range(40):
        x = drawn(axis, 60, rng)
        rank = ranks(x)
        halves = [rng.permutation(60)[:30] for _ in range(60)]
        width = 1.96 * np.std([explained(axis, x[half], rank[half]) for half in halves])
        held += abs(explained(axis, x, rank) - truth) <= width
    assert held >= 34


def test_trials_without_such_a_layer_are_a_separate_group(made_up):
    record = made_up(40, outcome="complete")
    third = next(axis for axis in axes(record.study["space"]) if axis.name == "hidden_sizes.3")

    assert np.isnan(values(third, record.trials)).any()
    assert "hidden_sizes.3" in importance(record).names
