"""Every metric against scikit-learn, and the direction of the metrics."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss, roc_auc_score

from model.epoch import COLUMNS, Epoch
from model.epoch_selection import EpochSelection
from model.loss import softmax
from model.metrics import METRICS, Predictions, metric_of

THEIRS = {
    "loss": lambda labels, p: log_loss(labels, p, labels=range(p.shape[1])),
    "accuracy": lambda labels, p: accuracy_score(labels, p.argmax(axis=1)),
    "balanced_accuracy": lambda labels, p: balanced_accuracy_score(labels, p.argmax(axis=1)),
    "macro_f1": lambda labels, p: f1_score(labels, p.argmax(axis=1), average="macro", zero_division=0),
    "roc_auc": lambda labels, p: (
        roc_auc_score(labels, p[:, 1]) if p.shape[1] == 2 else roc_auc_score(labels, p, multi_class="ovr")
    ),
}


def predictions(n, classes, seed=0, rare=False):
    """Logits that know a little of the labels; `rare` leaves the last class two examples."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes - rare, n - classes)])
    logits = np.asfortranarray(rng.normal(size=(n, classes)), np.float32)
    logits[np.arange(n), labels] += 1
    return Predictions(labels, logits)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize(("n", "classes", "rare"), [(60, 2, False), (300, 5, True), (2500, 10, False)])
def test_a_metric_equals_scikit_learns(name, n, classes, rare):
    found = predictions(n, classes, rare=rare)
    expected = THEIRS[name](found.labels, softmax(found.logits.astype(np.float64)))

    assert METRICS[name].compute(found) == pytest.approx(expected, rel=1e-6)


def test_every_metric_has_a_reference_implementation():
    assert THEIRS.keys() == METRICS.keys()


def test_tied_probabilities_count_half_in_the_roc_auc():
    constant = Predictions(np.array([0, 1, 0, 1]), np.zeros((4, 2), np.float32))

    assert METRICS["roc_auc"].compute(constant) == 0.5


def test_the_loss_stays_finite_where_a_probability_underflows():
    wrong = Predictions(np.array([1]), np.array([[1000.0, 0.0]], np.float32))

    assert METRICS["loss"].compute(wrong) == 1000.0


def test_classes_without_examples_are_ignored():
    """The labels contain two of three classes; no division by zero."""
    found = Predictions(np.array([0, 0, 1]), np.array([[2, 0, 0], [0, 2, 0], [0, 2, 0]], np.float32))

    assert METRICS["balanced_accuracy"].compute(found) == 0.75
    assert METRICS["macro_f1"].compute(found) == pytest.approx(2 / 3)
    assert METRICS["roc_auc"].compute(found) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.0000"), (4e-5, "4.0e-05"), (0.5, "0.5000"), (999999.0, "999999.0000"), (1e23, "1.0e+23")],
)
def test_a_tiny_or_huge_loss_is_printed_in_scientific_notation(value, text):
    assert METRICS["loss"].format(value) == text


def test_old_names_refer_to_the_same_metric():
    assert metric_of("validation_accuracy") is metric_of("accuracy")
    assert metric_of("validation_loss").objective == "validation_loss"


def test_an_epoch_is_restored_from_its_row():
    epoch = Epoch(3, 0.1, 0.5, 0.8, dict.fromkeys(METRICS, 0.25), 1.5)

    assert tuple(epoch.row()) == COLUMNS
    assert Epoch.from_row(3, epoch.row()) == epoch


def test_missing_metrics_are_none_in_a_row_and_absent_in_an_epoch():
    """Columns missing in an older record, and NaN, count as not measured."""
    row = Epoch(0, 0.1, float("nan"), 0.8, {"loss": 0.5}, 1.0).row()
    del row["validation_roc_auc"]

    assert row["train_loss"] is None
    assert row["validation_accuracy"] is None
    assert Epoch.from_row(0, row).validation == {"loss": 0.5}


@pytest.mark.parametrize("name", METRICS)
def test_reversing_a_direction_selects_another_epoch(monkeypatch, name):
    epochs = [Epoch(i, 0.1, 0.0, 0.0, {"loss": 0.5, name: value}, 0.0) for i, value in enumerate((0.4, 0.9, 0.2))]
    metric = METRICS[name]
    other = "minimize" if metric.maximize else "maximize"

    def selected():
        selection, found = EpochSelection(metric.objective), None
        for epoch in epochs:
            found = epoch if selection.prefers(epoch, found) else found
        return found.index

    before = selected()
    monkeypatch.setitem(METRICS, name, replace(metric, direction=other))

    assert {before, selected()} == {1, 2}
