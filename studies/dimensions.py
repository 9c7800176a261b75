"""The dimensions of a search space: floats, integers, choices, and the sizes of hidden layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from studies.messages import toml


class Suggester(Protocol):
    """Anything with `suggest_*`: an Optuna trial, a `FixedTrial`, or another implementation."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Return a float in [low, high]."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """Return an integer in [low, high]."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Return one of the choices."""


class Strict(BaseModel):
    """A model without unknown keys or converted types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Float(Strict):
    """A float: uniform, log-uniform, or log-uniform in 1 - value (`log = "complement"`)."""

    kind: Literal["float"] = "float"
    low: float
    high: float
    log: bool | Literal["complement"] = False

    @model_validator(mode="after")
    def _ordered(self) -> Float:
        _require_order(self.low, self.high)
        if self.log is True and self.low <= 0:
            raise ValueError(f"a log scale needs low above 0, but got low = {self.low:g}")
        if self.log == "complement" and self.high >= 1:
            raise ValueError(f'log = "complement" needs high below 1, but got high = {self.high:g}')
        return self

    def suggest(self, trial: Suggester, name: str) -> float:
        """Draw a value; on the complement scale Optuna's parameter is `one_minus_<name>`."""
        if self.log == "complement":
            return 1 - trial.suggest_float(f"one_minus_{name}", 1 - self.high, 1 - self.low, log=True)
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def encode(self, name: str, value: Any) -> dict[str, Any]:
        """Optuna's parameters for `value`.

        Raises:
            ValueError: the value is outside the range.
        """
        _require_inside(value, self.low, self.high)
        if self.log == "complement":
            return {f"one_minus_{name}": min(max(1 - value, 1 - self.high), 1 - self.low)}
        return {name: value}

    def count(self) -> None:
        """Number of values: infinite."""

    def at(self, index: int) -> float:
        """A float has no list of values.

        Raises:
            TypeError: always.
        """
        raise TypeError("the values of a float cannot be listed")

    def bounds(self) -> list[Any]:
        """Extreme values, which the hyperparameter must allow."""
        return [self.low, self.high]


class Int(Strict):
    """An integer, uniform or log-uniform."""

    kind: Literal["int"] = "int"
    low: int
    high: int
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Int:
        _require_order(self.low, self.high)
        if self.log and self.low < 1:
            raise ValueError(f"a log scale needs low of at least 1, but got low = {self.low}")
        return self

    def suggest(self, trial: Suggester, name: str) -> int:
        """Draw a value."""
        return trial.suggest_int(name, self.low, self.high, log=self.log)

    def encode(self, name: str, value: Any) -> dict[str, Any]:
        """Optuna's parameter for `value`; raises ValueError outside the range."""
        _require_inside(value, self.low, self.high)
        return {name: value}

    def count(self) -> int:
        """Number of values."""
        return self.high - self.low + 1

    def at(self, index: int) -> int:
        """The value at a place in the list of all, from 0."""
        return self.low + index

    def bounds(self) -> list[Any]:
        """Extreme values, which the hyperparameter must allow."""
        return [self.low, self.high]


class Choice(Strict):
    """One of several values. Optuna gets labels, because it cannot store lists or distinguish 1 from 1.0.

    A label is the choice as written, so that a recorded study keeps its labels; values are compared as numbers, where 0
    is 0.0 and 32 is 32.0.
    """

    kind: Literal["choice"] = "choice"
    choices: list[Any] = Field(min_length=1)

    @field_validator("choices")
    @classmethod
    def _distinct(cls, choices: list[Any]) -> list[Any]:
        if any(_equal(choice, other) for i, choice in enumerate(choices) for other in choices[:i]):
            raise ValueError(f"each choice must occur once, but got {', '.join(map(_label, choices))}")
        return choices

    def suggest(self, trial: Suggester, name: str) -> Any:
        """Draw one of the choices."""
        by_label = {_label(choice): choice for choice in self.choices}
        return by_label[trial.suggest_categorical(name, tuple(by_label))]

    def encode(self, name: str, value: Any) -> dict[str, Any]:
        """Optuna's label for `value`; raises ValueError when it is not a choice."""
        for choice in self.choices:
            if _equal(choice, value):
                return {name: _label(choice)}
        raise ValueError(f"{_label(value)} is not among the choices {', '.join(map(_label, self.choices))}")

    def count(self) -> int:
        """Number of values."""
        return len(self.choices)

    def at(self, index: int) -> Any:
        """The value at a place in the list of all, from 0."""
        return self.choices[index]

    def bounds(self) -> list[Any]:
        """Extreme values, which the hyperparameter must allow."""
        return self.choices


