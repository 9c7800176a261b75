"""TPE draws what Optuna's own draws, to the last bit."""

import numpy as np
import optuna
import pytest
from optuna.samplers._tpe import _truncnorm
from optuna.trial import TrialState

from studies.study_file import load
from sweep.search.tpe import Known, Tpe, log_ndtr

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


def own(a):
    """Optuna's `_log_ndtr`, for which ours stands in."""
    return np.array([_truncnorm._log_ndtr_single(x) for x in a.tolist()])


def test_the_distribution_function_has_optunas_bits():
    """Where it is near zero, in the middle, far out, and at every number where the way to compute it changes."""
    dice = np.random.default_rng(1)
    edges = np.array([-20.0, -1.0, 1.0, 6.0, 0.0, -0.0, -700.0, 40.0])
    near = np.concatenate([edges, np.nextafter(edges, np.inf), np.nextafter(edges, -np.inf)])
    a = np.concatenate([near, dice.normal(0, 8, 40_000), -np.geomspace(20, 1e6, 5_000)])

    assert log_ndtr(a).tobytes() == own(a).tobytes()
    assert _truncnorm._log_ndtr is log_ndtr


ENDS = {
    "minimize": [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL],
    "maximize": [TrialState.PRUNED] * 18 + [TrialState.COMPLETE, TrialState.FAIL],  # too few completed for the best
}


@pytest.mark.parametrize("direction", ENDS)
def test_every_draw_is_optunas(tmp_path, monkeypatch, direction):
    """A search with trials of every state, eight of them running at any time: two studies hear the same."""
    (tmp_path / "draws.toml").write_text(STUDY)
    study = load(str(tmp_path / "draws.toml"), [])
    dice, known = np.random.default_rng(3), Known()
    ours, theirs = (optuna.create_study(direction=direction) for _ in range(2))
    running = []
    for number in range(150):
        ours.sampler, theirs.sampler = Tpe(number, known), optuna.samplers.TPESampler(seed=number)
        trials = ours.ask(), theirs.ask()
        study.draw(trials[0])
        with monkeypatch.context() as patch:
            patch.setattr(_truncnorm, "_log_ndtr", own)
            study.draw(trials[1])
        assert trials[0].params == trials[1].params
        running.append(trials)
        if len(running) > 8:
            end(running.pop(dice.integers(8)), (ours, theirs), ENDS[direction], dice)

    assert {trial.state for trial in ours.trials} == {
        TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING
    }  # fmt: skip


def end(trials, studies, states, dice):
    """Report and tell the same of a trial to both studies; equal values are frequent."""
    state = states[dice.integers(len(states))]
    values = dice.integers(0, 40, dice.integers(1, 5)) / 40
    for trial, study in zip(trials, studies, strict=True):
        for step, value in enumerate(values):
            trial.report(value, step)
        study.tell(trial, values[-1] if state == TrialState.COMPLETE else None, state=state)
