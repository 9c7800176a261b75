"""How long a training step takes, beside the same step in other libraries; and what a training process needs.

    make bench          about three minutes; PyTorch's columns need `.venv/bin/pip install torch==2.13.0`

Every contender trains the same network on the same images with Adam, on one core, from choosing a batch's rows to the
changed weights. The contenders take turns within one process, so that a slow moment of the machine meets them all;
what counts is the ratio of their medians. The last line is everything as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from time import perf_counter

import numpy as np
import threadpoolctl
from aims import as_json, show

from model.data import datasets
from model.data.datasets import Dataset, Examples
from model.hyperparameters import Hyperparameters
from model.training import TrainingState, train
from sweep.workers.local import ONE_THREAD
from sweep.workers.pool import Job

HIDDEN = ((128, 64), (256, 128), (512, 256))
BATCHES = (32, 128, 512)
ROUNDS = 9
STEPS = {32: 160, 128: 80, 512: 40}
"""Steps a measurement, by batch size: long enough for the clock, short enough to interleave finely."""
CLASSES = 10
SCALE = 1 / 255

Measure = Callable[[], None]
"""Runs STEPS[batch] training steps."""


class Data:
    """The images as each contender likes them best; made once."""

    def __init__(self, dataset: Dataset) -> None:
        self.examples = dataset.train
        rows = dataset.train.rows
        self.float32 = dataset.train.inputs[rows] * np.float32(SCALE)
        self.float64 = self.float32.astype(np.float64)
        self.labels = dataset.train.labels[rows]


def products(data: Data, hidden: tuple[int, ...], batch: int) -> Measure:
    """Only the matrix products of a step, on contiguous arrays: what no implementation can do without."""
    rng = np.random.default_rng(0)
    sizes = (data.float32.shape[1], *hidden, CLASSES)
    layers = [
        tuple(rng.normal(size=shape).astype(np.float32) for shape in ((batch, i), (i, o), (batch, o), (i, o)))
        for i, o in pairwise(sizes)
    ]
    back = [np.empty((batch, i), np.float32) for i in sizes[1:-1]]

    def run() -> None:
        for _ in range(STEPS[batch]):
            for inputs, weights, outputs, _gradient in layers:
                np.matmul(inputs, weights, out=outputs)
            for i in range(len(layers) - 1, -1, -1):
                inputs, weights, outputs, gradient = layers[i]
                np.matmul(inputs.T, outputs, out=gradient)
                if i:
                    np.matmul(outputs, weights.T, out=back[i - 1])

    return run


def ours(data: Data, hidden: tuple[int, ...], batch: int, averaging: float = 0.0) -> Measure:
    """The product's own `train`, as a worker runs it: loss and accuracy of every batch included."""
    settings = Hyperparameters(hidden_sizes=hidden, batch_size=batch, epochs=10_000, averaging=averaging)
    state = TrainingState.fresh(settings, data.float32.shape[1], CLASSES, (1, 2), scale=SCALE)
    examples = Examples(data.examples.inputs, data.examples.labels, data.examples.rows[: STEPS[batch] * batch])
    epochs = train(state, examples, None)

    def run() -> None:
        next(epochs)

    return run


def pytorch(data: Data, hidden: tuple[int, ...], batch: int, *, fused: bool) -> Measure:
    """As its users write it, with images in memory as floats; neither loss nor accuracy is read."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    images, labels = torch.from_numpy(data.float32), torch.from_numpy(data.labels)
    layers: list[torch.nn.Module] = []
    for inputs, outputs in pairwise((images.shape[1], *hidden)):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    network = torch.nn.Sequential(*layers, torch.nn.Linear(hidden[-1], CLASSES))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=fused or None)

    def run() -> None:
        order = torch.randperm(STEPS[batch] * batch)
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            loss = torch.nn.functional.cross_entropy(network(images[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return run


def scikit_learn(data: Data, hidden: tuple[int, ...], batch: int) -> Measure:
    """One `partial_fit` (float32): a pass in batches that keeps the weights and Adam's moments."""
    from sklearn.neural_network import MLPClassifier

    classifier = MLPClassifier(hidden, batch_size=batch, alpha=0, random_state=0)
    images, labels = data.float32[: STEPS[batch] * batch], data.labels[: STEPS[batch] * batch]

    def run() -> None:
        classifier.partial_fit(images, labels, classes=range(CLASSES))

    return run


