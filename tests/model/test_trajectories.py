"""Fifty steps in float64 compared with PyTorch's, stored in trajectories.json (see make_trajectories.py)."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from model.adam import Adam
from model.network import MLP

HERE = Path(__file__).parent
STORED = json.loads((HERE / "trajectories.json").read_text())


@pytest.mark.parametrize("name", STORED["cases"])
def test_fifty_steps_equal_pytorchs(name):
    """Losses and all weights agree to nine digits: forward, backward, Adam and AdamW together."""
    case = STORED["cases"][name]
    settings = case["settings"]
    network = MLP(STORED["sizes"], np.float64)
    network.theta[...] = STORED["start"]
    adam = Adam(network.theta, *settings["betas"], settings["eps"], settings.get("weight_decay", 0.0))
    inputs, labels = np.array(STORED["inputs"]), np.array(STORED["labels"])

    for step, expected in enumerate(case["losses"], start=1):
        network.feed(inputs)
        loss, _ = network.backpropagate(len(labels), labels, settings.get("smoothing", 0.0))
        adam.step(network.theta, network.gradient, settings["lr"])
        assert loss == pytest.approx(expected, rel=1e-9), f"step {step}"
        if str(step) in case["theta"]:
            np.testing.assert_allclose(network.theta, case["theta"][str(step)], rtol=1e-9, err_msg=f"step {step}")


@pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="PyTorch is the extra `bench`; its numbers are kept"
)
def test_the_stored_trajectories_equal_pytorchs(tmp_path, monkeypatch):
    """If PyTorch is installed, the stored trajectories are computed again."""
    spec = importlib.util.spec_from_file_location("make_trajectories", HERE / "make_trajectories.py")
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    monkeypatch.setattr(maker, "PATH", tmp_path / "again.json")
    maker.main()
    again = json.loads(maker.PATH.read_text())

    for name, case in STORED["cases"].items():
        np.testing.assert_allclose(again["cases"][name]["losses"], case["losses"], rtol=1e-12)
        for step, theta in case["theta"].items():
            np.testing.assert_allclose(again["cases"][name]["theta"][step], theta, rtol=1e-10)
