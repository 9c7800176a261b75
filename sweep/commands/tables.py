"""Predict the rows of a table or of an array in batches, and write them to a CSV file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from model.classifier import Classifier
from model.data import npz
from model.data.arrays import are_padded
from model.data.assembly import MAX_BYTES
from model.data.datasets import TABLES
from model.data.errors import DatasetInvalid, listed
from model.data.frames import TableFile, as_text, row_finder
from model.data.preprocessing import Category, Pixels, PreprocessingError, Table
from model.data.tables import usual_targets
from model.files import replacing
from model.network import BATCH

ARRAY_NAMES = ("x", "x_test", "inputs")
"""Names of the array in a .npz file, in any case."""
ROWS_SHOWN = 10
SLIVER = 0.05
"""A range this much smaller or larger than that of the training images is one in other units: 0..1 for 0..255."""


@dataclass
class Summary:
    """What was predicted.

    Attributes:
        first: The first rows.
        rows: Number of all rows.
        target: The column of the file with the known classes, if there is one.
        known, right: Rows with a known class, and those of them that were predicted so.
        ignored: Columns of the file that the champion does not use.
        unseen: Of each text column, the rows whose value has no input of its own.
        examples: One such value of each of these columns.
        gaps: Of each column without gaps in the training rows, the rows that have one.
        notes: What is odd about the values of an array, a line each.
    """

    first: pd.DataFrame = field(default_factory=pd.DataFrame)
    rows: int = 0
    target: str | None = None
    known: int = 0
    right: int = 0
    ignored: Sequence[str] = ()
    unseen: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    gaps: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


def predict_rows(
    path: Path, champion: Classifier, target: str | None, identifiers: Sequence[str], out: Path | None
) -> Summary:
    """Predict all rows of a file: the class, and a probability for each class.

    A table is read in parts, so memory does not depend on its number of rows.

    Args:
        path: A file that `model.data.datasets.READERS` names. Columns of a table are found by their names.
        champion: Of a table, or for a .npz file of anything that has a shape.
        target: The column with the known class, if the file has it; None for the usual names, or else the last column.
        identifiers: Columns of a table that are copied to the output.
        out: The CSV file to replace, only if all rows can be predicted; None to write nothing.

    Raises:
        DatasetInvalid: The file cannot be read, lacks a column, or has a value that the champion cannot take.
        OSError: A file cannot be read or written.
    """
    summary = Summary()
    ending = path.suffix.lower()
    if ending != ".npz" and ending not in TABLES:
        raise DatasetInvalid(
            f"{path}: predictions are made for tables ({', '.join(TABLES)}) and for arrays in a .npz file\n"
            "Save its rows as one of these."
        )
    if ending == ".npz":
        parts = _array_parts(path, champion, identifiers, summary)
    else:
        parts = _table_parts(path, champion, target, identifiers, summary)
    with replacing(out) if out else nullcontext() as file:
        for part in parts:
            if file:
                part.to_csv(file, index=False, header=summary.rows == 0, lineterminator="\n")
            summary.first = part.head(ROWS_SHOWN) if summary.rows == 0 else summary.first
            summary.rows += len(part)
        if not summary.rows:
            raise DatasetInvalid(f"{path}: has no rows")
    return summary


def prediction_columns(champion: Classifier, probabilities: NDArray[Any]) -> dict[str, Any]:
    """The columns `class` and `probability_<class>`."""
    names = np.array(champion.classes, object)
    columns: dict[str, Any] = {"class": names[probabilities.argmax(axis=1)]}
    return columns | {f"probability_{name}": probabilities[:, place] for place, name in enumerate(champion.classes)}


# ------------------------------------------------------------------ tables


def _table_parts(
    path: Path, champion: Classifier, target: str | None, identifiers: Sequence[str], summary: Summary
) -> Iterator[pd.DataFrame]:
    """The output, part by part; the summary is brought up to date with each."""
    table = champion.preprocessing
    if not isinstance(table, Table):
        raise DatasetInvalid(
            f"{path}: the champion was trained on examples of shape {table.shape}, not on a table\n"
            "Give image files, or a .npz file with an array x."
        )
    file = TableFile.of(path)
    inputs = [column.name for column in table.columns]
    _check_columns(file, inputs, identifiers, champion)
    summary.target = _target(file.names, {*inputs, *table.dropped, *identifiers}, target)
    used = [*inputs, *([summary.target] if summary.target else [])]
    summary.ignored = [name for name in file.names if name not in {*used, *table.dropped, *identifiers}]
    text = [column.name for column in table.columns if isinstance(column, Category)]
    text += [summary.target] if summary.target and are_padded(champion.classes) else []
    # A product of other rows can differ in its last bit: the batches are those of MLflow's model.
    parts = file.parts(used, text, BATCH)
    kept = file.parts(identifiers, identifiers, BATCH, as_written=True) if identifiers else None
    for part in parts:
        probabilities = _part_probabilities(path, champion, part, summary)
        columns = prediction_columns(champion, probabilities)
        _count_right(champion, part, columns["class"], summary)
        own = next(kept)[list(identifiers)] if kept else pd.DataFrame(index=part.index)
        yield own.reset_index(drop=True).assign(**columns)


def _check_columns(file: TableFile, inputs: Sequence[str], identifiers: Sequence[str], champion: Classifier) -> None:
    if taken := {*identifiers} & {"class", *(f"probability_{name}" for name in champion.classes)}:
        raise DatasetInvalid(
            f"{file.path}: a column of the output is named {min(taken)!r} already\nRename it in the file."
        )
    for what, wanted in (("columns that the champion needs", inputs), ("the columns named by --id", identifiers)):
        if missing := [name for name in wanted if name not in file.names]:
            raise DatasetInvalid(f"{file.path}: lacks {what}: {listed(missing)}\nIts columns are {listed(file.names)}")


def _target(names: Sequence[str], used: set[str], target: str | None) -> str | None:
    """The column with the known classes: the study's target, or by the rule by which it was found."""
    if target is not None:
        return target if target in names and target not in used else None
    return next((name for name in [*usual_targets(names), names[-1]] if name not in used), None)


