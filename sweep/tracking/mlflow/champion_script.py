"""The one file of code that MLflow keeps with the champion: `champion_model.py` and the network's modules in one."""

from __future__ import annotations

import re
from pathlib import Path

import model

NETWORK = (
    "data/arrays.py",
    "data/preprocessing.py",
    "data/named_rows.py",
    "dropout.py",
    "loss.py",
    "network.py",
    "classifier.py",
)
"""Modules of `model` that predict, each after those it imports."""


def champion_script() -> str:
    """The sources one after another, without their imports of one another."""
    paths = [Path(str(model.__file__)).parent / name for name in NETWORK]
    sources = [path.read_text() for path in (*paths, Path(__file__).with_name("champion_model.py"))]
    ours = re.compile(r"^from (__future__|model(\.\w+)+) import .*\n", re.MULTILINE)
    return "from __future__ import annotations\n\n" + "\n\n".join(ours.sub("", source) for source in sources)
