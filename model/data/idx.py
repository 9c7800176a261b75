"""Read MNIST's file format, gzip-compressed IDX. A file's SHA-256 is checked before it is decoded.

The format: http://yann.lecun.com/exdb/mnist/ (magic number, dimensions as big-endian int32, then the bytes).
"""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.data.errors import DatasetDamaged
from model.data.gunzip import gunzip


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


def read_idx(path: Path, file: IdxFile) -> NDArray[np.uint8]:
    """The array in a published, gzip-compressed IDX file; its checksum is verified before it is decoded.

    Raises:
        DatasetDamaged: The file is missing or not the published one.
        OSError: The file cannot be read.
    """
    damage = fault(path, file)
    if damage is not None:
        raise DatasetDamaged(f"{damage}\nReplace the file by the published one, or remove it.")
    return decode_idx(path.read_bytes(), file.shape, str(path))


def decode_idx(packed: bytes, shape: tuple[int, ...], where: str) -> NDArray[np.uint8]:
    """The uint8 array of this shape in gzip-compressed IDX bytes.

    Args:
        packed: The file's bytes.
        shape: The expected shape, which also limits the unpacked size.
        where: Names the file in errors.

    Raises:
        DatasetDamaged: Truncated, wrong magic number, wrong dimensions, or a wrong number of bytes.
    """
    header = 4 + 4 * len(shape)
    expected = header + math.prod(shape)
    try:
        data = gunzip(packed, expected)
    except (ValueError, EOFError) as error:
        raise DatasetDamaged(f"{where}: not a complete gzip file ({error})") from error
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
