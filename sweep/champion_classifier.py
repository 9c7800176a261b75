"""The champion as a fitted scikit-learn classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

from model import weights
from model.classifier import Classifier
from model.data.preprocessing import Table


class ChampionClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn ships no types
    """A trained network that takes raw examples: a DataFrame of the study's columns, or arrays as in its data file.

    Attributes:
        classifier: The network with its preprocessing.
        classes_: (classes,) the labels: whole numbers, bool or text.
        n_features_in_: Number of columns, or of numbers of an example.
        feature_names_in_: (columns,) names of the columns that are used; only of a table with names.
    """

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        self.classes_ = _labels(classifier)
        preprocessing, shape = classifier.preprocessing, classifier.example_shape
        if isinstance(preprocessing, Table) and shape is None:
            self.feature_names_in_ = np.array([column.name for column in preprocessing.columns], object)
        self.n_features_in_ = len(self.feature_names_in_) if shape is None else int(np.prod(shape))

    @classmethod
    def load(cls, path: Path) -> Self:
        """The classifier in a weights file.

        Raises:
            WeightsError: the file is missing or damaged.
        """
        return cls(weights.load(path))

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Raise an error: the settings were searched for, and `sweep.fit` searches for new ones."""
        raise NotImplementedError("the champion is trained already; sweep.fit(X, y) searches and trains a new one")

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Probabilities (n, classes) of examples: a DataFrame with the columns in any order, or an array (n, ...).

        Raises:
            PreprocessingError: a column is missing, has text for numbers, or the shape is another.
        """
        found: NDArray[np.float32] = self.classifier.probabilities(X)
        return found

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable label (n,) of each example."""
        found: NDArray[Any] = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return found

    def score(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """The accuracy on examples X with labels y (n,); spaces around text do not matter, as in training."""
        labels = [label.strip() if isinstance(label, str) else label for label in np.asarray(y, object).tolist()]
        found: float = super().score(X, np.array(labels), sample_weight)
        return found


def _labels(classifier: Classifier) -> NDArray[Any]:
    """The labels behind the names: bool where these are False and True."""
    if set(classifier.classes) == {"False", "True"}:
        return np.array([name == "True" for name in classifier.classes])
    return classifier.labels
