"""Saving and loading weights, with damaged and malicious files."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from model import files, weights
from model.classifier import Classifier
from model.data import npz
from model.network import MLP, parameters
from model.weights import WeightsError

SIZES = (6, 4, 3)


@pytest.fixture
def network() -> MLP:
    found = MLP(SIZES, scale=0.5)
    found.theta[...] = np.random.default_rng(1).normal(size=parameters(SIZES))
    return found


@pytest.fixture
def theta(network: MLP) -> np.ndarray:
    return network.theta


def member(array: np.ndarray, **keywords: object) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, **keywords)
    return buffer.getvalue()


def lying(header: str) -> bytes:
    """A .npy member that is nothing but a header."""
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def archive(path: Path, members: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in members:
            file.writestr(name, data)
    return path


def good_members(theta: np.ndarray) -> dict[str, bytes]:
    return {
        "theta.npy": member(theta),
        "sizes.npy": member(np.array(SIZES)),
        "scale.npy": member(np.array(0.5, np.float32)),
    }


def test_saved_weights_are_loaded(tmp_path: Path, network: MLP) -> None:
    digest = weights.save(tmp_path / "w.npz", Classifier.of(network))
    loaded = weights.load(tmp_path / "w.npz").network

    assert loaded.theta.tobytes() == network.theta.tobytes()
    assert loaded.sizes == SIZES
    assert loaded.scale == 0.5
    assert digest == weights.sha256(loaded.theta)


def test_the_activation_is_saved_and_loaded(tmp_path: Path, network: MLP) -> None:
    gelu = MLP(SIZES, activation="gelu", scale=0.5)
    gelu.theta[...] = network.theta
    weights.save(tmp_path / "w.npz", Classifier.of(gelu))
    loaded, inputs = weights.load(tmp_path / "w.npz").network, np.eye(6, dtype=np.float32)

    assert loaded.activation == "gelu"
    assert loaded.predict(inputs).tobytes() == gelu.predict(inputs).tobytes()
    assert loaded.predict(inputs).tobytes() != network.predict(inputs).tobytes()


def test_the_same_weights_give_the_same_bytes(tmp_path: Path, network: MLP) -> None:
    for name in ("a.npz", "b.npz"):
        weights.save(tmp_path / name, Classifier.of(network))

    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_numpy_reads_the_file_without_this_project(tmp_path: Path, network: MLP) -> None:
    weights.save(tmp_path / "w.npz", Classifier.of(network))

    with np.load(tmp_path / "w.npz", allow_pickle=False) as stored:
        assert set(stored) == {"theta", "sizes", "scale", "description"}
        assert (stored["theta"] == network.theta).all()


@pytest.mark.parametrize("bad", [np.float32("nan"), np.float32("inf")])
def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path, network: MLP, bad: np.float32) -> None:
    network.theta[3] = bad

    with pytest.raises(ValueError, match="finite"):
        weights.save(tmp_path / "w.npz", Classifier.of(network))
    assert list(tmp_path.iterdir()) == []


def test_weights_of_another_dtype_are_not_saved(tmp_path: Path, network: MLP) -> None:
    with pytest.raises(ValueError, match="must be float32"):
        weights.save(tmp_path / "w.npz", Classifier.of(network.with_weights(network.theta, np.float64)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"theta.npy": member(np.zeros(42, np.float32))}, "need 43 weights, found 42"),
        ({"theta.npy": member(np.zeros(43, np.float64))}, "theta must be <f4"),
        ({"theta.npy": member(np.zeros(43, ">f4"))}, "theta must be <f4"),
        ({"theta.npy": member(np.asfortranarray(np.zeros((43, 2), np.float32)))}, "1 dimensions"),
        ({"theta.npy": member(np.full(43, np.nan, np.float32))}, "not finite"),
        ({"theta.npy": member(np.array([{}] * 43), allow_pickle=True)}, "contains object"),
        ({"theta.npy": lying("{'descr': '<f4', 'fortran_order': False, 'shape': (200000000000,)}")}, "claims"),
        ({"theta.npy": lying("{'descr': '<f4', 'fortran_order': False, 'shape': (-4,)}")}, "claims the shape"),
        ({"theta.npy": lying("__import__('os').system('true')")}, "not a readable"),
        ({"theta.npy": b"\x80\x04K\x01."}, "not a readable"),
        ({"theta.npy": b""}, "not a readable"),
        ({"sizes.npy": member(np.array([43]))}, "2 to 64 layers"),
        ({"sizes.npy": member(np.array([6, -4, 3]))}, "need"),
        ({"scale.npy": member(np.array(np.inf, np.float32))}, "not finite"),
        ({"scale.npy": member(np.array(0, np.float32))}, "not finite"),
        ({"activation.npy": member(np.frombuffer(b"tanh", np.uint8))}, "activation must be one of relu, gelu"),
        ({"activation.npy": member(np.zeros(4))}, "activation must be .u1"),
        ({"../evil.npy": member(np.zeros(1))}, "only activation, description, scale, sizes, theta are allowed"),
        ({"theta.txt": b"hello"}, "only activation, description, scale, sizes, theta are allowed"),
        ({"scale.npy": None}, "has no scale"),
    ],
)
def test_a_malicious_or_damaged_member_is_refused(
    tmp_path: Path, theta: np.ndarray, change: dict[str, bytes | None], message: str
) -> None:
    members = {**good_members(theta), **change}
    path = archive(tmp_path / "w.npz", [(name, data) for name, data in members.items() if data is not None])

    with pytest.raises(WeightsError, match=message) as caught:
        weights.load(path)
    assert str(path) in str(caught.value)


def test_a_duplicate_member_is_refused(tmp_path: Path, theta: np.ndarray) -> None:
    members = [*good_members(theta).items(), ("theta.npy", member(theta))]
    with pytest.warns(UserWarning, match="Duplicate"):
        path = archive(tmp_path / "w.npz", members)

    with pytest.raises(WeightsError, match="2 times"):
        weights.load(path)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(
    tmp_path: Path, theta: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "MAX_BYTES", 10_000_000)
    members = {**good_members(theta), "theta.npy": member(np.zeros(5_000_000, np.float32))}
    path = archive(tmp_path / "w.npz", list(members.items()), zipfile.ZIP_DEFLATED)

    with pytest.raises(WeightsError, match=r"unpacks to 20,000,\d+ bytes, at most 10,000,000 are read"):
        weights.load(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04", b"PK\x05\x06" + bytes(18)])
def test_a_file_that_is_not_an_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.npz").write_bytes(content)

    with pytest.raises(WeightsError):
        weights.load(tmp_path / "w.npz")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such weights file"):
        weights.load(tmp_path / "w.npz")


def test_every_flipped_byte_or_truncation_is_detected(tmp_path: Path, network: MLP) -> None:
    path = tmp_path / "w.npz"
    digest = weights.save(path, Classifier.of(network))
    good = path.read_bytes()
    damaged = [good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1 :] for at in range(0, len(good), 3)]

    for content in [*damaged, *(good[:length] for length in range(0, len(good), 50))]:
        path.write_bytes(content)
        try:
            loaded = weights.load(path).network
        except WeightsError:
            continue
        assert (weights.sha256(loaded.theta), loaded.sizes, loaded.scale) == (digest, SIZES, 0.5)


def test_fortran_order_and_other_byte_orders_are_read(tmp_path: Path) -> None:
    array = np.arange(6, dtype=">f8").reshape(2, 3)
    path = archive(tmp_path / "a.npz", [("x.npy", member(np.asfortranarray(array)))])

    read = npz.read(path, ["x"], check=lambda name, header: None, max_bytes=1000)["x"]

    assert read.tolist() == array.tolist()
    assert read.dtype.isnative
    assert read.flags.c_contiguous


def test_a_failed_write_leaves_only_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    files.write_atomic(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
