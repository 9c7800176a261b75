"""Which settings the first page shows where there is no room for all."""

from types import SimpleNamespace

from reports.pages.settings import _most_telling

SPACE = {
    "learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True},
    "batch_size": {"kind": "choice", "choices": [32, 64]},
    "dropout": {"kind": "float", "low": 0.0, "high": 0.5},
    "class_weights": {"kind": "choice", "choices": ["none", "balanced"]},
}


def test_what_matters_and_what_differs_from_the_baseline_comes_first():
    report = SimpleNamespace(
        record=SimpleNamespace(study={"space": SPACE}), importance=SimpleNamespace(matters=("class weights",))
    )
    shown = {"learning_rate": 0.001, "batch_size": 64, "dropout": 0.0, "class_weights": "balanced"}
    baseline = {"learning_rate": 0.001, "batch_size": 32, "dropout": 0.0, "class_weights": "none"}

    assert _most_telling(report, shown, baseline) == ["class_weights", "batch_size", "learning_rate", "dropout"]
