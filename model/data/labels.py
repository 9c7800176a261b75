"""Class labels in any usual form, as codes 0 to C - 1 and the names of the classes."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.data.errors import DatasetInvalid, listed, shortened

SURELY_CLASSES = 20
"""With so few different values, labels are never taken for measurements or identifiers."""
MAX_NUMBERS = 1000
"""More different numbers are taken for measurements; ImageNet, a large classification task, has 1,000 classes."""
MEASURED_SINGLE_SHARE = 0.1
"""Numbers are measurements if more than this share of them occurs once.

It is 0.39 in the 214 whole numbers of scikit-learn's `load_diabetes`, and 0 where a class has several examples, as in
the 40 classes of 10 rows of `fetch_olivetti_faces`.
"""
IDENTIFIER_ROW_SHARE = 0.5
"""Text is identifiers if more than this share of the rows has a text of its own, such as names or numbers of orders."""
MISSING = ("", "nan", "NaN", "<NA>", "NaT")
"""Text of a missing label: what NumPy and pandas write when a missing value becomes text."""
INTEGER = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True, eq=False)
class Labels:
    """Encoded labels.

    Attributes:
        codes: (n,) int64, in 0 .. len(classes) - 1.
        classes: The names of the classes, in the order of their codes: numbers ascending, text alphabetically.
        note: What was encoded, in one line; None if the labels were integers 0 to C - 1.
    """

    codes: NDArray[np.int64]
    classes: tuple[str, ...]
    note: str | None


def encode_labels(values: NDArray[Any], where: str, classes: tuple[str, ...] | None = None) -> Labels:
    """Encode labels as codes 0 to C - 1.

    Accepted are text, bool, integers of any dtype and numbering, floats that are whole, and objects of these kinds, as
    (n,) or (n, 1); and one-hot matrices (n, K) of numbers, whose classes are the numbers of the columns that are used.
    Spaces around text are removed. Names are "1", "-1", "True", "setosa"; floats are named as integers.

    Labels are refused as a regression target if a number has a fraction, or if there are more than 1,000 different
    numbers, or more than 20 of which over a tenth occur once. They are refused as identifiers if there are more than
    20 different texts, and over half of the rows have a text of their own.

    Args:
        values: The labels, a row each.
        where: Names the labels in errors, such as "flowers.npz: y_train".
        classes: The known classes: codes are in this order, and another label is refused.

    Raises:
        DatasetInvalid: There is no row, a label is missing or unknown, the labels are not of a kind above, or they
            have fewer than two classes. The message begins with `where`; rows are counted from 0.
    """
    values = np.asarray(values)
    if values.ndim == 0 or not len(values):
        raise DatasetInvalid(f"{where}: has no rows\nGive at least two classes with several rows each.")
    column, form = _column(values, where)
    distinct, codes = _distinct(column, where)
    names = tuple(_name(value) for value in distinct.tolist())
    if classes is not None:
        return Labels(_known(names, codes, classes, where), classes, None)
    _check_counts(np.bincount(codes), column.dtype.kind if form is None else "one-hot", names, where)
    numbered = column.dtype.kind in "iu" and form is None and names == tuple(map(str, range(len(names))))
    return Labels(codes, names, None if numbered else _note(column, form, names))


def _column(values: NDArray[Any], where: str) -> tuple[NDArray[Any], str | None]:
    """One label a row as bool, integers, floats or text, and the form if it was a one-hot matrix."""
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.dtype.kind in "OT":
        values = _of_one_kind(values, where)
    plain = values.dtype.kind in "biuUS" or (values.dtype.kind == "f" and values.dtype.itemsize <= 8)
    if not plain:
        raise DatasetInvalid(
            f"{where}: labels cannot be {values.dtype}\nSave them as text or whole numbers, one class for each row."
        )
    if values.ndim == 1:
        return _text(values, where) if values.dtype.kind in "US" else values, None
    if values.ndim != 2 or values.dtype.kind in "US":
        raise DatasetInvalid(
            f"{where}: labels must have shape (n,) or be one-hot numbers (n, K), found {values.dtype} {values.shape}"
        )
    return _one_hot(values, where)


def _one_hot(matrix: NDArray[Any], where: str) -> tuple[NDArray[np.int64], str]:
    """The number of the column that has the 1 of each row."""
    wrong = np.flatnonzero((np.count_nonzero(matrix, axis=1) != 1) | ~(matrix == 1).any(axis=1))
    if len(wrong):
        raise DatasetInvalid(
            f"{where}: rows of the matrix {matrix.shape} must be one-hot (a single 1, otherwise 0), but {len(wrong):,}"
            f" of {len(matrix):,} are not, first row {wrong[0]}\n"
            "This program trains classifiers with one class for each row: give one label for each row."
        )
    empty = int(matrix.shape[1] - np.count_nonzero((matrix == 1).any(axis=0)))
    form = f"one-hot, {empty} of {matrix.shape[1]} columns unused" if empty else "one-hot"
    return np.argmax(matrix == 1, axis=1).astype(np.int64), form


def _of_one_kind(values: NDArray[Any], where: str) -> NDArray[Any]:
    """Objects as an array of text, bool or numbers; a missing one is refused."""
    objects = values.astype(object)
    flat = objects.ravel().tolist()
    if set(map(type, flat)) == {str}:  # four times as fast for a million rows
        return np.array(flat, dtype=str).reshape(objects.shape)
    missing = np.array([value is None or str(value).strip() in MISSING for value in flat])
    _refuse_missing(np.logical_or.reduce(missing.reshape(len(objects), -1), axis=1), where)
    kinds = [_kind(value) for value in flat]
    other = next((row for row, kind in enumerate(kinds) if kind is None or kind != kinds[0]), None)
    if other is not None:
        raise DatasetInvalid(
            f"{where}: labels must be all text, all bool or all numbers, but row 0 has {type(flat[0]).__name__}"
            f" and row {other} has {type(flat[other]).__name__}\nConvert them to one kind, such as text."
        )
    return np.array(flat, dtype=str if kinds[0] == "text" else None).reshape(objects.shape)


def _kind(value: object) -> str | None:
    kinds = {
        "text": (str,),
        "bytes": (bytes,),
        "bool": (bool, np.bool_),
        "number": (int, float, np.integer, np.floating),
    }
    return next((kind for kind, types in kinds.items() if isinstance(value, types)), None)


def _text(values: NDArray[Any], where: str) -> NDArray[np.str_]:
    """Text without spaces around it; bytes are decoded as UTF-8."""
    if values.dtype.kind == "S":
        try:
            values = np.char.decode(values, "utf-8")
        except UnicodeDecodeError as error:
            raise DatasetInvalid(f"{where}: labels are bytes that are not UTF-8 text ({error.reason})") from error
    return np.strings.strip(values)


def _distinct(column: NDArray[Any], where: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The different labels in the order of their codes, and the code of each row."""
    distinct, codes = np.unique(column, return_inverse=True)
    _refuse_missing((np.isin(distinct, MISSING) if column.dtype.kind == "U" else np.isnan(distinct))[codes], where)
    if column.dtype.kind == "f":
        _check_whole(distinct, column, where)
    if column.dtype.kind == "U":
        return _in_order_of_numbers(distinct, codes.astype(np.int64))
    return distinct, codes.astype(np.int64)


