"""MNIST: the search for its four files, and their published checksums."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from model.data.arrays import Arrays
from model.data.download import PUBLIC, DownloadError, Network, Notify, Wanted, download
from model.data.errors import DatasetDamaged, DatasetUnavailable
from model.data.idx import IdxFile, fault, read_idx

MNIST = {
    "images": IdxFile(
        "train-images-idx3-ubyte.gz",
        9_912_422,
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        (60_000, 28, 28),
    ),
    "labels": IdxFile(
        "train-labels-idx1-ubyte.gz",
        28_881,
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        (60_000,),
    ),
    "test_images": IdxFile(
        "t10k-images-idx3-ubyte.gz",
        1_648_877,
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        (10_000, 28, 28),
    ),
    "test_labels": IdxFile(
        "t10k-labels-idx1-ubyte.gz",
        4_542,
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        (10_000,),
    ),
}


def read_mnist(
    own: Path,
    *,
    download_missing: bool,
    notify: Notify,
    network: Network = PUBLIC,
    files: Mapping[str, IdxFile] = MNIST,
) -> Arrays:
    """Read MNIST from `SWEEP_DATA`, else from the folder `own`, else download it into `own`.

    Args:
        own: The cache's folder for the four .gz files; created before a download.
        download_missing: Whether the network may be used.
        notify: Called with one line before each download.
        network: Mirrors and timeouts.
        files: The four files by array name.

    Raises:
        DatasetUnavailable: `SWEEP_DATA` is set and does not contain the files, or it is not set, and they are not in
            `own` and cannot be downloaded.
        DatasetDamaged: A file in `SWEEP_DATA` is not the published one, or one in `own` is not and
            cannot be downloaded again.
        OSError: A folder cannot be read or written.
    """
    folder = sweep_data(files)
    if folder is None:
        folder = own
        _complete(own, download_missing=download_missing, notify=notify, network=network, files=files)
    raw = {name: read_idx(folder / file.name, file) for name, file in files.items()}
    rows = {name: array.reshape(len(array), -1) for name, array in raw.items() if "images" in name}
    labels = {name: array.astype(np.int64) for name, array in raw.items() if "labels" in name}
    shape = files["images"].shape[1:]
    parts = rows["images"], labels["labels"], rows["test_images"], labels["test_labels"]
    return Arrays(*parts, tuple("0123456789"), shape, scale=1 / 255)


def sweep_data(files: Mapping[str, IdxFile] = MNIST) -> Path | None:
    """The folder with the files that `SWEEP_DATA` names, after checking them; None if it is not set.

    Raises:
        DatasetUnavailable: There is no such folder, or it does not contain the files.
        DatasetDamaged: A file is not the published one.
        OSError: A file cannot be read.
    """
    setting = os.environ.get("SWEEP_DATA", "")
    if not setting:
        return None
    place = Path(setting).expanduser()
    for folder in (place / "mnist", place):
        if all((folder / file.name).is_file() for file in files.values()):
            for file in files.values():
                if (damage := fault(folder / file.name, file)) is not None:
                    raise DatasetDamaged(damage)
            return folder
    missing = next(file.name for file in files.values() if not (place / file.name).is_file())
    reason = f"does not contain {missing}" if place.is_dir() else "is not a folder"
    raise DatasetUnavailable(
        f"MNIST is not available: SWEEP_DATA={setting} {reason}\n"
        "Put its four .gz files there, or unset SWEEP_DATA and run `sweep data fetch mnist`, which downloads them."
    )


def _complete(
    own: Path, *, download_missing: bool, notify: Notify, network: Network, files: Mapping[str, IdxFile]
) -> None:
    """Download missing and damaged files into `own`."""
    damage: list[str] = []
    wanted = []
    for file in files.values():
        found = fault(own / file.name, file)
        if found is not None:
            wanted.append(Wanted(file.name, file.size, file.sha256))
            damage += [found] if (own / file.name).exists() else []
    if not wanted:
        return
    reason = "downloads are disabled"
    if download_missing:
        try:
            download(wanted, own, notify=notify, network=network)
            return
        except DownloadError as error:
            reason = f"the download failed: {error}"
    if damage:
        raise DatasetDamaged(f"{damage[0]}\nIt could not be replaced, {reason}\n{_advice(own)}")
    raise DatasetUnavailable(
        f"MNIST is not available: SWEEP_DATA is not set, {own} is incomplete, and {reason}\n{_advice(own)}"
    )


def _advice(own: Path) -> str:
    return (
        f"Set SWEEP_DATA to a folder with the four .gz files, or put them in {own},"
        " or connect and run `sweep data fetch mnist`."
    )
