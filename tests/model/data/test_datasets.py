"""Datasets are what they claim to be, wherever they came from, and stay so in the cache."""

import gzip
import hashlib
import http.server
import io
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data import datasets, download, sources
from model.data.datasets import DatasetDamaged, DatasetInvalid, DatasetUnavailable
from model.data.download import DownloadError, Network, Wanted
from model.data.sources import IdxFile, decode_idx, stratified_split

OFFLINE = Network(())


# ------------------------------------------------------------------ digits, cache, load


@pytest.fixture(scope="module")
def digits_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("cache")
    datasets.prepare("digits", cache)
    return cache


@pytest.fixture
def cache(digits_cache: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(digits_cache, tmp_path / "cache"))


def test_digits_are_the_digits_of_scikit_learn(digits_cache: Path) -> None:
    from sklearn.datasets import load_digits

    expected = load_digits()
    dataset = datasets.load(digits_cache / "digits", seed=7)

    assert (dataset.name, dataset.classes, dataset.shape, dataset.scale) == ("digits", 10, (8, 8), 1 / 16)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (1294, 144, 359)
    parts = [(dataset.train.images, dataset.train.labels), (dataset.test.images, dataset.test.labels)]
    ours = sorted((*image, label) for images, labels in parts for image, label in zip(images, labels, strict=True))
    theirs = sorted((*image, label) for image, label in zip(expected.data, expected.target, strict=True))
    assert np.array_equal(ours, theirs)


def test_the_digest_of_digits_stays(digits_cache: Path) -> None:
    # A change means that every recorded study on digits refuses to continue: change FORMAT, and mean it.
    expected = "c6f83779a57adf5a628116270e96d8ebf1131502fceda71df7c2d97f8cc849fc"

    assert datasets.load(digits_cache / "digits", 0).digest == expected


def test_a_prepared_dataset_is_found_by_its_digest(digits_cache: Path) -> None:
    digest = datasets.load(digits_cache / "digits", 0).digest

    assert datasets.prepared(digest, digits_cache) == digits_cache / "digits"
    assert datasets.prepared("0" * 64, digits_cache) is None
    assert datasets.prepared(digest, digits_cache / "nowhere") is None


def test_splits_are_disjoint_and_together_everything(digits_cache: Path) -> None:
    dataset = datasets.load(digits_cache / "digits", seed=3)

    assert not set(dataset.train.rows) & set(dataset.validation.rows)
    assert dataset.train_and_validation.rows.tolist() == list(range(len(dataset.train.images)))
    assert len(dataset.train_and_validation) == len(dataset.train) + len(dataset.validation)


def test_the_seed_decides_the_validation_split_and_nothing_else(digits_cache: Path) -> None:
    one, same, other = (datasets.load(digits_cache / "digits", seed) for seed in (1, 1, 2))

    assert one.validation.rows.tolist() == same.validation.rows.tolist()
    assert one.validation.rows.tolist() != other.validation.rows.tolist()
    assert one.test.images.tobytes() == other.test.images.tobytes()


def test_train_and_validation_share_read_only_memory(digits_cache: Path) -> None:
    dataset = datasets.load(digits_cache / "digits", seed=7)

    assert dataset.train.images is dataset.validation.images
    assert not dataset.train.images.flags.writeable
    batch = np.empty((5, dataset.features), np.uint8)
    np.take(dataset.train.images, dataset.train.rows[:5], axis=0, out=batch, mode="clip")
    assert (batch == dataset.train.images[dataset.train.rows[:5]]).all()


def test_a_good_cache_is_left_alone(cache: Path) -> None:
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
def test_a_damaged_cache_is_noticed_and_made_again(cache: Path, kind: str) -> None:
    digest = datasets.load(cache / "digits", 0).digest
    DAMAGE[kind](cache / "digits")
    said: list[str] = []

    with pytest.raises(DatasetDamaged):
        datasets.verify("digits", cache)
    datasets.prepare("digits", cache, say=said.append)

    assert "damaged" in said[0]
    assert datasets.load(cache / "digits", 0).digest == digest
    assert digest in datasets.verify("digits", cache)[1]
    assert {path.name for path in cache.iterdir()} <= {"digits", ".digits.lock"}


def test_load_names_a_file_that_was_cut_after_it_was_prepared(cache: Path) -> None:
    DAMAGE["cut"](cache / "digits")

    with pytest.raises(DatasetDamaged, match=r"images\.npy"):
        datasets.load(cache / "digits", 0)


