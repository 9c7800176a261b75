"""Datasets, prepared once and memory-mapped by everyone who trains.

`prepare` turns a name into a folder of plain .npy files with a digest; `load` maps that folder in milliseconds.
Pixels stay as they are stored: a batch is gathered and scaled only when it is trained on, so that two workers
share the same 47 MB of MNIST instead of each holding 188 MB of floats.
"""

import contextlib
import difflib
import hashlib
import json
import math
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.data import sources
from model.data.download import PUBLIC, Network
from model.data.sources import Arrays, DatasetDamaged, DatasetError, DatasetInvalid, DatasetUnavailable, Say
from model.files import PART, locked, sync_folder, write_synced

__all__ = [
    "BUILT_IN",
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
FORMAT = 1  # of the prepared folder; another number means: prepare again
VALIDATION_FRACTION = 0.1
VALIDATION_STREAM = 0x53504C4954  # "SPLIT": keeps this stream apart from the streams of trials
FILES = ("images", "labels", "test_images", "test_labels")


@dataclass(frozen=True, eq=False)
class Examples:
    """Some rows of arrays that several splits share; nothing is copied.

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
        name: "digits", "mnist", or the file name of a .npz.
        digest: SHA-256 (hex) of the arrays and what they mean, wherever they came from.
        classes: How many labels there are.
        shape: The shape of one example before it was flattened, such as (28, 28).
        scale: A network's input is a pixel times this.
        train: What weights are fitted to.
        validation: What hyperparameters are chosen by; shares its arrays with train.
        test: What is looked at once, at the end.
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
        """How many numbers one example has."""
        return math.prod(self.shape)

    @property
    def train_and_validation(self) -> Examples:
        """Every example that is not for testing: what the final model is trained on."""
        rows = np.sort(np.concatenate([self.train.rows, self.validation.rows]))
        return Examples(self.train.images, self.train.labels, rows)


@dataclass(frozen=True)
class _Card:
    """What dataset.json says."""

    name: str
    digest: str
    classes: int
    shape: tuple[int, ...]
    scale: float
    examples: int
    test_examples: int


def _silent(line: str) -> None:
    del line


def load(folder: Path, seed: int) -> Dataset:
    """Map a prepared dataset and split it for a study; takes milliseconds, for it hashes and copies no image.

    Args:
        folder: What `prepare` returned.
        seed: The study's; the same seed gives the same tenth for validation, in every process.

    Raises:
        DatasetDamaged: The folder is not a prepared dataset, or its files do not fit together.
    """
    card = _read_card(folder)
    arrays = {name: _map(folder / f"{name}.npy") for name in FILES}
    _check_shapes(folder, card, arrays)
    images, labels = arrays["images"], arrays["labels"]
    train, validation = _validation_split(labels, seed)
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


def prepare(name: str, cache: Path, *, download: bool = True, say: Say = _silent, network: Network = PUBLIC) -> Path:
    """The folder of a dataset in the cache, made or verified now.

    A folder that is there is hashed and reused; a damaged one is made again if the source can be had. Several
    processes may prepare at once.

    Args:
        name: "digits", "mnist", or a path that ends in .npz.
        cache: The folder for datasets; made when needed.
        download: Whether MNIST may be downloaded.
        say: Called with one line before anything that takes long, and when a damaged folder is replaced.
        network: Mirrors and patience of a download.

    Returns:
        The folder with images.npy, labels.npy, test_images.npy, test_labels.npy and dataset.json.

    Raises:
        DatasetUnavailable: The data are neither here nor to be downloaded.
        DatasetDamaged: A source file is damaged, or the cache is and cannot be made again.
        DatasetInvalid: An unknown name, or a .npz that is not a dataset.
        OSError: The cache cannot be read or written (disk full, permission).
    """
    folder = cache / _folder_name(name)
    fault = _fault(folder)
    if fault is None:
        return folder
    if folder.exists():
        say(f"The prepared dataset is damaged and is made again: {fault}")
    try:
        arrays = _read_source(name, cache, download=download, say=say, network=network)
    except DatasetUnavailable as error:
        if not folder.exists():
            raise
        raise DatasetDamaged(f"{fault}\n{error}") from error
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / f".{folder.name}.lock"):
        if _fault(folder) is not None:  # else another process was faster: its folder is as good
            _replace(folder, Path(name).name, arrays)
    return folder


def prepared(digest: str, cache: Path) -> Path | None:
    """The undamaged folder in the cache with the data of this digest, whatever they were called; None without one."""
    for card in sorted(cache.glob("*/dataset.json")):
        with contextlib.suppress(DatasetDamaged):
            if _read_card(card.parent).digest == digest and _fault(card.parent) is None:
                return card.parent
    return None


def fetch(name: str, cache: Path, *, say: Say = _silent, network: Network = PUBLIC) -> list[str]:
    """Get a dataset, from the network if need be, and return lines that say what there is now.

    Raises:
        DatasetError: As `prepare`.
        OSError: As `prepare`.
    """
    folder = prepare(name, cache, say=say, network=network)
    return _describe(folder)


def verify(name: str, cache: Path) -> list[str]:
    """Hash a prepared dataset, change nothing, and return lines that say what was found.

    Raises:
        DatasetUnavailable: It has not been prepared.
        DatasetDamaged: It holds other bytes than its digest says.
        DatasetInvalid: An unknown name.
    """
    folder = cache / _folder_name(name)
    if not folder.exists():
        raise DatasetUnavailable(f"{name} is not in {cache}\nGet it with `sweep data fetch {name}`.")
    fault = _fault(folder)
    if fault is not None:
        raise DatasetDamaged(f"{fault}\nMake it again with `sweep data fetch {name}`.")
    return _describe(folder)


def _describe(folder: Path) -> list[str]:
    card = _read_card(folder)
    size = " x ".join(map(str, card.shape))
    return [
        f"{card.name}: {card.examples:,} examples and {card.test_examples:,} for testing,"
        f" {size}, {card.classes} classes",
        f"in {folder}, SHA-256 {card.digest}",
    ]


# ------------------------------------------------------------------ names and sources


def check_name(name: str) -> None:
    """Accept the name of a dataset that is built in, and the path of a .npz that is there.

    Raises:
        DatasetInvalid: It is neither.
    """
    if name in BUILT_IN:
        return
    if not name.endswith(".npz"):
        nearest = difflib.get_close_matches(name, BUILT_IN, n=1)
        hint = f"Did you mean {nearest[0]!r}?" if nearest else "A file of your own must end in .npz."
        raise DatasetInvalid(f"unknown dataset {name!r}, known are {', '.join(BUILT_IN)} and paths to .npz\n{hint}")
    if Path(name).is_dir():
        raise DatasetInvalid(f"{name}: is a folder, not an .npz file")
    if not Path(name).is_file():
        raise DatasetInvalid(f"{name}: there is no such file")


def _folder_name(name: str) -> str:
    """The folder of a dataset inside the cache; a .npz gets one for each content."""
    check_name(name)
    if name in BUILT_IN:
        return name
    path = Path(name)
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    stem = re.sub(r"[^A-Za-z0-9_-]", "_", path.stem)[:40]
    return f"npz-{stem}-{content[:16]}"


def _read_source(name: str, cache: Path, *, download: bool, say: Say, network: Network) -> Arrays:
    if name == "digits":
        arrays = sources.digits()
    elif name == "mnist":
        arrays = sources.mnist(cache / "mnist-files", download_missing=download, say=say, network=network)
    else:
        arrays = sources.from_npz(Path(name))
    if not len(_validation_split(arrays.labels, 0)[1]):
        raise DatasetInvalid(f"{name}: has a single example of each class, so none is left for validation")
    return arrays


def _validation_split(labels: NDArray[np.int64], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    sequence = np.random.SeedSequence(seed, spawn_key=(VALIDATION_STREAM,))
    return sources.stratified_split(labels, VALIDATION_FRACTION, sequence)


# ------------------------------------------------------------------ the prepared folder


def _replace(folder: Path, name: str, arrays: Arrays) -> None:
    """Write the folder under a temporary name and let it take its place; the caller holds the lock."""
    _remove_leftovers(folder)
    part = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}{PART}")
    try:
        part.mkdir()
        _write_folder(part, name, arrays)
        if folder.exists():
            # A folder cannot be renamed over another. Who has mapped the old files keeps them until it lets go.
            folder.rename(folder.with_name(f".{folder.name}.{secrets.token_hex(8)}{PART}"))
        part.rename(folder)
    finally:
        _remove_leftovers(folder)
    sync_folder(folder.parent)


def _remove_leftovers(folder: Path) -> None:
    """Remove what a killed process was writing for this folder; the lock says that nobody is writing now."""
    for leftover in folder.parent.glob(f".{folder.name}.*{PART}"):
        shutil.rmtree(leftover, ignore_errors=True)


def _write_folder(folder: Path, name: str, arrays: Arrays) -> None:
    import io

    parts = {key: getattr(arrays, key) for key in FILES}
    for key, array in parts.items():
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        write_synced(folder / f"{key}.npy", buffer.getvalue())
    card = {
        "format": FORMAT,
        "name": name,
        "digest": _digest(parts, arrays.classes, arrays.shape, arrays.scale),
        "classes": arrays.classes,
        "shape": list(arrays.shape),
        "scale": arrays.scale,
        "examples": len(arrays.labels),
        "test_examples": len(arrays.test_labels),
    }
    write_synced(folder / "dataset.json", (json.dumps(card, indent=2) + "\n").encode())
    sync_folder(folder)


def _digest(arrays: dict[str, NDArray[Any]], classes: int, shape: tuple[int, ...], scale: float) -> str:
    """SHA-256 of the arrays and of what they mean; neither the name nor the path of the source enters."""
    meaning = {
        "format": FORMAT,
        "classes": classes,
        "shape": list(shape),
        "scale": scale,
        "arrays": {key: [arrays[key].dtype.str, list(arrays[key].shape)] for key in FILES},
    }
    digest = hashlib.sha256(json.dumps(meaning, sort_keys=True).encode())
    for key in FILES:
        digest.update(np.ascontiguousarray(arrays[key]).data)
    return digest.hexdigest()


def _fault(folder: Path) -> str | None:
    """What is wrong with a prepared folder, as one line, or None; reads and hashes everything."""
    try:
        card = _read_card(folder)
        arrays = {name: _map(folder / f"{name}.npy") for name in FILES}
        _check_shapes(folder, card, arrays)
    except DatasetDamaged as error:
        return str(error).splitlines()[0]
    found = _digest(arrays, card.classes, card.shape, card.scale)
    return None if found == card.digest else f"{folder}: expected SHA-256 {card.digest}, found {found}"


def _read_card(folder: Path) -> _Card:
    path = folder / "dataset.json"
    try:
        text = json.loads(path.read_text(encoding="utf-8"))
        if text["format"] != FORMAT:
            raise DatasetDamaged(f"{path}: expected format {FORMAT}, found {text['format']}")
        return _Card(
            name=str(text["name"]),
            digest=str(text["digest"]),
            classes=int(text["classes"]),
            shape=tuple(int(length) for length in text["shape"]),
            scale=float(text["scale"]),
            examples=int(text["examples"]),
            test_examples=int(text["test_examples"]),
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DatasetDamaged(f"{folder}: holds no prepared dataset (no dataset.json)") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DatasetDamaged(f"{path}: not readable ({type(error).__name__}: {error})") from error


def _map(path: Path) -> NDArray[Any]:
    """The array in a .npy file, memory-mapped and read-only."""
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except FileNotFoundError as error:
        raise DatasetDamaged(f"{path}: missing") from error
    except (ValueError, EOFError) as error:
        raise DatasetDamaged(f"{path}: not readable ({error})") from error


def _check_shapes(folder: Path, card: _Card, arrays: dict[str, NDArray[Any]]) -> None:
    features = math.prod(card.shape)
    expected = {
        "images": (card.examples, features),
        "labels": (card.examples,),
        "test_images": (card.test_examples, features),
        "test_labels": (card.test_examples,),
    }
    for name, shape in expected.items():
        dtypes = ("int64",) if "labels" in name else ("uint8", "float32")
        array = arrays[name]
        if array.shape != shape or array.dtype.name not in dtypes:
            wanted = f"{' or '.join(dtypes)} {shape}"
            raise DatasetDamaged(f"{folder / name}.npy: expected {wanted}, found {array.dtype} {array.shape}")
