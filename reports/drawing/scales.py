"""The two kinds of axes in a report: the objective, and a searched quantity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from reports.analysis.axes import Axis
from reports.analysis.statistics import Floats
from reports.drawing.fonts import printable
from reports.drawing.layout import MUTED, TINY, WASH

GUTTER = 0.13  # fraction of an objective axis that is reserved for trials without a comparable value


def objective_axis(
    ax: Axes, ends: tuple[float, float], *, maximize: bool, log: bool = False, gutter: float = GUTTER, wash: str = WASH
) -> None:
    """The objective axis, with a shaded strip beyond its worse end for trials that are not on it.

    Args:
        ax: where to draw.
        ends: of the axis without the strip, scaled.
        maximize: whether the strip lies below.
        log: for a loss that spans orders of magnitude.
        gutter: share of the axis that the strip takes.
        wash: its colour.
    """
    low, high = np.log(ends) if log else ends
    strip = gutter / (1 - gutter) * (high - low)
    worse = (low - strip, low) if maximize else (high, high + strip)
    whole = (worse[0], high) if maximize else (low, worse[1])
    if log:
        worse, whole = ((float(np.exp(a)), float(np.exp(b))) for a, b in (worse, whole))
        log_numbers(ax.yaxis, whole)
    ax.axhspan(*worse, color=wash, linewidth=0, zorder=0)
    ax.set_ylim(*whole)


def window(values: Floats, keep: Sequence[float], *, maximize: bool, log: bool = False) -> tuple[float, float]:
    """Ends of an objective axis on which the good values can be distinguished.

    The good side ends at the best value; the bad side at Tukey's outer fence, three interquartile ranges beyond the
    worse quartile, so that a diverged trial does not flatten the rest.

    Args:
        values: (trials,), NaN where there is none.
        keep: values that stay inside whatever they are, such as the baseline's.
        maximize: whether the good side is the upper one.
        log: whether the axis is logarithmic; what is not above 0 has no place on it.
    """
    if log:
        logs = np.log(np.where(values > 0, values, math.nan))
        low, high = window(logs, [math.log(value) for value in keep if value > 0], maximize=maximize)
        return math.exp(low), math.exp(high)
    sign = 1.0 if maximize else -1.0
    goodness = sign * values[np.isfinite(values)]
    if not goodness.size:
        return 0.0, 1.0
    lower, upper = np.quantile(goodness, [0.25, 0.75])
    inside = goodness[goodness >= lower - 3 * (upper - lower)]
    shown = np.concatenate([inside, sign * np.array([k for k in keep if math.isfinite(k)])])
    worst, best = float(shown.min()), float(shown.max())
    pad = 0.06 * (best - worst) or 0.02 * abs(best) or 0.01
    ends = (sign * (worst - pad), sign * (best + pad))
    return min(ends), max(ends)


def many_magnitudes(values: Floats, keep: Sequence[float], *, maximize: bool) -> bool:
    """Whether an objective needs a log axis: a loss whose lowest value is below a thirtieth of the upper end.

    The upper end is that of `window`, which has the same arguments.
    """
    known = values[np.isfinite(values)]
    if maximize or not known.size:
        return False
    return bool(0 < 30 * known.min() < window(values, keep, maximize=False)[1])


def same_window(axs: Sequence[Axes], lines: Sequence[Floats], *, log: bool) -> None:
    """One vertical range for several axes, from the highlighted trials; the other trials may exceed it.

    Args:
        axs: the axes that are to be compared.
        lines: the metric of each highlighted trial, by epoch.
        log: a log axis, for a loss; else the range ends a little beyond the values.
    """
    every = np.concatenate([line[np.isfinite(line)] for line in lines] or [np.empty(0)])
    every = every[every > 0] if log else every
    for ax in axs:
        if log and every.size:
            log_numbers(ax.yaxis, (float(every.min()), float(every.max())))
        if every.size:
            low, high = float(every.min()), float(every.max())
            pad = 0.05 * (high - low) or 0.01
            ax.set_ylim(*((low / 1.15, high * 1.15) if log else (low - pad, high + pad)))
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))


def log_numbers(axis: XAxis | YAxis, ends: tuple[float, float]) -> None:
    """A log axis with plain numbers as labels: powers of ten, and 2 and 5 between them if there is space."""
    (axis.axes.set_yscale if axis.axis_name == "y" else axis.axes.set_xscale)("log")
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    few = ends[0] > 0 and math.log10(ends[1] / ends[0]) < 2.5
    axis.set_minor_formatter(FuncFormatter(_sparse))
    if not few:
        axis.set_minor_locator(NullLocator())
    axis.set_tick_params(which="minor", labelsize=TINY, length=1.5)


def _sparse(value: float, _: object) -> str:
    """Labels between the powers of ten: only at 2 and 5."""
    return f"{value:g}" if f"{value:e}"[0] in "25" else ""


def whole_numbers(ax: Axes, *, up_to: float) -> None:
    """Integer ticks on an axis that counts trials or epochs."""
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=up_to >= 4))


def axis_scale(ax: Axes, axis: Axis, *, vertical: bool = False) -> None:
    """The axis of a searched quantity: its scale, its shaded ends, and round ticks."""
    line = ax.yaxis if vertical else ax.xaxis
    limits, span, mark = (ax.set_ylim, ax.axhspan, ax.axhline) if vertical else (ax.set_xlim, ax.axvspan, ax.axvline)
    if axis.scale == "choice":
        limits(-0.5, axis.high + 0.5)
        crowded = not vertical and sum(len(name) for name in axis.choices) > 36
        names = [printable(name if len(name) <= 14 else f"{name[:13]}…") for name in axis.choices]
        turned: dict[str, Any] = {"rotation": 30, "ha": "right"} if crowded else {}
        line.set_ticks(range(len(names)), labels=names, parse_math=False, **turned)
        return
    (ax.set_yscale if vertical else ax.set_xscale)("log" if axis.scale == "log" else "linear")
    if _whole(axis):
        limits(axis.low - 0.5, axis.high + 0.5)
        line.set_ticks(range(int(axis.low), int(axis.high) + 1))
        return
    low, high = _padded(axis)
    limits(low, high)
    line.set_major_locator(FixedLocator(ticks(axis)))
    line.set_minor_locator(NullLocator())
    line.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    for outer, inner in ((low, axis.low), (axis.high, high)):
        span(outer, inner, color=WASH, linewidth=0, zorder=0)
    for end in (axis.low, axis.high):
        mark(end, color=MUTED, linewidth=0.7, linestyle=(0, (1, 1.5)), zorder=1)


def _whole(axis: Axis) -> bool:
    """Whether the axis has only a few integers, which are drawn like choices."""
    return axis.scale == "linear" and axis.integer and axis.high - axis.low < 12


def _padded(axis: Axis) -> tuple[float, float]:
    if axis.low == axis.high:
        return axis.low * 0.9 - 0.1, axis.high * 1.1 + 0.1
    if axis.scale == "log":
        factor = (axis.high / axis.low) ** 0.06
        return axis.low / factor, axis.high * factor
    pad = 0.06 * (axis.high - axis.low)
    return axis.low - pad, axis.high + pad


def ticks(axis: Axis) -> list[float]:
    """Tick positions: round numbers inside the range; powers of two for integers on a log axis."""
    if axis.scale != "log":
        return _linear_ticks(axis)
    decades = math.log10(axis.high / axis.low)
    if axis.integer and decades < 2.2:
        powers = [2.0**k for k in range(31) if axis.low <= 2.0**k <= axis.high]
        return powers if len(powers) >= 2 else [axis.low, axis.high]
    steps = (1,) if decades >= 2 else (1, 3) if decades >= 1.3 else (1, 2, 5)
    span = range(math.floor(math.log10(axis.low)) - 1, math.ceil(math.log10(axis.high)) + 1)
    found = [step * 10.0**k for k in span for step in steps]
    inside = [tick for tick in found if axis.low * 0.999 <= tick <= axis.high * 1.001]
    return inside if len(inside) >= 2 else [axis.low, axis.high]


def _linear_ticks(axis: Axis) -> list[float]:
    if axis.low == axis.high:
        return [axis.low]
    found = MaxNLocator(5, integer=axis.integer).tick_values(axis.low, axis.high)
    return [float(tick) for tick in found if axis.low <= tick <= axis.high + 1e-12]


def spread(axis: Axis, x: Floats, numbers: Sequence[int]) -> Floats:
    """Positions on an axis; trials with the same choice or small integer are offset by their number."""
    if axis.scale != "choice" and not _whole(axis):
        return x
    golden = (np.array(numbers, dtype=np.float64) * 0.618034) % 1 - 0.5
    return x + 0.3 * golden
