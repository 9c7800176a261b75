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
from sklearn.utils.class_weight import compute_sample_weight

from model.estimator import NumpyMLPClassifier
from model.hyperparameters import FIELDS, HyperparameterError

ROUNDING = {
    "check_sample_weight_equivalence_on_dense_data": "compares to 1e-7, but weights are float32 and batches differ; "
    "see test_integer_weights_equal_repeated_examples, and scikit-learn's own list for SGDClassifier"
}


OTHER_SETTINGS = {"hidden_sizes": (32,), "dropout": 0.1, "batch_size": 16, "learning_rate": 0.01}


@pytest.mark.parametrize("settings", [{}, pytest.param(OTHER_SETTINGS, marks=pytest.mark.slow)], ids=str)
def test_scikit_learns_estimator_checks_pass(settings):
    """All of them except one, whose tolerance is below the rounding of float32."""
    from sklearn.utils.estimator_checks import check_estimator  # takes 0.6 s

    checks = check_estimator(
        NumpyMLPClassifier(**settings), expected_failed_checks=ROUNDING, on_fail=None, on_skip=None
    )

    assert len(checks) > 50
    assert [(check["check_name"], check["exception"]) for check in checks if check["status"] == "failed"] == []


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(return_X_y=True)
    return (images / 16).astype(np.float32), labels


SMALL = {"hidden_sizes": (32,), "epochs": 15, "batch_size": 32, "learning_rate": 0.01, "random_state": 0}


@pytest.mark.slow
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
    """Every field is a parameter with its default in the signature; `class_weights` has scikit-learn's name."""
    estimator = NumpyMLPClassifier(learning_rate=0.5)
    names = {*FIELDS, "class_weight", "random_state"} - {"class_weights"}

    assert set(estimator.get_params()) == names
    assert estimator.get_params()["learning_rate"] == 0.5
    assert clone(estimator).get_params() == estimator.get_params()
    assert set(inspect.signature(NumpyMLPClassifier).parameters) == names
    with pytest.raises(TypeError, match="unknown parameters momentum; known are hidden_sizes"):
        NumpyMLPClassifier(momentum=0.9)


def test_a_setting_out_of_range_is_refused_by_fit(digits):
    """As scikit-learn requires: by `fit`, with the rule and the value."""
    with pytest.raises(HyperparameterError, match=r"beta1 must be a number in \[0, 1\), but got 1.5"):
        NumpyMLPClassifier(beta1=1.5).fit(*digits)


@pytest.mark.slow
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


@pytest.fixture(scope="module")
def rare(digits):
    """The digits 3 and 8, of which 183 and 12 are kept; strings, so that codes and labels differ."""
    images, labels = digits
    kept = np.concatenate([np.flatnonzero(labels == 3), np.flatnonzero(labels == 8)[:12]])
    return images[kept], np.array(["", "", "", "three", "", "", "", "", "eight"])[labels[kept]]


def trained_alike(one, other):
    """Equal weights and loss curves, to the bit."""
    return np.array_equal(one.network_.theta, other.network_.theta) and one.loss_curve_ == other.loss_curve_


@pytest.mark.parametrize("weight", [1, 0.1, 3, 1e30, 1e-30])
def test_equal_sample_weights_change_no_bit(rare, weight):
    """`fit` uses their ratios only, whatever their size."""
    weighted = NumpyMLPClassifier(**SMALL).fit(*rare, sample_weight=np.full(len(rare[0]), weight))

    assert trained_alike(weighted, NumpyMLPClassifier(**SMALL).fit(*rare))


def test_a_weight_of_zero_leaves_the_example_out(rare):
    """To the same bits as without it, balanced classes included."""
    images, labels = rare
    keep = np.random.default_rng(1).random(len(labels)) < 0.7
    for options in ({}, {"class_weight": "balanced"}):
        weighted, shorter = NumpyMLPClassifier(**SMALL, **options), NumpyMLPClassifier(**SMALL, **options)
        weighted.fit(images, labels, sample_weight=2.0 * keep)
        shorter.fit(images[keep], labels[keep])

        assert trained_alike(weighted, shorter)


@pytest.mark.parametrize("options", [{}, {"class_weight": "balanced"}, {"class_weight": {"eight": 4}}])
def test_integer_weights_equal_repeated_examples(rare, options):
    """With one batch per epoch every gradient is the same, so all weights agree to rounding in float32."""
    images, labels = rare
    repeats = np.random.default_rng(2).integers(0, 4, len(labels))
    settings = {**SMALL, **options, "batch_size": 1024, "epochs": 5, "epsilon": 1e-3}
    weighted = NumpyMLPClassifier(**settings).fit(images, labels, sample_weight=repeats)
    repeated = NumpyMLPClassifier(**settings).fit(np.repeat(images, repeats, axis=0), np.repeat(labels, repeats))

    np.testing.assert_allclose(weighted.network_.theta, repeated.network_.theta, atol=1e-5)
    np.testing.assert_allclose(weighted.loss_curve_, repeated.loss_curve_, rtol=1e-5)
    assert not np.allclose(weighted.network_.theta, NumpyMLPClassifier(**settings).fit(*rare).network_.theta, atol=1e-3)


