"""Read a dataset from a table: a CSV or Parquet file with a column to predict."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from model.data.arrays import Arrays
from model.data.columns import choose_inputs, nearest
from model.data.errors import DatasetInvalid
from model.data.frames import TableFile, read_columns, row_finder
from model.data.labels import Labels, encode_labels
from model.data.splits import with_test_split

TARGETS = ("label", "target", "class", "y")
"""Names of a target column in any case; the first that is found is it."""
LONGEST_CLASS = 100
"""Characters of a class name up to which labels are stored with a fixed width."""


def read_table_dataset(path: Path, target: str | None, keep: tuple[str, ...]) -> Arrays:
    """Read a dataset from a CSV file (also .tsv, .txt and gzipped) or a Parquet file.

    Numbers, bool and text of numbers become number columns; other text becomes categories; identifiers, dates and empty
    columns are left out. A fixed stratified fifth of the rows becomes the test split. The notes say what was done.

    Args:
        path: The file; see `read_columns`.
        target: The column to predict; None for the first named label, target, class or y, or else the last column.
        keep: Columns that are used although they look like identifiers or dates.

    Raises:
        DatasetInvalid: The file is not such a table, or its target is not one of a classifier; the message has the
            line or column, and what to do.
        OSError: The file cannot be read.
    """
    columns = read_columns(path)
    place = row_finder(path)
    name, usual = _target(list(columns), target, path), _target(list(columns), None, path)
    values = columns.pop(name)
    labels = _labels(values, f"{path}: column {name!r}", place, is_usual=name == usual)
    inputs = choose_inputs(columns, [column for column in keep if column != name], str(path), place)
    notes = [f"target {name!r}{'' if target else ' (if another is meant, name it with --target COLUMN)'}"]
    notes += [labels.note] if labels.note else []
    return with_test_split(
        inputs.values,
        labels.codes,
        labels.classes,
        (len(inputs.columns),),
        columns=inputs.columns,
        notes=(*notes, *inputs.notes),
    )


def target_name(path: Path, target: str | None) -> str:
    """The name of the column to predict in a table, without reading its values; see `read_table_dataset`.

    Raises:
        DatasetInvalid, OSError: As `read_table_dataset`.
    """
    return _target(list(TableFile.of(path).names), target, path)


def usual_targets(names: Sequence[str]) -> list[str]:
    """The names that are usual for a target, in the order of `TARGETS`."""
    return [name for word in TARGETS for name in names if name.lower() == word]


def _target(names: list[str], target: str | None, path: Path) -> str:
    if target is not None:
        if target not in names:
            raise DatasetInvalid(f"{path}: there is no column {target!r} to predict{nearest(target, names)}")
        return target
    usual = usual_targets(names)
    named = [name for name in names if not name.startswith("Unnamed: ")]
    return (usual or named or names)[-1 if not usual else 0]


def _labels(values: "pd.Series[Any]", where: str, place: Callable[[int], str], *, is_usual: bool) -> Labels:
    """The codes of the labels; an error says how to name another target, unless one was chosen."""
    try:
        _refuse_missing(values, where, place)
        return encode_labels(_plain_array(values), where)
    except DatasetInvalid as error:
        if not is_usual:
            raise
        lines = str(error).splitlines()[:2]
        raise DatasetInvalid("\n".join([*lines, "Or name another column to predict with --target COLUMN."])) from error


def _refuse_missing(values: "pd.Series[Any]", where: str, place: Callable[[int], str]) -> None:
    missing = values.isna().to_numpy()
    if missing.any():
        raise DatasetInvalid(
            f"{where}: {np.count_nonzero(missing):,} of {len(values):,} labels are missing, first in"
            f" {place(int(np.argmax(missing)))}\n"
            "Remove these rows, or give them a label. If NA or None is a class, write it in another way."
        )


def _plain_array(values: "pd.Series[Any]") -> NDArray[Any]:
    """Text with a fixed width unless it is long; other columns as they are."""
    if values.dtype == "str" and values.str.len().max() <= LONGEST_CLASS:
        return values.to_numpy(dtype=str)
    return values.to_numpy()
