"""Read and check a user's dataset from a .npz file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.data import npz
from model.data.arrays import Arrays, Column
from model.data.errors import DatasetInvalid
from model.data.splits import with_test_split

MAX_BYTES = 4 * 2**30


def read_npz_dataset(path: Path, target: str | None = None, keep: tuple[str, ...] = ()) -> Arrays:
    """Read a dataset from a .npz file with x_train, y_train and optionally x_test and y_test.

    Features are uint8 (scale 1/255) or floats (stored as float32, scale 1); labels are integers 0 .. C-1.
    Without x_test a fixed stratified fifth becomes the test split.

    Raises:
        DatasetInvalid: The file is missing or not such a dataset; the message has the array and its fault.
        OSError: The file cannot be read.
    """
    if not path.is_file():
        raise DatasetInvalid(f"{path}: there is no such file")
    try:
        arrays = npz.read(
            path,
            ["x_train", "y_train"],
            ["x_test", "y_test"],
            check=lambda name, header: _check_header(path, name, header),
            max_bytes=MAX_BYTES,
        )
    except npz.NpzError as error:
        raise DatasetInvalid(str(error)) from error
    if ("x_test" in arrays) != ("y_test" in arrays):
        raise DatasetInvalid(f"{path}: has only one of x_test and y_test\nGive both or neither.")
    return _assembled(path, arrays)


def _check_header(path: Path, name: str, header: npz.Header) -> None:
    """Refuse a wrong dtype or number of dimensions before any data is read."""
    found = f"found {header.dtype} with shape {header.shape}"
    if name.startswith("x"):
        plain = header.dtype == np.uint8 or (header.dtype.kind == "f" and header.dtype.itemsize in (4, 8))
        if not plain or len(header.shape) < 2 or 0 in header.shape:
            raise DatasetInvalid(f"{path}: {name} must be uint8, float32 or float64, (n, features...), {found}")
    elif header.dtype.kind not in "iu" or len(header.shape) != 1:
        raise DatasetInvalid(f"{path}: {name} must be integers of shape (n,), {found}")


def _assembled(path: Path, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    images, labels = _features(path, "x_train", arrays), _labels(path, "train", arrays, 0)
    classes = _classes(path, labels)
    names, shape = tuple(map(str, range(classes))), tuple(arrays["x_train"].shape[1:])
    columns = tuple(Column(str(place)) for place in range(shape[0])) if len(shape) == 1 else None
    if "x_test" not in arrays:
        return with_test_split(images, labels, names, shape, columns=columns)
    tests, test_labels = _features(path, "x_test", arrays), _labels(path, "test", arrays, classes)
    if arrays["x_test"].shape[1:] != shape or tests.dtype != images.dtype:
        found = f"{tests.dtype} of {arrays['x_test'].shape[1:]}"
        raise DatasetInvalid(f"{path}: x_test must be {images.dtype} of {shape} like x_train, found {found}")
    return Arrays(images, labels, tests, test_labels, names, shape, columns)


def _features(path: Path, name: str, arrays: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """(n, features) uint8 or float32, finite."""
    array = arrays[name].reshape(len(arrays[name]), -1)
    if array.dtype == np.uint8:
        return array
    with np.errstate(over="ignore"):
        array = array.astype(np.float32, copy=False)
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if len(bad):
        raise DatasetInvalid(f"{path}: {name} must be finite in float32, but {len(bad):,} rows are not, first {bad[0]}")
    return array


def _labels(path: Path, part: str, arrays: Mapping[str, NDArray[Any]], classes: int) -> NDArray[np.int64]:
    """(n,) labels in 0 .. classes - 1; classes = 0 accepts all that can be 0 .. C-1, each at least once."""
    labels, examples = arrays[f"y_{part}"], len(arrays[f"x_{part}"])
    if len(labels) != examples:
        raise DatasetInvalid(f"{path}: y_{part} must have {examples:,} labels like x_{part}, found {len(labels):,}")
    # Before the cast: a uint64 above the range of int64 would become negative, and a large one would need a huge table.
    wrong = labels[(labels < 0) | (labels >= (classes or max(2, examples)))]
    if len(wrong):
        known = f"0 .. {classes - 1} like y_train" if classes else "0 .. C-1, each at least once"
        raise DatasetInvalid(f"{path}: y_{part} must hold labels {known}, found {wrong[0]}")
    return labels.astype(np.int64)


def _classes(path: Path, labels: NDArray[np.int64]) -> int:
    counts = np.bincount(labels)
    if len(counts) < 2:
        raise DatasetInvalid(f"{path}: y_train must hold at least 2 classes, found 1")
    if not counts.all():
        raise DatasetInvalid(
            f"{path}: y_train must hold every label 0 .. {len(counts) - 1}, but has no {np.flatnonzero(counts == 0)[0]}"
        )
    return len(counts)
