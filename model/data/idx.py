"""Read MNIST's file format, IDX: magic number, dimensions as big-endian int32, then the numbers.

The format: http://yann.lecun.com/exdb/mnist/. The SHA-256 of a published file is checked before it is decoded.
"""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.data.errors import DatasetDamaged, DatasetInvalid
from model.data.gunzip import gunzip

DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
"""The dtype by the third byte of the magic number; the fourth is the number of dimensions."""
MAX_DIMENSIONS = 8
GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class IdxFile:
    """One published IDX file: its name, packed length in bytes, SHA-256 (hex) as packed, and array shape."""

    name: str
    size: int
    sha256: str
    shape: tuple[int, ...]


def fault(path: Path, file: IdxFile) -> str | None:
    """The fault of the packed file in one line, or None; checks size and SHA-256."""
    if not path.is_file():
        return f"{path}: missing"
    found = path.stat().st_size
    if found != file.size:
        return f"{path}: expected {file.size:,} bytes, found {found:,}"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != file.sha256:
        return f"{path}: expected SHA-256 {file.sha256}, found {digest}"
    return None


def read_idx(path: Path, file: IdxFile) -> NDArray[Any]:
    """The array in a published, gzip-compressed IDX file; its checksum is verified before it is decoded.

    Raises:
        DatasetDamaged: The file is missing or not the published one.
        OSError: The file cannot be read.
    """
    damage = fault(path, file)
    if damage is not None:
        raise DatasetDamaged(f"{damage}\nReplace the file by the published one, or remove it.")
    array = decode_idx(path.read_bytes(), str(path), math.prod(file.shape))
    if array.shape != file.shape or array.dtype != np.uint8:
        raise DatasetDamaged(f"{path}: expected uint8 {file.shape}, found {array.dtype} {array.shape}")
    return array


def decode_idx(data: bytes, where: str, max_bytes: int) -> NDArray[Any]:
    """The array in the bytes of an IDX file, in native byte order.

    Args:
        data: The file's bytes, as they are or compressed by gzip, whatever the file's name is.
        where: Names the file in errors.
        max_bytes: Maximal size of the array, which is checked before it is unpacked.

    Raises:
        DatasetDamaged: Not an IDX file, truncated, or with more bytes than its dimensions need.
        DatasetInvalid: The array is larger than `max_bytes`.
    """
    head = _unpacked(data, 4 + 4 * MAX_DIMENSIONS, where)
    if len(head) < 4 or head[:2] != bytes(2) or head[2] not in DTYPES or not 1 <= head[3] <= MAX_DIMENSIONS:
        raise DatasetDamaged(f"{where}: not an IDX file, its magic number is {head[:4].hex() or 'missing'}")
    dtype, start = np.dtype(DTYPES[head[2]]), 4 + 4 * head[3]
    shape = tuple(int.from_bytes(head[at : at + 4], "big") for at in range(4, start, 4))
    size = math.prod(shape) * dtype.itemsize
    if size > max_bytes:
        raise DatasetInvalid(
            f"{where}: holds {size:,} bytes of shape {shape}, at most {max_bytes:,} are read\nSave fewer examples."
        )
    content = _unpacked(data, start + size, where)
    if len(content) != start + size:
        found = f"{len(content):,}" if len(content) < start + size else "more"
        raise DatasetDamaged(f"{where}: expected {start + size:,} bytes of an array of shape {shape}, found {found}")
    return np.frombuffer(content, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _unpacked(data: bytes, at_most: int, where: str) -> bytes:
    """The first `at_most` + 1 bytes of a file, unpacked if it is compressed by gzip."""
    if data[:2] != GZIP_MAGIC:
        return data[: at_most + 1]
    try:
        return gunzip(data, at_most)
    except (ValueError, EOFError) as error:
        raise DatasetDamaged(f"{where}: not a complete gzip file ({error})") from error
