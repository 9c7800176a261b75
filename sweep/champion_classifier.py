"""The champion as a fitted scikit-learn classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

from model import weights
from model.classifier import Classifier
from model.data.arrays import Column
from model.data.named_rows import raw_table
from model.data.preprocessing import Category, PreprocessingError, Table


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
        self.classes_ = _labels(classifier.classes)
        preprocessing = classifier.preprocessing
        if isinstance(preprocessing, Table):
            names = [column.name for column in preprocessing.columns]
            self.n_features_in_ = len(names)
            if names != [name for name in names if name.isdecimal()]:
                self.feature_names_in_ = np.array(names, object)
        else:
            self.n_features_in_ = preprocessing.features

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
        raw, columns = self._raw(X)
        probabilities: NDArray[np.float32] = self.classifier.predict(raw, columns)
        return probabilities

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable label (n,) of each example."""
        found: NDArray[Any] = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return found

    def _raw(self, examples: Any) -> tuple[NDArray[Any], tuple[Column, ...]]:
        preprocessing = self.classifier.preprocessing
        if not isinstance(preprocessing, Table):
            return np.asarray(examples), ()
        if not isinstance(examples, pd.DataFrame) and np.asarray(examples).dtype.kind in "OUS":
            examples = pd.DataFrame(np.asarray(examples))
        if not isinstance(examples, pd.DataFrame):
            return _unnamed(np.asarray(examples), hasattr(self, "feature_names_in_"))
        used = {column.name: column for column in preprocessing.columns}
        values = {str(name): examples[name] for name in examples.columns if str(name) in used}
        text = {name for name, column in used.items() if isinstance(column, Category)}
        gaps_as_none = {
            name: column.astype(object).where(column.notna(), None).to_numpy() if name in text else column
            for name, column in values.items()
        }
        return raw_table(gaps_as_none, text)


def _unnamed(array: NDArray[Any], named: bool) -> tuple[NDArray[Any], tuple[Column, ...]]:
    if named:
        raise PreprocessingError("the champion was trained on named columns; give it a DataFrame with these columns")
    return array, tuple(Column(str(place)) for place in range(array.shape[1]))


def _labels(names: tuple[str, ...]) -> NDArray[Any]:
    """The labels behind the names: whole numbers or bool where all names are, else the names."""
    if set(names) == {"False", "True"}:
        return np.array([name == "True" for name in names])
    try:
        return np.array([int(name) for name in names])
    except ValueError:
        return np.array(names)
