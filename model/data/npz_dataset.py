"""Read and check a user's dataset from a .npz file."""

from collections.abc import Sequence
from pathlib import Path

from model.data import npz
from model.data.arrays import Arrays
from model.data.assembly import MAX_BYTES, Part, assemble, check_inputs, check_no_columns
from model.data.errors import DatasetInvalid, listed

LAYOUTS: tuple[tuple[str, ...], ...] = (
    ("x_train", "y_train", "x_test", "y_test"),
    ("x", "y", "x_test", "y_test"),
    ("train_images", "train_labels", "test_images", "test_labels"),
    ("images", "labels", "test_images", "test_labels"),
    ("data", "target", "data_test", "target_test"),
    ("arr_0", "arr_1"),
)
"""Accepted names of inputs, labels, and their test parts, in any case; `np.savez(file, x, y)` gives the last."""


def read_npz_dataset(path: Path, target: str | None = None, keep: tuple[str, ...] = ()) -> Arrays:
    """Read a dataset from a .npz file with inputs, labels and optionally test inputs and test labels.

    The names are of one of `LAYOUTS`; other members are not read. Arrays of two dimensions are tables of numbers, with
    NaN for gaps; of more they are images. Labels have any form that `encode_labels` accepts.

    Args:
        path: The file.
        target: Must be None: the labels are an array of their own.
        keep: Must be empty.

    Raises:
        DatasetInvalid: The file is missing or not such a dataset; the message has the array and its fault.
        OSError: The file cannot be read.
    """
    check_no_columns(path, target, keep)
    if not path.is_file():
        raise DatasetInvalid(f"{path}: there is no such file")
    try:
        names = npz.member_names(path)
        members = _members(path, names)
        ignored = [name for name in names if name not in members]
        arrays = npz.read(
            path,
            members,
            ignored=ignored,
            check=lambda name, header: _check_header(path, members, name, header),
            max_bytes=MAX_BYTES,
        )
    except npz.NpzError as error:
        raise DatasetInvalid(str(error)) from error
    notes = ["arr_0 are the inputs and arr_1 the labels, by their position"] if "arr_0" in members else []
    notes += [f"not read: {listed(ignored)}"] if ignored else []
    parts = [Part(arrays[x], arrays[y], x, y) for x, y in zip(members[::2], members[1::2], strict=True)]
    return assemble(path, parts[0], parts[1] if parts[1:] else None, tuple(notes))


def _members(path: Path, names: Sequence[str]) -> list[str]:
    """The names of inputs and labels, and then of test inputs and test labels if there are any."""
    folded = [name.lower() for name in names]
    layouts = [layout for layout in LAYOUTS if {*layout[:2]} <= {*folded}]
    if not layouts:
        raise DatasetInvalid(f"{path}: {_missing(names)}\nSave the inputs as x_train and their labels as y_train.")
    wanted = layouts[0]
    found = [name for key in wanted for name in names if name.lower() == key]
    positions = wanted[0] == "arr_0" and "arr_2" in folded
    if len(layouts) > 1 or len(found) > len({*map(str.lower, found)}) or positions:
        raise DatasetInvalid(
            f"{path}: it is not clear which arrays are the inputs and the labels, found {listed(names)}\n"
            "Save them as x_train and y_train, and test examples as x_test and y_test."
        )
    if len(found) == 3:
        raise DatasetInvalid(
            f"{path}: has only one of {wanted[2]} and {wanted[3]}\n"
            "Give both or neither: without them a fifth of the examples is the test set."
        )
    return found


def _missing(names: Sequence[str]) -> str:
    """What the file lacks: the other array of a pair, or both."""
    folded = [name.lower() for name in names]
    for pair in (layout[:2] for layout in LAYOUTS):
        for here, other in (pair, pair[::-1]):
            if here in folded:
                return f"has {here} but no {other}, found {listed(names)}"
    pairs = ", ".join(f"{inputs}/{labels}" for inputs, labels, *_ in LAYOUTS)
    return f"has no arrays of the names {pairs}, found {listed(names) or 'nothing'}"


def _check_header(path: Path, members: Sequence[str], name: str, header: npz.Header) -> None:
    """Refuse a wrong dtype or number of dimensions before any data is read."""
    if members.index(name) % 2 == 0:
        check_inputs(f"{path}: {name}", header.dtype, header.shape)
    elif len(header.shape) not in (1, 2):
        raise DatasetInvalid(f"{path}: {name} must have shape (n,) or be one-hot (n, classes), found {header.shape}")
