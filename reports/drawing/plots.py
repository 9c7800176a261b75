"""Pure drawing: every function draws arrays on the axes it is given, and changes nothing else.

A trial has one colour and one marker on all pages; a state is told by marker and colour, so that it survives a grey
print. Colours are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), chosen for colour-blind readers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from reports.analysis.axes import Axis
from reports.analysis.findings import BROKEN, Band, Calibration, Confirmed, Confusion, Floats, Mistake, Progress
from reports.analysis.importance import Scores
from reports.drawing.layout import INK, MUTED, RULE, SMALL, TINY, WASH, WIDTH, printable, shorten

GREY, BASE, FAILURE, PRUNED = "#8b95a1", "#1b1f24", "#c0392b", "#a08a5b"
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9")
GUTTER = 0.13  # share of an objective axis that is kept for trials without a comparable value
LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (2, 1.2)), (0, (6, 1.5, 1, 1.5)), (0, (1, 1)))
# Stars of five, four and six points for the best three: told apart in grey, and stars to everyone.
MARKERS: tuple[Any, ...] = ("*", (4, 1, 0), (6, 1, 0), "P", "X")


@dataclass(frozen=True)
class Look:
    """How one trial is drawn, on every page."""

    colour: str
    marker: Any
    line: Any


def looks(trials: Sequence[int], baseline: int) -> dict[int, Look]:
    """A look for each trial that has one of its own: the palette in order, then greys; the baseline is black."""
    found = {baseline: Look(BASE, "D", (0, (4, 2)))}
    for index, trial in enumerate(trials):
        colour = PALETTE[index] if index < len(PALETTE) else MUTED
        found[trial] = Look(colour, MARKERS[index % len(MARKERS)], LINES[index % len(LINES)])
    return found


def frame(ax: Axes, *, title: str = "", x: str = "", y: str = "") -> None:
    """Bare axes in the house style: two spines, a light grid, small labels."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(MUTED)
    ax.spines[["left", "bottom"]].set_linewidth(0.6)
    ax.grid(True, color=RULE, linewidth=0.35, alpha=0.7)
    ax.set_axisbelow(True)
    ax.tick_params(labelsize=TINY, color=MUTED, labelcolor=INK, length=2.5, width=0.6)
    # A place of its own: looking for one above the ticks takes matplotlib a fifth of a report's time.
    style: dict[str, Any] = {"fontsize": SMALL + 0.6, "fontweight": "bold", "color": INK, "parse_math": False}
    ax.set_title(printable(title), loc="left", y=1.0, pad=5, **style)
    ax.set_xlabel(printable(x), fontsize=SMALL, color=INK, labelpad=2.5, parse_math=False)
    ax.set_ylabel(printable(y), fontsize=SMALL, color=INK, labelpad=3, parse_math=False)


def nothing(ax: Axes, why: str) -> None:
    """Say why there is nothing to see."""
    ax.set_xticks([])
    ax.set_yticks([])
    ax.text(
        0.5, 0.5, why, transform=ax.transAxes, ha="center", va="center", fontsize=SMALL, color=MUTED, parse_math=False
    )


def best_so_far(
    ax: Axes, x: Floats, shown: Progress, scale: float, ends: tuple[float, float], marks: Mapping[int, Look]
) -> None:
    """Completed trials as dots, the best so far as a step.

    Args:
        ax: where to draw.
        x: (finished,), trial order or training time.
        shown: the trials; its values are not yet scaled.
        scale: factor from the record to the axis.
        ends: of the objective axis, scaled.
        marks: looks of the trials that have their own.
    """
    value, best = shown.value * scale, shown.best * scale
    done = np.isfinite(value)
    ax.plot(
        x[done],
        np.clip(value[done], *ends),
        "o",
        color=GREY,
        markersize=3.2,
        markeredgewidth=0,
        alpha=0.75,
        clip_on=False,
    )
    ax.step(x[np.isfinite(best)], best[np.isfinite(best)], where="post", color=INK, linewidth=1.3)
    for index, number in enumerate(shown.number):
        if number in marks and done[index]:
            star(ax, x[index], value[index], marks[int(number)])


