"""Prepare, load and split datasets.

`prepare` writes a dataset as a folder of plain .npy files with a digest; `load` maps that folder in milliseconds.
Pixels are bytes until a batch is gathered and scaled: two workers share the same 47 MB of MNIST instead of 188 MB of
floats each.
"""

import contextlib
import difflib
import hashlib
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.data.arrays import Arrays
from model.data.cache import fault, map_arrays, read_card, replace_folder
from model.data.digits import read_digits
from model.data.download import PUBLIC, Network, Notify
from model.data.errors import DatasetDamaged, DatasetError, DatasetInvalid, DatasetUnavailable
from model.data.mnist import read_mnist
from model.data.npz_dataset import read_npz_dataset
from model.data.splits import validation_split
from model.files import locked

__all__ = [
    "BUILT_IN",
    "READERS",
    "Dataset",
    "DatasetDamaged",
    "DatasetError",
    "DatasetInvalid",
    "DatasetUnavailable",
    "Examples",
    "check_name",
    "fetch",
    "load",
    "prepare",
    "prepared",
    "verify",
]

BUILT_IN = ("digits", "mnist")
READERS = {".npz": read_npz_dataset}
"""The reader of a data file by its ending."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Rows of arrays that several splits share; nothing is copied.

    A batch is gathered with `np.take(examples.images, rows, axis=0, out=batch, mode="clip")`
    (with the default mode NumPy buffers `out`).

    Attributes:
        images: (n, features) uint8 or float32, all rows, memory-mapped and read-only.
        labels: (n,) int64, all rows.
        rows: (len(self),) int64, which rows belong to this split, ascending.
    """

    images: NDArray[Any]
    labels: NDArray[np.int64]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A dataset, split for one study.

    Attributes:
        name: "digits", "mnist", or the name of a data file.
        digest: SHA-256 (hex) of the arrays and their metadata, independent of their source.
        classes: Number of different labels.
        shape: The shape of one example before it was flattened, such as (28, 28).
        scale: Factor from a stored feature to the network's input.
        train: Examples to fit the weights to.
        validation: Examples to choose hyperparameters with; shares its arrays with train.
        test: Examples for one evaluation after the search.
    """

    name: str
    digest: str
    classes: int
    shape: tuple[int, ...]
    scale: float
    train: Examples
    validation: Examples
    test: Examples

    @property
    def features(self) -> int:
        """Number of features of one example."""
        return math.prod(self.shape)

    @property
    def train_and_validation(self) -> Examples:
        """All examples except the test examples, for the final models."""
        rows = np.sort(np.concatenate([self.train.rows, self.validation.rows]))
        return Examples(self.train.images, self.train.labels, rows)


def _silent(line: str) -> None:
    del line


def load(folder: Path, seed: int) -> Dataset:
    """Map a prepared dataset and split it for a study; takes milliseconds, because images are not hashed or copied.

    Args:
        folder: The folder that `prepare` returned.
        seed: The study's seed, which determines the tenth of the rows that is used for validation.

    Raises:
        DatasetDamaged: The folder is not a prepared dataset, or its files are inconsistent.
    """
    card = read_card(folder)
    arrays = map_arrays(folder, card)
    images, labels = arrays["images"], arrays["labels"]
    train, validation = validation_split(labels, seed)
    return Dataset(
        name=card.name,
        digest=card.digest,
        classes=card.classes,
        shape=card.shape,
        scale=card.scale,
        train=Examples(images, labels, train),
        validation=Examples(images, labels, validation),
        test=Examples(arrays["test_images"], arrays["test_labels"], np.arange(card.test_examples)),
    )


def prepare(
    name: str, cache: Path, *, download: bool = True, notify: Notify = _silent, network: Network = PUBLIC
) -> Path:
    """Return the folder of a dataset in the cache, after verifying or preparing it.

    An existing folder is hashed and reused. A damaged one is prepared again if its source is available. Several
    processes may prepare the same dataset at once.

    Args:
        name: "digits", "mnist", or the path of a data file.
        cache: The folder for datasets; created if needed.
        download: Whether MNIST may be downloaded.
        notify: Called with one line before each download and when a damaged folder is replaced.
        network: Mirrors and timeouts of a download.

    Returns:
        The folder with images.npy, labels.npy, test_images.npy, test_labels.npy and dataset.json.

    Raises:
        DatasetUnavailable: The data are not on this machine and cannot be downloaded.
        DatasetDamaged: A source file is damaged, or the cache is and cannot be prepared again.
        DatasetInvalid: An unknown name, or a file that is not a dataset.
        OSError: The cache cannot be read or written (disk full, permission).
    """
    folder = cache / _folder_name(name)
    damage = fault(folder)
    if damage is None:
        return folder
    if folder.exists():
        notify(f"The prepared dataset is damaged and is prepared again: {damage}")
    try:
        arrays = _read_source(name, cache, download=download, notify=notify, network=network)
    except DatasetUnavailable as error:
        if not folder.exists():
            raise
        raise DatasetDamaged(f"{damage}\n{error}") from error
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / f".{folder.name}.lock"):
        if fault(folder) is not None:  # otherwise another process has just prepared it
            replace_folder(folder, Path(name).name, arrays)
    return folder


def prepared(digest: str, cache: Path) -> Path | None:
    """The undamaged folder in the cache with this digest, under any name; None if there is none."""
    for card in sorted(cache.glob("*/dataset.json")):
        with contextlib.suppress(DatasetDamaged):
            if read_card(card.parent).digest == digest and fault(card.parent) is None:
                return card.parent
    return None


def fetch(name: str, cache: Path, *, notify: Notify = _silent, network: Network = PUBLIC) -> list[str]:
    """Prepare a dataset, downloading it if necessary, and return lines that describe it.

    Raises:
        DatasetError: As `prepare`.
        OSError: As `prepare`.
    """
    folder = prepare(name, cache, notify=notify, network=network)
    return _describe(folder)


def verify(name: str, cache: Path) -> list[str]:
    """Hash a prepared dataset without changing it, and return lines that describe it.

    Raises:
        DatasetUnavailable: It has not been prepared.
        DatasetDamaged: Its content does not have the recorded digest.
        DatasetInvalid: An unknown name.
    """
    folder = cache / _folder_name(name)
    if not folder.exists():
        raise DatasetUnavailable(f"{name} is not in {cache}\nGet it with `sweep data fetch {name}`.")
    damage = fault(folder)
    if damage is not None:
        raise DatasetDamaged(f"{damage}\nPrepare it again with `sweep data fetch {name}`.")
    return _describe(folder)


def _describe(folder: Path) -> list[str]:
    card = read_card(folder)
    size = " x ".join(map(str, card.shape))
    return [
        f"{card.name}: {card.examples:,} examples and {card.test_examples:,} for testing,"
        f" {size}, {card.classes} classes",
        f"in {folder}, SHA-256 {card.digest}",
    ]


# ------------------------------------------------------------------ names and sources


def check_name(name: str) -> None:
    """Accept the name of a built-in dataset or the path of an existing data file.

    Raises:
        DatasetInvalid: It is neither.
    """
    if name in BUILT_IN:
        return
    if Path(name).suffix not in READERS:
        nearest = difflib.get_close_matches(name, BUILT_IN, n=1)
        endings = " or ".join(READERS)
        hint = f"Did you mean {nearest[0]!r}?" if nearest else f"The name of a data file must end in {endings}."
        raise DatasetInvalid(
            f"unknown dataset {name!r}, known are {', '.join(BUILT_IN)} and paths to {endings}\n{hint}"
        )
    if Path(name).is_dir():
        raise DatasetInvalid(f"{name}: is a folder, not a file")
    if not Path(name).is_file():
        raise DatasetInvalid(f"{name}: there is no such file")


def _folder_name(name: str) -> str:
    """Name of a dataset's folder in the cache; of a data file it depends on the content."""
    check_name(name)
    if name in BUILT_IN:
        return name
    path = Path(name)
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    stem = re.sub(r"[^A-Za-z0-9_-]", "_", path.stem)[:40]
    return f"{path.suffix[1:]}-{stem}-{content[:16]}"


def _read_source(name: str, cache: Path, *, download: bool, notify: Notify, network: Network) -> Arrays:
    if name == "digits":
        arrays = read_digits()
    elif name == "mnist":
        arrays = read_mnist(cache / "mnist-files", download_missing=download, notify=notify, network=network)
    else:
        arrays = READERS[Path(name).suffix](Path(name))
    if not len(validation_split(arrays.labels, 0)[1]):
        raise DatasetInvalid(f"{name}: has only one example of each class, so there is none for validation")
    return arrays
