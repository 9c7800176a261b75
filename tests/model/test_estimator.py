"""The scikit-learn estimator: scikit-learn's own checks, and what its users rely on."""

import inspect
import io
import pickle

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from model.estimator import NumpyMLPClassifier
from model.hyperparameters import FIELDS, HyperparameterError


@parametrize_with_checks([NumpyMLPClassifier(), NumpyMLPClassifier(hidden_sizes=(32,), dropout=0.1, batch_size=16)])
def test_scikit_learns_estimator_checks_pass(estimator, check):
    """All of them, without expected failures."""
    check(estimator)


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(return_X_y=True)
    return (images / 16).astype(np.float32), labels


SMALL = {"hidden_sizes": (32,), "epochs": 15, "batch_size": 32, "learning_rate": 0.01, "random_state": 0}


def test_it_classifies_digits_in_a_pipeline(digits):
    """Five unshuffled folds, with different writers."""
    scores = cross_val_score(make_pipeline(StandardScaler(), NumpyMLPClassifier(**SMALL)), *digits, cv=5)

    assert scores.min() > 0.87
    assert scores.mean() > 0.92


def test_labels_may_be_strings_in_any_order(digits):
    """String labels give the same predictions as numbers."""
    images, labels = digits
    words = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
    named, numbered = (
        NumpyMLPClassifier(**SMALL).fit(images, words[labels]),
        NumpyMLPClassifier(**SMALL).fit(images, labels),
    )

    assert named.classes_.tolist() == sorted(words)
    assert named.score(images, words[labels]) > 0.98
    assert (named.predict(images) == words[numbered.predict(images)]).mean() > 0.97


def test_parameters_are_the_fields_of_hyperparameters():
    """Every field is a parameter with its default in the signature."""
    estimator = NumpyMLPClassifier(learning_rate=0.5)

    assert set(estimator.get_params()) == {*FIELDS, "random_state"}
    assert estimator.get_params()["learning_rate"] == 0.5
    assert clone(estimator).get_params() == estimator.get_params()
    assert set(inspect.signature(NumpyMLPClassifier).parameters) == {*FIELDS, "random_state"}
    with pytest.raises(TypeError, match="unknown hyperparameters momentum; known are hidden_sizes"):
        NumpyMLPClassifier(momentum=0.9)


def test_a_setting_out_of_range_is_refused_by_fit(digits):
    """As scikit-learn requires: by `fit`, with the rule and the value."""
    with pytest.raises(HyperparameterError, match=r"beta1 must be a number in \[0, 1\), but got 1.5"):
        NumpyMLPClassifier(beta1=1.5).fit(*digits)


def test_it_works_in_a_grid_search(digits):
    """Parameters are set and read by name."""
    grid = {"hidden_sizes": [(2,), np.array([32])], "batch_size": np.array([32])}
    search = GridSearchCV(NumpyMLPClassifier(**SMALL), grid, cv=3).fit(*digits)

    assert search.best_params_ == {"hidden_sizes": np.array([32]), "batch_size": 32}


def test_partial_fit_learns_batch_by_batch(digits):
    """Twenty passes in two halves each; the curve falls, and one call is one pass."""
    images, labels = digits
    estimator = NumpyMLPClassifier(**SMALL)
    for _ in range(20):
        for half in (slice(0, 900), slice(900, None)):
            estimator.partial_fit(images[half], labels[half], classes=range(10))

    assert estimator.n_iter_ == len(estimator.loss_curve_) == 40
    assert estimator.loss_curve_[-1] < 0.1 * estimator.loss_curve_[0]
    assert estimator.score(images, labels) > 0.98


def through_joblib(estimator):
    """As scikit-learn's users store a model: joblib writes each array on its own, however many names it has."""
    file = io.BytesIO()
    joblib.dump(estimator, file)
    file.seek(0)
    return joblib.load(file)


@pytest.mark.parametrize("copier", [lambda one: pickle.loads(pickle.dumps(one)), through_joblib])
def test_partial_fit_continues_after_fit(digits, copier):
    """A pickled estimator gives the same bits."""
    images, labels = digits
    estimator = NumpyMLPClassifier(**SMALL, dropout=0.2).fit(images, labels)
    copied = copier(estimator)
    before = estimator.network_.theta.copy()
    for one in (estimator, copied):
        one.partial_fit(images, labels)

    assert estimator.n_iter_ == 16
    assert estimator.loss_curve_[15] < 0.5 * estimator.loss_curve_[0]
    assert not np.array_equal(estimator.network_.theta, before)
    np.testing.assert_array_equal(copied.network_.theta, estimator.network_.theta)
    np.testing.assert_array_equal(copied.predict_proba(images), estimator.predict_proba(images))


@pytest.mark.parametrize(
    ("options", "call", "message"),
    [
        ({}, {"classes": None}, "classes must be passed on the first call"),
        ({}, {"classes": [0, 1]}, r"y has labels \[2, 3, 4, 5, 6, 7, 8, 9\] that are not among the classes \[0, 1\]"),
        ({"schedule": "cosine"}, {"classes": range(10)}, "partial_fit needs schedule='constant', but got 'cosine'"),
    ],
)
def test_partial_fit_reports_missing_requirements(digits, options, call, message):
    """Classes at the first call, no other classes later, and a constant schedule."""
    with pytest.raises(ValueError, match=message):
        NumpyMLPClassifier(**options).partial_fit(*digits, **call)


def test_partial_fit_refuses_changed_settings(digits):
    """Optimizer and layer sizes cannot change between calls."""
    estimator = NumpyMLPClassifier(**SMALL).fit(*digits)
    estimator.set_params(beta1=0.5)
    with pytest.raises(ValueError, match="settings cannot change between calls"):
        estimator.partial_fit(*digits)


def test_the_order_of_samples_to_predict_does_not_matter(digits):
    """Nor do the other examples, up to rounding in float64."""
    images, labels = digits
    estimator = NumpyMLPClassifier(**SMALL).fit(images, labels)
    order = np.random.default_rng(0).permutation(len(images))

    np.testing.assert_allclose(
        estimator.predict_proba(images)[order], estimator.predict_proba(images[order]), rtol=1e-12
    )
