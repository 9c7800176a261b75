"""Notes on rows that make a result doubtful: test rows that are also training rows, and classes with a single row."""

import numpy as np
from numpy.typing import NDArray

from model.data.arrays import Arrays
from model.data.errors import first_names


def row_notes(arrays: Arrays) -> tuple[str, ...]:
    """One line on test rows that also occur among the other rows, and one on classes that occur once."""
    return (*_repeated(arrays), *_single(arrays))


def _repeated(arrays: Arrays) -> list[str]:
    known, tests = _hashes(arrays.inputs), _hashes(arrays.test_inputs)
    repeated = np.isin(tests, known)
    if not repeated.any():
        return []
    alike = np.isin(_with_label(tests, arrays.test_labels), _with_label(known, arrays.labels))
    other = int(np.count_nonzero(repeated & ~alike))
    labels = f", {other:,} of them only with another label" if other else ""
    return [
        f"{np.count_nonzero(repeated):,} of {len(tests):,} test rows are exactly the same as a training row{labels};"
        " remove copies from the source if they are not real examples"
    ]


def _hashes(inputs: NDArray[np.generic]) -> NDArray[np.uint64]:
    """(n,) a 64-bit hash of each row; equal numbers have equal hashes in any dtype, and gaps are equal to each other.

    Two of a million different rows share a hash with a probability of 3e-8.
    """
    hashes = np.zeros(len(inputs), np.uint64)
    for column in range(inputs.shape[1]):
        values = inputs[:, column].astype(np.float64) + 0.0  # -0.0 becomes 0.0
        values[np.isnan(values)] = np.nan
        hashes = _mixed(hashes + values.view(np.uint64))
    return hashes


def _with_label(hashes: NDArray[np.uint64], labels: NDArray[np.int64]) -> NDArray[np.uint64]:
    return _mixed(hashes + labels.astype(np.uint64))


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread every bit over all 64: the finaliser of SplitMix64 (Steele, Lea & Flood 2014), modulo 2**64."""
    numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def _single(arrays: Arrays) -> list[str]:
    """A class with one row is in no other split, so it cannot be judged."""
    labels = np.concatenate([arrays.labels, arrays.test_labels])
    counts = np.bincount(labels, minlength=len(arrays.classes))
    names = [name for name, count in zip(arrays.classes, counts, strict=True) if count == 1]
    if not names:
        return []
    return [f"classes with a single row, which cannot be tested: {first_names(names)}"]