def test_what_a_killed_process_left_is_removed(cache: Path) -> None:
    shutil.rmtree(cache / "digits")
    (cache / ".digits.0123.part").mkdir()

    datasets.prepare("digits", cache)

    assert {path.name for path in cache.iterdir()} == {"digits", ".digits.lock"}


def test_many_may_prepare_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        folders = set(pool.map(lambda _: datasets.prepare("digits", tmp_path), range(8)))

    assert folders == {tmp_path / "digits"}
    datasets.verify("digits", tmp_path)


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(datasets, "write_synced", full)
    with pytest.raises(OSError, match="No space left"):
        datasets.prepare("digits", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".digits.lock"]


def test_digits_need_no_import_of_scikit_learn(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from model.data import datasets;"
        "datasets.load(datasets.prepare('digits', Path(sys.argv[1])), 7);"
        "sys.exit([name for name in sys.modules if name.startswith(('sklearn', 'urllib.request', 'pandas'))] or 0)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)


@pytest.mark.parametrize(("name", "hint"), [("mnits", "'mnist'"), ("flowers", r"\.npz"), ("", r"\.npz")])
def test_an_unknown_name_is_answered_with_the_nearest(tmp_path: Path, name: str, hint: str) -> None:
    with pytest.raises(DatasetInvalid, match=hint) as caught:
        datasets.prepare(name, tmp_path)
    assert "digits, mnist" in str(caught.value)


def test_verify_changes_nothing(tmp_path: Path) -> None:
    with pytest.raises(DatasetUnavailable, match="sweep data fetch digits"):
        datasets.verify("digits", tmp_path)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------ splits


@settings(max_examples=150, deadline=None)
@given(
    labels=st.lists(st.integers(0, 6), min_size=1, max_size=300),
    fraction=st.floats(0.05, 0.5),
    seed=st.integers(0, 2**64),
)
def test_a_stratified_split_is_fair_to_every_class(labels: list[int], fraction: float, seed: int) -> None:
    array = np.array(labels)
    rest, taken = stratified_split(array, fraction, np.random.SeedSequence(seed))

    assert sorted([*rest, *taken]) == list(range(len(labels)))
    assert (np.diff(rest) > 0).all()
    assert (np.diff(taken) > 0).all()
    for label in set(labels):
        count, share = labels.count(label), int((array[taken] == label).sum())
        assert abs(share - count * fraction) <= 1
        assert share < count
        assert share >= 1 or count == 1


def test_a_split_is_the_same_on_every_machine() -> None:
    rest, taken = stratified_split(np.arange(40) % 4, 0.2, np.random.SeedSequence(7))

    assert len(rest) == 32
    assert taken.tolist() == [6, 10, 21, 23, 24, 32, 37, 39]


# ------------------------------------------------------------------ IDX


def idx(array: np.ndarray, magic: int | None = None) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) if magic is None else magic.to_bytes(4, "big")
    return head + b"".join(length.to_bytes(4, "big") for length in array.shape) + array.tobytes()


IMAGES = np.arange(48, dtype=np.uint8).reshape(3, 4, 4)


def test_idx_is_decoded() -> None:
    assert (decode_idx(gzip.compress(idx(IMAGES)), (3, 4, 4), "f") == IMAGES).all()


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (b"", "magic"),
        (gzip.compress(b""), "magic"),
        (b"hello", "gzip"),
        (gzip.compress(idx(IMAGES))[:-9], "gzip"),
        (gzip.compress(idx(IMAGES)) + b"junk", "gzip"),
        (gzip.compress(idx(IMAGES)) + gzip.compress(b"x"), "found more"),
        (gzip.compress(idx(IMAGES)[:-1]), "expected 64 bytes unpacked, found 63"),
        (gzip.compress(idx(IMAGES) + b"\0"), "found more"),
        (gzip.compress(idx(IMAGES, magic=0x00000801)), "magic 00000803, found 00000801"),
        (gzip.compress(idx(IMAGES, magic=0x03080000)), "magic"),
        (gzip.compress(idx(IMAGES.reshape(4, 3, 4))), "dimensions"),
        (gzip.compress(idx(IMAGES)[:4] + b"\xff" * 12), "dimensions"),
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
        "labels",
        "dtype",
        "shape",
        "huge",
        "bomb",
    ],
)
def test_idx_that_is_not_what_it_should_be_is_refused(packed: bytes, message: str) -> None:
    with pytest.raises(DatasetDamaged, match=message):
        decode_idx(packed, (3, 4, 4), "file.gz")


