"""Read and check a user's dataset from a folder of IDX files, as MNIST, Fashion-MNIST, KMNIST and EMNIST have them."""

import re
from pathlib import Path

from model.data.arrays import Arrays
from model.data.assembly import MAX_BYTES, Part, assemble, check_no_columns
from model.data.errors import DatasetInvalid, listed
from model.data.idx import decode_idx

NAME = re.compile(
    r"(?P<dataset>.*?)(?P<part>train|t10k|test)[-_.](?P<role>image|label)s?"
    r"([-_.]idx\d*([-_.](ubyte|byte|short|int|float|double))?)?(\.gz)?",
    re.IGNORECASE,
)
"""Such as train-images-idx3-ubyte, t10k-labels.idx1-ubyte.gz, emnist-letters-test-images-idx3-ubyte."""
ROLES = ("training images", "training labels", "test images", "test labels")


def idx_files(folder: Path) -> tuple[Path, ...]:
    """The files of training images and labels, and then of test images and labels if there are any.

    Raises:
        DatasetInvalid: The folder does not have them, or has several for one of the four.
    """
    if not folder.is_dir():
        raise DatasetInvalid(f"{folder}: there is no such folder")
    found = _by_role(folder)
    several = next((role for role in ROLES if len(found[role]) > 1), None)
    if several:
        raise DatasetInvalid(
            f"{folder}: has several files of {several}: {listed([path.name for path in found[several]])}\n"
            "Put the files of one dataset into a folder of its own, each packed or unpacked."
        )
    files = tuple(path for role in ROLES for path in found[role])
    names = listed([path.name for path in files]) or "none"
    if not found[ROLES[0]] or not found[ROLES[1]]:
        raise DatasetInvalid(
            f"{folder}: has no IDX files of training images and labels, found {names}\n"
            "Name them as MNIST does: train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz."
        )
    if len(files) == 3:
        raise DatasetInvalid(
            f"{folder}: has only one of test images and test labels, found {names}\n"
            "Give both or neither: without them a fifth of the examples is the test set."
        )
    if len({match["dataset"].lower() for path in files if (match := NAME.fullmatch(path.name))}) > 1:
        raise DatasetInvalid(
            f"{folder}: the files belong to different datasets: {names}\n"
            "Put the files of one dataset into a folder of its own."
        )
    return files


def read_idx_dataset(folder: Path, target: str | None = None, keep: tuple[str, ...] = ()) -> Arrays:
    """Read a dataset from a folder with IDX files of training images and labels, and optionally test images and labels.

    Args:
        folder: Their folder; other files are not read.
        target: Must be None: the labels have a file of their own.
        keep: Must be empty.

    Raises:
        DatasetInvalid: The files are missing, ambiguous, or not a dataset; the message has the file and its fault.
        DatasetDamaged: A file is truncated or not an IDX file.
        OSError: A file cannot be read.
    """
    check_no_columns(folder, target, keep)
    files = idx_files(folder)
    left = MAX_BYTES
    arrays = []
    for path in files:
        if path.stat().st_size > MAX_BYTES:
            raise DatasetInvalid(f"{path}: larger than the {MAX_BYTES:,} bytes that are read\nSave fewer examples.")
        arrays.append(decode_idx(path.read_bytes(), str(path), left))
        left -= arrays[-1].nbytes
    names = [path.name for path in files]
    parts = [Part(arrays[at], arrays[at + 1], names[at], names[at + 1]) for at in range(0, len(files), 2)]
    return assemble(folder, parts[0], parts[1] if parts[1:] else None)


def _by_role(folder: Path) -> dict[str, list[Path]]:
    """The files of each role by their names; hidden files are not of the dataset."""
    found: dict[str, list[Path]] = {role: [] for role in ROLES}
    for path in sorted(folder.iterdir()):
        match = NAME.fullmatch(path.name)
        if match and path.is_file() and not path.name.startswith("."):
            part = "training" if match["part"].lower() == "train" else "test"
            found[f"{part} {match['role'].lower()}s"].append(path)
    return found
