"""Each field's range, from both sides."""

from dataclasses import fields

import numpy as np
import pytest

from model.hyperparameters import HyperparameterError, Hyperparameters, Range

OUTSIDE = {
    "hidden_sizes": [(), (1,) * 9, (0,), (16385,), (12.5,), "64", (True,), 64, np.array(64), np.array([[64]])],
    "learning_rate": [0, -1e-3, 10.1, float("nan"), float("inf"), "0.1", True, None],
    "batch_size": [0, -1, 65537, 12.5, True],
    "beta1": [-0.1, 1, 1.5],
    "beta2": [-0.1, 1, 1.5],
    "epsilon": [0, -1e-8, 1.1],
    "weight_decay": [-0.1, 10.1],
    "dropout": [-0.1, 1],
    "input_dropout": [-0.1, 1],
    "label_smoothing": [-0.1, 1],
    "averaging": [-0.1, 1.1, float("nan"), "third"],
    "class_weights": ["Balanced", "", 1, None, {0: 1}],
    "activation": ["tanh", "", 1, None],
    "schedule": ["linear", "", 1, None],
    "epochs": [0, 10001, 1.5],
}
INSIDE = {
    "hidden_sizes": [(1,), (16384,), (1,) * 8, [64, 32], np.array([64, 32]), (np.int64(64),)],
    "learning_rate": [1e-12, 10, np.float32(0.1)],
    "batch_size": [1, 65536, 64.0, np.int64(64)],
    "beta1": [0, 0.999],
    "beta2": [0, 0.99999],
    "epsilon": [1e-12, 1],
    "weight_decay": [0, 10],
    "dropout": [0, 0.99],
    "input_dropout": [0, 0.99],
    "label_smoothing": [0, 0.99],
    "averaging": [0, 0.33, 1],
    "class_weights": ["none", "balanced"],
    "activation": ["relu", "gelu"],
    "schedule": ["constant", "cosine"],
    "epochs": [1, 10000],
}


def test_every_field_has_rows():
    """The two tables cover all fields."""
    names = {item.name for item in fields(Hyperparameters)}

    assert names == set(OUTSIDE) == set(INSIDE)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in OUTSIDE.items() for value in values])
def test_a_value_outside_its_range_is_refused(name, value):
    """The message has the field and the value, in one line."""
    with pytest.raises(HyperparameterError) as caught:
        Hyperparameters(**{name: value})

    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in INSIDE.items() for value in values])
def test_a_value_inside_its_range_is_accepted(name, value):
    """A value just inside its range is returned in the field's type."""
    kept = getattr(Hyperparameters(**{name: value}), name)

    assert kept == (tuple(value) if isinstance(value, list | np.ndarray) else value)
    assert type(kept) is type(getattr(Hyperparameters(), name))


def test_a_range_is_printed_in_interval_notation():
    """Round brackets exclude the end."""
    assert str(Range(0, 1, low_open=True)) == "(0, 1]"
    assert str(Range(0, 1, high_open=True)) == "[0, 1)"
