"""`Objective` in a user's own Optuna study: directions, enqueued and fixed trials, and the best model."""

import warnings

import numpy as np
import optuna
import pytest

from model.data import datasets
from model.hyperparameters import Hyperparameters
from sweep.objective import Objective

RICH = (
    "space.beta2={ low = 0.9, high = 0.9999, log = 'complement' }",
    "space.batch_size={ choices = [32, 128] }",
    "baseline.epochs=2",
)


@pytest.fixture
def objective(tiny, tmp_path):
    return Objective(tiny(*RICH), tmp_path / "cache")


def test_a_study_file_may_be_given_as_a_path(study_file, tmp_path):
    assert Objective(study_file, str(tmp_path / "cache")).params(learning_rate=0.01) == {"learning_rate": 0.01}


@pytest.mark.parametrize(
    ("changes", "directions", "said"),
    [
        (("objective=accuracy",), ["minimize"], "needs an Optuna study with direction 'maximize', but .* 'minimize'"),
        (("objective=loss",), ["maximize"], r"but .* 'maximize'; .*create_study\(direction='minimize'\)"),
        (("objective=loss",), ["minimize", "minimize"], "but this one has 'minimize', 'minimize'"),
    ],
)
def test_a_study_with_another_direction_is_refused(tiny, tmp_path, changes, directions, said):
    """`create_study()` minimises."""
    study = optuna.create_study(directions=directions)
    with pytest.raises(ValueError, match=said):
        study.optimize(Objective(tiny(*changes), tmp_path / "cache"), n_trials=1)


def test_hyperparameters_are_enqueued_by_name(objective):
    """Those that are not named are drawn; names and values reach the network."""
    study = optuna.create_study(direction="minimize")
    study.enqueue_trial(objective.params(hidden_sizes=[24], beta2=0.99, batch_size=32.0))
    study.optimize(objective, n_trials=1)
    trial = study.trials[0]
    found = objective.hyperparameters(trial)

    assert (found.hidden_sizes, found.batch_size, found.epochs) == ((24,), 32, 2)
    assert found.beta2 == pytest.approx(0.99, abs=1e-15)
    assert found.learning_rate == trial.params["learning_rate"] != 0.003
    assert isinstance(found, Hyperparameters)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"hidden_size": [64]}, "unknown hyperparameter 'hidden_size'; did you mean 'hidden_sizes'"),
        ({"hidden_sizes": [64]}, r"hidden_sizes is outside space.hidden_sizes: 64 units is not in \[8, 32\]"),
        ({"batch_size": 64}, "batch_size is outside space.batch_size: 64 is not among the choices 32, 128"),
        ({"dropout": 0.5}, r"dropout is 0.5, but dropout is not in \[space\]"),
        ({"dropout": 1.0}, r"dropout must be a number in \[0, 1\), but got 1.0"),
        ({"one_minus_beta2": 0.01}, "unknown hyperparameter 'one_minus_beta2'"),
    ],
)
def test_hyperparameters_that_cannot_be_encoded_are_refused(objective, given, said):
    with pytest.raises(ValueError, match=said):
        objective.params(**given)
    with pytest.raises(ValueError, match=said):
        objective(optuna.trial.FixedTrial(given))


@pytest.mark.parametrize(
    "given", [{"hidden_sizes": [16]}, {"beta2": 0.99}, {"batch_size": 32}, {"learning_rate": 5.0}, {"nothing": 1}]
)
def test_an_enqueued_trial_that_optuna_would_ignore_is_an_error(objective, given):
    """Optuna draws another value where a name or value does not fit, at most with a warning."""
    study = optuna.create_study(direction="minimize")
    study.enqueue_trial(given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=r"^trial 0 was enqueued with \{.*\n.*objective.params"):
            study.optimize(objective, n_trials=1)
    assert study.trials[0].state == optuna.trial.TrialState.FAIL


def test_a_fixed_trial_may_have_hyperparameters_by_name(objective):
    """They are completed with the baseline's, and give the value of Optuna's parameters."""
    named = optuna.trial.FixedTrial({"hidden_sizes": [24], "beta2": 0.99}, number=3)
    encoded = {
        **objective.params(**Hyperparameters(hidden_sizes=(24,), learning_rate=0.003, epochs=2, beta2=0.99).as_dict())
    }

    assert objective(named) == objective(optuna.trial.FixedTrial(encoded, number=3))


def test_the_best_trial_is_trained_again_to_a_classifier(objective, tmp_path):
    """It takes raw examples, and has the accuracy that the trial had on the validation examples."""
    study = optuna.create_study(direction="minimize", sampler=optuna.samplers.RandomSampler(seed=1))
    study.optimize(objective, n_trials=3)
    best = study.best_trial
    classifier = objective.fit(best)
    data = datasets.load(tmp_path / "cache/digits", 3)
    raw, rows = np.load(tmp_path / "cache/digits/images.npy"), data.validation.rows
    probabilities = classifier.predict_proba(raw[rows].reshape(-1, 8, 8))
    losses = -np.log(probabilities[np.arange(len(rows)), data.validation.labels[rows]])

    assert losses.mean() == pytest.approx(best.value, rel=1e-4)
    assert (classifier.predict(raw[rows].reshape(-1, 8, 8)) == data.validation.labels[rows]).mean() > 0.5
    assert objective(best) == best.value