def objective_axis(
    ax: Axes, ends: tuple[float, float], *, maximize: bool, log: bool = False, gutter: float = GUTTER, wash: str = WASH
) -> None:
    """The objective axis, with a shaded strip beyond its worse end for trials that have no place on it.

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


def log_numbers(axis: XAxis | YAxis, ends: tuple[float, float]) -> None:
    """A log axis whose labels are plain numbers: powers of ten, and 2 and 5 between where there is room."""
    (axis.axes.set_yscale if axis.axis_name == "y" else axis.axes.set_xscale)("log")
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    few = ends[0] > 0 and math.log10(ends[1] / ends[0]) < 2.5
    axis.set_minor_formatter(FuncFormatter(_sparse))
    if not few:
        axis.set_minor_locator(NullLocator())
    axis.set_tick_params(which="minor", labelsize=TINY, length=1.5)


def whole_numbers(ax: Axes, *, up_to: float) -> None:
    """Ticks on whole numbers where there are few: there is no trial 2.5."""
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=up_to >= 4))


def star(ax: Axes, x: float, y: float, look: Look, size: float = 7.0) -> None:
    """One trial with a look of its own."""
    size = size * (0.85 if isinstance(look.marker, str) and look.marker != "*" else 1.45)
    ax.plot(
        [x],
        [y],
        marker=look.marker,
        color=look.colour,
        markersize=size,
        markeredgecolor="white",
        markeredgewidth=0.6,
        zorder=5,
        clip_on=False,
    )


def in_the_strip(
    ax: Axes, x: Floats, row: int, marker: Any, colour: str, *, maximize: bool, hollow: bool = False
) -> None:
    """Trials without a comparable value, in a row of the strip beyond the worse end: row 0 is the outermost."""
    depth = (0.27 + 0.46 * row) * GUTTER
    height = np.full(x.shape, depth if maximize else 1 - depth)
    style: dict[str, Any] = {"markersize": 4.2, "markeredgewidth": 0.9, "zorder": 4, "linestyle": "none"}
    face = "none" if hollow else colour
    ax.plot(x, height, marker=marker, color=colour, markerfacecolor=face, transform=ax.get_xaxis_transform(), **style)


def unvalued(ax: Axes, x: Floats, outcome: Sequence[str], *, maximize: bool) -> None:
    """Pruned trials as hollow triangles and broken ones as red crosses, in the strip beyond the worse end."""
    pruned = np.array([name == "pruned" for name in outcome], dtype=bool)
    broken = np.array([name in BROKEN for name in outcome], dtype=bool)
    in_the_strip(ax, x[pruned], 0, "v", PRUNED, maximize=maximize, hollow=True)
    in_the_strip(ax, x[broken], 1, "x", FAILURE, maximize=maximize)


def level(ax: Axes, value: float, label: str, *, above: bool = True) -> None:
    """A horizontal line across the axes with its name at the right end."""
    ax.axhline(value, color=BASE, linewidth=0.9, linestyle=(0, (4, 2)), zorder=2)
    offset, anchor = (3.0, "bottom") if above else (-3.0, "top")
    ax.annotate(
        label,
        (1, value),
        xycoords=ax.get_yaxis_transform(),
        xytext=(0, offset),
        textcoords="offset points",
        ha="right",
        va=anchor,
        fontsize=TINY,
        color=BASE,
        parse_math=False,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )


def rest(ax: Axes, shown: Band, scale: float) -> None:
    """The trials that are not named, as a grey band or as thin grey lines."""
    if shown.epoch.size:
        ax.fill_between(shown.epoch, shown.low * scale, shown.high * scale, color=GREY, alpha=0.28, linewidth=0)
    for line in shown.lines:
        ax.plot(np.arange(1, len(line) + 1), line * scale, color=GREY, linewidth=0.7)


def curve(ax: Axes, values: Floats, counted: int | None, look: Look) -> None:
    """One trial's metric by epoch, from 1, with a mark on the epoch that counts."""
    ax.plot(np.arange(1, len(values) + 1), values, color=look.colour, linestyle=look.line, linewidth=1.4)
    if counted is not None and np.isfinite(values[counted]):
        star(ax, counted + 1, float(values[counted]), look, 5.5)