def _part_probabilities(path: Path, champion: Classifier, part: pd.DataFrame, summary: Summary) -> NDArray[Any]:
    """Probabilities (n, classes) of a part of the rows; unseen values and new gaps are counted."""
    try:
        raw, columns = champion.raw_rows(part)
        found = champion.predict(raw, columns)
    except PreprocessingError as error:
        place = "" if error.row is None else f", {row_finder(path)(summary.rows + error.row)}"
        raise DatasetInvalid(f"{path}{place}: {error.fault}") from error
    assert isinstance(champion.preprocessing, Table)
    for codes, column, fitted in zip(raw.T, columns, champion.preprocessing.columns, strict=True):
        if not fitted.gaps and (missing := int(np.isnan(codes).sum())):
            summary.gaps[column.name] += missing
        if isinstance(fitted, Category) and column.categories:
            places = fitted.places(column.categories)
            if new := [code for code, place in enumerate(places) if place == len(fitted.values)]:
                summary.unseen[column.name] += int(np.isin(codes, new).sum())
                summary.examples.setdefault(column.name, column.categories[new[0]])
    return found


def _count_right(champion: Classifier, part: pd.DataFrame, predicted: NDArray[Any], summary: Summary) -> None:
    """Compare the predictions with the known classes; a column with anything else is no target."""
    if summary.target is None:
        return
    labels = as_text(part[summary.target]).str.strip()
    known = labels.notna().to_numpy()
    if not labels[known].isin(champion.classes).all():
        summary.ignored, summary.target = [*summary.ignored, summary.target], None
        return
    summary.known += int(known.sum())
    summary.right += int((labels.to_numpy(object)[known] == predicted[known]).sum())


# ------------------------------------------------------------------ arrays


def _array_parts(
    path: Path, champion: Classifier, identifiers: Sequence[str], summary: Summary
) -> Iterator[pd.DataFrame]:
    if identifiers:
        raise DatasetInvalid(f"{path}: has no columns for --id, only an array")
    array = _read_array(path)
    try:
        probabilities = champion.probabilities(array)
    except PreprocessingError as error:
        raise DatasetInvalid(f"{path}: {error}") from error
    if isinstance(champion.preprocessing, Pixels):
        summary.notes += _range_notes(array, champion.preprocessing)
    yield pd.DataFrame(prediction_columns(champion, probabilities))


def _range_notes(array: NDArray[Any], trained: Pixels) -> list[str]:
    """A line if the values are probably in other units than those of the training images."""
    low, high, span = float(array.min()), float(array.max()), trained.high - trained.low
    if len(array) > 1 and (high - low < SLIVER * span or high - low > span / SLIVER):
        return [
            f"the values lie between {low:g} and {high:g}, those of the training images between {trained.low:g} and"
            f" {trained.high:g}: are they in the same units?"
        ]
    return []


def _read_array(path: Path) -> NDArray[Any]:
    """The array of examples in a .npz file; others are not read."""
    if not path.is_file():
        raise DatasetInvalid(f"{path}: there is no such file")
    try:
        names = npz.member_names(path)
        wanted = [name for name in names if name.lower() in ARRAY_NAMES]
        if len(wanted) != 1:
            raise DatasetInvalid(
                f"{path}: must have one array named x, X, x_test or inputs, found {listed(names) or 'nothing'}\n"
                "Save the examples with np.savez(path, x=examples)."
            )
        others = [name for name in names if name not in wanted]
        return npz.read(path, wanted, (), others, check=lambda _name, _header: None, max_bytes=MAX_BYTES)[wanted[0]]
    except npz.NpzError as error:
        raise DatasetInvalid(str(error)) from error
