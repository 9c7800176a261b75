"""Writes trajectories.json: fifty steps of PyTorch's Adam and AdamW on a small network in float64.

    .venv/bin/pip install torch==2.13.0 && .venv/bin/python tests/model/make_trajectories.py

The numbers are PyTorch's; test_trajectories.py follows them with our network and optimizer.
"""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

PATH = Path(__file__).with_name("trajectories.json")
SIZES, EXAMPLES, STEPS = (6, 7, 5, 4), 9, 50
KEPT = (1, 10, 50)
CASES = {
    "Adam": {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-8},
    "Adam, other settings": {"lr": 0.003, "betas": (0.8, 0.95), "eps": 1e-4},
    "AdamW": {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.3},
    "AdamW, label smoothing": {"lr": 0.02, "betas": (0.95, 0.99), "eps": 1e-8, "weight_decay": 0.05, "smoothing": 0.2},
}


def follow(settings, start, inputs, labels):
    """Losses before each step, and all weights after the kept steps, as one flat list in our layout."""
    weights = [torch.tensor(w, dtype=torch.float64, requires_grad=True) for pair in start for w in pair]
    settings = dict(settings)
    smoothing = settings.pop("smoothing", 0.0)
    kind = torch.optim.AdamW if "weight_decay" in settings else torch.optim.Adam
    optimizer = kind(weights, **settings)
    losses, after = [], {}
    for step in range(1, STEPS + 1):
        value = torch.tensor(inputs)
        for i in range(0, len(weights), 2):
            value = value @ weights[i] + weights[i + 1]
            value = torch.relu(value) if i < len(weights) - 2 else value
        loss = torch.nn.functional.cross_entropy(value, torch.tensor(labels), label_smoothing=smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step in KEPT:
            after[step] = torch.cat([w.detach().reshape(-1) for w in weights]).tolist()
    return {"losses": losses, "theta": after}


def main():
    """Draw a start, follow every case from it, and write the file."""
    rng = np.random.default_rng(42)
    start = [(rng.normal(0, 0.6, (i, o)), rng.normal(0, 0.2, o)) for i, o in pairwise(SIZES)]
    inputs, labels = rng.normal(size=(EXAMPLES, SIZES[0])), rng.integers(0, SIZES[-1], EXAMPLES)
    document = {
        "made_with": f"PyTorch {torch.__version__}",
        "sizes": SIZES,
        "inputs": inputs.tolist(),
        "labels": labels.tolist(),
        "start": np.concatenate([part.ravel() for pair in start for part in pair]).tolist(),
        "cases": {
            name: {"settings": settings, **follow(settings, start, inputs, labels)} for name, settings in CASES.items()
        },
    }
    PATH.write_text(json.dumps(document) + "\n")


if __name__ == "__main__":
    main()
