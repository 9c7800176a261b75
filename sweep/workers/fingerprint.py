"""The facts that determine the results of a training run on this machine: versions, code and floating-point results.

`python -P -m sweep.workers.fingerprint` prints them as JSON. It runs in a process with the environment of a worker
process. Imports `model` only.
"""

from __future__ import annotations

import hashlib
import json
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np

import model
from model.data.datasets import Examples
from model.epoch_selection import EpochSelection
from model.hyperparameters import Hyperparameters
from model.training import TrainingState, train

MUST_MATCH = {
    "python": "Python",
    "numpy": "NumPy",
    "distributed": "distributed",
    "code": "the code in model/ and sweep/workers/",
}
"""Facts that must be equal on all machines of a sweep, and their names."""


def facts() -> dict[str, str]:
    """The facts of `MUST_MATCH`, and `arithmetic`, a hash that is equal on machines with bit-identical results."""
    return {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "numpy": np.__version__,
        "distributed": version("distributed"),
        "code": _code(),
        "arithmetic": _arithmetic(),
    }


def _code() -> str:
    """SHA-256 (hex, 12 digits) of the source files used in training."""
    digest = hashlib.sha256()
    for path in [*sorted(Path(str(model.__file__)).parent.rglob("*.py")), *sorted(Path(__file__).parent.glob("*.py"))]:
        digest.update(f"{path.name}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _arithmetic() -> str:
    """SHA-256 (hex, 12 digits) of the weights of a short training run: BLAS kernels depend on the processor.

    Shapes like those of MNIST, all kinds of layers, a short last batch; takes 60 ms.
    """
    settings = Hyperparameters(hidden_sizes=(64, 48), batch_size=96, dropout=0.2, schedule="cosine", epochs=2)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (1000, 784), dtype=np.uint8)
    examples = Examples(images, rng.integers(0, 10, 1000), np.arange(1000))
    selection = EpochSelection("validation_loss", "last")
    state = TrainingState.fresh(settings, 784, 10, [0], selection, scale=1 / 255)
    for _ in train(state, examples, examples):
        pass
    return hashlib.sha256(state.network.theta.data).hexdigest()[:12]


if __name__ == "__main__":
    print(json.dumps(facts()))  # noqa: T201 (read by `dask_worker.facts`)
