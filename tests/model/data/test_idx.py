"""Decoding IDX files, and datasets in folders of them."""

import gzip
import re
from pathlib import Path

import numpy as np
import pytest

from model.data.errors import DatasetDamaged, DatasetError, DatasetInvalid
from model.data.idx import decode_idx
from model.data.idx_dataset import idx_files, read_idx_dataset

CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def idx(array: np.ndarray, magic: int | None = None) -> bytes:
    head = bytes([0, 0, CODES[array.dtype.str[1:]], array.ndim]) if magic is None else magic.to_bytes(4, "big")
    big = array.astype(array.dtype.newbyteorder(">"))
    return head + b"".join(length.to_bytes(4, "big") for length in array.shape) + big.tobytes()


IMAGES = np.arange(48, dtype=np.uint8).reshape(3, 4, 4)


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("packed", [False, True])
def test_idx_is_decoded_in_native_byte_order(dtype: str, packed: bool) -> None:
    array = IMAGES.astype(dtype) if dtype in ("u1", "i1") else IMAGES.astype(dtype) * 300
    data = gzip.compress(idx(array)) if packed else idx(array)

    decoded = decode_idx(data, "f", array.nbytes)

    assert decoded.dtype == np.dtype(dtype)
    assert np.array_equal(decoded, array)


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (b"", "not an IDX file, its magic number is missing"),
        (gzip.compress(b""), "magic number is missing"),
        (b"hello", "not an IDX file, its magic number is 68656c6c"),
        (gzip.compress(idx(IMAGES))[:-9], "gzip"),
        (gzip.compress(idx(IMAGES)) + b"junk", "gzip"),
        (gzip.compress(idx(IMAGES)) + gzip.compress(b"x"), "expected 64 bytes .*, found more"),
        (gzip.compress(idx(IMAGES)[:-1]), r"expected 64 bytes of an array of shape \(3, 4, 4\), found 63"),
        (gzip.compress(idx(IMAGES) + b"\0"), "found more"),
        (idx(IMAGES)[:-1], "expected 64 bytes .*, found 63"),
        (idx(IMAGES)[:9], "expected .*, found 9"),
        (idx(IMAGES) + b"\0", "found more"),
        (gzip.compress(idx(IMAGES, magic=0x00000A03)), "magic number is 00000a03"),
        (gzip.compress(idx(IMAGES, magic=0x03080000)), "magic number is 03080000"),
        (gzip.compress(idx(IMAGES, magic=0x00000800)), "magic number is 00000800"),
        (gzip.compress(idx(IMAGES, magic=0x00000809)), "magic number is 00000809"),
        (gzip.compress(idx(IMAGES)[:4] + b"\xff" * 12), "at most 48 are read\nSave fewer examples"),
        (gzip.compress(idx(np.zeros((3, 4, 5)))), "holds 480 bytes of shape .*, at most 48 are read"),
        (gzip.compress(bytes(100_000_000), 9), "magic"),
    ],
    ids=[
        "no bytes",
        "nothing packed",
        "text",
        "cut",
        "junk",
        "second member",
        "short",
        "long",
        "plain short",
        "plain without dimensions",
        "plain long",
        "unknown dtype",
        "other magic",
        "no dimension",
        "nine dimensions",
        "huge",
        "above the limit",
        "bomb",
    ],
)
def test_an_unexpected_idx_file_is_refused(packed: bytes, message: str) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        decode_idx(packed, "file.gz", 48)
    assert str(caught.value).startswith("file.gz: ")


MNIST_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
RNG = np.random.default_rng(5)
PARTS = (
    RNG.integers(0, 256, (30, 4, 5), np.uint8),
    np.arange(30, dtype=np.uint8) % 3,
    RNG.integers(0, 256, (6, 4, 5), np.uint8),
    np.arange(6, dtype=np.uint8) % 3,
)