class Layers(Strict):
    """Hidden layers: their number, and the units of each.

    The units of every possible layer are always drawn, so that the space is the same for all trials: TPE then models
    the layers jointly, instead of falling back to independent draws for layers that only some trials have.
    """

    kind: Literal["layers"] = "layers"
    layers: tuple[int, int]
    units: tuple[int, int]
    log: bool = False

    @field_validator("layers", "units", mode="before")
    @classmethod
    def _pair(cls, value: Any) -> Any:
        if not isinstance(value, list) or len(value) != 2:
            raise ValueError(f"expected [least, most], but got {toml(value)}")
        return tuple(value)

    @model_validator(mode="after")
    def _ordered(self) -> Layers:
        for low, high in (self.layers, self.units):
            if not 1 <= low <= high:
                raise ValueError(f"expected [least, most] with 1 <= least <= most, but got [{low}, {high}]")
        return self

    def suggest(self, trial: Suggester, name: str) -> tuple[int, ...]:
        """Draw the sizes of the hidden layers."""
        count = trial.suggest_int(f"{name}.layers", *self.layers)
        sizes = [trial.suggest_int(f"{name}.{i}", *self.units, log=self.log) for i in range(1, self.layers[1] + 1)]
        return tuple(sizes[:count])

    def encode(self, name: str, value: Any) -> dict[str, Any]:
        """Optuna's parameters for the sizes; missing layers get the middle of the range."""
        _require_inside(len(value), *self.layers, what="layers")
        for size in value:
            _require_inside(size, *self.units, what="units")
        middle = round(math.sqrt(self.units[0] * self.units[1]) if self.log else sum(self.units) / 2)
        sizes = [*value, *[middle] * (self.layers[1] - len(value))]
        return {f"{name}.layers": len(value), **{f"{name}.{i}": size for i, size in enumerate(sizes, start=1)}}

    def count(self) -> int:
        """Number of values."""
        return sum(self._widths**layers for layers in range(self.layers[0], self.layers[1] + 1))

    def at(self, index: int) -> tuple[int, ...]:
        """The value at a place in the list of all, from 0."""
        layers = self.layers[0]
        while index >= self._widths**layers:
            index -= self._widths**layers
            layers += 1
        return tuple(self.units[0] + index // self._widths**i % self._widths for i in range(layers))

    @property
    def _widths(self) -> int:
        return self.units[1] - self.units[0] + 1

    def bounds(self) -> list[Any]:
        """Extreme values, which the hyperparameter must allow."""
        return [[self.units[0]] * self.layers[0], [self.units[1]] * self.layers[1]]


Dimension = Float | Int | Choice | Layers


def _label(value: Any) -> str:
    return "-".join(str(item) for item in value) if isinstance(value, list | tuple) else str(value)


def _equal(one: Any, other: Any) -> bool:
    """Whether two choices are the same number, word or list, but not whether `True` is 1."""
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _require_order(low: float, high: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"range ends must be finite numbers, but got low = {low:g}, high = {high:g}")
    if not low < high:
        raise ValueError(f"low must be less than high, but got low = {low:g}, high = {high:g}")


def _require_inside(value: float, low: float, high: float, what: str = "") -> None:
    if not low <= value <= high:
        raise ValueError(f"{value:g} {what + ' ' if what else ''}is not in [{low:g}, {high:g}]")