def notebook(data: Data, hidden: tuple[int, ...], batch: int) -> Measure:
    """What a notebook does: float64, one-hot labels, a list of weights, Adam as the paper prints it."""
    rng = np.random.default_rng(0)
    sizes = (data.float64.shape[1], *hidden, CLASSES)
    weights = [rng.normal(0, np.sqrt(2 / i), (i, o)) for i, o in pairwise(sizes)]
    biases = [np.zeros(o) for o in sizes[1:]]
    values = weights + biases
    first, second = [np.zeros_like(value) for value in values], [np.zeros_like(value) for value in values]
    targets = np.eye(CLASSES)[data.labels]
    step = 0

    def run() -> None:
        nonlocal step
        order = rng.permutation(STEPS[batch] * batch)
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            activations = [data.float64[rows]]
            for w, b in zip(weights, biases, strict=True):
                z = activations[-1] @ w + b
                activations.append(np.maximum(0, z))
            exp = np.exp(z - z.max(axis=1, keepdims=True))
            delta = (exp / exp.sum(axis=1, keepdims=True) - targets[rows]) / batch
            slopes_w, slopes_b = [], []
            for i in range(len(weights) - 1, -1, -1):
                slopes_w.insert(0, activations[i].T @ delta)
                slopes_b.insert(0, delta.sum(axis=0))
                if i:
                    delta = (delta @ weights[i].T) * (activations[i] > 0)
            step += 1
            for i, slope in enumerate(slopes_w + slopes_b):
                first[i] = 0.9 * first[i] + 0.1 * slope
                second[i] = 0.999 * second[i] + 0.001 * slope**2
                m_hat, v_hat = first[i] / (1 - 0.9**step), second[i] / (1 - 0.999**step)
                values[i] -= 0.001 * m_hat / (np.sqrt(v_hat) + 1e-8)

    return run


CONTENDERS: dict[str, Callable[..., Measure]] = {
    "products": products,
    "ours": ours,
    "averaged": lambda *at: ours(*at, averaging=1 / 3),
    "PyTorch fused": lambda *at: pytorch(*at, fused=True),
    "PyTorch": lambda *at: pytorch(*at, fused=False),
    "scikit-learn": scikit_learn,
    "notebook": notebook,
}


def installed() -> list[str]:
    """Names of the contenders that this environment has."""
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError:
        return [name for name in CONTENDERS if "PyTorch" not in name]
    return list(CONTENDERS)


def measure(data: Data, hidden: tuple[int, ...], batch: int) -> dict[str, list[float]]:
    """Microseconds a step of every contender, ROUNDS of them, in turns; the turn before the first is not counted."""
    runs = {name: CONTENDERS[name](data, hidden, batch) for name in installed()}
    found: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(-1, ROUNDS):
        for name, run in runs.items():
            started = perf_counter()
            run()
            if turn >= 0:
                found[name].append((perf_counter() - started) / STEPS[batch] * 1e6)
    return found


