"""The search space as plot axes: their values, scales and limits.

The scale is read from the recorded space, not inferred from the values. No hyperparameter is named here: one that is
added to a study file appears in the report without changes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reports.analysis.wording import in_words
from studies.record.reader import SweepRecord, TrialRecord

EDGE = 0.05  # values within this fraction of the range, on its own scale, are at the bound


@dataclass(frozen=True)
class Axis:
    """One searched quantity.

    Attributes:
        key: the hyperparameter it belongs to, as in the study file.
        name: the quantity in words, such as `learning rate`, `number of layers` or `width of layer 1`.
        label: what the axis shows, such as `1 − beta2`.
        scale: `linear`, `log` or `choice`.
        integer: whether only whole numbers occur.
        low, high: the ends of the range as drawn; for a choice, the first and last index.
        choices: names of the choices; empty otherwise.
        complement: whether the axis shows 1 − value, so that its low end is the hyperparameter's high end.
        floor: whether lower values are impossible, so that the low end is not a bound of the search.
        layer: for a list of layers: the layer whose width it is, 0 for their number; None for other hyperparameters.
    """

    key: str
    name: str
    label: str
    scale: str
    integer: bool
    low: float
    high: float
    choices: tuple[str, ...] = ()
    complement: bool = False
    floor: bool = False
    layer: int | None = None

    def position(self, value: float) -> float:
        """Relative position of a value: 0 at the low end, 1 at the high end, on the axis's own scale."""
        low, high, here = (math.log(x) if self.scale == "log" else x for x in (self.low, self.high, value))
        return (here - low) / (high - low) if high > low else 0.5

    def at(self, position: float) -> float:
        """The value at a position; the inverse of `position`, also defined outside 0..1."""
        if self.scale == "log":
            return float(self.low * (self.high / self.low) ** position)
        return self.low + (self.high - self.low) * position

    @property
    def few(self) -> bool:
        """Whether the axis has only a few integers, each drawn as a category."""
        return self.integer and self.scale == "linear" and self.high - self.low < 8

    def bound(self, value: float) -> str | None:
        """The bound of the hyperparameter's range that a value is at: `lower`, `upper` or None."""
        if self.scale == "choice" or self.low == self.high or not math.isfinite(value):
            return None
        position = self.position(value)
        if position <= EDGE:
            return None if self.floor else "upper" if self.complement else "lower"
        return ("lower" if self.complement else "upper") if position >= 1 - EDGE else None


def axes(space: Mapping[str, Mapping[str, Any]]) -> list[Axis]:
    """The axes of a space, in the order of the study file."""
    return [axis for key, dimension in space.items() for axis in _axes(key, dimension)]


def values(axis: Axis, trials: Sequence[TrialRecord]) -> NDArray[np.float64]:
    """Value of each trial on an axis, (trials,); NaN if it has no such layer or an unknown choice."""
    return np.array([_value(axis, trial.hyperparameters.get(axis.key)) for trial in trials], dtype=np.float64)


def at_bounds(record: SweepRecord, trial: TrialRecord) -> dict[str, str]:
    """The axes on which a trial lies within 5 % of a bound, and which bound: `lower` or `upper`.

    Of a few whole numbers, such as one or two layers, many are at a bound without meaning.
    """
    ranges = [axis for axis in axes(record.study["space"]) if not axis.few]
    found = {axis.name: axis.bound(float(values(axis, [trial])[0])) for axis in ranges}
    return {name: bound for name, bound in found.items() if bound is not None}


def _axes(key: str, dimension: Mapping[str, Any]) -> Iterator[Axis]:
    kind = dimension["kind"]
    if kind == "layers":
        yield from _layer_axes(key, dimension)
    elif kind == "choice":
        names = tuple(_choice(choice) for choice in dimension["choices"])
        yield Axis(key, in_words(key), in_words(key), "choice", False, 0.0, float(len(names) - 1), names)
    else:
        yield _number_axis(key, dimension)


def _number_axis(key: str, dimension: Mapping[str, Any]) -> Axis:
    low, high = float(dimension["low"]), float(dimension["high"])
    if dimension.get("log") == "complement":
        return Axis(key, in_words(key), f"1 − {in_words(key)}", "log", False, _rest(high), _rest(low), complement=True)
    scale = "log" if dimension.get("log") else "linear"
    return Axis(key, in_words(key), in_words(key), scale, dimension["kind"] == "int", low, high, floor=low == 0)


def _rest(value: float) -> float:
    """1 - value without rounding error of the subtraction: 1 - 0.9999 is 0.0001, not 0.00009999999999998899."""
    return float(f"{1 - value:.10g}")


def _layer_axes(key: str, dimension: Mapping[str, Any]) -> Iterator[Axis]:
    fewest, most = dimension["layers"]
    low, high = dimension["units"]
    name = "number of layers"
    yield Axis(key, name, name, "linear", True, float(fewest), float(most), floor=fewest == 1, layer=0)
    for layer in range(1, most + 1):
        scale = "log" if dimension.get("log") else "linear"
        name = f"width of layer {layer}"
        yield Axis(key, name, name, scale, True, float(low), float(high), layer=layer)


def _value(axis: Axis, value: Any) -> float:
    if value is None:
        return math.nan
    if axis.scale == "choice":
        return float(axis.choices.index(_choice(value))) if _choice(value) in axis.choices else math.nan
    if axis.layer is not None:
        return _layer_value(axis.layer, value)
    return 1 - float(value) if axis.complement else float(value)


def _layer_value(layer: int, sizes: Sequence[int]) -> float:
    if layer == 0:
        return float(len(sizes))
    return float(sizes[layer - 1]) if layer <= len(sizes) else math.nan


def _choice(value: Any) -> str:
    """A choice by name; a list of layer sizes as `128-64`, and whole numbers without `.0`, however they are written."""
    if isinstance(value, (tuple, list)):
        return "-".join(map(_choice, value))
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
