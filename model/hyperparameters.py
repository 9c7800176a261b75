"""The hyperparameters of a training run, as one frozen dataclass.

A field's line defines its type, default and range. Its name is also the key in study files, the recorded parameter and
the axis label in the report. How to add one: docs/architecture.md.
"""

from __future__ import annotations

import math
from dataclasses import Field, dataclass, field, fields
from numbers import Real  # NumPy's numbers are registered as such
from typing import Any


class HyperparameterError(ValueError):
    """A hyperparameter is of the wrong type or outside its range; the message has the rule and the value."""


@dataclass(frozen=True)
class Range:
    """An interval of numbers; `low_open` and `high_open` exclude the end itself."""

    low: float
    high: float
    low_open: bool = False
    high_open: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.low_open else value >= self.low
        below = value < self.high if self.high_open else value <= self.high
        return above and below

    def __str__(self) -> str:
        """Return the interval in mathematical notation: `(0, 1]`."""
        return f"{'(' if self.low_open else '['}{self.low:g}, {self.high:g}{')' if self.high_open else ']'}"


def _number(default: float, low: float, high: float, *, low_open: bool = False, high_open: bool = False) -> Any:
    return field(default=default, metadata={"range": Range(low, high, low_open, high_open)})


def _word(default: str, *words: str) -> Any:
    return field(default=default, metadata={"words": words})


@dataclass(frozen=True)
class Hyperparameters:
    """The settings of one training run.

    Attributes:
        hidden_sizes: units of each hidden layer, 1 to 8 layers.
        learning_rate: Adam's step size.
        batch_size: examples per step.
        beta1, beta2: decay of Adam's first and second moment.
        epsilon: added to the root of the second moment (Kingma & Ba 2015, algorithm 1).
        weight_decay: decoupled; a step reduces the weights by learning_rate times this (Loshchilov & Hutter 2019).
        dropout, input_dropout: dropout probability of hidden and of input units.
        label_smoothing: probability mass spread evenly over all classes (Szegedy et al. 2016, section 7).
        class_weights: `none`, or `balanced`: the loss of a training example is multiplied by n / (classes * n_k), with
            n_k of the n training examples in its class (King & Zeng 2001), so that all classes count the same.
        activation: of the hidden layers, `relu` or the exact `gelu` (Hendrycks & Gimpel 2016).
        averaging: share of the latest steps whose weights are averaged, which is what is evaluated and kept; 0 for the
            latest weights only. See `model/averaging.py`.
        schedule: `constant`, or `cosine` from the learning rate down to 0 over all epochs.
        epochs: passes over the training examples.

    Raises:
        HyperparameterError: a value is of the wrong type or outside its range.
    """

    hidden_sizes: tuple[int, ...] = field(default=(128, 64), metadata={"range": Range(1, 16384), "layers": Range(1, 8)})
    learning_rate: float = _number(1e-3, 0, 10, low_open=True)
    batch_size: int = _number(128, 1, 65536)
    beta1: float = _number(0.9, 0, 1, high_open=True)
    beta2: float = _number(0.999, 0, 1, high_open=True)
    epsilon: float = _number(1e-8, 0, 1, low_open=True)
    weight_decay: float = _number(0.0, 0, 10)
    dropout: float = _number(0.0, 0, 1, high_open=True)
    input_dropout: float = _number(0.0, 0, 1, high_open=True)
    label_smoothing: float = _number(0.0, 0, 1, high_open=True)
    averaging: float = _number(0.0, 0, 1)
    class_weights: str = _word("none", "none", "balanced")
    activation: str = _word("relu", "relu", "gelu")
    schedule: str = _word("constant", "constant", "cosine")
    epochs: int = _number(12, 1, 10000)

    def __post_init__(self) -> None:
        for name in FIELDS:
            object.__setattr__(self, name, check(name, getattr(self, name)))

    def as_dict(self) -> dict[str, Any]:
        """All fields by name, ready for JSON; `hidden_sizes` is a list."""
        return {**{name: getattr(self, name) for name in FIELDS}, "hidden_sizes": list(self.hidden_sizes)}


FIELDS: dict[str, Field[Any]] = {item.name: item for item in fields(Hyperparameters)}


def check(name: str, value: Any) -> Any:
    """Return `value` converted to the field's type.

    Raises:
        HyperparameterError: wrong type, outside the range, or not one of the choices.
    """
    item = FIELDS[name]
    if "layers" in item.metadata:
        return _check_sizes(name, value, item.metadata["layers"], item.metadata["range"])
    if "words" in item.metadata:
        return _check_word(name, value, item.metadata["words"])
    return _check_number(name, value, item.metadata["range"], whole=item.type == "int")


def _check_sizes(name: str, value: Any, layers: Range, units: Range) -> tuple[int, ...]:
    value = value.tolist() if hasattr(value, "tolist") else value  # an array
    if not isinstance(value, list | tuple) or len(value) not in layers:
        raise HyperparameterError(
            f"{name} must list the units of {layers.low:g} to {layers.high:g} layers, but got {value!r}"
        )
    return tuple(int(_check_number(name, size, units, whole=True)) for size in value)


def _check_word(name: str, value: Any, words: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in words:
        raise HyperparameterError(f"{name} must be one of {', '.join(words)}, but got {value!r}")
    return value


def _check_number(name: str, value: Any, allowed: Range, *, whole: bool) -> int | float:
    is_number = isinstance(value, (float, int, Real)) and not isinstance(value, bool)  # Real alone takes much longer
    number = float(value) if is_number else math.nan
    if not math.isfinite(number) or number not in allowed or (whole and number != int(number)):
        kind = "a whole number" if whole else "a number"
        raise HyperparameterError(f"{name} must be {kind} in {allowed}, but got {value!r}")
    return int(number) if whole else number
