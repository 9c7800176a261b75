"""Arrays of a user's file, of any usual dtype and shape, as a checked dataset."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.data.arrays import Arrays, Column, lossless
from model.data.errors import DatasetInvalid
from model.data.labels import Labels, encode_labels
from model.data.splits import with_test_split

MAX_BYTES = 4 * 2**30
"""Most bytes that the arrays of a source may take in memory before they are made smaller."""


@dataclass(frozen=True, eq=False)
class Part:
    """The training or the test examples as they are in a source.

    Attributes:
        inputs: (n, features) numbers, a table; or (n, height, width, ...), images.
        labels: (n, ...) in any form that `encode_labels` accepts.
        inputs_name, labels_name: Name them in errors, such as "x_train".
    """

    inputs: NDArray[Any]
    labels: NDArray[Any]
    inputs_name: str
    labels_name: str


def assemble(source: Path, train: Part, test: Part | None, notes: tuple[str, ...] = ()) -> Arrays:
    """Check the parts, encode their labels, and store their inputs in the smallest dtype that keeps every value.

    Whole numbers in 0..255 become uint8 whatever their dtype was. One channel, (n, h, w, 1) or (n, 1, h, w), is the
    same as (n, h, w). Without test examples a fixed stratified fifth becomes the test split.

    Args:
        source: The file or folder, named in errors.
        train: The examples for training and validation.
        test: The test examples; None if the source has none.
        notes: What was done with the source before; what is done here is added.

    Raises:
        DatasetInvalid: A part has no examples, another number of labels, values that are not finite (a table may have
            NaN as a gap) or not exact in float64, or labels that are refused; or the parts do not fit each other.
    """
    parts = [train] if test is None else [train, test]
    stored = [_stored(source, part) for part in parts]
    labels = _labels(source, parts)
    shape = _shape(train.inputs)
    columns = tuple(Column(str(place)) for place in range(shape[0])) if len(shape) == 1 else None
    notes = (*notes, *([labels[0].note] if labels[0].note else []), *_gaps(parts, stored))
    if test is None:
        return with_test_split(stored[0], labels[0].codes, labels[0].classes, shape, columns=columns, notes=notes)
    if _shape(test.inputs) != shape:
        raise DatasetInvalid(
            f"{source}: {test.inputs_name} has examples of shape {_shape(test.inputs)}, but {train.inputs_name} has"
            f" {shape}\nGive both parts the same columns or the same image size."
        )
    dtype = np.result_type(*stored)
    inputs, test_inputs = (part.astype(dtype, copy=False) for part in stored)
    return Arrays(inputs, labels[0].codes, test_inputs, labels[1].codes, labels[0].classes, shape, columns, notes=notes)


def check_no_columns(source: Path, target: str | None, keep: tuple[str, ...]) -> None:
    """Refuse the names of columns for a source whose labels are stored apart from its inputs.

    Raises:
        DatasetInvalid: There is a name.
    """
    if target is not None or keep:
        raise DatasetInvalid(
            f"{source}: `target` and `keep` name columns of a table, but here the labels are stored apart\n"
            "Leave them out."
        )


def check_inputs(where: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Refuse inputs by dtype and shape, before they are read.

    Raises:
        DatasetInvalid: Not numbers of at most 64 bits, of shape (n, features) or more dimensions, or without examples.
    """
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        hint = "Encode text as numbers, or save a table as .csv or .parquet." if dtype.kind in "US" else ""
        hint = hint or "Save them as float64 or a smaller dtype."
        raise DatasetInvalid(
            f"{where}: inputs must be bool, integers or floats of at most 64 bits, found {dtype}\n{hint}"
        )
    if len(shape) < 2:
        raise DatasetInvalid(
            f"{where}: inputs must have shape (n, features) or (n, height, width, ...), found {shape}\n"
            "Save a single feature as x.reshape(-1, 1)."
        )
    if 0 in shape:
        raise DatasetInvalid(f"{where}: has no examples, its shape is {shape}\nGive several examples of each class.")


def _shape(inputs: NDArray[Any]) -> tuple[int, ...]:
    """The shape of an example, without the axis of a single channel: it does not change the order of the numbers."""
    shape = inputs.shape[1:]
    if len(shape) == 3 and shape[2] == 1:
        return shape[:2]
    if len(shape) == 3 and shape[0] == 1 and shape[2] != 3:
        return shape[1:]
    return shape


def _stored(source: Path, part: Part) -> NDArray[Any]:
    """(n, features), checked."""
    where = f"{source}: {part.inputs_name}"
    check_inputs(where, part.inputs.dtype, part.inputs.shape)
    if len(part.labels) != len(part.inputs):
        raise DatasetInvalid(
            f"{source}: {part.labels_name} has {len(part.labels):,} rows, but {part.inputs_name} has"
            f" {len(part.inputs):,}\nGive one label for each example."
        )
    rows = part.inputs.reshape(len(part.inputs), -1)
    _check_finite(where, rows, table=part.inputs.ndim == 2)
    try:
        return lossless(rows)
    except ValueError as error:
        raise DatasetInvalid(f"{where}: {error}\nSuch numbers are identifiers: leave their column out.") from error


def _check_finite(where: str, rows: NDArray[Any], *, table: bool) -> None:
    """Refuse infinity, and NaN in images."""
    if rows.dtype.kind != "f":
        return
    wrong = np.isinf(rows) if table else ~np.isfinite(rows)
    if not wrong.any():
        return
    row, place = np.unravel_index(np.argmax(wrong), rows.shape)
    found = f"{where}: has {rows[row, place]} in row {row}"
    if table:
        raise DatasetInvalid(f"{found}, column {place}\nReplace it by a number, or by NaN if the value is unknown.")
    raise DatasetInvalid(f"{found}, but images must be finite\nReplace it by a number, or leave the image out.")


def _labels(source: Path, parts: list[Part]) -> list[Labels]:
    """The labels of each part, with the classes of the first."""
    train = encode_labels(parts[0].labels, f"{source}: {parts[0].labels_name}")
    forms = [part.labels.shape[1:] if part.labels.shape[1:] != (1,) else () for part in parts]
    if len(set(forms)) > 1:
        # One-hot columns have no names: with a column less, a class would get the number of another.
        found = " and ".join(f"{part.labels_name} {part.labels.shape}" for part in parts)
        raise DatasetInvalid(
            f"{source}: both parts must have labels of the same form, found {found}\n"
            "Give both one label for each row, or both the same one-hot columns."
        )
    rest = [encode_labels(part.labels, f"{source}: {part.labels_name}", train.classes) for part in parts[1:]]
    return [train, *rest]


def _gaps(parts: list[Part], stored: list[NDArray[Any]]) -> list[str]:
    """A note for each part that has gaps."""
    notes = []
    for part, rows in zip(parts, stored, strict=True):
        gaps = np.isnan(rows).sum(axis=0) if rows.dtype.kind == "f" else np.zeros(rows.shape[1], np.int64)
        if gaps.any():
            columns = f"{np.count_nonzero(gaps):,} of {len(gaps):,} columns"
            notes.append(f"{part.inputs_name} has {gaps.sum():,} gaps (NaN) in {columns}")
    return notes
