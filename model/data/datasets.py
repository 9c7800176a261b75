"""Prepare, load and split datasets.

`prepare` writes a dataset as a folder of plain .npy files with a digest; `load` maps that folder, splits it and fits
the preprocessing on the training rows. Pixels are bytes until a batch is gathered and scaled: two workers share the
same 47 MB of MNIST instead of 188 MB of floats each.
"""

import contextlib
import difflib
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.data.arrays import Arrays, Column
from model.data.cache import Card, fault, map_arrays, read_card, replace_folder
from model.data.digits import read_digits
from model.data.download import PUBLIC, Network, Notify
from model.data.errors import DatasetDamaged, DatasetError, DatasetInvalid, DatasetUnavailable
from model.data.idx_dataset import idx_files, read_idx_dataset
from model.data.mnist import read_mnist, sweep_data
from model.data.npz_dataset import read_npz_dataset
from model.data.preprocessing import BACKGROUND_IMAGES, Preprocessing, fit_pixels, fit_table
from model.data.row_notes import row_notes
from model.data.splits import fold_split, validation_split
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
    "Source",
    "check_name",
    "fetch",
    "labels",
    "load",
    "load_folds",
    "prepare",
    "prepared",
    "read_source",
    "verify",
]

BUILT_IN = ("digits", "mnist")
Reader = Callable[[Path, str | None, tuple[str, ...]], Arrays]
"""Reads a source; the target column and the columns to keep are of a table, else None and empty."""


def _read_table(path: Path, target: str | None, keep: tuple[str, ...]) -> Arrays:
    from model.data.tables import read_table_dataset  # imports pandas, which workers do not need, in half a second

    return read_table_dataset(path, target, keep)


TABLES = (".csv", ".tsv", ".txt", ".gz", ".parquet", ".pq")
READERS: dict[str, Reader] = {".npz": read_npz_dataset, **dict.fromkeys(TABLES, _read_table)}
"""The reader of a data file by its ending."""
READER_VERSION = 3
"""Increase it if a reader gives other arrays for the same file: the file is then prepared again."""


@dataclass(frozen=True)
class Source:
    """Where a dataset comes from and how it is read.

    Attributes:
        name: "digits", "mnist", or the path of a data file.
        target: Of a table: the column to predict; None for the usual names, or else the last column.
        keep: Of a table: columns to keep although they look like identifiers or dates.
    """

    name: str
    target: str | None = None
    keep: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Examples:
    """Rows of arrays that several splits share; nothing is copied.

    A batch is gathered with `np.take(examples.inputs, rows, axis=0, out=batch, mode="clip")`
    (with the default mode NumPy buffers `out`).

    Attributes:
        inputs: (n, features) numbers, all rows, read-only. Images are as stored, the network scales each batch; rows of
            a table are preprocessed.
        labels: (n,) int64, all rows.
        rows: (len(self),) int64, which rows belong to this split, ascending.
    """

    inputs: NDArray[Any]
    labels: NDArray[np.int64]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A dataset, split for one study, with the preprocessing that was fitted on its training rows.

    Attributes:
        name: "digits", "mnist", or the name of a data file.
        digest: SHA-256 (hex) of the arrays and their metadata, independent of their source.
        class_names: Name of each class.
        shape: The shape of one example before it was flattened, such as (28, 28).
        columns: The columns of a table; None for images.
        notes: What was done with the source, a line each.
        preprocessing: From raw examples to the network's inputs.
        train: Examples to fit the weights to.
        validation: Examples to choose hyperparameters with; shares its arrays with train.
        raw_test: The test examples as stored, memory-mapped.
        test_labels: (m,) int64.
    """

    name: str
    digest: str
    class_names: tuple[str, ...]
    shape: tuple[int, ...]
    columns: tuple[Column, ...] | None
    notes: tuple[str, ...]
    preprocessing: Preprocessing
    train: Examples
    validation: Examples
    raw_test: NDArray[Any]
    test_labels: NDArray[np.int64]

    @property
    def classes(self) -> int:
        """Number of different labels."""
        return len(self.class_names)

    @property
    def features(self) -> int:
        """Number of the network's inputs."""
        return self.preprocessing.features

    @cached_property
    def test(self) -> Examples:
        """Examples for one evaluation after the search; preprocessed only when they are used."""
        inputs = self.preprocessing.apply(self.raw_test, self.columns or ())
        return Examples(inputs, self.test_labels, np.arange(len(self.test_labels)))


def _silent(line: str) -> None:
    del line


def labels(folder: Path) -> NDArray[np.int64]:
    """The labels (n,) of all rows but the test rows of a prepared dataset.

    Raises:
        DatasetDamaged: As `load`.
    """
    return map_arrays(folder, read_card(folder))["labels"]


def load_folds(folder: Path, seed: int | None, folds: int) -> tuple[Dataset, ...]:
    """A prepared dataset as each fold splits it; the arguments are those of `load`.

    Raises:
        DatasetDamaged: As `load`.
    """
    return tuple(load(folder, seed, folds, fold) for fold in range(folds))


