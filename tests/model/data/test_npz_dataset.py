"""Datasets in .npz files of the user."""

import io
import re
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from model.data import datasets
from model.data.arrays import Arrays
from model.data.datasets import DatasetInvalid
from model.data.npz_dataset import read_npz_dataset


def arrays(**changes: object) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    good = {"x_train": rng.integers(0, 255, (60, 4, 3), np.uint8), "y_train": np.arange(60) % 3}
    return {name: np.asarray(array) for name, array in {**good, **changes}.items() if array is not None}


def saved(folder: Path, **changes: object) -> Path:
    path = folder / "flowers.npz"
    np.savez_compressed(path, **arrays(**changes))  # type: ignore[arg-type]
    return path


def member(descr: str, shape: tuple[int, ...], data: bytes = b"") -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": descr, "fortran_order": False, "shape": shape})
    return header.getvalue() + data


def refusal(path: Path) -> str:
    """The message without the path, which contains the name of the test."""
    with pytest.raises(DatasetInvalid) as caught:
        read_npz_dataset(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert len(message.splitlines()) <= 3
    return message.replace(str(path), "FILE")


def assert_equal(one: Arrays, two: Arrays) -> None:
    for key in ("inputs", "labels", "test_inputs", "test_labels"):
        first, second = getattr(one, key), getattr(two, key)
        assert (first.dtype, first.shape) == (second.dtype, second.shape)
        assert first.tobytes() == second.tobytes()
    assert (one.classes, one.shape, one.columns, one.scale) == (two.classes, two.shape, two.columns, two.scale)


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


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", ">i8", "u8", "f2", "f4", ">f4", "f8"])
@pytest.mark.parametrize("axes", [(), (3,), (1,)])
def test_the_same_images_are_equal_in_every_dtype_and_with_a_channel_axis(
    tmp_path: Path, dtype: str, axes: tuple[int, ...]
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 4, 5), np.uint8)
    expected = read_npz_dataset(saved(tmp_path, x_train=images))

    found = read_npz_dataset(saved(tmp_path, x_train=np.expand_dims(images.astype(dtype), axes)))

    assert_equal(found, expected)
    assert (found.inputs.dtype, found.shape, found.scale, found.notes) == (np.uint8, (4, 5), None, ())


@pytest.mark.parametrize(
    "labels",
    [
        np.arange(60, dtype=np.uint8) % 3,
        np.arange(60.0) % 3,
        (np.arange(60) % 3)[:, None],
        np.eye(3, dtype=bool)[np.arange(60) % 3],
        np.eye(3, dtype=np.float32)[np.arange(60) % 3],
        (np.arange(60) % 3).astype(str),
        (np.arange(60) % 3).astype("S"),
    ],
)
def test_the_same_labels_are_equal_in_every_form(tmp_path: Path, labels: np.ndarray) -> None:
    expected = read_npz_dataset(saved(tmp_path))

    assert_equal(read_npz_dataset(saved(tmp_path, y_train=labels)), expected)


@pytest.mark.parametrize(
    "labels", [np.arange(60) % 3 - 1, np.array(["c", "a", "b"])[np.arange(60) % 3], np.arange(60) % 2 == 0]
)
def test_classes_have_the_names_of_the_labels(tmp_path: Path, labels: np.ndarray) -> None:
    found = read_npz_dataset(saved(tmp_path, x_test=arrays()["x_train"], y_train=labels, y_test=labels))

    assert [found.classes[code] for code in found.labels] == labels.astype(str).tolist()
    assert found.test_labels.tolist() == found.labels.tolist()
    assert found.notes[0].startswith("labels are ")


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("X_train", "y_train", "X_test", "y_test"),
        ("X", "y", "X_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("images", "labels"),
        ("data", "target"),
        ("arr_0", "arr_1"),
        ("Images", "LABELS"),
    ],
)
def test_the_usual_names_are_found(tmp_path: Path, names: tuple[str, ...]) -> None:
    x, y = arrays().values()
    path = tmp_path / "a.npz"
    np.savez(path, **dict(zip(names, (x, y, x[:7], y[:7]), strict=False)))

    found = read_npz_dataset(path)

    assert len(found.labels) + len(found.test_labels) == (67 if len(names) == 4 else 60)
    assert (found.test_labels.tolist() == y[:7].tolist()) == (len(names) == 4)
    assert found.notes == (
        ("arr_0 are the inputs and arr_1 the labels, by their position",) if "arr_0" in names else ()
    )


