"""TPE's proposals are Optuna's where all trials are completed, and otherwise learn from the trials at a rung."""

import subprocess
import sys

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from scipy.stats import norm

from studies.study_file import load
from sweep.search.standings import Standings
from sweep.search.tpe import RungTPESampler, TrialCache, _mass

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


def sampler(seed, cache, standings, log_cost=lambda params: 0.0):
    return RungTPESampler(seed, cache, standings, log_cost)


@pytest.mark.slow
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
    standings = Standings(1)
    memory = optuna.create_study()
    for number in range(15):
        memory.sampler = sampler(number, cache, standings)
        trial = memory.ask()
        study.draw(trial)
        end([trial], [memory], [TrialState.COMPLETE], dice, standings)

    assert len(calls) == 5  # after ten random draws


ENDS = [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.FAIL]


@pytest.mark.parametrize("count", [30, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize("direction", ["minimize", pytest.param("maximize", marks=pytest.mark.slow)])
def test_every_proposal_equals_optunas(tmp_path, direction, count):
    """Two studies with the same trials, of every state and eight of them running at any time."""
    (tmp_path / "draws.toml").write_text(STUDY)
    study = load(str(tmp_path / "draws.toml"), [])
    dice, cache, standings = np.random.default_rng(3), TrialCache(), Standings(1)
    ours, theirs = (optuna.create_study(direction=direction) for _ in range(2))
    running = []
    for number in range(count):
        ours.sampler, theirs.sampler = sampler(number, cache, standings), optuna.samplers.TPESampler(seed=number)
        trials = ours.ask(), theirs.ask()
        study.draw(trials[0])
        study.draw(trials[1])
        assert trials[0].params == trials[1].params
        running.append(trials)
        if len(running) > 8:
            end(running.pop(dice.integers(8)), (ours, theirs), ENDS, dice, standings)

    assert {trial.state for trial in ours.trials} == {TrialState.COMPLETE, TrialState.FAIL, TrialState.RUNNING}


@pytest.mark.slow
def test_proposals_after_a_thousand_trials_equal_optunas(tmp_path):
    """1,200 trials with random settings."""
    (tmp_path / "draws.toml").write_text(STUDY)
    study = load(str(tmp_path / "draws.toml"), [])
    dice, cache, standings = np.random.default_rng(5), TrialCache(), Standings(1)
    memory = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(1_200):
        trial = memory.ask()
        study.draw(trial)
        end([trial], [memory], [TrialState.COMPLETE], dice, standings)
    for seed in range(5):
        drawn = []
        for kind in (sampler(seed, cache, standings), optuna.samplers.TPESampler(seed=seed)):
            memory.sampler = kind
            trial = memory.ask()
            study.draw(trial)
            drawn.append(trial.params)
            memory.tell(trial, state=TrialState.FAIL)
        assert drawn[0] == drawn[1]


def draws(study, standings, numbers=range(30), log_cost=lambda params: 0.0):
    """Learning rates that are drawn after trials with random settings, `numbers` of them."""
    memory = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in numbers:
        trial = memory.ask()
        study.draw(trial)
        memory.tell(trial, state=TrialState.PRUNED)
        rate = np.log10(trial.params["learning_rate"])
        standings(trial.number, rate)
    found = []
    for seed in range(40):
        memory.sampler = sampler(seed, TrialCache(), standings.board, log_cost)
        trial = memory.ask()
        found.append(study.draw(trial))
        memory.tell(trial, state=TrialState.FAIL)
    return found


class Board:
    """Standings that know at which rung which learning rates do well."""

    def __init__(self, rungs, place):
        self.board, self.place = Standings(rungs), place

    def __call__(self, number, rate):
        for rung, cost in self.place(number, rate):
            self.board.add(number, rung, cost, 0.0)


def median_rate(found):
    return np.median([np.log10(settings.learning_rate) for settings in found])


def test_paused_trials_teach_the_sampler_at_their_rung(study):
    """No trial was completed; at the only rung that was reached, low rates are better."""
    low = draws(study, Board(3, lambda number, rate: [(0, rate)]))
    high = draws(study, Board(3, lambda number, rate: [(0, -rate)]))

    assert median_rate(low) < -3.4
    assert median_rate(high) > -2.6


def test_the_highest_rung_with_enough_trials_counts(study):
    """At the first rung low rates seem better; of the half that went on, high rates are."""

    def misleading(number, rate):
        return [(0, rate), *([(1, -rate)] if number % 2 else [])]

    assert median_rate(draws(study, Board(2, misleading), range(60))) > -2.6


def test_a_rung_with_few_trials_does_not_count(study):
    """Only three trials reached the second rung."""

    def few(number, rate):
        return [(0, rate), *([(1, -rate)] if number < 3 else [])]

    assert median_rate(draws(study, Board(2, few))) < -3.4


@pytest.mark.slow
def test_of_equally_promising_settings_cheaper_ones_are_drawn(study):
    """The first layer's width does not matter to the result; where it costs, narrow ones are drawn more often."""

    def width(found):
        return np.median([settings.hidden_sizes[0] for settings in found])

    def of_rate(number, rate):
        return [(0, rate)]

    dear = draws(study, Board(1, of_rate), log_cost=lambda params: 8 * np.log(params["hidden_sizes.1"]))

    assert width(dear) < width(draws(study, Board(1, of_rate)))


@pytest.fixture
def study(tmp_path):
    (tmp_path / "draws.toml").write_text(STUDY)
    return load(str(tmp_path / "draws.toml"), [])


def end(trials, studies, states, dice, standings):
    """Tell both studies, and ours the standings, the same of a trial; equal values are frequent."""
    state, value = states[dice.integers(len(states))], dice.integers(0, 40) / 40
    for trial, study in zip(trials, studies, strict=True):
        study.tell(trial, value if state == TrialState.COMPLETE else None, state=state)
    if state == TrialState.COMPLETE:
        sign = 1 if studies[0].direction.name == "MINIMIZE" else -1
        standings.add(trials[0].number, 0, sign * value, 0.0)
