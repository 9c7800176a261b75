"""The median and hyperband pruners decide as Optuna's."""

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from sweep.search.pruners import Hyperband, Median

RULES = {
    "median": (Median, lambda: optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2)),
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
        step = len(studies[0].trials[trials[0].number].intermediate_values)
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


def end(studies, trials, state, value):
    """Tell both studies, and ours what the search tells it."""
    for study, trial in zip(studies, trials, strict=True):
        study.tell(trial, value if state == TrialState.COMPLETE else None, state=state)
    if isinstance(studies[0].pruner, Median):
        studies[0].pruner.learn(studies[0], studies[0].trials[trials[0].number])


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
