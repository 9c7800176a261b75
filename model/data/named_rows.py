"""Rows of a table that come to a prediction, as one array a column: to raw rows, with checks."""

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.data.arrays import Column
from model.data.preprocessing import PreprocessingError


def raw_table(values: Mapping[str, ArrayLike], text: Collection[str]) -> tuple[NDArray[np.float64], tuple[Column, ...]]:
    """Raw rows (n, columns) float64 and their columns, from one array (n,) a column.

    Gaps are None, NaN, pandas' NA, and blank text. In text columns, whole floats are written as integers: a column of
    whole numbers with gaps has become floats somewhere on its way.

    Args:
        values: Numbers or text by column name.
        text: Names of the columns that are categories; all others are numbers.

    Raises:
        PreprocessingError: A number column has text, a date or an infinite number; the error has the row.
    """
    columns, parts = [], []
    for name, given in values.items():
        if np.ndim(given) != 1:
            raise PreprocessingError(f"column {name!r} occurs twice, or does not have one value a row")
        codes, column = _encoded(name, given) if name in text else (_numbers(name, given), Column(name))
        columns.append(column)
        parts.append(codes)
    return np.stack(parts, axis=1) if parts else np.empty((0, 0)), tuple(columns)


def check_text(name: str, given: ArrayLike, example: str) -> None:
    """Refuse numbers in a column of digits with leading zeros: 1234 can be 1234 or 01234.

    Raises:
        PreprocessingError: There is a number; the error has the row.
    """
    for row, value in enumerate(np.asarray(given, object).ravel().tolist()):
        if not isinstance(value, str) and not _is_gap(value):
            fault = f"column {name!r} has the number {value}, but text such as {example!r} is expected"
            raise PreprocessingError(fault, row)


def _numbers(name: str, given: ArrayLike) -> NDArray[np.float64]:
    """The numbers (n,), NaN for a gap."""
    try:
        array = np.asarray(given)
        if array.dtype.kind in "mM":
            raise PreprocessingError(f"column {name!r} has dates, but numbers are expected")
        numbers = array.astype(np.float64) if array.dtype.kind in "buif" else _parsed(name, array)
    except OverflowError:  # an int of Python beyond the range of floats
        numbers = np.full(len(np.asarray(given, object)), math.inf)
    if np.isinf(numbers).any():
        raise PreprocessingError(f"column {name!r} has an infinite number", int(np.argmax(np.isinf(numbers))))
    return numbers


def _parsed(name: str, array: NDArray[Any]) -> NDArray[np.float64]:
    """Objects or text as numbers."""
    numbers = np.empty(len(array))
    for row, value in enumerate(array.tolist()):
        try:
            numbers[row] = math.nan if _is_gap(value) else float(value)
        except (TypeError, ValueError):
            fault = f"column {name!r} has {str(value)[:40]!r}, but a number is expected"
            raise PreprocessingError(fault, row) from None
    return numbers


def _is_gap(value: Any) -> bool:
    try:
        return value is None or bool(value != value) or (isinstance(value, str) and not value.strip())
    except TypeError:  # pandas' NA is neither equal to itself nor different
        return True


def _encoded(name: str, given: ArrayLike) -> tuple[NDArray[np.float64], Column]:
    """Codes (n,) of the values, NaN for a gap, and the column with its categories, sorted."""
    seen: dict[Any, int] = {}
    first = np.array([seen.setdefault(value, len(seen)) for value in np.asarray(given, object).tolist()], np.int64)
    texts = [None if _is_gap(value) else _text(value) for value in seen]
    categories = sorted({text for text in texts if text is not None})
    codes = {text: code for code, text in enumerate(categories)}
    placed = np.array([math.nan if text is None else codes[text] for text in texts], np.float64)
    return placed[first], Column(name, tuple(categories))


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
