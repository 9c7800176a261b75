"""Read and write .npz files without pickle, with checks against malicious files.

`np.load` trusts the header of each array: a malicious file of 128 bytes makes it allocate 745 GiB. Here the zip
directory and every array header are compared with the length of the file before memory is allocated.
"""

import errno
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import zipfile

# Sorted labels can compress 1,000 : 1, so the ratio is limited only for large members.
RATIO_CHECKED_FROM_BYTES = 16 * 2**20
MAX_RATIO = 200


class NpzError(Exception):
    """A .npz file is damaged, malicious, or has other arrays than expected."""


@dataclass(frozen=True)
class Header:
    """The header of an array inside a .npz, read before its data."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran_order: bool


Check = Callable[[str, Header], None]


def read(
    path: Path, required: Sequence[str], optional: Sequence[str] = (), *, check: Check, max_bytes: int
) -> dict[str, NDArray[Any]]:
    """The arrays of a .npz file, C-contiguous and in native byte order.

    Args:
        path: The file.
        required: Names of required arrays.
        optional: Names of optional arrays; any other name is refused.
        check: Called with the name and header of every array before the data of any is read;
            raises whatever the caller raises for a wrong dtype or shape.
        max_bytes: Maximal size of all arrays together, unpacked.

    Raises:
        NpzError: Not a zip file, damaged, a wrong set of arrays, or inconsistent sizes.
        OSError: The file cannot be read.
    """
    import zipfile

    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            members = _members(archive, path, required, optional, max_bytes)
            for name, info in members.items():
                with archive.open(info) as member:
                    check(name, _header(member, info, path))
            return {name: _array(archive, info, path) for name, info in members.items()}
    except Exception as error:
        # With malicious bytes, parsers raise many types: BadZipFile, zlib.error, ValueError, TokenError, KeyError ...
        theirs = type(error).__module__ in {"zipfile", "zlib", "struct", "tokenize", "builtins"}
        system = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno != errno.EINVAL)
        if system or not theirs:  # EINVAL: the directory has an offset before the start of the file
            raise
        raise NpzError(f"{path}: not a readable .npz file ({_one_line(error)})") from error


def write(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The bytes of an uncompressed .npz file; the same arrays always give the same bytes."""
    import io
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3  # otherwise this byte depends on the operating system
            member = io.BytesIO()
            np.lib.format.write_array(member, array, version=(1, 0), allow_pickle=False)
            archive.writestr(info, member.getvalue())
    return buffer.getvalue()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _members(
    archive: "zipfile.ZipFile", path: Path, required: Sequence[str], optional: Sequence[str], max_bytes: int
) -> dict[str, "zipfile.ZipInfo"]:
    """The zip directory by array name, after checks of names and sizes."""
    infos = archive.infolist()
    names = [info.filename.removesuffix(".npy") for info in infos]
    wanted = {*required, *optional}
    for info, name in zip(infos, names, strict=True):
        if name not in wanted or not info.filename.endswith(".npy"):
            raise NpzError(f"{path}: has a member {info.filename!r}, but only {_listed(wanted)} are allowed")
        if names.count(name) > 1:
            raise NpzError(f"{path}: has the member {info.filename!r} {names.count(name)} times")
        _check_sizes(info, path)
    missing = [name for name in required if name not in names]
    if missing:
        raise NpzError(f"{path}: has no {_listed(missing)}, found {_listed(names) or 'nothing'}")
    total, packed = sum(info.file_size for info in infos), sum(info.compress_size for info in infos)
    if total > max_bytes:
        raise NpzError(f"{path}: unpacks to {total:,} bytes, at most {max_bytes:,} are read")
    if packed > path.stat().st_size:
        raise NpzError(f"{path}: members claim {packed:,} bytes, the file has {path.stat().st_size:,}")
    return dict(zip(names, infos, strict=True))


def _listed(names: Sequence[str] | set[str]) -> str:
    return ", ".join(sorted(names))


def _check_sizes(info: "zipfile.ZipInfo", path: Path) -> None:
    import zipfile

    where = f"{path}: member {info.filename}"
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise NpzError(f"{where} is encrypted or compressed in a way NumPy does not write")
    if info.file_size > RATIO_CHECKED_FROM_BYTES and info.file_size > MAX_RATIO * info.compress_size:
        raise NpzError(f"{where} unpacks {info.compress_size:,} bytes to {info.file_size:,}, refused as a zip bomb")


def _header(member: IO[bytes], info: "zipfile.ZipInfo", path: Path) -> Header:
    """The array header at the start of `member`; the next read starts at the data."""
    version = np.lib.format.read_magic(member)
    if version == (1, 0):
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(member)
    elif version == (2, 0):
        shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(member)
    else:
        raise NpzError(f"{path}: member {info.filename} has the unknown .npy version {version}")
    where = f"{path}: member {info.filename}"
    if dtype.hasobject or dtype.names is not None or dtype.kind not in "biuf":
        raise NpzError(f"{where} contains {dtype}, but only plain numbers are read")
    if any(length < 0 for length in shape) or len(shape) > 8:
        raise NpzError(f"{where} claims the shape {shape}")
    claimed = math.prod(shape) * dtype.itemsize
    if claimed != info.file_size - member.tell():
        raise NpzError(f"{where} claims {claimed:,} bytes of data, found {info.file_size - member.tell():,}")
    return Header(dtype, tuple(int(length) for length in shape), bool(fortran_order))


def _array(archive: "zipfile.ZipFile", info: "zipfile.ZipInfo", path: Path) -> NDArray[Any]:
    with archive.open(info) as member:
        header = _header(member, info, path)
        array = np.empty(math.prod(header.shape), header.dtype)
        _fill(member, array, f"{path}: member {info.filename}")
    shaped = array.reshape(header.shape, order="F" if header.fortran_order else "C")
    return np.ascontiguousarray(shaped, header.dtype.newbyteorder("=")).reshape(header.shape)


def _fill(member: IO[bytes], array: NDArray[Any], where: str) -> None:
    """Read exactly the array's bytes; the read at the end also checks the member's CRC."""
    data = array.view(np.uint8).data
    done = 0
    while done < len(data):
        chunk = member.read(min(2**20, len(data) - done))
        if not chunk:
            raise NpzError(f"{where} ends after {done:,} of {len(data):,} bytes")
        data[done : done + len(chunk)] = chunk
        done += len(chunk)
    if member.read(1):
        raise NpzError(f"{where} has more data after its {len(data):,} bytes")
