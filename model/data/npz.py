"""Read and write .npz files without pickle, with checks against malicious files.

`np.load` trusts the header of each array: a malicious file of 128 bytes makes it allocate 745 GiB. Here the zip
directory and every array header are compared with the length of the file before memory is allocated.
"""

import contextlib
import errno
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import zipfile

DEFLATE_MAX_RATIO = 1032
"""Deflate cannot unpack a byte to more (258 bytes in 2 bits, https://zlib.net/zlib_tech.html); honest zeros reach 1030.

What a member declares beyond it is false. What it declares below it is limited by `max_bytes` alone, because sparse
data compress as well as a zip bomb.
"""


class NpzError(Exception):
    """A .npz file is damaged, malicious, or has other arrays than expected."""


@dataclass(frozen=True)
class Header:
    """The header of an array inside a .npz, read before its data."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran_order: bool


Check = Callable[[str, Header], None]


def member_names(path: Path) -> list[str]:
    """The names of all members in the file's order: of an array without `.npy`; nothing else of them is checked.

    Raises:
        NpzError: Not a zip file.
        OSError: The file cannot be read.
    """
    with _opened(path) as archive:
        return [info.filename.removesuffix(".npy") for info in archive.infolist()]


def read(
    path: Path,
    required: Sequence[str],
    optional: Sequence[str] = (),
    ignored: Sequence[str] = (),
    *,
    check: Check,
    max_bytes: int,
) -> dict[str, NDArray[Any]]:
    """The arrays of a .npz file, C-contiguous and in native byte order: numbers, bool, or text of a fixed width.

    Args:
        path: The file.
        required: Names of required arrays.
        optional: Names of optional arrays.
        ignored: Names of members that are not read; any other name is refused.
        check: Called with the name and header of every array before the data of any is read;
            raises whatever the caller raises for a wrong dtype or shape.
        max_bytes: Maximal size of the arrays that are read together, unpacked.

    Raises:
        NpzError: Not a zip file, damaged, a wrong set of arrays, arrays of objects, or inconsistent sizes.
        OSError: The file cannot be read.
    """
    with _opened(path) as archive:
        members = _members(archive, path, required, {*required, *optional}, set(ignored))
        _check_total(members.values(), path, max_bytes)
        for name, info in members.items():
            with archive.open(info) as member:
                check(name, _header(member, info, path))
        return {name: _array(archive, info, path) for name, info in members.items()}


@contextlib.contextmanager
def _opened(path: Path) -> Iterator["zipfile.ZipFile"]:
    """The opened zip file; whatever its content makes the parsers raise becomes an NpzError."""
    import zipfile

    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            yield archive
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
    archive: "zipfile.ZipFile", path: Path, required: Sequence[str], wanted: set[str], ignored: set[str]
) -> dict[str, "zipfile.ZipInfo"]:
    """The zip directory's entries of the wanted arrays by name, after checks of names and sizes."""
    infos = archive.infolist()
    names = [info.filename.removesuffix(".npy") for info in infos]
    counts = Counter(names)
    members = {}
    for info, name in zip(infos, names, strict=True):
        if name in ignored:
            continue
        if name not in wanted or not info.filename.endswith(".npy"):
            raise NpzError(f"{path}: has a member {info.filename!r}, but only {_listed(wanted)} are allowed")
        if counts[name] > 1:
            raise NpzError(f"{path}: has the member {info.filename!r} {counts[name]} times")
        _check_sizes(info, path)
        members[name] = info
    missing = [name for name in required if name not in names]
    if missing:
        raise NpzError(f"{path}: has no {_listed(missing)}, found {_listed(names) or 'nothing'}")
    return members


def _listed(names: Sequence[str] | set[str]) -> str:
    return ", ".join(sorted(names))


def _check_sizes(info: "zipfile.ZipInfo", path: Path) -> None:
    """Refuse what NumPy does not write, and a size that the packed bytes cannot have."""
    import zipfile

    where = f"{path}: member {info.filename}"
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise NpzError(f"{where} is encrypted or compressed in a way NumPy does not write")
    stored = info.compress_type == zipfile.ZIP_STORED
    possible = info.compress_size * (1 if stored else DEFLATE_MAX_RATIO)
    if info.file_size > possible:
        raise NpzError(
            f"{where} declares {info.file_size:,} bytes, but its {info.compress_size:,} packed ones unpack to"
            f" at most {possible:,}: refused as a zip bomb"
        )


def _check_total(infos: Collection["zipfile.ZipInfo"], path: Path, max_bytes: int) -> None:
    total, packed = sum(info.file_size for info in infos), sum(info.compress_size for info in infos)
    if total > max_bytes:
        raise NpzError(
            f"{path}: unpacks to {total:,} bytes, at most {max_bytes:,} are read\n"
            "Save fewer rows, or a smaller dtype such as uint8 or float32."
        )
    if packed > path.stat().st_size:
        raise NpzError(f"{path}: members claim {packed:,} bytes, the file has {path.stat().st_size:,}")


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
    if dtype.hasobject:
        raise NpzError(
            f"{where} contains objects, which only pickle can read and a pickle can run any program\n"
            "Save it as numbers or text: array.astype(float) or array.astype(str)."
        )
    # The items of an array of empty text have no bytes, but NumPy allocates four for each.
    if dtype.names is not None or dtype.kind not in "biufUS" or not dtype.itemsize:
        raise NpzError(f"{where} contains {dtype}, but only plain numbers and text are read")
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
    if header.dtype.kind == "U":
        _check_text(array, f"{path}: member {info.filename}")
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


def _check_text(array: NDArray[Any], where: str) -> None:
    """Refuse numbers that are no characters: Python cannot make text of them, or cannot write it as UTF-8."""
    codes = array.view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
    if ((codes > 0x10FFFF) | ((codes >= 0xD800) & (codes < 0xE000))).any():
        raise NpzError(f"{where} contains text that is not Unicode")
