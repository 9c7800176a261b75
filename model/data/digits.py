"""The digits: 1,797 handwritten digits from scikit-learn's wheel, read without importing scikit-learn."""

from pathlib import Path

import numpy as np

from model.data.arrays import Arrays
from model.data.errors import DatasetDamaged, DatasetUnavailable
from model.data.gunzip import gunzip
from model.data.splits import with_test_split


def read_digits() -> Arrays:
    """The 1,797 handwritten digits of UCI's test set, 8 x 8 pixels of 0..16, from scikit-learn's wheel.

    Raises:
        DatasetUnavailable: scikit-learn's file is missing.
        DatasetDamaged: The file does not contain the 1,797 digits.
    """
    path = _digits_file()
    width = 65
    try:
        text = gunzip(path.read_bytes(), 10 * 2**20).decode("ascii")
        table = np.loadtxt(text.splitlines(), delimiter=",", dtype=np.float64, max_rows=10_000, ndmin=2)
    except (ValueError, EOFError) as error:
        raise DatasetDamaged(f"{path}: not readable ({error})\nInstall scikit-learn again.") from error
    images, labels = table[:, :-1].astype(np.uint8), table[:, -1].astype(np.int64)
    plausible = table.shape == (1797, width) and images.max() == 16 and set(labels.tolist()) == set(range(10))
    if not plausible:
        raise DatasetDamaged(
            f"{path}: expected 1,797 rows of {width} numbers, found {table.shape}\nInstall scikit-learn again."
        )
    return with_test_split(images, labels, tuple("0123456789"), (8, 8), scale=1 / 16)


def _digits_file() -> Path:
    import importlib.util

    found = importlib.util.find_spec("sklearn")  # finds a top-level package without importing it
    folders = list(found.submodule_search_locations or []) if found else []
    for folder in folders:
        path = Path(folder, "datasets", "data", "digits.csv.gz")
        if path.is_file():
            return path
    raise DatasetUnavailable(
        "The digits are not available: they are a data file of scikit-learn, which is missing here.\n"
        "Install it again: python -m pip install --require-hashes -r requirements.lock"
    )
