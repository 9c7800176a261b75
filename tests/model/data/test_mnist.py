"""The search for MNIST's files and their download."""

import gzip
import hashlib
import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from model.data import arrays as data_arrays
from model.data import datasets, mnist
from model.data.datasets import DatasetDamaged, DatasetUnavailable
from model.data.download import Network
from model.data.idx import IdxFile

OFFLINE = Network(())


def idx(array: np.ndarray, magic: int | None = None) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) if magic is None else magic.to_bytes(4, "big")
    return head + b"".join(length.to_bytes(4, "big") for length in array.shape) + array.tobytes()


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


def read_mnist(own: Path, files: dict[str, IdxFile], network: Network = OFFLINE) -> data_arrays.Arrays:
    return mnist.read_mnist(own, download_missing=True, notify=lambda line: None, network=network, files=files)


@pytest.mark.parametrize("setting", ["data", "data/mnist"])
def test_mnist_is_found_in_sweep_data_by_a_relative_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    files = small_mnist(tmp_path / "data" / "mnist")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWEEP_DATA", setting)

    arrays = read_mnist(tmp_path / "own", files)

    assert arrays.inputs.shape == (20, 784)
    assert arrays.labels.tolist() == [*range(10), *range(10)]
    assert not (tmp_path / "own").exists()


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "swap"])
def test_damaged_files_in_sweep_data_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    files = small_mnist(tmp_path / "mnist")
    small_mnist(tmp_path / "own")  # there, but SWEEP_DATA comes first
    bad = tmp_path / "mnist" / "images.gz"
    contents = {"flip": bad.read_bytes()[:-1] + b"?", "cut": bad.read_bytes()[:100], "empty": b""}
    bad.write_bytes(contents.get(damage) or (tmp_path / "mnist" / "labels.gz").read_bytes() * (damage == "swap"))
    monkeypatch.setenv("SWEEP_DATA", str(tmp_path))

    with pytest.raises(DatasetDamaged, match=r"expected .* found") as caught:
        read_mnist(tmp_path / "own", files)
    assert str(bad) in str(caught.value)


def test_the_error_lists_three_ways_to_get_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SWEEP_DATA", raising=False)

    with pytest.raises(DatasetUnavailable) as caught:
        datasets.prepare("mnist", tmp_path, network=OFFLINE)
    message = str(caught.value)
    assert all(way in message for way in ("Set SWEEP_DATA", "mnist-files", "sweep data fetch mnist"))
    assert len(message.splitlines()) <= 3
    with pytest.raises(DatasetUnavailable, match="disabled"):
        datasets.prepare("mnist", tmp_path, download=False)


def test_sweep_data_wins_over_the_prepared_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prepared copy is used only while the files that SWEEP_DATA names are there and are those of MNIST."""
    files = small_mnist(tmp_path / "data")
    monkeypatch.setattr(mnist.sweep_data, "__defaults__", (files,))
    monkeypatch.setattr(mnist.read_mnist, "__kwdefaults__", {"network": OFFLINE, "files": files})
    monkeypatch.setenv("SWEEP_DATA", str(tmp_path / "data"))
    folder = datasets.prepare("mnist", tmp_path / "cache")
    assert datasets.prepare("mnist", tmp_path / "cache") == folder

    monkeypatch.setenv("SWEEP_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DatasetUnavailable, match=r"SWEEP_DATA=.*nowhere is not a folder\n.*sweep data fetch mnist"):
        datasets.prepare("mnist", tmp_path / "cache")
    (tmp_path / "nowhere").mkdir()
    with pytest.raises(DatasetUnavailable, match=r"nowhere does not contain images\.gz\n"):
        datasets.prepare("mnist", tmp_path / "cache")
    small_mnist(tmp_path / "nowhere")
    (tmp_path / "nowhere/labels.gz").write_bytes(b"<html>")
    with pytest.raises(DatasetDamaged, match=r"labels\.gz: expected .* found 6"):
        datasets.prepare("mnist", tmp_path / "cache")
    monkeypatch.setenv("SWEEP_DATA", "")
    assert datasets.prepare("mnist", tmp_path / "cache") == folder


def test_a_damaged_file_in_the_cache_is_reported_when_it_cannot_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SWEEP_DATA", raising=False)
    files = small_mnist(tmp_path)
    (tmp_path / "labels.gz").write_bytes(b"<html>")

    with pytest.raises(DatasetDamaged, match=r"labels\.gz: expected .* found 6"):
        read_mnist(tmp_path, files)


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Network, list[str]]]:
    """A mirror that serves the test's folder, and the paths that were requested from it."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("SWEEP_DATA", raising=False)
    paths: list[str] = []

    class Mirror(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(tmp_path))  # type: ignore[arg-type]

        def log_request(self, *arguments: object) -> None:
            paths.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror) as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield Network((f"http://127.0.0.1:{running.server_port}/",), contact_seconds=5.0, loopback_http=True), paths
        running.shutdown()


def test_only_missing_or_damaged_files_are_downloaded(asked: tuple[Network, list[str]], tmp_path: Path) -> None:
    network, paths = asked
    files = small_mnist(tmp_path)
    own = Path(shutil.copytree(tmp_path, tmp_path / "own"))
    (own / "images.gz").unlink()
    (own / "labels.gz").write_bytes(b"cut")

    read_mnist(own, files, network)

    assert paths == ["/images.gz", "/labels.gz"]
    assert read_mnist(own, files).inputs.shape == (20, 784)
