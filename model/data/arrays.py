"""A complete dataset in memory, as returned by the reader of each format. Nothing is scaled or encoded yet."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIGITS = re.compile(r"[0-9]+")


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: Its name in the source; columns of an array without names are "0", "1", ...
        categories: None for numbers; of a text column its values: a stored number k stands for categories[k].
    """

    name: str
    categories: tuple[str, ...] | None = None


@dataclass(frozen=True, eq=False)
class Arrays:
    """A checked dataset with separate test examples.

    Attributes:
        inputs: (n, features) uint8, float32 or float64, the examples for training and validation. NaN is a gap, which
            only tables have.
        labels: (n,) int64, in 0 .. len(classes) - 1.
        test_inputs: (m, features), as inputs.
        test_labels: (m,) int64.
        classes: Name of each class.
        shape: The shape of one example before it was flattened.
        columns: The columns of a table; None for images.
        scale: Factor from a stored feature to the network's input where the format fixes it; None if the training rows
            decide.
        notes: What was done with the source, a line each.
    """

    inputs: NDArray[Any]
    labels: NDArray[np.int64]
    test_inputs: NDArray[Any]
    test_labels: NDArray[np.int64]
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    columns: tuple[Column, ...] | None = None
    scale: float | None = None
    notes: tuple[str, ...] = ()


def are_padded(texts: Collection[str]) -> bool:
    """Whether all texts are digits, and some have a leading zero, as zip codes do: as numbers they would lose it."""
    return any(len(text) > 1 and text[0] == "0" for text in texts) and are_digits(texts)


def are_digits(texts: Collection[str]) -> bool:
    """Whether all texts consist of digits only."""
    return all(map(DIGITS.fullmatch, texts))


def lossless(array: NDArray[Any]) -> NDArray[Any]:
    """The array in the smallest of uint8, float32 and float64 that keeps every value; NaN stays NaN.

    Raises:
        ValueError: A whole number is beyond 2**53 and not exact in float64.
    """
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    with np.errstate(invalid="ignore", over="ignore"):
        small = array.astype(np.uint8)
        if np.array_equal(small, array):
            return small
        single = array.astype(np.float32)
        if array.dtype.kind == "f" and np.array_equal(single, array, equal_nan=True):
            return single
        double = array.astype(np.float64)
        if array.dtype.kind in "iu":
            if not _same_integers(double, array):
                raise ValueError("a whole number is beyond 2**53 and not exact in float64")
            return single if np.array_equal(single.astype(np.float64), double) else double
    return double


def _same_integers(numbers: NDArray[np.float64], integers: NDArray[Any]) -> bool:
    """Whether the floats are those integers; a cast back overflows at the end of int64's range, so it is bounded."""
    inside = np.abs(numbers) < 2.0**63
    return bool(inside.all() and np.array_equal(numbers.astype(integers.dtype), integers))
