"""TPE's proposals are bit-identical to Optuna's."""

import subprocess
import sys

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from scipy.stats import norm

from studies.study_file import load
from sweep.search.tpe import CachedTPESampler, TrialCache, _mass

STUDY = """\
question = "Which?"
dataset = "digits"
trials = 150
[baseline]
hidden_sizes = [64]
[space]
hidden_sizes  = { layers = [1, 3], units = [64, 512], log = true }
learning_rate = { low = 1e-4, high = 1e-2, log = true }
batch_size    = { choices = [32, 64, 128, 256] }
beta1         = { low = 0.8, high = 0.99 }
beta2         = { low = 0.9, high = 0.9999, log = "complement" }
epochs        = { low = 2, high = 40 }
"""


def test_importing_the_search_changes_nothing_in_optuna():
    """In a new interpreter: every attribute of every Optuna module is the same object as before."""
    program = """
import sys, optuna
import optuna.samplers._tpe.sampler, optuna.pruners, optuna.storages, optuna.search_space
optuna.samplers.TPESampler, optuna.samplers.QMCSampler, optuna.create_study  # lazy imports happen now
modules = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "optuna"}
before = {name: dict(vars(module)) for name, module in modules.items()}
classes = {value for names in before.values() for value in names.values() if isinstance(value, type)}
members = {kind: dict(vars(kind)) for kind in classes}
import sweep.search.search, sweep.search.champion
changed = [(name, key) for name, names in before.items() for key, value in names.items()
           if vars(modules[name]).get(key) is not value]
changed += [(kind, key) for kind, names in members.items() if kind.__module__.split(".")[0] == "optuna"
            for key, value in names.items() if vars(kind).get(key) is not value and not key.startswith("_abc_")]
assert len(before) > 50 and len(members) > 50
assert not changed, changed
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_mass_of_an_interval_is_exact_in_both_tails():
    """Compared with SciPy, which keeps the relative precision in the tails."""
    a, b = np.meshgrid(np.linspace(-19, 8, 55), np.linspace(-18.9, 8.5, 55))
    inside = a < b
    expected = np.where(a > 0, norm.sf(a) - norm.sf(b), norm.cdf(b) - norm.cdf(a))

    np.testing.assert_allclose(_mass(a, b)[inside], expected[inside], rtol=1e-9)


def test_near_ties_are_decided_by_optuna(monkeypatch, tmp_path):
    """With an infinite tolerance, each proposal is computed by Optuna."""
    calls = []
    own = optuna.samplers.TPESampler._compute_acquisition_func
    monkeypatch.setattr("sweep.search.tpe.TIE_TOLERANCE", np.inf)
    monkeypatch.setattr(
        optuna.samplers.TPESampler, "_compute_acquisition_func", lambda *given: calls.append(1) or own(*given)
    )
    (tmp_path / "draws.toml").write_text(STUDY)
    study, cache, dice = load(str(tmp_path / "draws.toml"), []), TrialCache(), np.random.default_rng(3)
    memory = optuna.create_study()
    for number in range(15):
        memory.sampler = CachedTPESampler(number, cache)
        trial = memory.ask()
        study.draw(trial)
        end([trial], [memory], [TrialState.COMPLETE], dice)

    assert len(calls) == 5  # after ten random draws


ENDS = {
    "minimize": [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL],
    "maximize": [TrialState.PRUNED] * 18 + [TrialState.COMPLETE, TrialState.FAIL],  # too few completed for the best
}


@pytest.mark.parametrize("count", [60, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize("direction", ENDS)
def test_every_proposal_equals_optunas(tmp_path, direction, count):
    """Two studies with the same trials, of every state and eight of them running at any time."""
    (tmp_path / "draws.toml").write_text(STUDY)
    study = load(str(tmp_path / "draws.toml"), [])
    dice, cache = np.random.default_rng(3), TrialCache()
    ours, theirs = (optuna.create_study(direction=direction) for _ in range(2))
    running = []
    for number in range(count):
        ours.sampler, theirs.sampler = CachedTPESampler(number, cache), optuna.samplers.TPESampler(seed=number)
        trials = ours.ask(), theirs.ask()
        study.draw(trials[0])
        study.draw(trials[1])
        assert trials[0].params == trials[1].params
        running.append(trials)
        if len(running) > 8:
            end(running.pop(dice.integers(8)), (ours, theirs), ENDS[direction], dice)

    assert {trial.state for trial in ours.trials} == {
        TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING
    }  # fmt: skip


@pytest.mark.slow
def test_proposals_after_a_thousand_trials_equal_optunas(tmp_path):
    """1,200 trials with random settings, a third of them pruned."""
    (tmp_path / "draws.toml").write_text(STUDY)
    study = load(str(tmp_path / "draws.toml"), [])
    dice, cache = np.random.default_rng(5), TrialCache()
    memory = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(1_200):
        trial = memory.ask()
        study.draw(trial)
        end([trial], [memory], [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED], dice)
    for seed in range(5):
        drawn = []
        for sampler in (CachedTPESampler(seed, cache), optuna.samplers.TPESampler(seed=seed)):
            memory.sampler = sampler
            trial = memory.ask()
            study.draw(trial)
            drawn.append(trial.params)
            memory.tell(trial, state=TrialState.FAIL)
        assert drawn[0] == drawn[1]


def end(trials, studies, states, dice):
    """Report and tell the same of a trial to both studies; equal values are frequent."""
    state = states[dice.integers(len(states))]
    values = dice.integers(0, 40, dice.integers(1, 5)) / 40
    for trial, study in zip(trials, studies, strict=True):
        for step, value in enumerate(values):
            trial.report(value, step)
        study.tell(trial, values[-1] if state == TrialState.COMPLETE else None, state=state)