def test_class_weights_equal_the_sample_weights_of_each_class(rare):
    """A dict, in which a missing class has 1; `balanced` has those of scikit-learn's function, to rounding."""
    images, labels = rare
    by_dict = NumpyMLPClassifier(**SMALL, class_weight={"eight": 5}).fit(images, labels)
    by_sample = NumpyMLPClassifier(**SMALL).fit(images, labels, sample_weight=np.where(labels == "eight", 5, 1))
    balanced = NumpyMLPClassifier(**SMALL, class_weight="balanced").fit(images, labels)
    theirs = NumpyMLPClassifier(**SMALL).fit(images, labels, compute_sample_weight("balanced", labels))

    assert trained_alike(by_dict, by_sample)
    np.testing.assert_allclose(balanced.loss_curve_, theirs.loss_curve_, rtol=1e-3)
    assert not trained_alike(balanced, by_dict)


def test_sample_weights_of_partial_fit_mean_the_same_in_all_calls(digits):
    """They are not divided by their mean: twice the weight is twice the gradient, which one Adam step shows by its
    second moment; a dict weights a call with a single class."""
    images, labels = digits[0][:32], np.zeros(32, int)
    one, two, by_class = NumpyMLPClassifier(**SMALL), NumpyMLPClassifier(**SMALL), NumpyMLPClassifier(**SMALL)
    by_class.set_params(class_weight={0: 2})
    one.partial_fit(images, labels, classes=range(10), sample_weight=np.ones(32))
    two.partial_fit(images, labels, classes=range(10), sample_weight=np.full(32, 2))
    by_class.partial_fit(images, labels, classes=range(10))

    np.testing.assert_array_equal(two._state.optimizer.v, 4 * one._state.optimizer.v)
    np.testing.assert_array_equal(by_class._state.optimizer.v, two._state.optimizer.v)
    assert two.loss_curve_ == pytest.approx(one.loss_curve_)
    assert trained_alike(one, NumpyMLPClassifier(**SMALL).partial_fit(images, labels, classes=range(10)))


def test_balanced_classes_do_not_work_with_partial_fit(rare):
    """The sizes of the classes are unknown; after `fit` it can continue with weights that are known."""
    estimator = NumpyMLPClassifier(**SMALL, class_weight="balanced").fit(*rare)
    with pytest.raises(ValueError, match="partial_fit needs class_weight=None or a dict of weights"):
        estimator.partial_fit(*rare)
    estimator.set_params(class_weight={"eight": 8}).partial_fit(*rare)

    assert estimator.n_iter_ == 16


@pytest.mark.parametrize(
    ("options", "sample_weight", "message"),
    [
        ({}, -1.0, "[Nn]egative"),
        ({}, np.nan, "NaN"),
        ({}, 1e39, "too large for dtype"),
        ({}, 0.0, "at least one non-zero"),
        ({"class_weight": "none"}, None, "class_weight must be None, 'balanced' or a dict of weights, but got 'none'"),
        ({"class_weight": 2}, None, "class_weight must be None"),
        ({"class_weight": {"eight": -1}}, None, "class_weight must be finite numbers of at least 0"),
        ({"class_weight": {"eight": np.inf}}, None, "class_weight must be finite numbers of at least 0"),
        ({"class_weight": {"eight": 0, "three": 0}}, None, "not all 0"),
        ({"class_weight": {"eigth": 2}}, None, "not in class_weight"),
    ],
)
def test_invalid_weights_are_refused(rare, options, sample_weight, message):
    """Negative, not finite, all zero, or of an unknown class."""
    given = None if sample_weight is None else np.full(len(rare[0]), sample_weight)
    with pytest.raises(ValueError, match=message):
        NumpyMLPClassifier(**SMALL, **options).fit(*rare, sample_weight=given)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_it_raises_no_floating_point_error(rare, activation):
    """Neither do inputs and weights that float32 rounds to 0, when NumPy is told to raise every error."""
    images, labels = rare[0].astype(np.float64), rare[1]
    images[:, 0], weights = 1e-300, np.linspace(1e-44, 1, len(labels))
    settings = {**SMALL, "learning_rate": 0.1, "epochs": 60, "activation": activation, "class_weight": {"eight": 3}}
    plain = NumpyMLPClassifier(**settings).fit(images, labels, weights)
    with np.errstate(all="raise"):
        strict = NumpyMLPClassifier(**settings).fit(images, labels, weights)
        found, words = strict.predict_proba(100 * images), strict.predict(images)
        strict.partial_fit(images, labels, sample_weight=weights)

    plain_found = plain.predict_proba(100 * images)
    np.testing.assert_array_equal(found, plain_found)
    np.testing.assert_array_equal(words, plain.predict(images))
    assert plain_found.min() < 1e-40


def test_a_number_beyond_float32_is_refused_as_such(rare):
    """By name also when NumPy raises floating-point errors."""
    images = rare[0].astype(np.float64)
    images[3, 4] = 1e300
    with np.errstate(all="raise"), pytest.raises(ValueError, match="value too large for dtype"):
        NumpyMLPClassifier(**SMALL).fit(images, rare[1])