def load(folder: Path, seed: int | None, folds: int = 1, fold: int = 0) -> Dataset:
    """Map a prepared dataset, split it for a study, and fit the preprocessing on its training rows.

    Takes milliseconds for images, which are not hashed or copied.

    Args:
        folder: The folder that `prepare` returned.
        seed: The study's seed, which determines the tenth of the rows that is used for validation. None: all rows but
            the test rows are for training and none for validation, as for the final models.
        folds: Number of parts of which each is once used for validation; 1 for a single split.
        fold: The part that is used for validation here, from 0.

    Raises:
        DatasetDamaged: The folder is not a prepared dataset, or its files are inconsistent.
    """
    card = read_card(folder)
    arrays = map_arrays(folder, card)
    raw, labels = arrays["images"], arrays["labels"]
    everything = np.arange(len(labels)), np.empty(0, np.int64)
    train, validation = everything if seed is None else fold_split(labels, seed, folds, fold)
    preprocessing = _fitted(card, raw, train)
    inputs = preprocessing.apply(raw, card.columns or ())
    return Dataset(
        name=card.name,
        digest=card.digest,
        class_names=card.classes,
        shape=card.shape,
        columns=card.columns,
        notes=card.notes,
        preprocessing=preprocessing,
        train=Examples(inputs, labels, train),
        validation=Examples(inputs, labels, validation),
        raw_test=arrays["test_images"],
        test_labels=arrays["test_labels"],
    )


def _fitted(card: Card, raw: NDArray[Any], train: NDArray[np.int64]) -> Preprocessing:
    """The preprocessing of these training rows; where the format fixes the range, they tell the background only."""
    if card.scale is not None:
        few = train[:: 1 + len(train) // BACKGROUND_IMAGES]  # a copy of all rows of MNIST would take 42 MB
        return fit_pixels(raw[few], card.shape, card.scale)
    if card.columns is None:
        return fit_pixels(raw[train], card.shape)
    return fit_table(raw[train], card.columns)


def prepare(
    source: Source | str, cache: Path, *, download: bool = True, notify: Notify = _silent, network: Network = PUBLIC
) -> Path:
    """Return the folder of a dataset in the cache, after verifying or preparing it.

    An existing folder is hashed and reused. A damaged one is prepared again if its source is available. Several
    processes may prepare the same dataset at once.

    Args:
        source: A source, or just its name.
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
    source = source if isinstance(source, Source) else Source(source)
    folder = cache / _folder_name(source)
    if source.name == "mnist":
        sweep_data()  # where it is set, its files must be MNIST; the prepared copy then has their content
    damage = fault(folder)
    if damage is None:
        return folder
    if folder.exists():
        notify(f"The prepared dataset is damaged and is prepared again: {damage}")
    try:
        if source.name in BUILT_IN:
            arrays = _built_in(source.name, cache, download=download, notify=notify, network=network)
        else:
            arrays = read_source(source)
    except DatasetUnavailable as error:
        if not folder.exists():
            raise
        raise DatasetDamaged(f"{damage}\n{error}") from error
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / f".{folder.name}.lock"):
        if fault(folder) is not None:  # otherwise another process has just prepared it
            replace_folder(folder, Path(source.name).name, arrays)
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
    folder = cache / _folder_name(Source(name))
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
        f" {size}, {len(card.classes)} classes",
        f"in {folder}, SHA-256 {card.digest}",
    ]


# ------------------------------------------------------------------ names and sources


def check_name(name: str) -> None:
    """Accept the name of a built-in dataset or the path of an existing data file or folder of IDX files.

    Raises:
        DatasetInvalid: It is neither.
    """
    if name in BUILT_IN:
        return
    if name and Path(name).is_dir():
        idx_files(Path(name))
        return
    if Path(name).suffix.lower() not in READERS:
        nearest = difflib.get_close_matches(name, BUILT_IN, n=1)
        endings = " or ".join(READERS)
        known = f"{', '.join(BUILT_IN)} and paths to {endings} or a folder of IDX files"
        hint = f"Did you mean {nearest[0]!r}?" if nearest else f"The name of a data file must end in {endings}."
        raise DatasetInvalid(f"unknown dataset {name!r}, known are {known}\n{hint}")
    if not Path(name).is_file():
        raise DatasetInvalid(f"{name}: there is no such file")


def _folder_name(source: Source) -> str:
    """Name of a dataset's folder in the cache; of a data file it depends on the content and how it is read."""
    check_name(source.name)
    if source.name in BUILT_IN:
        return source.name
    path = Path(source.name)
    content = [_sha256(file) for file in (idx_files(path) if path.is_dir() else (path,))]
    key = hashlib.sha256(json.dumps([READER_VERSION, content, source.target, sorted(source.keep)]).encode()).hexdigest()
    stem = re.sub(r"[^A-Za-z0-9_-]", "_", path.absolute().stem)[:40]
    return f"{'idx' if path.is_dir() else path.suffix[1:].lower()}-{stem}-{key[:16]}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _built_in(name: str, cache: Path, *, download: bool, notify: Notify, network: Network) -> Arrays:
    if name == "digits":
        return read_digits()
    return read_mnist(cache / "mnist-files", download_missing=download, notify=notify, network=network)


def _are_equal(inputs: NDArray[Any]) -> bool:
    """Whether all rows are equal; in parts, as the first of them usually answers it. A gap differs from everything."""
    parts = (inputs[start : start + 1024] for start in range(0, len(inputs), 1024))
    return not any((part != inputs[0]).any() for part in parts)


def read_source(source: Source) -> Arrays:
    """Read a data file by the reader of its ending.

    Raises:
        DatasetInvalid: The file is not a dataset, or not one that can be split.
    """
    check_name(source.name)
    path = Path(source.name)
    read = read_idx_dataset if path.is_dir() else READERS[path.suffix.lower()]
    arrays = read(path, source.target, source.keep)
    if not len(validation_split(arrays.labels, 0)[1]):
        raise DatasetInvalid(f"{path}: has only one example of each class, so there is none for validation")
    if _are_equal(arrays.inputs):
        raise DatasetInvalid(
            f"{path}: all rows have the same inputs, so there is nothing to learn from\n"
            "Give columns whose values differ, or keep one that was left out (docs/own-data.md)."
        )
    return replace(arrays, notes=arrays.notes + row_notes(arrays))