def test_other_members_are_not_read_and_named(tmp_path: Path) -> None:
    path = saved(tmp_path, feature_names=["a", "b"], val_images=np.zeros(3), meta=np.array({}, object))
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("README.txt", "hello")

    found = read_npz_dataset(path)

    assert_equal(found, read_npz_dataset(saved(tmp_path)))
    assert found.notes == ("not read: feature_names, val_images, meta, README.txt",)


def test_two_dimensions_are_a_table_of_named_columns_and_nan_is_a_gap(tmp_path: Path) -> None:
    x = np.random.default_rng(1).normal(size=(60, 5)).astype(np.float32)
    x[3, 1] = x[4, 1] = x[4, 2] = np.nan
    found = read_npz_dataset(saved(tmp_path, x_train=np.asfortranarray(x.astype(">f8")), x_test=x[:6], y_test=[0] * 6))

    assert [column.name for column in found.columns or ()] == list("01234")
    assert found.inputs.dtype == np.float32
    assert np.array_equal(found.inputs, x, equal_nan=True)
    assert found.notes == (
        "x_train has 3 gaps (NaN) in 2 of 5 columns",
        "x_test has 3 gaps (NaN) in 2 of 5 columns",
    )


def test_both_parts_get_the_dtype_that_keeps_both(tmp_path: Path) -> None:
    found = read_npz_dataset(
        saved(tmp_path, x_train=np.zeros((60, 2), np.int64), x_test=np.full((2, 2), 0.1), y_test=[0, 1])
    )

    assert (found.inputs.dtype, found.test_inputs.dtype) == (np.float64, np.float64)
    assert found.test_inputs.tolist() == [[0.1, 0.1]] * 2


