"""Checkpoints: the complete state of a training run in one file; a resumed run gives bit-identical results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.data import npz
from model.epoch import Epoch
from model.files import write_atomic
from model.hyperparameters import Hyperparameters
from model.training import TrainingState

NUMERICS_VERSION = 2
"""Increase it if a change alters the results of equal settings and seeds: such a training run is not continued."""
HEADER_BYTES = 1 << 24
"""Maximal size of a checkpoint's header: 10,000 epochs of 400 bytes are 4 MB."""


class CheckpointError(Exception):
    """A checkpoint file is damaged or belongs to another training run."""


def save(state: TrainingState, path: Path) -> None:
    """Write a checkpoint atomically: `path` is always the complete old or new file.

    Raises:
        OSError: the disk is full or the folder is not writable; the old checkpoint is kept.
    """
    header = {
        "identity": _identity(state),
        "step": state.optimizer.t,
        "epochs": [{"index": epoch.index, **epoch.row()} for epoch in state.epochs],
        "counted": state.selected.index if state.selected else None,
    }
    arrays = np.stack([*_vectors(state), state.selected_theta])
    write_atomic(path, npz.write({"header": np.frombuffer(json.dumps(header).encode(), np.uint8), "arrays": arrays}))


def restore(state: TrainingState, path: Path) -> None:
    """Restore `state` from a checkpoint of the same training run; zip's CRC-32 detects a damaged file.

    Raises:
        CheckpointError: the file is damaged or belongs to another training run; the state is unchanged.
        OSError: it cannot be read.
    """
    vectors = _vectors(state)
    parameters = state.network.theta.size

    def check(name: str, header: npz.Header) -> None:
        """Refuse arrays of another training run before they are read."""
        dtype, shape = {"header": ("|u1", None), "arrays": ("<f4", (len(vectors) + 1, parameters))}[name]
        if header.dtype.str != dtype or shape not in (None, header.shape):
            found = f"{name} is {header.dtype} {header.shape}"
            raise CheckpointError(f"{path} belongs to another training: {found}")

    try:
        kept = npz.read(
            path, ["header", "arrays"], check=check, max_bytes=HEADER_BYTES + 4 * (len(vectors) + 1) * parameters
        )
        header = json.loads(kept["header"].tobytes())
        epochs = [Epoch.from_row(index, row) for index, row in enumerate(header["epochs"])]
        same = _with_defaults(header["identity"]) == _identity(state)
    except (npz.NpzError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if not same:
        raise CheckpointError(f"{path} belongs to another training")
    for vector, saved in zip(vectors, kept["arrays"][:-1], strict=True):
        vector[...] = saved
    state.optimizer.t = header["step"]
    if state.average:
        state.average.t = header["step"]  # every epoch ends with an update
    state.epochs = epochs
    state.selected = epochs[header["counted"]] if header["counted"] is not None else None
    state.selected_theta = kept["arrays"][-1].copy()


def _vectors(state: TrainingState) -> list[NDArray[Any]]:
    """The vectors (parameters,) that training changes in place."""
    average = [state.average.mean] if state.average else []
    return [state.network.theta, state.optimizer.m, state.optimizer.v, *average]


def _identity(state: TrainingState) -> list[Any]:
    """Everything besides the data that determines the results of a training run, in JSON types."""
    rule = state.selection
    return [NUMERICS_VERSION, state.hyperparameters.as_dict(), list(state.seed), rule.objective, rule.epoch]


def _with_defaults(identity: list[Any]) -> list[Any]:
    """An identity, with defaults for the hyperparameters that the version which wrote it did not have."""
    numerics, settings, *rest = identity
    return [numerics, Hyperparameters(**settings).as_dict(), *rest]