def folder_of(folder: Path, names: tuple[str, ...], parts: tuple[np.ndarray, ...] = PARTS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(names, parts, strict=False):
        (folder / name).write_bytes(gzip.compress(idx(array)) if name.endswith(".gz") else idx(array))
    return folder


@pytest.mark.parametrize(
    "names",
    [
        MNIST_NAMES,
        tuple(f"{name}.gz" for name in MNIST_NAMES),
        (f"{MNIST_NAMES[0]}.gz", *MNIST_NAMES[1:]),
        tuple(name.replace("-idx", ".idx") for name in MNIST_NAMES),
        tuple(name.replace("t10k", "test") for name in MNIST_NAMES),
        tuple(f"emnist-letters-{name.replace('t10k', 'test')}.gz" for name in MNIST_NAMES),
        ("train-images.idx", "train-labels.idx", "test-images.idx", "test-labels.idx"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        tuple(name.upper() for name in MNIST_NAMES),
    ],
)
def test_a_folder_is_read_under_the_usual_names(tmp_path: Path, names: tuple[str, ...]) -> None:
    folder = folder_of(tmp_path, names)
    (folder / "._train-images-idx3-ubyte").write_bytes(b"of a file manager")
    (folder / "emnist-letters-mapping.txt").write_text("1 65 97")

    found = read_idx_dataset(folder)

    assert idx_files(folder) == tuple(folder / name for name in names)
    assert np.array_equal(found.inputs, PARTS[0].reshape(30, 20))
    assert np.array_equal(found.test_inputs, PARTS[2].reshape(6, 20))
    assert (found.labels.tolist(), found.test_labels.tolist()) == (PARTS[1].tolist(), PARTS[3].tolist())
    assert (found.classes, found.shape, found.columns, found.scale) == (("0", "1", "2"), (4, 5), None, None)
    assert found.notes == ()


def test_a_name_that_ends_in_gz_may_be_unpacked_already(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, tuple(f"{name}.gz" for name in MNIST_NAMES))
    for path in folder.iterdir():
        path.write_bytes(gzip.decompress(path.read_bytes()))

    assert np.array_equal(read_idx_dataset(folder).inputs, PARTS[0].reshape(30, 20))


def test_without_test_files_a_fifth_is_the_test_split(tmp_path: Path) -> None:
    found = read_idx_dataset(folder_of(tmp_path, MNIST_NAMES[:2]))

    assert (len(found.labels), len(found.test_labels)) == (24, 6)


def test_other_dtypes_dimensions_and_numberings_are_read(tmp_path: Path) -> None:
    images = RNG.normal(size=(30, 4, 5, 3)).astype(np.float32)
    found = read_idx_dataset(folder_of(tmp_path, MNIST_NAMES, (images, PARTS[1] + 1, images[:3], PARTS[1][:3] + 1)))

    assert (found.inputs.dtype, found.shape, found.classes) == (np.float32, (4, 5, 3), ("1", "2", "3"))
    assert np.array_equal(found.inputs, images.reshape(30, 60))
    assert found.notes == ("labels are not numbered 0 to 2: 3 classes, 1, 2, 3",)
    whole = read_idx_dataset(folder_of(tmp_path / "whole", MNIST_NAMES, (PARTS[0].astype("i4"), *PARTS[1:])))
    assert (whole.inputs.dtype, whole.inputs.tolist()) == (np.uint8, PARTS[0].reshape(30, 20).tolist())


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "has no IDX files of training images and labels, found none\nName them as MNIST does"),
        (MNIST_NAMES[:1], "has no IDX files .*, found train-images-idx3-ubyte\n"),
        (MNIST_NAMES[1:], "has no IDX files .*, found train-labels-idx1-ubyte, t10k-images"),
        (MNIST_NAMES[:3], "has only one of test images and test labels"),
        (
            (*MNIST_NAMES, "emnist-letters-train-images-idx3-ubyte"),
            "has several files of training images: emnist-letters-train-images-idx3-ubyte, train-images-idx3-ubyte\n",
        ),
        ((*MNIST_NAMES, "train-images-idx3-ubyte.gz"), "several files of training images"),
        ((*MNIST_NAMES, "test-labels-idx1-ubyte"), "several files of test labels"),
        (
            (MNIST_NAMES[0], "emnist-digits-train-labels-idx1-ubyte"),
            "belong to different datasets: train-images-idx3-ubyte, emnist-digits-train-labels",
        ),
    ],
)
def test_missing_and_ambiguous_files_are_named(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    folder = folder_of(tmp_path, names, (*PARTS, PARTS[0]))

    with pytest.raises(DatasetInvalid) as caught:
        read_idx_dataset(folder)
    assert re.search(message, str(caught.value))
    assert str(caught.value).startswith(f"{folder}: ")


@pytest.mark.parametrize(
    ("place", "array", "message"),
    [
        (1, PARTS[1][:-1], "train-labels-idx1-ubyte has 29 rows, but train-images-idx3-ubyte has 30"),
        (1, np.zeros(30, np.uint8), "train-labels-idx1-ubyte: has the single class '0'"),
        (1, np.ones((30, 8), np.int32), "train-labels-idx1-ubyte: rows of the matrix"),
        (2, np.zeros((6, 5, 4), np.uint8), r"t10k-images-idx3-ubyte has examples of shape \(5, 4\), but"),
        (3, PARTS[3] + 3, "t10k-labels-idx1-ubyte: unknown label '[34]', first in row"),
        (0, np.zeros(30, np.uint8), "train-images-idx3-ubyte: inputs must have shape"),
        (0, np.full((30, 4, 5), np.nan), "train-images-idx3-ubyte: has nan in row 0, but images must be finite"),
    ],
)
def test_a_file_that_does_not_fit_is_named(tmp_path: Path, place: int, array: np.ndarray, message: str) -> None:
    folder = folder_of(tmp_path, MNIST_NAMES, tuple(array if at == place else part for at, part in enumerate(PARTS)))

    with pytest.raises(DatasetInvalid, match=message):
        read_idx_dataset(folder)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, MNIST_NAMES)
    (folder / MNIST_NAMES[2]).write_bytes(b"<html>")

    with pytest.raises(DatasetDamaged, match=r"t10k-images-idx3-ubyte: not an IDX file"):
        read_idx_dataset(folder)


def test_all_files_together_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(tmp_path, MNIST_NAMES)
    size = sum(part.nbytes for part in PARTS)

    monkeypatch.setattr("model.data.idx_dataset.MAX_BYTES", size - 1)
    with pytest.raises(DatasetInvalid, match=r"t10k-labels-idx1-ubyte: holds 6 bytes .* at most 5 are read"):
        read_idx_dataset(folder)
    monkeypatch.setattr("model.data.idx_dataset.MAX_BYTES", 100)
    with pytest.raises(DatasetInvalid, match=r"train-images-idx3-ubyte: larger than the 100 bytes"):
        read_idx_dataset(folder)


def test_a_target_column_and_a_missing_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetInvalid, match="`target` and `keep` name columns"):
        read_idx_dataset(folder_of(tmp_path, MNIST_NAMES), "species")
    with pytest.raises(DatasetInvalid, match="there is no such folder"):
        read_idx_dataset(tmp_path / "none")
