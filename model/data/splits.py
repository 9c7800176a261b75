"""Stratified splits, the same on every machine.

The test examples are part of the dataset and do not depend on the study. The validation examples depend on the study's
seed.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.data.arrays import Arrays, Column

TEST_FRACTION = 0.2
TEST_SEED = 1797
"""Seed of the test split of datasets without test examples."""
VALIDATION_FRACTION = 0.1
VALIDATION_STREAM = 0x53504C4954
"""Seed-stream identifier ("SPLIT" in ASCII): no trial uses this stream of random numbers."""
FOLD_STREAM = 0x464F4C44
"""Seed-stream identifier ("FOLD" in ASCII) of the partition into folds."""
FEW_VALIDATION_ROWS = 500
"""Validation rows, below which one validation part tells good settings from lucky ones too badly.

An accuracy of 90 % on 500 rows has a standard error of 1.3 points, more than most settings differ.
"""
FOLDS, LEAST_FOLDS, MOST_FOLDS = 5, 3, 20
"""Folds where there are few rows; the fewest that are chosen unasked, since with two only half of the rows train; most.
"""


def stratified_split(
    labels: NDArray[np.int64], fraction: float, seed: np.random.SeedSequence
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split rows into two sorted, disjoint sets: (the rest, about `fraction` of every class).

    A class with at least two examples is in both sets; a class with a single one is only in the rest.

    Args:
        labels: (n,) int64, 0 or more.
        fraction: Fraction of the second set, in 0..1.
        seed: The same seed gives the same rows on every machine.

    Returns:
        Two int64 arrays of row numbers, ascending.
    """
    # Raw PCG64 output and a stable sort: NumPy guarantees the bit stream in all versions, but not permutation().
    order = np.argsort(np.random.PCG64(seed).random_raw(len(labels)), kind="stable")
    taken = np.zeros(len(labels), dtype=bool)
    for label, count in enumerate(_apportioned(np.bincount(labels), fraction)):
        taken[order[labels[order] == label][:count]] = True
    return np.flatnonzero(~taken), np.flatnonzero(taken)


def _apportioned(sizes: NDArray[np.int64], fraction: float) -> NDArray[np.int64]:
    """Number of examples to take of each class, by the largest-remainder method, which keeps the total."""
    quotas = sizes * fraction
    counts = np.floor(quotas).astype(np.int64)
    missing = round(float(quotas.sum())) - int(counts.sum())
    counts[np.argsort(counts - quotas, kind="stable")[:missing]] += 1
    most = np.maximum(sizes - 1, 0)
    bounded: NDArray[np.int64] = np.minimum(np.maximum(counts, np.minimum(1, most)), most)
    return bounded


def with_test_split(
    inputs: NDArray[Any],
    labels: NDArray[np.int64],
    classes: tuple[str, ...],
    shape: tuple[int, ...],
    *,
    columns: tuple[Column, ...] | None = None,
    scale: float | None = None,
    notes: tuple[str, ...] = (),
) -> Arrays:
    """The examples with a fixed stratified fifth of them as the test split; see `Arrays` for the arguments."""
    rest, test = stratified_split(labels, TEST_FRACTION, np.random.SeedSequence(TEST_SEED))
    parts = inputs[rest], labels[rest], inputs[test], labels[test]
    return Arrays(*parts, classes, shape, columns, scale, notes)


def validation_split(labels: NDArray[np.int64], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows for training and rows for validation, a tenth of every class, for a study's seed."""
    sequence = np.random.SeedSequence(seed, spawn_key=(VALIDATION_STREAM,))
    return stratified_split(labels, VALIDATION_FRACTION, sequence)


def fold_split(
    labels: NDArray[np.int64], seed: int, folds: int, fold: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows for training and rows for validation of one fold of a stratified partition.

    Every row is in the validation part of exactly one fold. The parts of two folds differ by at most one row, and by at
    most one row of each class. With a single fold, the rows of `validation_split`.

    Args:
        labels: (n,) int64, 0 or more, of all rows but the test rows.
        seed: the study's; the same seed gives the same rows on every machine.
        folds: number of folds; not more than `most_folds`, so that every class is in every part.
        fold: from 0.

    Returns:
        Two int64 arrays of row numbers, ascending.
    """
    if folds == 1:
        return validation_split(labels, seed)
    sequence = np.random.SeedSequence(seed, spawn_key=(FOLD_STREAM,))
    order = np.argsort(np.random.PCG64(sequence).random_raw(len(labels)), kind="stable")
    by_class = order[np.argsort(labels[order], kind="stable")]
    taken = np.zeros(len(labels), dtype=bool)
    taken[by_class[fold::folds]] = True
    return np.flatnonzero(~taken), np.flatnonzero(taken)


def most_folds(labels: NDArray[np.int64]) -> int:
    """The largest number of folds that all have rows of every class; 1 if a class has a single row."""
    counts = np.bincount(labels)
    return min(MOST_FOLDS, int(counts[counts > 0].min()))


def default_folds(labels: NDArray[np.int64]) -> int:
    """The number of folds of a study that names none: 5 where one validation part has under 500 rows, else 1.

    Where the rarest class has fewer than 5 rows, as many as it has; 1 if those are fewer than 3.

    Args:
        labels: (n,) int64, of all rows but the test rows.
    """
    if round(len(labels) * VALIDATION_FRACTION) >= FEW_VALIDATION_ROWS:
        return 1
    folds = min(FOLDS, most_folds(labels))
    return folds if folds >= LEAST_FOLDS else 1
