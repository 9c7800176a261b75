"""Preparing, loading and verifying datasets in the cache."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from model.data import cache as prepared_folder
from model.data import datasets
from model.data.datasets import DatasetDamaged, DatasetInvalid, DatasetUnavailable


@pytest.fixture(scope="module")
def digits_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("cache")
    datasets.prepare("digits", cache)
    return cache


@pytest.fixture
def cache(digits_cache: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(digits_cache, tmp_path / "cache"))


def test_digits_equal_those_of_scikit_learn(digits_cache: Path) -> None:
    from sklearn.datasets import load_digits

    expected = load_digits()
    dataset = datasets.load(digits_cache / "digits", seed=7)

    assert (dataset.name, dataset.classes, dataset.shape, dataset.preprocessing.scale) == ("digits", 10, (8, 8), 1 / 16)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (1294, 144, 359)
    parts = [(dataset.train.inputs, dataset.train.labels), (dataset.test.inputs, dataset.test.labels)]
    ours = sorted((*image, label) for images, labels in parts for image, label in zip(images, labels, strict=True))
    theirs = sorted((*image, label) for image, label in zip(expected.data, expected.target, strict=True))
    assert np.array_equal(ours, theirs)


def test_the_digest_of_digits_is_stable(digits_cache: Path) -> None:
    # A change means that every recorded study on digits refuses to continue: change FORMAT, and mean it.
    expected = "c6f83779a57adf5a628116270e96d8ebf1131502fceda71df7c2d97f8cc849fc"

    assert datasets.load(digits_cache / "digits", 0).digest == expected


def test_a_prepared_dataset_is_found_by_its_digest(digits_cache: Path) -> None:
    digest = datasets.load(digits_cache / "digits", 0).digest

    assert datasets.prepared(digest, digits_cache) == digits_cache / "digits"
    assert datasets.prepared("0" * 64, digits_cache) is None
    assert datasets.prepared(digest, digits_cache / "nowhere") is None


def test_splits_are_disjoint_and_complete(digits_cache: Path) -> None:
    dataset = datasets.load(digits_cache / "digits", seed=3)

    assert not set(dataset.train.rows) & set(dataset.validation.rows)
    whole = datasets.load(digits_cache / "digits", seed=None)
    assert whole.train.rows.tolist() == sorted([*dataset.train.rows, *dataset.validation.rows])
    assert len(whole.validation) == 0


def test_the_seed_changes_only_the_validation_split(digits_cache: Path) -> None:
    one, same, other = (datasets.load(digits_cache / "digits", seed) for seed in (1, 1, 2))

    assert one.validation.rows.tolist() == same.validation.rows.tolist()
    assert one.validation.rows.tolist() != other.validation.rows.tolist()
    assert one.test.inputs.tobytes() == other.test.inputs.tobytes()


def test_train_and_validation_share_read_only_memory(digits_cache: Path) -> None:
    dataset = datasets.load(digits_cache / "digits", seed=7)

    assert dataset.train.inputs is dataset.validation.inputs
    assert not dataset.train.inputs.flags.writeable
    batch = np.empty((5, dataset.features), np.uint8)
    np.take(dataset.train.inputs, dataset.train.rows[:5], axis=0, out=batch, mode="clip")
    assert (batch == dataset.train.inputs[dataset.train.rows[:5]]).all()


def test_an_intact_cache_is_not_rewritten(cache: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (cache / "digits").iterdir()}

    assert datasets.prepare("digits", cache) == cache / "digits"
    assert {path: path.stat().st_mtime_ns for path in (cache / "digits").iterdir()} == before


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-7] ^= 1
    path.write_bytes(data)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "bit": lambda folder: flip(folder / "images.npy"),
    "label": lambda folder: flip(folder / "test_labels.npy"),
    "cut": lambda folder: (folder / "images.npy").write_bytes((folder / "images.npy").read_bytes()[:-1]),
    "empty": lambda folder: (folder / "images.npy").write_bytes(b""),
    "missing": lambda folder: (folder / "labels.npy").unlink(),
    "no card": lambda folder: (folder / "dataset.json").unlink(),
    "half a card": lambda folder: (folder / "dataset.json").write_text('{"format": 1'),
    "another scale": lambda folder: edit(folder, scale=1.0),
    "another format": lambda folder: edit(folder, format=0),
    "other counts": lambda folder: edit(folder, examples=5),
}


def edit(folder: Path, **changes: object) -> None:
    card = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**card, **changes}))


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_cache_is_prepared_again(cache: Path, kind: str) -> None:
    digest = datasets.load(cache / "digits", 0).digest
    DAMAGE[kind](cache / "digits")
    said: list[str] = []

    with pytest.raises(DatasetDamaged):
        datasets.verify("digits", cache)
    datasets.prepare("digits", cache, notify=said.append)

    assert "damaged" in said[0]
    assert datasets.load(cache / "digits", 0).digest == digest
    assert digest in datasets.verify("digits", cache)[1]
    assert {path.name for path in cache.iterdir()} <= {"digits", ".digits.lock"}


def test_load_names_a_truncated_file(cache: Path) -> None:
    DAMAGE["cut"](cache / "digits")

    with pytest.raises(DatasetDamaged, match=r"images\.npy"):
        datasets.load(cache / "digits", 0)


def test_leftovers_of_a_killed_process_are_removed(cache: Path) -> None:
    shutil.rmtree(cache / "digits")
    (cache / ".digits.0123.part").mkdir()

    datasets.prepare("digits", cache)

    assert {path.name for path in cache.iterdir()} == {"digits", ".digits.lock"}


def test_several_processes_may_prepare_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        folders = set(pool.map(lambda _: datasets.prepare("digits", tmp_path), range(8)))

    assert folders == {tmp_path / "digits"}
    datasets.verify("digits", tmp_path)


def test_a_full_disk_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prepared_folder, "write_synced", full)
    with pytest.raises(OSError, match="No space left"):
        datasets.prepare("digits", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".digits.lock"]


def test_digits_are_read_without_importing_scikit_learn(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from model.data import datasets;"
        "datasets.load(datasets.prepare('digits', Path(sys.argv[1])), 7);"
        "sys.exit([name for name in sys.modules if name.startswith(('sklearn', 'urllib.request', 'pandas'))] or 0)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)


@pytest.mark.parametrize(("name", "hint"), [("mnits", "'mnist'"), ("flowers", r"\.npz"), ("", r"\.npz")])
def test_an_unknown_name_suggests_the_most_similar(tmp_path: Path, name: str, hint: str) -> None:
    with pytest.raises(DatasetInvalid, match=hint) as caught:
        datasets.prepare(name, tmp_path)
    assert "digits, mnist" in str(caught.value)


def test_verify_changes_nothing(tmp_path: Path) -> None:
    with pytest.raises(DatasetUnavailable, match="sweep data fetch digits"):
        datasets.verify("digits", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.mnist
def test_mnist_has_the_published_content(tmp_path: Path) -> None:
    dataset = datasets.load(datasets.prepare("mnist", tmp_path, download=False), seed=7)

    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (54_000, 6_000, 10_000)
    assert dataset.train.labels[:3].tolist() == [5, 0, 4]
    assert dataset.test.labels[:3].tolist() == [7, 2, 1]
    assert np.bincount(dataset.train.labels)[:2].tolist() == [5923, 6742]
    assert dataset.digest == "89558ac8affef59d338aea35807502211a6ffdb21a0ef5b5dfea90c10b7f8b35"


def test_a_folder_of_idx_files_is_a_dataset(tmp_path: Path) -> None:
    """Its place in the cache depends on the content of the files."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (60, 4, 4), np.uint8), np.arange(60, dtype=np.uint8) % 3
    folder = tmp_path / "shapes"
    folder.mkdir()
    for name, array in (("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels)):
        lengths = b"".join(length.to_bytes(4, "big") for length in array.shape)
        (folder / name).write_bytes(bytes([0, 0, 8, array.ndim]) + lengths + array.tobytes())

    prepared = datasets.prepare(str(folder), tmp_path / "cache")
    dataset = datasets.load(prepared, 1)

    assert (dataset.name, dataset.classes, dataset.shape, dataset.columns) == ("shapes", 3, (4, 4), None)
    assert datasets.prepare(str(folder), tmp_path / "cache") == prepared
    (folder / "train-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 60]) + labels[::-1].tobytes())
    assert datasets.prepare(str(folder), tmp_path / "cache") != prepared


def test_the_ending_of_a_file_may_be_in_capitals(tmp_path: Path) -> None:
    path = tmp_path / "FLOWERS.CSV"
    path.write_text("width,species\n" + "".join(f"{k / 10},{'ab'[k % 2]}\n" for k in range(40)))

    assert datasets.load(datasets.prepare(str(path), tmp_path / "cache"), 1).class_names == ("a", "b")
