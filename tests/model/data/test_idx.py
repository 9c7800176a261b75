"""Decoding IDX files."""

import gzip

import numpy as np
import pytest

from model.data.datasets import DatasetDamaged
from model.data.idx import decode_idx


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
def test_an_unexpected_idx_file_is_refused(packed: bytes, message: str) -> None:
    with pytest.raises(DatasetDamaged, match=message):
        decode_idx(packed, (3, 4, 4), "file.gz")