def test_large_values_keep_every_bit(tmp_path: Path) -> None:
    x = np.array([[1e300, 2.0**53], [-(2.0**40) - 1, 0.1]] * 30)

    assert read_npz_dataset(saved(tmp_path, x_train=x, y_train=np.arange(60) % 2)).inputs.dtype == np.float64
    x = np.array([[2**53, -(2**40) - 1]] * 60)
    found = read_npz_dataset(saved(tmp_path, x_train=x))
    assert found.inputs.astype(np.int64)[0].tolist() == x[0].tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": None}, "FILE: has y_train but no x_train, found y_train\nSave"),
        (
            {"x_train": None, "y_train": None},
            "FILE: has no arrays of the names x_train/y_train, x/y, .*, found nothing",
        ),
        ({"x_train": None, "y_train": None, "a": [1]}, "found a\nSave the inputs as x_train"),
        ({"images": [1], "labels": [1]}, "not clear which arrays .*, found x_train, y_train, images, labels"),
        ({"X_TRAIN": [1]}, "not clear which"),
        ({"x_train": None, "y_train": None, "arr_0": [1], "arr_1": [1], "arr_2": [1]}, "not clear which"),
        ({"x_test": np.zeros((2, 4, 3), np.uint8)}, "has only one of x_test and y_test"),
        ({"x_train": np.zeros((60, 4), complex)}, "contains complex128"),
        ({"x_train": np.zeros((60, 4), np.longdouble)}, "x_train: inputs must be .* at most 64 bits, found float128"),
        ({"x_train": np.full((60, 4), "a")}, "x_train: inputs must be .*found <U1\nEncode text"),
        ({"x_train": np.zeros(60, np.uint8)}, r"x_train: inputs must have shape .*found \(60,\)\nSave a single"),
        ({"x_train": np.zeros((0, 4), np.uint8), "y_train": []}, "x_train: has no examples"),
        ({"x_train": np.full((60, 4, 3), np.nan)}, "x_train: has nan in row 0, but images must be finite"),
        ({"x_train": np.full((60, 4), -np.inf)}, "x_train: has -inf in row 0, column 0\nReplace"),
        ({"x_train": np.full((60, 4), 2**53 + 1)}, "x_train: a whole number is beyond"),
        ({"x_train": np.eye(60), "y_train": np.arange(60) % 3, "x_test": np.eye(2), "y_test": [0, 1]}, "x_test has ex"),
        ({"y_train": np.arange(59) % 3}, "y_train has 59 rows, but x_train has 60"),
        ({"y_train": np.zeros(60, np.int64)}, "y_train: has the single class '0'"),
        ({"y_train": np.arange(60) * 1.1}, "y_train: 60 different numbers, .* this is a regression target"),
        ({"y_train": np.ones((60, 3), np.int64)}, "y_train: rows of the matrix .* must be one-hot"),
        ({"y_train": np.zeros((60, 3, 1), np.int64)}, "y_train must have shape"),
        ({"y_train": np.full(60, "")}, "y_train: 60 of 60 labels are missing"),
        ({"y_train": np.full(60, None, object)}, r"contains objects, .*\nSave it as .*array.astype\(str\)"),
        (
            {"x_test": np.zeros((2, 3, 4), np.uint8), "y_test": [0, 1]},
            r"x_test has examples of shape \(3, 4\), but x_t",
        ),
        ({"x_test": np.zeros((2, 12)), "y_test": [0, 1]}, r"x_test has examples of shape \(12,\), but x_train has \(4"),
        (
            {"x_test": np.zeros((2, 4, 3), np.uint8), "y_test": [0, 7]},
            "y_test: unknown label '7', first in row 1\nKnown",
        ),
        ({"x_test": np.zeros((2, 4, 3)), "y_test": np.eye(3)[[0, 1]]}, "both parts must have labels of the same form"),
        (
            {"y_train": np.eye(3)[np.arange(60) % 3], "x_test": np.zeros((2, 4, 3)), "y_test": np.eye(2)},
            "both parts must have labels of the same form",
        ),
    ],
)
def test_an_invalid_npz_is_refused_with_its_file_and_member(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    assert re.search(message, refusal(saved(tmp_path, **changes)))


def test_a_target_column_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)

    with pytest.raises(DatasetInvalid, match="`target` and `keep` name columns of a"):
        read_npz_dataset(path, "species", ())
    with pytest.raises(DatasetInvalid, match="`target` and `keep` name columns of a"):
        read_npz_dataset(path, None, ("zip",))


