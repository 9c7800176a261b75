"""The network as a scikit-learn classifier, for pipelines, cross-validation and other tools for estimators.

    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    cross_val_score(make_pipeline(StandardScaler(), NumpyMLPClassifier(hidden_sizes=(64,), epochs=30)), X, y)

This is the only module of `model` that imports packages other than NumPy.
"""

from __future__ import annotations

from dataclasses import replace
from inspect import Parameter, Signature
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from model.data.datasets import Examples
from model.epoch_selection import EpochSelection
from model.hyperparameters import FIELDS, Hyperparameters
from model.network import BATCH
from model.training import TrainingState, train

PARAMETERS: dict[str, Any] = {name: field.default for name, field in FIELDS.items() if name != "class_weights"}
PARAMETERS |= {"class_weight": None, "random_state": None}
"""The constructor's parameters with their defaults. `class_weights` has scikit-learn's name, `class_weight`."""


class NumpyMLPClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn ships no types
    """A multilayer perceptron with ReLU and softmax, trained with Adam, in float32.

    Inputs are not scaled: scale them first. Equal data, settings and random_state give bit-identical results on the
    same machine with the same number of BLAS threads.

    Args:
        class_weight: factor of the loss by class: None for 1, `balanced` for the hyperparameter `class_weights` of that
            name, or a dict from labels to numbers, where missing labels have 1. It multiplies `sample_weight`.
        random_state: seed of the initial weights, the order of the examples and dropout: None, an int or a RandomState.
        **parameters: the fields of `model.hyperparameters.Hyperparameters` except `class_weights`, with its defaults
            and ranges.

    Attributes:
        classes_: (classes,) the labels, sorted.
        n_features_in_: number of features.
        n_iter_: passes over the examples.
        loss_curve_: weighted mean of the training loss of every pass, in nats.
        network_: the `model.network.MLP`.
    """

    def __init__(self, **parameters: Any) -> None:
        for name, default in PARAMETERS.items():
            setattr(self, name, parameters.pop(name, default))
        if parameters:
            raise TypeError(f"unknown parameters {', '.join(parameters)}; known are {', '.join(PARAMETERS)}")

    # scikit-learn reads parameters from the signature, which is generated from the fields.
    __init__.__signature__ = Signature(  # type: ignore[attr-defined]
        [Parameter("self", Parameter.POSITIONAL_ONLY)]
        + [Parameter(name, Parameter.KEYWORD_ONLY, default=default) for name, default in PARAMETERS.items()]
    )

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train from new weights.

        Args:
            X: (n, features) numbers, used as float32.
            y: (n,) class labels: numbers or strings.
            sample_weight: (n,) numbers of at least 0, the factor of each example's loss. Only their ratios count; 0 is
                the same as leaving the example out.

        Raises:
            ValueError: the data or a parameter is invalid; the message says which.
            Diverged: the loss is no longer finite.
        """
        inputs, targets = self._validated(X, y)
        self._begin(np.unique(targets), self._settings())
        self._learn(inputs, targets, _with_mean_1(self._weights(targets, sample_weight)))
        return self

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Continue with one pass over these examples; the first call initialises the weights.

        Args:
            X: (n, features) numbers, used as float32.
            y: (n,) class labels.
            classes: all labels of all calls; required at the first call.
            sample_weight: (n,) numbers of at least 0, the factor of each example's loss. Unlike in `fit` they are not
                divided by their mean, so that they mean the same in all calls.

        Raises:
            ValueError: as `fit`; missing classes at the first call, other classes later, or an unknown label; a
                schedule other than constant, since the number of passes is unknown; balanced classes, since their sizes
                are unknown; changed settings.
        """
        first = not hasattr(self, "network_")
        inputs, targets = self._validated(X, y, reset=first)
        settings = self._settings()
        if settings.schedule != "constant":
            raise ValueError(f"partial_fit needs schedule='constant', but got {settings.schedule!r}")
        if settings.class_weights == "balanced":
            raise ValueError("partial_fit needs class_weight=None or a dict of weights, but got 'balanced'")
        if first and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        known = unique_labels(classes) if classes is not None else self.classes_
        if not first and not np.array_equal(known, self.classes_):
            raise ValueError(f"classes={known!r} is not the same as on the last call to partial_fit: {self.classes_!r}")
        if strange := sorted(set(targets.tolist()) - set(known.tolist())):
            raise ValueError(f"y has labels {strange!r} that are not among the classes {known.tolist()!r}")
        if first:
            self._begin(known, settings)
        elif _one_pass(settings) != _one_pass(self._state.hyperparameters):
            raise ValueError("settings cannot change between calls of partial_fit; call fit to train with new settings")
        self._state.hyperparameters = _one_pass(settings)
        # Each call is an epoch with its own random streams, identified by the number of calls before.
        self._state.seed = (*self._state.seed[:1], self.n_iter_)
        self._state.epochs.clear()
        self._learn(inputs, targets, self._weights(targets, sample_weight))
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Probabilities (n, classes) of inputs X (n, features), in the order of `classes_`.

        In float64: rounding depends on the other rows of the batch, which in float32 would be visible in the result.
        """
        check_is_fitted(self)
        inputs = self._validated(X, reset=False)
        network = self.network_.with_weights(self.network_.theta, np.float64)
        return np.concatenate([network.predict(inputs[i : i + BATCH]) for i in range(0, len(inputs), BATCH)])

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The most probable label (n,) of each input of X (n, features)."""
        found = self.predict_proba(X).argmax(axis=1)
        labels: NDArray[Any] = self.classes_[found]
        return labels

    def _validated(self, X: ArrayLike, *y: ArrayLike, reset: bool = True) -> Any:
        """Inputs (n, features) as float32, and the class labels (n,) if given."""
        # Numbers below float32's range become 0, those above become infinite and are refused.
        with np.errstate(over="ignore", under="ignore"):
            found = validate_data(self, X, *y, dtype=np.float32, reset=reset)
        if y:
            check_classification_targets(found[1])
        return found

    def _weights(self, targets: NDArray[Any], sample_weight: ArrayLike | None) -> NDArray[np.float32]:
        """The weight (n,) of each example: `sample_weight` times the weight of its class in a dict `class_weight`."""
        given = self.class_weight if isinstance(self.class_weight, dict) else None
        by_class = compute_class_weight(given, classes=self.classes_, y=targets)
        with np.errstate(over="ignore", under="ignore"):
            found = _check_sample_weight(sample_weight, targets, dtype=np.float32, ensure_non_negative=True)
            weights: NDArray[np.float32] = found * by_class.astype(np.float32)[np.searchsorted(self.classes_, targets)]
        if not (np.isfinite(weights) & (weights >= 0)).all() or not weights.any():
            raise ValueError(f"class_weight must be finite numbers of at least 0, not all 0, but got {given!r}")
        return weights

    def _settings(self) -> Hyperparameters:
        weight = self.class_weight
        if not (weight is None or isinstance(weight, dict) or (isinstance(weight, str) and weight == "balanced")):
            raise ValueError(f"class_weight must be None, 'balanced' or a dict of weights, but got {weight!r}")
        fields = {name: getattr(self, name) for name in FIELDS if name != "class_weights"}
        return Hyperparameters(**fields, class_weights=weight if isinstance(weight, str) else "none")

    def _begin(self, classes: NDArray[Any], settings: Hyperparameters) -> None:
        seed = int(check_random_state(self.random_state).randint(2**31))
        self._state = TrainingState.fresh(
            settings, self.n_features_in_, len(classes), (seed,), EpochSelection(epoch="last")
        )
        self.classes_, self.network_ = classes, self._state.evaluated
        self.n_iter_ = 0
        self.loss_curve_: list[float] = []

    def _learn(self, inputs: NDArray[np.float32], targets: NDArray[Any], weights: NDArray[np.float32]) -> None:
        examples = Examples(inputs, np.searchsorted(self.classes_, targets), np.flatnonzero(weights))
        for epoch in train(self._state, examples, None, example_weights=weights):
            self.loss_curve_.append(epoch.train_loss)
            self.n_iter_ += 1


def _with_mean_1(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """The weights (n,) divided by the mean of those above 0; equal weights become exactly 1."""
    with np.errstate(under="ignore"):
        weights = weights / weights.max()
        return weights / np.float32(weights[weights > 0].mean(dtype=np.float64))


def _one_pass(settings: Hyperparameters) -> Hyperparameters:
    """The settings for one more pass, where the weights of classes may have changed."""
    return replace(settings, epochs=1, schedule="constant", class_weights="none")