def peak_memory(folder: Path) -> float:
    """MiB that a worker process had at its highest, after two epochs on the dataset with 512-256 hidden units."""
    settings = Hyperparameters(hidden_sizes=(512, 256), epochs=2)
    with tempfile.TemporaryDirectory() as place:
        job = Job("t", place, str(folder), 7, settings.as_dict(), [7, 0], "validation_accuracy", "best")
        worker = subprocess.Popen(
            [sys.executable, "-m", "sweep.workers.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(json.dumps({"command": "train", **asdict(job)}) + "\n")
        worker.stdin.flush()
        last = next(line for line in worker.stdout if json.loads(line)["kind"] in ("done", "failed"))
        status = Path(f"/proc/{worker.pid}/status").read_text()
        worker.communicate()
    assert json.loads(last)["kind"] == "done", last
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def aims(cells: dict[str, dict[str, list[float]]], memory: float) -> Iterator[tuple[str, float, bool]]:
    """What we want to reach: in words, what was found, and whether that is enough."""
    median = {cell: {name: statistics.median(times) for name, times in found.items()} for cell, found in cells.items()}

    def ratios(name: str) -> list[float]:
        return [found[name] / found["ours"] for found in median.values()]

    if "PyTorch fused" in installed():
        fused = ratios("PyTorch fused")
        yield (
            "PyTorch fused / ours, median of the grid, at least 1.35",
            statistics.median(fused),
            (statistics.median(fused) >= 1.35),
        )
        yield "PyTorch fused / ours, slowest cell, at least 1", min(fused), min(fused) >= 1
    for name, least in (("scikit-learn", 2.5), ("notebook", 4.0)):
        found = statistics.median(ratios(name))
        yield f"{name} / ours, median of the grid, at least {least}", found, found >= least
    averaged = ratios("averaged")
    yield (
        "ours with averaging / ours, median of the grid, at most 1.03",
        statistics.median(averaged),
        (statistics.median(averaged) <= 1.03),
    )
    yield "ours with averaging / ours, slowest cell, at most 1.03", max(averaged), max(averaged) <= 1.03
    wide = median["512-256, 128"]
    share = wide["products"] / wide["ours"]
    yield "matrix products / our step at 512-256, batch 128, at least 0.75", share, share >= 0.75
    yield "peak memory of a worker at 512-256, MiB, at most 250", memory, memory <= 250


def main() -> None:
    """Measure, print the tables and the JSON line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    if not options.parse_args().inside:
        # BLAS reads its settings when NumPy is loaded: measure in a process that has a worker's settings.
        sys.exit(
            subprocess.run(
                [sys.executable, __file__, "--inside"], env={**os.environ, **ONE_THREAD}, check=False
            ).returncode
        )
    cache = Path(os.environ.get("SWEEP_HOME", "runs")) / "data"
    try:
        folder = datasets.prepare("mnist", cache, notify=print)
    except datasets.DatasetUnavailable as error:
        sys.exit(f"the benchmark trains on MNIST: {error}")
    dataset = datasets.load(folder, 7)
    data = Data(dataset)
    print(f"Microseconds a step on MNIST, one core: median of {ROUNDS} (lowest to highest), all in turns")
    print(f"{'hidden, batch':14}" + "".join(f"{name:>26}" for name in CONTENDERS))
    cells = {}
    for hidden in HIDDEN:
        for batch in BATCHES:
            name = f"{'-'.join(map(str, hidden))}, {batch}"
            cells[name] = found = measure(data, hidden, batch)
            print(f"{name:14}" + "".join(f"{_times(found.get(contender)):>26}" for contender in CONTENDERS), flush=True)
    memory = peak_memory(folder)
    print()
    judged = list(aims(cells, memory))
    show(judged)
    versions = _versions()
    print("\n" + "\n".join(f"{name}: {text}" for name, text in versions.items()))
    print(as_json(judged, microseconds=cells, peak_mib=memory, versions=versions))


def _versions() -> dict[str, str]:
    """What was compared: each library, and the kernels its matrix products run on."""
    import sklearn

    blas = next(info for info in threadpoolctl.threadpool_info() if "numpy" in info["filepath"])
    chosen = " (OPENBLAS_CORETYPE)" if "OPENBLAS_CORETYPE" in os.environ else ""
    kernels = f"{blas['internal_api']} {blas['version']}, {blas['architecture']} kernels{chosen}"
    found = {
        "NumPy": f"{np.__version__}, {kernels}, {blas['num_threads']} thread",
        "scikit-learn": f"{sklearn.__version__}, on NumPy's products",
    }
    if "PyTorch" in installed():
        import torch

        mkl = "MKL" if torch.backends.mkl.is_available() else "no MKL"
        capability = torch.backends.cpu.get_cpu_capability()
        found["PyTorch"] = f"{torch.__version__}, {mkl}, {capability}, {torch.get_num_threads()} thread"
    return found


def _times(found: list[float] | None) -> str:
    if found is None:
        return "not installed"
    return f"{statistics.median(found):.0f} ({min(found):.0f} to {max(found):.0f})"


if __name__ == "__main__":
    main()