def test_an_invalid_npz_leaves_nothing_in_the_cache(tmp_path: Path) -> None:
    path = saved(tmp_path, x_train=np.zeros((3, 4), np.uint8), y_train=[0, 1, 2])

    with pytest.raises(DatasetInvalid, match="only one example of each class"):
        datasets.prepare(str(path), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_pickle_in_an_npz_is_never_loaded(tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    class Hostile:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (canary,))

    path = saved(tmp_path, y_train=np.array([Hostile()] * 60, object), other=np.array([Hostile()], object))

    assert "contains objects" in refusal(path)
    assert not canary.exists()


@pytest.mark.parametrize("zeros", [(8_000, 300), (800, 3_000)])
def test_sparse_data_of_any_ratio_are_accepted(tmp_path: Path, zeros: tuple[int, int]) -> None:
    """A member of more than 16 MiB that is 200 times smaller in the file was once refused."""
    x = np.zeros(zeros, np.float64)
    x[::2, 0] = 1
    path = saved(tmp_path, x_train=x, y_train=np.arange(len(x)) % 2)

    assert x.nbytes > max(16 * 2**20, 200 * path.stat().st_size)
    found = read_npz_dataset(path)
    assert sorted([*found.inputs[:, 0], *found.test_inputs[:, 0]]) == sorted(x[:, 0])
    assert not found.inputs[:, 1:].any()


def archive(path: Path, members: dict[str, bytes], declared: dict[str, int] | None = None) -> Path:
    """A deflated zip file, whose directory declares other sizes where they are given."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name, data)
            file.infolist()[-1].file_size = (declared or {}).get(name, len(data))
    return path


def test_a_member_above_the_limit_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.data.npz_dataset.MAX_BYTES", 10_000_000)
    data = {
        "x_train.npy": member("<f4", (60, 10**5), bytes(24_000_000)),
        "y_train.npy": member("|u1", (60,), bytes(60)),
    }
    path = archive(tmp_path / "bomb.npz", data)

    tracemalloc.start()
    message = refusal(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert re.search(r"unpacks to 24,\d+,\d+ bytes, at most 10,000,000 are read\nSave fewer rows", message)
    assert peak < 5_000_000


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (3_900_000_000, "declares 3,900,000,000 bytes, but its .* refused as a zip bomb"),
        (100_000, "claims 8,000 bytes of data, found 99,"),
        (4_000, "Bad CRC-32"),
    ],
)
def test_a_false_size_is_refused_before_memory_is_allocated(tmp_path: Path, size: int, message: str) -> None:
    data = {
        "x_train.npy": member("|u1", (80, 100), np.random.default_rng(0).bytes(8_000)),
        "y_train.npy": member("|u1", (80,), bytes(80)),
    }
    path = archive(tmp_path / "lie.npz", data, {"x_train.npy": size})

    tracemalloc.start()
    found = refusal(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert re.search(message, found)
    assert peak < 5_000_000


def test_data_that_end_before_the_declared_size_are_refused(tmp_path: Path) -> None:
    """Header and directory agree on a size that the packed data do not have."""
    random = np.random.default_rng(0).bytes(1_000)
    data = {"x_train.npy": member("|u1", (60, 900), random), "y_train.npy": member("|u1", (60,), bytes(60))}
    path = archive(tmp_path / "short.npz", data, {"x_train.npy": 128 + 54_000})

    assert "x_train.npy ends after 1,000 of 54,000 bytes" in refusal(path)


@pytest.mark.parametrize("descr", ["<U0", "|S0", "|V4", "<M8[s]", "|O"])
def test_a_member_that_is_neither_numbers_nor_text_allocates_no_memory(tmp_path: Path, descr: str) -> None:
    """NumPy allocates four bytes for each item of empty text, which has none in the file."""
    data = {"x_train.npy": member("<f4", (60, 1), bytes(240)), "y_train.npy": member(descr, (10**11,))}

    assert "y_train.npy contains" in refusal(archive(tmp_path / "a.npz", data))


def test_numbers_that_are_no_characters_are_refused(tmp_path: Path) -> None:
    for code in (0xD800, 0x110000):
        text = np.full(60, code, np.uint32).tobytes()
        data = {"x_train.npy": member("<f4", (60, 1), bytes(240)), "y_train.npy": member("<U1", (60,), text)}

        assert "contains text that is not Unicode" in refusal(archive(tmp_path / "a.npz", data))


def test_a_header_with_a_size_of_745_gib_allocates_no_memory(tmp_path: Path) -> None:
    data = dict.fromkeys(("x_train.npy", "y_train.npy"), member("<f4", (2 * 10**11, 1)))

    assert "claims 800,000,000,000 bytes of data, found 0" in refusal(archive(tmp_path / "huge.npz", data))


def test_a_missing_npz_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetInvalid, match="no such file"):
        read_npz_dataset(tmp_path / "none.npz")