def same_window(axs: Sequence[Axes], lines: Sequence[Floats], *, log: bool) -> None:
    """One vertical range for several axes, chosen by the named trials: the grey rest may leave it.

    Args:
        axs: the axes that are to be compared.
        lines: the metric of the named trials, epoch by epoch.
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


def _sparse(value: float, _: object) -> str:
    """Labels between the powers of ten: only at 2 and 5."""
    return f"{value:g}" if f"{value:e}"[0] in "25" else ""


def axis_scale(ax: Axes, axis: Axis, *, vertical: bool = False) -> None:
    """The axis of a searched quantity: its scale, its ends shaded, ticks a person would choose."""
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
    """Whether it is a few whole numbers, which are drawn like choices."""
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
    """Tick positions: round numbers inside the range; powers of two for whole numbers on a log axis."""
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
    """Positions on an axis; trials that share a choice or a small whole number are set apart by their number."""
    if axis.scale != "choice" and not _whole(axis):
        return x
    golden = (np.array(numbers, dtype=np.float64) * 0.618034) % 1 - 0.5
    return x + 0.3 * golden


def scatter(
    ax: Axes, x: Floats, value: Floats, outcome: Sequence[str], ends: tuple[float, float], *, maximize: bool
) -> None:
    """Completed trials as dots, pruned ones as hollow triangles, broken ones as red crosses.

    A completed trial far worse than the rest stands at the worse end; a pruned one beyond it goes into the strip.
    """
    known = np.isfinite(x)
    complete = known & np.isfinite(value) & np.array([name == "complete" for name in outcome], dtype=bool)
    pruned = known & np.array([name == "pruned" for name in outcome], dtype=bool)
    inside = pruned & (value >= ends[0]) & (value <= ends[1])
    broken = known & np.array([name in BROKEN for name in outcome], dtype=bool)
    size = 2.4 if complete.sum() > 150 else 3.6
    hollow: dict[str, Any] = {"markerfacecolor": "none", "markeredgecolor": PRUNED, "markeredgewidth": 0.7}
    ax.plot(x[inside], value[inside], "v", markersize=size + 0.4, alpha=0.85, **hollow)
    ax.plot(
        x[complete], np.clip(value[complete], *ends), "o", color=GREY, markersize=size, markeredgewidth=0, alpha=0.8
    )
    in_the_strip(ax, x[pruned & ~inside], 0, "v", PRUNED, maximize=maximize, hollow=True)
    in_the_strip(ax, x[broken], 1, "x", FAILURE, maximize=maximize)


def importance(ax: Axes, found: Scores, names: Sequence[str]) -> None:
    """A bar for each axis with its interval as a line, and a red tick where chance would reach."""
    y = np.arange(len(names))[::-1]
    clear = found.score > np.maximum(found.chance, 0)
    face, edge = np.where(clear, "#7fb3d5", WASH), np.where(clear, PALETTE[0], GREY)
    ax.barh(y, np.maximum(found.score, 0), height=0.5, linewidth=0.6, color=face, edgecolor=edge)
    ax.hlines(y, found.low, found.high, color=INK, linewidth=1.1)
    ax.plot(found.chance, y, "|", color=FAILURE, markersize=13, markeredgewidth=1.6)
    ax.set_yticks(y, [printable(name) for name in names], parse_math=False)
    ax.set_ylim(-0.6, len(y) - 0.4)
    ax.set_xlim(0, None)
    ax.grid(False, axis="y")
    ax.tick_params(axis="y", labelsize=SMALL, length=0)


def confirmation(
    ax: Axes, rows: Sequence[Confirmed], scale: float, marks: Mapping[int, Look], names: Sequence[str], *, log: bool
) -> None:
    """Each confirmed trial in a row: every seed a dot, the mean a bar, the search's own value a hollow mark."""
    for y, row in zip(range(len(rows) - 1, -1, -1), rows, strict=True):
        look = marks[row.trial]
        offsets = np.linspace(-0.09, 0.09, len(row.values)) if len(row.values) > 1 else np.zeros(1)
        ax.plot(
            row.values * scale,
            y + offsets,
            "o",
            color=look.colour,
            markersize=5.5,
            alpha=0.85,
            markeredgecolor="white",
            markeredgewidth=0.5,
        )
        ax.plot([row.mean * scale] * 2, [y - 0.24, y + 0.24], color=look.colour, linewidth=2)
        ax.plot(
            [row.search_value * scale],
            [y],
            "D",
            markerfacecolor="white",
            markeredgecolor=look.colour,
            markersize=5.5,
            markeredgewidth=1.1,
        )
    ax.set_yticks(range(len(rows) - 1, -1, -1), list(names), parse_math=False)
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.grid(False, axis="y")
    ax.tick_params(axis="y", labelsize=SMALL, length=0)
    ax.margins(x=0.08)
    if log:
        log_numbers(ax.xaxis, ax.get_xlim())


def gains(ax: Axes, worth: Sequence[float], names: Sequence[str]) -> None:
    """A bar to the right for each gain, to the left for each loss, the first on top."""
    y = np.arange(len(worth))[::-1]
    ax.barh(y, worth, height=0.5, color=["#7fb3d5" if one > 0 else "#e6a89f" for one in worth])
    ax.axvline(0, color=BASE, linewidth=0.8)
    ax.set_yticks(y, [printable(name) for name in names], parse_math=False)
    ax.grid(False, axis="y")
    ax.tick_params(axis="y", labelsize=SMALL, length=0)


