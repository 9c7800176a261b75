"""What decides the numbers of a training on this machine: versions, our own code, and how it computes.

`python -P -m sweep.workers.fingerprint` prints it as JSON: asked of a process of its own, with the
environment that a worker process would have. Imports `model` only.
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
from model.epoch import EpochSelection
from model.hyperparameters import Hyperparameters
from model.training import TrainingState, train

MUST_MATCH = {
    "python": "Python",
    "numpy": "NumPy",
    "distributed": "distributed",
    "code": "the code in model/ and sweep/workers/",
}
"""Facts in which two machines of a sweep may not differ, and what they are called."""


def facts() -> dict[str, str]:
    """Those of `MUST_MATCH`, and `arithmetic`, a fingerprint: equal where a training gives equal bits."""
    return {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "numpy": np.__version__,
        "distributed": version("distributed"),
        "code": _code(),
        "arithmetic": _arithmetic(),
    }


def _code() -> str:
    """SHA-256 (hex, 12 digits) of the sources that train."""
    digest = hashlib.sha256()
    for path in [*sorted(Path(str(model.__file__)).parent.rglob("*.py")), *sorted(Path(__file__).parent.glob("*.py"))]:
        digest.update(f"{path.name}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _arithmetic() -> str:
    """SHA-256 (hex, 12 digits) of weights after a short training: other processors have other BLAS kernels.

    Shapes as of MNIST, all kinds of layers, batches that end in a short one; 60 ms.
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
    print(json.dumps(facts()))  # noqa: T201 (whoever asked reads stdout)
