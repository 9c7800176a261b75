"""A trained network together with all that a prediction from raw examples needs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from model.data.arrays import Column, are_padded
from model.data.named_rows import check_text, raw_table
from model.data.preprocessing import Category, Pixels, Preprocessing, PreprocessingError, Table, from_dict
from model.network import BATCH, MLP, Floats


class NamedColumns(Protocol):
    """A dictionary or DataFrame of columns (n,) by name."""

    def items(self) -> Iterable[tuple[Any, Any]]:
        """Names and columns."""


@dataclass(frozen=True, eq=False)
class Classifier:
    """A network, the preprocessing of its inputs, and the names of its classes.

    Attributes:
        network: Its scale and offset are those of the preprocessing.
        preprocessing: From raw examples to the network's inputs.
        classes: Name of each class.
    """

    network: MLP
    preprocessing: Preprocessing
    classes: tuple[str, ...]

    @classmethod
    def of(cls, network: MLP) -> Classifier:
        """The classifier of a network without names: numbered classes, and light on dark pixels of 0 .. 1 / scale."""
        low, high = network.offset, network.offset + 1 / network.scale
        pixels = Pixels((network.sizes[0],), low, high, background=low, whole=high > 1)
        return cls(network, pixels, tuple(map(str, range(network.sizes[-1]))))

    @property
    def labels(self) -> NDArray[Any]:
        """The names of the classes (classes,): as int64 if all of them are whole numbers, else as objects of str."""
        try:
            numbers = np.array([int(name) for name in self.classes], np.int64)
        except (ValueError, OverflowError):
            return np.array(self.classes, object)
        return numbers if tuple(map(str, numbers.tolist())) == self.classes else np.array(self.classes, object)

    @property
    def example_shape(self) -> tuple[int, ...] | None:
        """The shape of an example in an array; None for a table with names, which has no order of columns."""
        if isinstance(self.preprocessing, Pixels):
            return self.preprocessing.shape
        return None if self.preprocessing.width is None else (self.preprocessing.width,)

    def probabilities(self, examples: Any) -> Floats:
        """Probabilities (n, classes) float32 of raw examples in any form.

        Args:
            examples: Of a table with names: a DataFrame or dictionary of its columns, in any order. Of anything else:
                an array (n, ...) of any dtype, nested lists, or a DataFrame, as in the data file. Columns "0", "1", ...
                may be given in both ways, also with text.

        Raises:
            PreprocessingError: As `raw_rows`, `array_columns` and `predict`.
        """
        is_table = isinstance(self.preprocessing, Table)
        if is_table and hasattr(examples, "items"):
            return self.predict(*self.raw_rows(examples))
        array = _as_array(examples)
        if is_table and array.ndim == 2 and array.dtype.kind in "OUST":  # numbers and text in one array
            return self.predict(*self.raw_rows(dict(enumerate(array.T))))
        array = _without_objects(array)
        return self.predict(array, self.array_columns(array))

    def raw_rows(self, values: NamedColumns) -> tuple[NDArray[np.float64], tuple[Column, ...]]:
        """Raw rows of a table for `predict`, and their columns, from one array (n,) a column; others are ignored.

        Args:
            values: Numbers or text by column name; a DataFrame is one, whose names may be numbers.

        Raises:
            PreprocessingError: The classifier is not one of a table, a column is missing, or a number column has
                something else, or a column of digits with leading zeros has numbers.
        """
        if not isinstance(self.preprocessing, Table):
            raise PreprocessingError(f"expected examples of shape {self.preprocessing.shape}, not a table")
        columns, found = self.preprocessing.columns, {str(name): column for name, column in values.items()}
        if missing := [column.name for column in columns if column.name not in found]:
            raise PreprocessingError(f"missing columns: {', '.join(missing)}")
        text = {column.name for column in columns if isinstance(column, Category)}
        for column in columns:
            if isinstance(column, Category) and are_padded(column.values):
                check_text(column.name, found[column.name], column.values[0])
        return raw_table({column.name: np.asarray(found[column.name]) for column in columns}, text)

    def array_columns(self, raw: NDArray[Any]) -> tuple[Column, ...]:
        """The columns for `predict` of an array of examples (n, ...), as it is in the data file.

        Images may be given as rows (n, features), or with an axis of one channel.

        Raises:
            PreprocessingError: The array has another shape or other values than the classifier takes.
        """
        shape, is_table = self.example_shape, isinstance(self.preprocessing, Table)
        if shape is None:
            raise PreprocessingError("expected a table with named columns, not an array")
        if raw.shape[1:] not in (shape, (*shape, 1), (math.prod(shape),)) or not len(raw):
            raise PreprocessingError(f"expected examples of shape {shape}, got an array of shape {raw.shape}")
        if raw.dtype.kind not in "buif":
            raise PreprocessingError(f"expected numbers, got {raw.dtype}")
        wrong = np.isinf(raw) if is_table else ~(np.abs(raw) <= np.finfo(np.float32).max)
        if wrong.any():
            row = int(np.argmax(wrong.reshape(len(raw), -1).any(axis=1)))
            raise PreprocessingError("has NaN, an infinite number or one beyond float32", row)
        return tuple(Column(str(place)) for place in range(shape[0])) if is_table else ()

    def predict(self, raw: NDArray[Any], columns: Sequence[Column] = ()) -> Floats:
        """Probabilities (n, classes) float32 of raw examples (n, ...), in batches.

        Raises:
            PreprocessingError: The examples have another shape or other columns, or so large numbers that the network
                overflows; the error has the row.
        """
        parts = []
        for start in range(0, len(raw), BATCH):
            with np.errstate(over="ignore", invalid="ignore"):
                inputs = self.preprocessing.apply(raw[start : start + BATCH], columns)
                parts.append(self.network.predict(inputs))
            is_wrong = ~(np.isfinite(inputs).all(axis=1) & np.isfinite(parts[-1]).all(axis=1))
            if is_wrong.any():
                fault = "has NaN, or numbers too far from those of the training rows"
                raise PreprocessingError(fault, start + int(np.argmax(is_wrong)))
        return np.concatenate(parts) if parts else np.empty((0, len(self.classes)), np.float32)


def _as_array(examples: Any) -> NDArray[Any]:
    try:
        return np.asarray(examples)
    except ValueError as error:  # lists of different lengths
        raise PreprocessingError(f"expected an array: {error}") from error


def _without_objects(array: NDArray[Any]) -> NDArray[Any]:
    """The array, with Python objects, such as the numbers of JSON, as float64."""
    if array.dtype != object:
        return array
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise PreprocessingError(f"expected numbers: {error}") from error


def describe(classifier: Classifier) -> bytes:
    """The names of the classes and the preprocessing as JSON."""
    table = {"classes": classifier.classes, "preprocessing": classifier.preprocessing.as_dict()}
    return json.dumps(table, ensure_ascii=False).encode()


def read_classifier(arrays: Mapping[str, NDArray[Any]]) -> Classifier:
    """The classifier of a weights file's arrays.

    Raises:
        ValueError, KeyError, TypeError: The description is damaged or does not fit the network.
    """
    sizes, scale = arrays["sizes"].tolist(), float(arrays["scale"])
    activation = arrays["activation"].tobytes().decode() if "activation" in arrays else "relu"
    if "description" not in arrays:
        network = MLP(sizes, activation=activation, scale=scale)
        network.theta[...] = arrays["theta"]
        return Classifier.of(network)
    described = json.loads(arrays["description"].tobytes())
    preprocessing, classes = from_dict(described["preprocessing"]), tuple(map(str, described["classes"]))
    if (preprocessing.features, len(classes)) != (sizes[0], sizes[-1]):
        raise ValueError(f"it has {preprocessing.features} inputs and {len(classes)} classes, the network {sizes}")
    network = MLP(sizes, activation=activation, scale=preprocessing.scale, offset=preprocessing.offset)
    network.theta[...] = arrays["theta"]
    return Classifier(network, preprocessing, classes)
