"""Where examples come from: the digits in scikit-learn's wheel, the four MNIST files, or a person's .npz.

Every reader returns `Arrays`, checked: sizes are compared before memory is asked for, nothing is unpickled, and
a byte of MNIST is decoded only after its file's SHA-256 was compared with the published one.
"""

import hashlib
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.data import npz
from model.data.download import PUBLIC, DownloadError, Network, Wanted, download

Say = Callable[[str], None]


class DatasetError(Exception):
    """A dataset cannot be used. The message has one to three lines: what is wrong, where, what to do."""


class DatasetUnavailable(DatasetError):
    """The data are not on this machine and could not be downloaded."""


class DatasetDamaged(DatasetError):
    """A file holds other bytes than it should."""


class DatasetInvalid(DatasetError):
    """An unknown dataset name, or a person's .npz that is not a dataset."""


@dataclass(frozen=True, eq=False)
class Arrays:
    """A whole dataset in memory.

    Attributes:
        images: (n, features) uint8 or float32, all examples that are not for testing.
        labels: (n,) int64, 0 .. classes - 1.
        test_images: (m, features), as images.
        test_labels: (m,) int64.
        classes: How many labels there are.
        shape: The shape of one example before it was flattened.
        scale: A network's input is a pixel times this.
    """

    images: NDArray[Any]
    labels: NDArray[np.int64]
    test_images: NDArray[Any]
    test_labels: NDArray[np.int64]
    classes: int
    shape: tuple[int, ...]
    scale: float


# ------------------------------------------------------------------ splits

TEST_FRACTION = 0.2
TEST_SEED = 1797  # of the datasets without a test split of their own; never a study's


