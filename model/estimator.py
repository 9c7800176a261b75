"""The network as a scikit-learn classifier, for pipelines, cross-validation and everything else made for estimators.

    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    cross_val_score(make_pipeline(StandardScaler(), NumpyMLPClassifier(hidden_sizes=(64,), epochs=30)), X, y)

This is the one file of `model` that imports more than NumPy.
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
from model.metrics import BATCH
from model.training import TrainingState, train


class NumpyMLPClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn ships no types
    """A multilayer perceptron with ReLU and softmax, trained with Adam, in float32.

    Inputs are taken as they are: scale them first. Equal data, settings and random_state give equal bits on the same
    machine with the same number of BLAS threads.

    Args:
        random_state: seed of the first weights, the order of the examples and dropout: None, a number or a RandomState.
        **hyperparameters: the fields of `model.hyperparameters.Hyperparameters`, with its defaults and ranges.

    Attributes:
        classes_: (classes,) the labels, sorted.
        n_features_in_: how many features an example has.
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

    # scikit-learn reads parameters off the signature: this one has a line for each field, without naming it again.
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
            ValueError: the data or a hyperparameter is not what it must be; the message says which.
            Diverged: the loss is no longer finite.
        """
        inputs, targets = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(targets)
        self._begin(np.unique(targets), self._settings())
        self._learn(inputs, targets)
        return self

    def partial_fit(self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None) -> Self:
        """Continue with one pass over these examples; the first call draws the weights.

        Args:
            X: (n, features) numbers, used as float32.
            y: (n,) class labels.
            classes: all labels that will ever come; the first call needs them.

        Raises:
            ValueError: as `fit`; no classes at the first call, others later, or a label that is not among them; a
                schedule other than constant, for it has no end to head for; settings changed since the last call.
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
        elif replace(settings, epochs=1, schedule="constant") != self._going_on():
            raise ValueError("partial_fit goes on with the settings it began with; to change one, fit anew")
        self._state.hyperparameters = self._going_on()
        # Each call is an epoch with random streams of its own, named by how many there were before.
        self._state.seed = (*self._state.seed[:1], self.n_iter_)
        self._state.epochs.clear()
        self._learn(inputs, targets)
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Probabilities (n, classes) of inputs X (n, features), in the order of `classes_`.

        In float64: the last bits of a product depend on the other rows, and seven digits of an answer should not.
        """
        check_is_fitted(self)
        inputs = validate_data(self, X, dtype=np.float32, reset=False)
        network = self.network_.with_weights(self.network_.theta, np.float64)
        return np.concatenate([network.predict(inputs[i : i + BATCH]) for i in range(0, len(inputs), BATCH)])

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The likeliest label (n,) of each input of X (n, features)."""
        found = self.predict_proba(X).argmax(axis=1)
        labels: NDArray[Any] = self.classes_[found]
        return labels

    def _settings(self) -> Hyperparameters:
        return Hyperparameters(**{name: getattr(self, name) for name in FIELDS})

    def _going_on(self) -> Hyperparameters:
        """The settings of the training under way, for one more pass."""
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