def small_mnist(folder: Path) -> dict[str, IdxFile]:
    """Four files like MNIST's, 20 + 10 examples, and the table that pins them."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    files = {}
    for name, count in (("images", 20), ("labels", 20), ("test_images", 10), ("test_labels", 10)):
        shape = (count, 28, 28) if "images" in name else (count,)
        array = rng.integers(0, 255, shape, np.uint8) if "images" in name else np.arange(count, dtype=np.uint8) % 10
        packed = gzip.compress(idx(array), mtime=0)
        (folder / f"{name}.gz").write_bytes(packed)
        files[name] = IdxFile(f"{name}.gz", len(packed), hashlib.sha256(packed).hexdigest(), shape)
    return files


def read_mnist(own: Path, files: dict[str, IdxFile], network: Network = OFFLINE) -> sources.Arrays:
    return sources.mnist(own, download_missing=True, say=lambda line: None, network=network, files=files)


@pytest.mark.parametrize("setting", ["data", "data/mnist"])
def test_mnist_is_found_in_sweep_data_by_a_relative_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    files = small_mnist(tmp_path / "data" / "mnist")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWEEP_DATA", setting)

    arrays = read_mnist(tmp_path / "own", files)

    assert arrays.images.shape == (20, 784)
    assert arrays.labels.tolist() == [*range(10), *range(10)]
    assert not (tmp_path / "own").exists()


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "swap"])
def test_damaged_files_in_sweep_data_are_named_and_never_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    files = small_mnist(tmp_path / "mnist")
    small_mnist(tmp_path / "own")  # there, but SWEEP_DATA comes first
    bad = tmp_path / "mnist" / "images.gz"
    contents = {"flip": bad.read_bytes()[:-1] + b"?", "cut": bad.read_bytes()[:100], "empty": b""}
    bad.write_bytes(contents.get(damage) or (tmp_path / "mnist" / "labels.gz").read_bytes() * (damage == "swap"))
    monkeypatch.setenv("SWEEP_DATA", str(tmp_path))

    with pytest.raises(DatasetDamaged, match=r"expected .* found") as caught:
        read_mnist(tmp_path / "own", files)
    assert str(bad) in str(caught.value)


def test_the_three_ways_to_get_mnist_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEP_DATA", str(tmp_path / "nowhere"))

    with pytest.raises(DatasetUnavailable) as caught:
        datasets.prepare("mnist", tmp_path, network=OFFLINE)
    message = str(caught.value)
    assert "nowhere does not hold the four files" in message
    assert all(way in message for way in ("Set SWEEP_DATA", "mnist-files", "sweep data fetch mnist"))
    assert len(message.splitlines()) <= 3
    with pytest.raises(DatasetUnavailable, match="switched off"):
        datasets.prepare("mnist", tmp_path, download=False)


def test_a_damaged_file_in_the_cache_is_reported_when_it_cannot_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SWEEP_DATA", raising=False)
    files = small_mnist(tmp_path)
    (tmp_path / "labels.gz").write_bytes(b"<html>")

    with pytest.raises(DatasetDamaged, match=r"labels\.gz: expected .* found 6"):
        read_mnist(tmp_path, files)


# ------------------------------------------------------------------ downloads

BODY = np.random.default_rng(5).bytes(300_000)
FILE = Wanted("file.gz", len(BODY), hashlib.sha256(BODY).hexdigest())


class Mirror(http.server.BaseHTTPRequestHandler):
    """A mirror whose behaviour is the first part of the path."""

    def do_GET(self) -> None:
        behaviour = self.path.split("/")[1]
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        if behaviour.startswith("to-"):
            return self.redirect(behaviour)
        if behaviour == "missing":
            return self.send_error(404)
        if behaviour == "mute":
            self.server.over.wait(20)  # type: ignore[attr-defined]
            return None
        self.send_response(200)
        if behaviour not in ("long", "short"):
            self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        return self.send(behaviour)

    def send(self, behaviour: str) -> None:
        root = Path(self.server.root)  # type: ignore[attr-defined]
        if behaviour == "files":
            self.wfile.write((root / self.path.split("/")[2]).read_bytes())
        elif behaviour in ("good", "long", "wrong"):
            self.wfile.write(BODY[::-1] if behaviour == "wrong" else BODY + b"x" * (behaviour == "long"))
        elif behaviour == "html":
            self.wfile.write(b"<html>Please log in</html>".ljust(len(BODY)))
        elif behaviour in ("short", "broken"):
            self.wfile.write(BODY[:-1])
        elif behaviour == "stalls":
            self.wfile.write(BODY[:1000])
            self.server.over.wait(20)  # type: ignore[attr-defined]

    def redirect(self, behaviour: str) -> None:
        here = f"http://127.0.0.1:{self.server.server_port}"  # type: ignore[attr-defined]
        target = {
            "to-good": f"{here}/good/file.gz",
            "to-itself": f"{here}/to-itself/file.gz",
            "to-file": "file:///etc/passwd",
            "to-ftp": "ftp://127.0.0.1/file.gz",
            "to-local": here.replace("127.0.0.1", "localhost") + "/good/file.gz",
            "to-link-local": "http://169.254.169.254/good/file.gz",
            "to-elsewhere": "https://example.org/file.gz",
        }[behaviour]
        self.send_response(302)
        self.send_header("Location", target)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that went away


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("SWEEP_DATA", raising=False)
    with Server(("127.0.0.1", 0), Mirror) as running:
        running.asked, running.over, running.root = [], threading.Event(), tmp_path  # type: ignore[attr-defined]
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield running
        running.over.set()  # type: ignore[attr-defined]
        running.shutdown()


def network(server: Server, *behaviours: str) -> Network:
    mirrors = tuple(f"http://127.0.0.1:{server.server_port}/{behaviour}/" for behaviour in behaviours)
    return Network(mirrors, contact_seconds=1.0, stall_seconds=0.3, loopback_http=True)


def get(folder: Path, net: Network) -> list[str]:
    said: list[str] = []
    download.download([FILE], folder, say=said.append, network=net)
    return said


@pytest.mark.parametrize("behaviour", ["good", "to-good"])
def test_a_good_mirror_delivers(server: Server, tmp_path: Path, behaviour: str) -> None:
    said = get(tmp_path, network(server, behaviour))

    assert (tmp_path / FILE.name).read_bytes() == BODY
    assert [path.name for path in tmp_path.iterdir()] == [FILE.name]
    assert "300,000 bytes" in said[0]


BAD = {
    "wrong": "SHA-256",
    "html": "SHA-256",
    "long": "more than 300,000",
    "short": "299,999 of 300,000",
    "broken": "299,999 of 300,000|broke off",
    "missing": "404",
    "stalls": "broke off|timed out",
    "mute": "no answer|timed out",
    "to-itself": "redirect|loop",
    "to-file": "file:// is not asked|not allowed|file://",
    "to-ftp": "ftp://127.0.0.1 is not asked",
    "to-local": "http://localhost is not asked",
    "to-link-local": "http://169.254.169.254 is not asked",
    "to-elsewhere": "https://example.org is not asked",
}


@pytest.mark.parametrize(("behaviour", "reason"), BAD.items())
def test_a_bad_mirror_leaves_nothing(server: Server, tmp_path: Path, behaviour: str, reason: str) -> None:
    with pytest.raises(DownloadError, match=reason):
        get(tmp_path, network(server, behaviour))
    assert list(tmp_path.iterdir()) == []
    assert len(server.asked) <= 5  # type: ignore[attr-defined]


@pytest.mark.parametrize("behaviour", BAD)
def test_the_second_mirror_takes_over(server: Server, tmp_path: Path, behaviour: str) -> None:
    get(tmp_path, network(server, behaviour, "good"))

    assert (tmp_path / FILE.name).read_bytes() == BODY


def test_only_https_is_asked_by_default(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="only https"):
        get(tmp_path, replace(network(server, "good"), loopback_http=False))
    assert server.asked == []  # type: ignore[attr-defined]
    assert all(mirror.startswith("https://") for mirror in download.PUBLIC.mirrors)


def test_a_dead_resolver_cannot_hold_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def hang(*args: object, **keywords: object) -> object:
        over.wait(20)
        raise OSError("name resolution failed")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    for variable in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    began = time.monotonic()
    with pytest.raises(DownloadError, match="no answer"):
        get(tmp_path, replace(download.PUBLIC, contact_seconds=0.4))
    assert time.monotonic() - began < 2
    over.set()
    assert download.PUBLIC.contact_seconds < 10


def test_several_may_download_at_once(server: Server, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: get(tmp_path, network(server, "good")), range(4)))

    assert (tmp_path / FILE.name).read_bytes() == BODY
    assert [path.name for path in tmp_path.iterdir()] == [FILE.name]


def test_only_what_is_missing_or_damaged_is_downloaded(server: Server, tmp_path: Path) -> None:
    files = small_mnist(tmp_path)
    own = Path(shutil.copytree(tmp_path, tmp_path / "own"))
    (own / "images.gz").unlink()
    (own / "labels.gz").write_bytes(b"cut")

    read_mnist(own, files, network(server, "files"))

    assert server.asked == ["/files/images.gz", "/files/labels.gz"]  # type: ignore[attr-defined]
    assert read_mnist(own, files).images.shape == (20, 784)


# ------------------------------------------------------------------ .npz


def arrays(**changes: object) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    good = {"x_train": rng.integers(0, 255, (60, 4, 3), np.uint8), "y_train": np.arange(60) % 3}
    return {name: np.asarray(array) for name, array in {**good, **changes}.items() if array is not None}


def saved(folder: Path, **changes: object) -> Path:
    path = folder / "flowers.npz"
    np.savez_compressed(path, **arrays(**changes))  # type: ignore[arg-type]
    return path


def test_a_person_s_npz_becomes_a_dataset(tmp_path: Path) -> None:
    dataset = datasets.load(datasets.prepare(str(saved(tmp_path)), tmp_path / "cache"), seed=1)

    assert (dataset.name, dataset.classes, dataset.shape, dataset.scale) == ("flowers.npz", 3, (4, 3), 1 / 255)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (43, 5, 12)
    assert dataset.train.images.dtype == np.uint8


@pytest.mark.parametrize("dtype", [np.float32, np.float64, ">f8"])
def test_floats_are_stored_as_float32_and_keep_their_test_split(tmp_path: Path, dtype: object) -> None:
    rng = np.random.default_rng(3)
    path = saved(
        tmp_path,
        x_train=np.asfortranarray(rng.normal(size=(60, 5)).astype(dtype)),
        x_test=rng.normal(size=(9, 5)).astype(dtype),
        y_test=np.full(9, 2, np.uint8),
    )
    dataset = datasets.load(datasets.prepare(str(path), tmp_path / "cache"), seed=1)

    with np.load(path) as stored:
        assert (dataset.train.images == stored["x_train"].astype(np.float32)).all()
    assert (dataset.train.images.dtype, dataset.scale, len(dataset.test)) == (np.float32, 1.0, 9)


def test_the_digest_does_not_depend_on_where_the_file_lies_or_how_it_is_packed(tmp_path: Path) -> None:
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
        ({"x_train": np.zeros((60, 4), complex)}, "holds complex128"),
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
        ({"x_train": np.zeros((3, 4), np.uint8), "y_train": [0, 1, 2]}, "single example of each class"),
    ],
)
def test_an_npz_that_is_no_dataset_is_refused_with_its_file_and_member(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    path = saved(tmp_path, **changes)

    with pytest.raises(DatasetInvalid, match=message) as caught:
        datasets.prepare(str(path), tmp_path / "cache")
    assert str(path) in str(caught.value)
    assert not (tmp_path / "cache").exists()


def test_a_pickle_in_an_npz_is_never_opened(tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    class Hostile:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (canary,))

    path = saved(tmp_path, y_train=np.array([Hostile()] * 60, object))

    with pytest.raises(DatasetInvalid, match="holds object"):
        datasets.prepare(str(path), tmp_path / "cache")
    assert not canary.exists()


def test_a_header_that_claims_745_gib_costs_no_memory(tmp_path: Path) -> None:
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


# ------------------------------------------------------------------ the genuine files


@pytest.mark.mnist
def test_mnist_is_mnist(tmp_path: Path) -> None:
    dataset = datasets.load(datasets.prepare("mnist", tmp_path, download=False), seed=7)

    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (54_000, 6_000, 10_000)
    assert dataset.train.labels[:3].tolist() == [5, 0, 4]
    assert dataset.test.labels[:3].tolist() == [7, 2, 1]
    assert np.bincount(dataset.train.labels)[:2].tolist() == [5923, 6742]
    assert dataset.digest == "89558ac8affef59d338aea35807502211a6ffdb21a0ef5b5dfea90c10b7f8b35"