def _refuse_missing(missing: NDArray[np.bool_], where: str) -> None:
    if missing.any():
        raise DatasetInvalid(
            f"{where}: {np.count_nonzero(missing):,} of {len(missing):,} labels are missing, first in row"
            f" {np.argmax(missing)}\nRemove these rows, or give them a label."
        )


def _check_whole(distinct: NDArray[Any], column: NDArray[Any], where: str) -> None:
    fractional = distinct[~np.isfinite(distinct) | (distinct != np.floor(distinct))]
    if len(fractional):
        row = np.argmax(np.isin(column, fractional))
        raise _regression(f"{where}: {_different(len(distinct))}, some not whole (row {row} has {column[row]})")


def _different(count: int) -> str:
    return f"{count:,} different number{'s' * (count != 1)}"


def _regression(fault: str) -> DatasetInvalid:
    return DatasetInvalid(
        f"{fault}: this is a regression target, and this program trains classifiers\n"
        "Put the values into classes first; if they are names of classes, write them as text, such as 'c12'."
    )


def _in_order_of_numbers(
    distinct: NDArray[np.str_], codes: NDArray[np.int64]
) -> tuple[NDArray[np.str_], NDArray[np.int64]]:
    """Order text by value if all of it is whole numbers, so that "10" follows "9" and not "1"."""
    texts = distinct.tolist()
    if not all(INTEGER.fullmatch(text) for text in texts):
        return distinct, codes
    order = np.array(sorted(range(len(texts)), key=lambda at: (int(texts[at]), texts[at])))
    return distinct[order], np.argsort(order)[codes]


def _name(value: str | float) -> str:
    """The name of a class: floats, which are whole here, as integers."""
    return str(int(value)) if isinstance(value, float) else str(value)


def _known(names: tuple[str, ...], codes: NDArray[np.int64], classes: tuple[str, ...], where: str) -> NDArray[np.int64]:
    """The codes in the order of the known classes."""
    code = {name: at for at, name in enumerate(classes)}
    unknown = [at for at, name in enumerate(names) if name not in code]
    if unknown:
        row = np.argmax(np.isin(codes, unknown))
        raise DatasetInvalid(
            f"{where}: unknown label {shortened(names[codes[row]])!r}, first in row {row}\n"
            f"Known are {listed(classes)}. Use the same labels as in the training rows."
        )
    found: NDArray[np.int64] = np.array([code[name] for name in names], np.int64)[codes]
    return found


def _check_counts(counts: NDArray[np.int64], kind: str, names: tuple[str, ...], where: str) -> None:
    """Refuse one class, numbers that are measurements, and text that is identifiers, by the rows of each label."""
    single = int(np.count_nonzero(counts == 1))
    if len(counts) < 2:
        raise DatasetInvalid(
            f"{where}: has the single class {shortened(names[0])!r}\n"
            "Give rows of at least two classes, which a classifier can tell apart."
        )
    if len(counts) <= SURELY_CLASSES:
        return
    measured = len(counts) > MAX_NUMBERS or single > MEASURED_SINGLE_SHARE * len(counts)
    if kind in "iuf" and measured:
        raise _regression(f"{where}: {_different(len(counts))} in {counts.sum():,} rows")
    if kind == "U" and single > IDENTIFIER_ROW_SHARE * counts.sum():
        raise DatasetInvalid(
            f"{where}: {len(counts):,} different texts in {counts.sum():,} rows: these are identifiers, not classes\n"
            "Give labels that several rows share."
        )


def _note(column: NDArray[Any], form: str | None, names: tuple[str, ...]) -> str:
    forms = {"U": "text", "b": "bool", "f": f"whole numbers stored as {column.dtype}"}
    form = form or forms.get(column.dtype.kind, f"not numbered 0 to {len(names) - 1}")
    return f"labels are {form}: {len(names):,} classes, {listed(names)}"
