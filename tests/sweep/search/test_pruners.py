"""The median and hyperband pruners decide as Optuna's."""

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from sweep.search.pruners import Hyperband, Median

RULES = {
    "median": (lambda: Median(27), lambda: optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2)),
    "hyperband": (lambda: Hyperband(27), lambda: optuna.pruners.HyperbandPruner(min_resource=1, max_resource=27)),
}


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("steps", [400, pytest.param(1500, marks=pytest.mark.slow)])
def test_pruning_decisions_equal_optunas(rule, direction, steps):
    """Six trials at a time for 27 epochs, with ties and NaN; only some decisions are carried out."""
    dice = np.random.default_rng(2)
    studies = [optuna.create_study(study_name="search", direction=direction, pruner=make()) for make in RULES[rule]]
    running, verdicts = [], []
    for _ in range(steps):
        if len(running) < 6:
            running.append([study.ask() for study in studies])
        trials = running[dice.integers(len(running))]
        step = len(now(studies[0], trials[0].number).intermediate_values)
        value = (
            float("nan")
            if len(verdicts) % 200 == 150 and step < 26
            else dice.integers(0, 30) / 30 + trials[0].number % 5
        )
        for trial in trials:
            trial.report(value, step)
        one, other = (trial.should_prune() for trial in trials)
        assert one == other
        verdicts.append(one)
        if step == 26 or (one and dice.random() < 0.1):
            running.remove(trials)
            state = TrialState.COMPLETE if step == 26 else TrialState.PRUNED
            end(studies, trials, state, value)

    assert 0.05 < np.mean(verdicts) < 0.95


def now(study, number):
    """A trial as it is; `study.trials` would copy all of them."""
    return study.get_trials(deepcopy=False)[number]


def end(studies, trials, state, value):
    """Tell both studies, and ours what the search tells it."""
    for study, trial in zip(studies, trials, strict=True):
        study.tell(trial, value if state == TrialState.COMPLETE else None, state=state)
    if isinstance(studies[0].pruner, Median):
        studies[0].pruner.learn(studies[0], now(studies[0], trials[0].number))


@pytest.mark.parametrize("rule", RULES)
def test_a_pruner_restored_from_the_record_decides_the_same(rule):
    """After a restart."""
    dice = np.random.default_rng(4)
    make = RULES[rule][0]
    study = optuna.create_study(study_name="search", pruner=make())
    for _ in range(60):
        trial = study.ask()
        values = dice.integers(0, 30, 27) / 30
        for step, value in enumerate(values):
            trial.report(value, step)
            if trial.should_prune():
                break
        end([study], [trial], TrialState.COMPLETE if step == 26 else TrialState.PRUNED, value)
    fresh = make()
    for trial in study.trials:
        fresh.learn(study, trial)

    kept = {"median": lambda pruner: (pruner._completed, pruner._reported), "hyperband": lambda pruner: pruner._reached}
    assert kept[rule](fresh) == kept[rule](study.pruner)


def test_trials_of_other_lengths_are_compared_at_the_same_share():
    """A short trial has fewer reports; between them it is compared by its latest one."""
    rule, study = Median(9), optuna.create_study(direction="minimize")
    for number in range(5):  # three epochs each, at a third, two thirds and the whole of the nine steps
        trial = study.ask()
        for step, value in ((2, 0.5), (5, 0.3), (8, 0.1)):
            trial.report(value + number / 1000, step)
        study.tell(trial, 0.1)
        rule.learn(study, study.trials[number])
    for value, step, behind in [(0.4, 2, False), (0.6, 3, True), (0.4, 4, False), (0.31, 5, True), (0.2, 7, False)]:
        trial = study.ask()
        trial.report(value, step)
        assert rule.prune(study, study.trials[trial.number]) is behind


def test_a_trial_is_not_pruned_against_fewer_than_five():
    rule, study = Median(9), optuna.create_study(direction="minimize")
    for number in range(5):
        trial = study.ask()
        trial.report(0.1, 8 if number == 0 else 2)  # the first has no report before the last step
        study.tell(trial, 0.1)
        rule.learn(study, study.trials[number])
    early, late = study.ask(), study.ask()
    early.report(0.9, 2)
    late.report(0.9, 8)

    assert not rule.prune(study, study.trials[early.number])
    assert rule.prune(study, study.trials[late.number])
