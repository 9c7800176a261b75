"""Datasets in .npz files of the user."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from model.data import datasets
from model.data.datasets import DatasetInvalid


def arrays(**changes: object) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    good = {"x_train": rng.integers(0, 255, (60, 4, 3), np.uint8), "y_train": np.arange(60) % 3}
    return {name: np.asarray(array) for name, array in {**good, **changes}.items() if array is not None}


def saved(folder: Path, **changes: object) -> Path:
    path = folder / "flowers.npz"
    np.savez_compressed(path, **arrays(**changes))  # type: ignore[arg-type]
    return path


def test_a_users_npz_is_read_as_a_dataset(tmp_path: Path) -> None:
    dataset = datasets.load(datasets.prepare(str(saved(tmp_path)), tmp_path / "cache"), seed=1)

    assert (dataset.name, dataset.classes, dataset.shape) == ("flowers.npz", 3, (4, 3))
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (43, 5, 12)
    assert dataset.train.inputs.dtype == np.uint8


def test_the_digest_does_not_depend_on_path_or_compression(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    one = saved(tmp_path / "a")
    two = tmp_path / "two.npz"
    np.savez(two, **arrays())  # type: ignore[arg-type]
    digests = {datasets.load(datasets.prepare(str(path), tmp_path / "c"), 0).digest for path in (one, two)}
    changed = arrays()
    changed["y_train"][:2] = changed["y_train"][1::-1]
    np.savez(two, **changed)  # type: ignore[arg-type]

    assert len(digests) == 1
    assert datasets.load(datasets.prepare(str(two), tmp_path / "c"), 0).digest not in digests


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": None}, "has no x_train"),
        ({"extra": [1]}, "'extra.npy'"),
        ({"x_train": np.zeros((60, 4), np.int32)}, "x_train must be uint8, float32 or float64"),
        ({"x_train": np.zeros((60, 4), np.float16)}, "x_train must be"),
        ({"x_train": np.zeros((60, 4), complex)}, "contains complex128"),
        ({"x_train": np.zeros(60, np.uint8)}, "x_train must be"),
        ({"x_train": np.zeros((0, 4), np.uint8)}, "x_train must be"),
        ({"x_train": np.full((60, 4), np.nan)}, "must be finite in float32, but 60 rows"),
        ({"x_train": np.full((60, 4), 1e300)}, "must be finite in float32"),
        ({"y_train": np.arange(59) % 3}, "must have 60 labels like x_train, found 59"),
        ({"y_train": np.arange(60) % 3 + 1}, "has no 0"),
        ({"y_train": np.arange(60) % 3 - 1}, "labels 0 .. C-1, each at least once, found -1"),
        ({"y_train": np.full(60, 2**63, np.uint64)}, "found 9223372036854775808"),
        ({"y_train": np.zeros(60, np.int64)}, "at least 2 classes"),
        ({"y_train": np.zeros(60)}, "y_train must be integers"),
        ({"y_train": np.zeros((60, 3), np.int64)}, "y_train must be integers"),
        ({"x_test": np.zeros((2, 4, 3), np.uint8)}, "only one of"),
        ({"x_test": np.zeros((2, 3, 4), np.uint8), "y_test": [0, 1]}, "x_test must be uint8 of"),
        ({"x_test": np.zeros((2, 4, 3)), "y_test": [0, 1]}, "x_test must be uint8"),
        ({"x_test": np.zeros((2, 4, 3), np.uint8), "y_test": [0, 7]}, "y_test must hold labels 0 .. 2"),
        ({"x_train": np.zeros((3, 4), np.uint8), "y_train": [0, 1, 2]}, "only one example of each class"),
    ],
)
def test_an_invalid_npz_is_refused_with_its_file_and_member(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    path = saved(tmp_path, **changes)

    with pytest.raises(DatasetInvalid, match=message) as caught:
        datasets.prepare(str(path), tmp_path / "cache")
    assert str(path) in str(caught.value)
    assert not (tmp_path / "cache").exists()


def test_a_pickle_in_an_npz_is_never_loaded(tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    class Hostile:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (canary,))

    path = saved(tmp_path, y_train=np.array([Hostile()] * 60, object))

    with pytest.raises(DatasetInvalid, match="contains object"):
        datasets.prepare(str(path), tmp_path / "cache")
    assert not canary.exists()


def test_a_header_with_a_size_of_745_gib_allocates_no_memory(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (2 * 10**11, 1)})
    path = tmp_path / "huge.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x_train.npy", header.getvalue())
        file.writestr("y_train.npy", header.getvalue())

    with pytest.raises(DatasetInvalid, match="claims 800,000,000,000 bytes of data, found 0"):
        datasets.prepare(str(path), tmp_path / "cache")


def test_a_missing_npz_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetInvalid, match="no such file"):
        datasets.prepare(str(tmp_path / "none.npz"), tmp_path)