def stratified_split(
    labels: NDArray[np.int64], fraction: float, seed: np.random.SeedSequence
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Two sorted, disjoint sets of rows that together are all rows: (the rest, about `fraction` of every class).

    A class with two or more examples is in both sets; a class with a single one is only in the rest.

    Args:
        labels: (n,) int64, 0 or more.
        fraction: Share of the second set, in 0..1.
        seed: Decides which examples; the same seed gives the same rows on every machine.
    """
    # Raw PCG64 output and a stable sort: NumPy promises the bit stream for ever, not what permutation() makes of it.
    order = np.argsort(np.random.PCG64(seed).random_raw(len(labels)), kind="stable")
    taken = np.zeros(len(labels), dtype=bool)
    for label, count in enumerate(_apportioned(np.bincount(labels), fraction)):
        taken[order[labels[order] == label][:count]] = True
    return np.flatnonzero(~taken), np.flatnonzero(taken)


def _apportioned(sizes: NDArray[np.int64], fraction: float) -> NDArray[np.int64]:
    """How many of each class to take: largest remainders, so that the total is right too, not only each class."""
    quotas = sizes * fraction
    counts = np.floor(quotas).astype(np.int64)
    missing = round(float(quotas.sum())) - int(counts.sum())
    counts[np.argsort(counts - quotas, kind="stable")[:missing]] += 1
    most = np.maximum(sizes - 1, 0)
    bounded: NDArray[np.int64] = np.minimum(np.maximum(counts, np.minimum(1, most)), most)
    return bounded


def _with_test_split(images: NDArray[Any], labels: NDArray[np.int64], shape: tuple[int, ...], scale: float) -> Arrays:
    """The examples with a fixed stratified fifth set aside as the test split."""
    rest, test = stratified_split(labels, TEST_FRACTION, np.random.SeedSequence(TEST_SEED))
    classes = int(labels.max()) + 1
    return Arrays(images[rest], labels[rest], images[test], labels[test], classes, shape, scale)


# ------------------------------------------------------------------ digits


def digits() -> Arrays:
    """The 1,797 handwritten digits of UCI's test set, 8 x 8 pixels of 0..16, from scikit-learn's wheel.

    Raises:
        DatasetUnavailable: scikit-learn's file is not there.
        DatasetDamaged: The file does not hold the 1,797 digits.
    """
    path = _digits_file()
    width = 65
    try:
        text = _gunzip(path.read_bytes(), 10 * 2**20).decode("ascii")
        table = np.loadtxt(text.splitlines(), delimiter=",", dtype=np.float64, max_rows=10_000, ndmin=2)
    except (ValueError, EOFError) as error:
        raise DatasetDamaged(f"{path}: not readable ({error})\nInstall scikit-learn again.") from error
    images, labels = table[:, :-1].astype(np.uint8), table[:, -1].astype(np.int64)
    plausible = table.shape == (1797, width) and images.max() == 16 and set(labels.tolist()) == set(range(10))
    if not plausible:
        raise DatasetDamaged(
            f"{path}: expected 1,797 rows of {width} numbers, found {table.shape}\nInstall scikit-learn again."
        )
    return _with_test_split(images, labels, (8, 8), 1 / 16)


def _digits_file() -> Path:
    import importlib.util

    found = importlib.util.find_spec("sklearn")  # finds a top-level package without importing it
    folders = list(found.submodule_search_locations or []) if found else []
    for folder in folders:
        path = Path(folder, "datasets", "data", "digits.csv.gz")
        if path.is_file():
            return path
    raise DatasetUnavailable(
        "The digits cannot be found: they are a data file of scikit-learn, which is not installed as usual.\n"
        "Install it again: python -m pip install --require-hashes -r requirements.lock"
    )


def _gunzip(packed: bytes, at_most: int) -> bytes:
    """The unpacked bytes, but never more than `at_most` + 1 of them.

    Raises:
        EOFError: The stream is cut short.
        ValueError: Not gzip, or damaged.
    """
    import gzip
    import io
    import zlib

    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
            return file.read(at_most + 1)
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(str(error)) from error


# ------------------------------------------------------------------ MNIST


@dataclass(frozen=True)
class IdxFile:
    """One published IDX file: its name, packed length in bytes, SHA-256 (hex) as packed, and array shape."""

    name: str
    size: int
    sha256: str
    shape: tuple[int, ...]


MNIST = {
    "images": IdxFile(
        "train-images-idx3-ubyte.gz",
        9_912_422,
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        (60_000, 28, 28),
    ),
    "labels": IdxFile(
        "train-labels-idx1-ubyte.gz",
        28_881,
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        (60_000,),
    ),
    "test_images": IdxFile(
        "t10k-images-idx3-ubyte.gz",
        1_648_877,
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        (10_000, 28, 28),
    ),
    "test_labels": IdxFile(
        "t10k-labels-idx1-ubyte.gz",
        4_542,
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        (10_000,),
    ),
}


def mnist(
    own: Path, *, download_missing: bool, say: Say, network: Network = PUBLIC, files: Mapping[str, IdxFile] = MNIST
) -> Arrays:
    """MNIST from `SWEEP_DATA`, else from the folder `own`, else downloaded into `own`.

    Args:
        own: The cache's folder for the four .gz files; made when something is downloaded.
        download_missing: Whether the network may be used.
        say: Called with one line before anything that takes long.
        network: Mirrors and patience.
        files: The four files by array name.

    Raises:
        DatasetUnavailable: The files are nowhere and cannot be downloaded.
        DatasetDamaged: A file in `SWEEP_DATA` is not the published one, or one in `own` is not and
            cannot be downloaded again.
        OSError: A folder cannot be read or written.
    """
    folder, nothing = _in_sweep_data(files)
    if folder is None:
        folder = own
        _complete(own, nothing, download_missing=download_missing, say=say, network=network, files=files)
    raw = {name: read_idx(folder / file.name, file) for name, file in files.items()}
    rows = {name: array.reshape(len(array), -1) for name, array in raw.items() if "images" in name}
    labels = {name: array.astype(np.int64) for name, array in raw.items() if "labels" in name}
    shape = files["images"].shape[1:]
    return Arrays(rows["images"], labels["labels"], rows["test_images"], labels["test_labels"], 10, shape, 1 / 255)


def _in_sweep_data(files: Mapping[str, IdxFile]) -> tuple[Path | None, str]:
    """The folder that `SWEEP_DATA` points to, or None and half a sentence that says why not."""
    setting = os.environ.get("SWEEP_DATA", "")
    if not setting:
        return None, "SWEEP_DATA is not set"
    for folder in (Path(setting).expanduser() / "mnist", Path(setting).expanduser()):
        if all((folder / file.name).is_file() for file in files.values()):
            return folder, ""
    return None, f"SWEEP_DATA={setting} does not hold the four files"


def _complete(
    own: Path, nothing: str, *, download_missing: bool, say: Say, network: Network, files: Mapping[str, IdxFile]
) -> None:
    """Download into `own` what is missing or damaged there."""
    damage: list[str] = []
    wanted = []
    for file in files.values():
        fault = _fault(own / file.name, file)
        if fault is not None:
            wanted.append(Wanted(file.name, file.size, file.sha256))
            damage += [fault] if (own / file.name).exists() else []
    if not wanted:
        return
    reason = "downloading is switched off"
    if download_missing:
        try:
            download(wanted, own, say=say, network=network)
            return
        except DownloadError as error:
            reason = f"the download failed: {error}"
    if damage:
        raise DatasetDamaged(f"{damage[0]}\nIt could not be replaced, {reason}\n{_three_ways(own)}")
    raise DatasetUnavailable(f"MNIST cannot be had: {nothing}, {own} is incomplete, and {reason}\n{_three_ways(own)}")


def _three_ways(own: Path) -> str:
    return (
        f"Set SWEEP_DATA to a folder with the four .gz files, or put them in {own},"
        " or connect and run `sweep data fetch mnist`."
    )


def _fault(path: Path, file: IdxFile) -> str | None:
    """What is wrong with the packed file, as one line, or None."""
    if not path.is_file():
        return f"{path}: missing"
    found = path.stat().st_size
    if found != file.size:
        return f"{path}: expected {file.size:,} bytes, found {found:,}"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != file.sha256:
        return f"{path}: expected SHA-256 {file.sha256}, found {digest}"
    return None


def read_idx(path: Path, file: IdxFile) -> NDArray[np.uint8]:
    """The array in a published, gzip-packed IDX file; its checksum is compared before a byte is decoded.

    Raises:
        DatasetDamaged: The file is missing or not the published one.
        OSError: The file cannot be read.
    """
    fault = _fault(path, file)
    if fault is not None:
        raise DatasetDamaged(f"{fault}\nReplace the file by the published one, or remove it.")
    return decode_idx(path.read_bytes(), file.shape, str(path))


def decode_idx(packed: bytes, shape: tuple[int, ...], where: str) -> NDArray[np.uint8]:
    """The uint8 array of exactly this shape in gzip-packed IDX bytes.

    Args:
        packed: The file's bytes.
        shape: What the header must say; it also bounds how much is unpacked.
        where: Names the file in errors.

    Raises:
        DatasetDamaged: Cut short, another magic number, other dimensions, or bytes too many or too few.
    """
    header = 4 + 4 * len(shape)
    expected = header + math.prod(shape)
    try:
        data = _gunzip(packed, expected)
    except (ValueError, EOFError) as error:
        raise DatasetDamaged(f"{where}: not a whole gzip file ({error})") from error
    magic = bytes([0, 0, 8, len(shape)])
    if data[:4] != magic:
        raise DatasetDamaged(f"{where}: not an IDX file of bytes: expected magic {magic.hex()}, found {data[:4].hex()}")
    dimensions = tuple(int.from_bytes(data[at : at + 4], "big") for at in range(4, header, 4))
    if dimensions != shape:
        raise DatasetDamaged(f"{where}: expected dimensions {shape}, found {dimensions}")
    if len(data) != expected:
        found = f"{len(data):,}" if len(data) < expected else "more"
        raise DatasetDamaged(f"{where}: expected {expected:,} bytes unpacked, found {found}")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


# ------------------------------------------------------------------ a person's .npz

NPZ_MAX_BYTES = 4 * 2**30


def from_npz(path: Path) -> Arrays:
    """The dataset in a person's .npz: x_train, y_train, and perhaps x_test and y_test.

    Features are uint8 (scale 1/255) or floats (stored as float32, scale 1); labels are integers 0 .. C-1.
    Without x_test a fixed stratified fifth becomes the test split.

    Raises:
        DatasetInvalid: The file is missing or is not such a dataset; names the member, expected, found.
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
            max_bytes=NPZ_MAX_BYTES,
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
    shape = tuple(arrays["x_train"].shape[1:])
    scale = 1 / 255 if images.dtype == np.uint8 else 1.0
    if "x_test" not in arrays:
        return _with_test_split(images, labels, shape, scale)
    tests, test_labels = _features(path, "x_test", arrays), _labels(path, "test", arrays, classes)
    if arrays["x_test"].shape[1:] != shape or tests.dtype != images.dtype:
        found = f"{tests.dtype} of {arrays['x_test'].shape[1:]}"
        raise DatasetInvalid(f"{path}: x_test must be {images.dtype} of {shape} like x_train, found {found}")
    return Arrays(images, labels, tests, test_labels, classes, shape, scale)


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
    """(n,) labels in 0 .. classes - 1; with classes = 0 any that could still be 0 .. C-1, each at least once."""
    labels, examples = arrays[f"y_{part}"], len(arrays[f"x_{part}"])
    if len(labels) != examples:
        raise DatasetInvalid(f"{path}: y_{part} must have {examples:,} labels like x_{part}, found {len(labels):,}")
    # Before the cast: a uint64 above the range of int64 would come out negative, and a huge one would size a table.
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