def interval(ax: Axes, difference: float, low: float, high: float, look: Look) -> None:
    """A difference with its interval, against zero."""
    ax.axvline(0, color=BASE, linewidth=0.9, linestyle=(0, (4, 2)))
    if math.isfinite(low) and math.isfinite(high):
        ax.plot([low, high], [0, 0], color=look.colour, linewidth=2, solid_capstyle="butt")
        ax.plot([low, high], [0, 0], "|", color=look.colour, markersize=9, markeredgewidth=1.6)
    ax.plot([difference], [0], "o", color=look.colour, markersize=7, markeredgecolor="white")
    reach = 1.15 * max(abs(v) for v in (difference, low, high, 1e-9) if math.isfinite(v))
    ax.set_xlim(-reach, reach)
    ax.set_ylim(-1, 1)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)


def confusion(ax: Axes, found: Confusion) -> None:
    """A matrix in which only mistakes are coloured; counts are written while there is room for them."""
    n = len(found.counts)
    wrong = found.counts - np.diag(np.diag(found.counts))
    ax.imshow(wrong, cmap="Blues", vmin=0, vmax=max(1.5 * float(wrong.max()), 1.0), interpolation="nearest")
    ax.set_xticks(
        range(n), [printable(name[:10]) for name in found.names], parse_math=False, rotation=0 if n <= 12 else 90
    )
    ax.set_yticks(range(n), [printable(name[:10]) for name in found.names], parse_math=False)
    ax.grid(False)
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(length=0)
    if n <= 16:
        _counts(ax, found.counts)


def _counts(ax: Axes, counts: NDArray[np.int64]) -> None:
    for (row, column), count in np.ndenumerate(counts):
        right = row == column
        text = str(count) if count else "·"
        ax.text(
            column,
            row,
            text,
            ha="center",
            va="center",
            fontsize=TINY,
            color=INK if count and not right else MUTED,
            weight="bold" if right else "normal",
            parse_math=False,
        )


def calibration(ax: Axes, found: Calibration) -> None:
    """Accuracy against confidence, group by group, with intervals; on the dotted line they are equal."""
    x, y = 100 * found.confidence, 100 * found.accuracy
    ends = np.array([y - 100 * found.low, 100 * found.high - y]).clip(min=0)
    ax.errorbar(x, y, yerr=ends, fmt="o", color=PALETTE[0], markersize=4, linewidth=1, capsize=2)
    low = max(0.0, float(min(x.min(), (100 * found.low).min())) - 2)
    ax.plot([low, 100], [low, 100], color=BASE, linewidth=0.8, linestyle=(0, (1, 1.5)))
    ax.set_xlim(low, 101)
    ax.set_ylim(low, 101)


def image(ax: Axes, shown: Mistake, names: Sequence[str]) -> None:
    """A misread example, dark on light, with what it is, what it was taken for, and how surely."""
    ax.imshow(shown.image, cmap="gray_r", interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_color(RULE)
    text = f"{names[shown.label]} → {names[shown.predicted]}, {100 * shown.probability:.0f}\u00a0%"
    width = 1.2 * ax.get_position().width * WIDTH  # into the gap between two images
    ax.set_title(shorten(text, width, TINY), fontsize=TINY, color=INK, pad=3, parse_math=False)


def outcomes(ax: Axes, counts: Mapping[str, float], words: Mapping[str, str]) -> None:
    """How trials ended, as one bar from left to right, with the words inside where they fit."""
    colours = {"complete": "#7fb3d5", "pruned": "#d9c79a", "running": "#e5e8eb", "interrupted": "#e5e8eb"}
    left, total = 0.0, sum(counts.values()) or 1
    for name, count in counts.items():
        ax.barh([0], [count], left=left, height=1, color=colours.get(name, "#e6a89f"), edgecolor="white", linewidth=1.2)
        if count / total > 0.012 * len(words[name]):
            ax.text(
                left + count / 2, 0, words[name], ha="center", va="center", fontsize=TINY, color=INK, parse_math=False
            )
        left += count
    ax.set_xlim(0, left or 1)
    ax.set_ylim(-0.5, 0.5)
    ax.axis("off")


def shares(ax: Axes, values: Floats) -> None:
    """A histogram of shares in 0..1 as percent, with the first tenth and the last quarter shaded."""
    ax.axvspan(0, 10, color=WASH, linewidth=0, zorder=0)
    ax.axvspan(75, 100, color=WASH, linewidth=0, zorder=0)
    # Bins are closed on the right: the last epoch belongs to the last bin, a tenth of the epochs to the first.
    counts, edges = np.histogram(np.ceil(values * 20 - 1e-9) / 20 - 0.025, bins=20, range=(0, 1))
    ax.bar(100 * edges[:-1], counts, width=5, align="edge", color=GREY, edgecolor="white", linewidth=0.5)
    ax.set_xlim(0, 100)
    ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
