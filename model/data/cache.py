"""A prepared dataset: a folder of plain .npy files and dataset.json, verified by a digest.

A folder is written under a temporary name and then renamed, so that it is never incomplete.
"""

import hashlib
import io
import json
import math
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.data.arrays import Arrays, Column
from model.data.errors import DatasetDamaged
from model.files import PART, sync_folder, write_synced

FORMAT = 2
"""Version of the folder format. Format 1 had a fixed scale and neither names of classes nor columns."""
FILES = {"images": "inputs", "labels": "labels", "test_images": "test_inputs", "test_labels": "test_labels"}
"""The attribute of `Arrays` in each .npy file."""


@dataclass(frozen=True)
class Card:
    """The content of dataset.json; see `Arrays`."""

    name: str
    digest: str
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    columns: tuple[Column, ...] | None
    scale: float | None
    notes: tuple[str, ...]
    examples: int
    test_examples: int


def replace_folder(folder: Path, name: str, arrays: Arrays) -> None:
    """Write the folder under a temporary name and rename it over an old one; the caller holds the dataset's lock."""
    _remove_leftovers(folder)
    part = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}{PART}")
    try:
        part.mkdir()
        _write_folder(part, name, arrays)
        if folder.exists():
            # A folder cannot be renamed over another. A process that has mapped the old files can still read them.
            folder.rename(folder.with_name(f".{folder.name}.{secrets.token_hex(8)}{PART}"))
        part.rename(folder)
    finally:
        _remove_leftovers(folder)
    sync_folder(folder.parent)


def _remove_leftovers(folder: Path) -> None:
    """Remove what a killed process was writing for this folder; no other process holds the lock."""
    for leftover in folder.parent.glob(f".{folder.name}.*{PART}"):
        shutil.rmtree(leftover, ignore_errors=True)


def _write_folder(folder: Path, name: str, arrays: Arrays) -> None:
    parts = {key: getattr(arrays, attribute) for key, attribute in FILES.items()}
    for key, array in parts.items():
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        write_synced(folder / f"{key}.npy", buffer.getvalue())
    card = {
        "format": FORMAT,
        "name": name,
        "digest": _digest(parts, arrays.classes, arrays.shape, arrays.columns, arrays.scale),
        "classes": list(arrays.classes),
        "shape": list(arrays.shape),
        "columns": _plain(arrays.columns),
        "scale": arrays.scale,
        "notes": list(arrays.notes),
        "examples": len(arrays.labels),
        "test_examples": len(arrays.test_labels),
    }
    write_synced(folder / "dataset.json", (json.dumps(card, indent=2) + "\n").encode())
    sync_folder(folder)


def _plain(columns: tuple[Column, ...] | None) -> list[Any] | None:
    return None if columns is None else [[column.name, column.categories] for column in columns]


def _digest(
    arrays: dict[str, NDArray[Any]],
    classes: tuple[str, ...],
    shape: tuple[int, ...],
    columns: tuple[Column, ...] | None,
    scale: float | None,
) -> str:
    """SHA-256 (hex) of the arrays and their metadata; independent of the source's name and path."""
    meaning: dict[str, Any] = {"shape": list(shape)}
    meaning["arrays"] = {key: [arrays[key].dtype.str, list(arrays[key].shape)] for key in FILES}
    if scale is None:
        meaning |= {"format": 2, "classes": list(classes), "columns": _plain(columns)}
    else:  # as in format 1, so that digits and MNIST keep the digest of earlier records
        meaning |= {"format": 1, "classes": len(classes), "scale": scale}
    digest = hashlib.sha256(json.dumps(meaning, sort_keys=True).encode())
    for key in FILES:
        digest.update(np.ascontiguousarray(arrays[key]).data)
    return digest.hexdigest()


def fault(folder: Path) -> str | None:
    """The fault of a prepared folder in one line, or None; reads and hashes all files."""
    try:
        card = read_card(folder)
        arrays = map_arrays(folder, card)
    except DatasetDamaged as error:
        return str(error).splitlines()[0]
    found = _digest(arrays, card.classes, card.shape, card.columns, card.scale)
    return None if found == card.digest else f"{folder}: expected SHA-256 {card.digest}, found {found}"


def read_card(folder: Path) -> Card:
    """Read dataset.json.

    Raises:
        DatasetDamaged: It is missing, not readable, or of another format.
    """
    path = folder / "dataset.json"
    try:
        text = json.loads(path.read_text(encoding="utf-8"))
        if text["format"] not in (1, FORMAT):
            raise DatasetDamaged(f"{path}: expected format {FORMAT}, found {text['format']}")
        return _card(text)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DatasetDamaged(f"{folder}: contains no prepared dataset (no dataset.json)") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DatasetDamaged(f"{path}: not readable ({type(error).__name__}: {error})") from error


def _card(text: dict[str, Any]) -> Card:
    names = range(int(text["classes"])) if text["format"] == 1 else text["classes"]
    columns, scale = text.get("columns"), text["scale"]
    return Card(
        name=str(text["name"]),
        digest=str(text["digest"]),
        classes=tuple(map(str, names)),
        shape=tuple(int(length) for length in text["shape"]),
        columns=None if columns is None else tuple(_column(*column) for column in columns),
        scale=None if scale is None else float(scale),
        notes=tuple(map(str, text.get("notes", ()))),
        examples=int(text["examples"]),
        test_examples=int(text["test_examples"]),
    )


def _column(name: str, categories: list[str] | None) -> Column:
    return Column(str(name), None if categories is None else tuple(map(str, categories)))


def _map(path: Path) -> NDArray[Any]:
    """The array in a .npy file, memory-mapped and read-only."""
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except FileNotFoundError as error:
        raise DatasetDamaged(f"{path}: missing") from error
    except (ValueError, EOFError) as error:
        raise DatasetDamaged(f"{path}: not readable ({error})") from error


def map_arrays(folder: Path, card: Card) -> dict[str, NDArray[Any]]:
    """Map the four arrays by name, read-only; takes milliseconds, because only their headers are read.

    Raises:
        DatasetDamaged: A file is missing, not readable, or has another dtype or shape than `card` says.
    """
    arrays = {name: _map(folder / f"{name}.npy") for name in FILES}
    _check_shapes(folder, card, arrays)
    return arrays


def _check_shapes(folder: Path, card: Card, arrays: dict[str, NDArray[Any]]) -> None:
    features = math.prod(card.shape)
    expected = {
        "images": (card.examples, features),
        "labels": (card.examples,),
        "test_images": (card.test_examples, features),
        "test_labels": (card.test_examples,),
    }
    for name, shape in expected.items():
        dtypes = ("int64",) if "labels" in name else ("uint8", "float32", "float64")
        array = arrays[name]
        if array.shape != shape or array.dtype.name not in dtypes:
            wanted = f"{' or '.join(dtypes)} {shape}"
            raise DatasetDamaged(f"{folder / name}.npy: expected {wanted}, found {array.dtype} {array.shape}")
