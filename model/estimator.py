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
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import check_is_fitted, validate_data

from model.data.datasets import Examples
from model.epoch import EpochSelection
from model.hyperparameters import FIELDS, Hyperparameters
from model.network import BATCH
from model.training import TrainingState, train


class NumpyMLPClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn ships no types
    """A multilayer perceptron with ReLU and softmax, trained with Adam, in float32.

    Inputs are not scaled: scale them first. Equal data, settings and random_state give bit-identical results on the
    same machine with the same number of BLAS threads.

    Args:
        random_state: seed of the initial weights, the order of the examples and dropout: None, an int or a RandomState.
        **hyperparameters: the fields of `model.hyperparameters.Hyperparameters`, with its defaults and ranges.

    Attributes:
        classes_: (classes,) the labels, sorted.
        n_features_in_: number of features.
        n_iter_: passes over the examples.
        loss_curve_: mean training loss of every pass, in nats.
        network_: the `model.network.MLP`.
    """

    def __init__(self, *, random_state: Any = None, **hyperparameters: Any) -> None:
        self.random_state = random_state
        for name, field in FIELDS.items():
            setattr(self, name, hyperparameters.pop(name, field.default))
        if hyperparameters:
            raise TypeError(f"unknown hyperparameters {', '.join(hyperparameters)}; known are {', '.join(FIELDS)}")

    # scikit-learn reads parameters from the signature, which is generated from the fields.
    __init__.__signature__ = Signature(  # type: ignore[attr-defined]
        [Parameter("self", Parameter.POSITIONAL_ONLY)]
        + [Parameter(name, Parameter.KEYWORD_ONLY, default=field.default) for name, field in FIELDS.items()]
        + [Parameter("random_state", Parameter.KEYWORD_ONLY, default=None)]
    )

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train from new weights.

        Args:
            X: (n, features) numbers, used as float32.
            y: (n,) class labels: numbers or strings.

        Raises:
            ValueError: the data or a hyperparameter is invalid; the message says which.
            Diverged: the loss is no longer finite.
        """
        inputs, targets = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(targets)
        self._begin(np.unique(targets), self._settings())
        self._learn(inputs, targets)
        return self

    def partial_fit(self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None) -> Self:
        """Continue with one pass over these examples; the first call initialises the weights.

        Args:
            X: (n, features) numbers, used as float32.
            y: (n,) class labels.
            classes: all labels of all calls; required at the first call.

        Raises:
            ValueError: as `fit`; missing classes at the first call, other classes later, or an unknown label; a
                schedule other than constant, since the number of passes is unknown; changed settings.
        """
        first = not hasattr(self, "network_")
        inputs, targets = validate_data(self, X, y, dtype=np.float32, reset=first)
        check_classification_targets(targets)
        settings = self._settings()
        if settings.schedule != "constant":
            raise ValueError(f"partial_fit needs schedule='constant', but got {settings.schedule!r}")
        if first and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        known = unique_labels(classes) if classes is not None else self.classes_
        if not first and not np.array_equal(known, self.classes_):
            raise ValueError(f"classes={known!r} is not the same as on the last call to partial_fit: {self.classes_!r}")
        if strange := sorted(set(targets.tolist()) - set(known.tolist())):
            raise ValueError(f"y has labels {strange!r} that are not among the classes {known.tolist()!r}")
        if first:
            self._begin(known, settings)
        elif replace(settings, epochs=1, schedule="constant") != self._one_pass_settings():
            raise ValueError("settings cannot change between calls of partial_fit; call fit to train with new settings")
        self._state.hyperparameters = self._one_pass_settings()
        # Each call is an epoch with its own random streams, identified by the number of calls before.
        self._state.seed = (*self._state.seed[:1], self.n_iter_)
        self._state.epochs.clear()
        self._learn(inputs, targets)
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Probabilities (n, classes) of inputs X (n, features), in the order of `classes_`.

        In float64: rounding depends on the other rows of the batch, which in float32 would be visible in the result.
        """
        check_is_fitted(self)
        inputs = validate_data(self, X, dtype=np.float32, reset=False)
        network = self.network_.with_weights(self.network_.theta, np.float64)
        return np.concatenate([network.predict(inputs[i : i + BATCH]) for i in range(0, len(inputs), BATCH)])

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The most probable label (n,) of each input of X (n, features)."""
        found = self.predict_proba(X).argmax(axis=1)
        labels: NDArray[Any] = self.classes_[found]
        return labels

    def _settings(self) -> Hyperparameters:
        return Hyperparameters(**{name: getattr(self, name) for name in FIELDS})

    def _one_pass_settings(self) -> Hyperparameters:
        """The settings of the current training run, for one more pass."""
        return replace(self._state.hyperparameters, epochs=1, schedule="constant")

    def _begin(self, classes: NDArray[Any], settings: Hyperparameters) -> None:
        seed = int(check_random_state(self.random_state).randint(2**31))
        self._state = TrainingState.fresh(
            settings, self.n_features_in_, len(classes), (seed,), EpochSelection(epoch="last")
        )
        self.classes_, self.network_ = classes, self._state.network
        self.n_iter_ = 0
        self.loss_curve_: list[float] = []

    def _learn(self, inputs: NDArray[np.float32], targets: NDArray[Any]) -> None:
        labels = np.searchsorted(self.classes_, targets)
        for epoch in train(self._state, Examples(inputs, labels, np.arange(len(labels))), None):
            self.loss_curve_.append(epoch.train_loss)
            self.n_iter_ += 1
