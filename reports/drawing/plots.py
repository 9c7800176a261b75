"""Plot functions: each draws arrays on the given axes, and changes nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from reports.analysis.calibration import Calibration
from reports.analysis.confirmation import ConfirmedTrial
from reports.analysis.confusion import Confusion
from reports.analysis.failures import BROKEN
from reports.analysis.importance import Importance
from reports.analysis.learning_curves import Band
from reports.analysis.mistakes import Mistake
from reports.analysis.progress import Progress
from reports.analysis.statistics import Floats
from reports.drawing import points
from reports.drawing.blocks import INK
from reports.drawing.fonts import measure, printable
from reports.drawing.layout import (
    MUTED,
    RULE,
    SMALL,
    TINY,
    WASH,
    WIDTH,
    shorten,
)
from reports.drawing.scales import GUTTER, log_numbers
from reports.drawing.style import BASE, FAILURE, GREY, PALETTE, PRUNED, Look, star
from studies.record.reader import TrialRecord


def best_so_far(
    ax: Axes, x: Floats, shown: Progress, scale: float, ends: tuple[float, float], marks: Mapping[int, Look]
) -> None:
    """Completed trials as dots, the best value so far as a step function.

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
    (dots,) = ax.plot(
        x[done],
        np.clip(value[done], *ends),
        "o",
        color=GREY,
        markersize=3.2,
        markeredgewidth=0,
        alpha=0.75,
        clip_on=False,
    )
    points.name(dots, shown.number[done].tolist())
    ax.step(x[np.isfinite(best)], best[np.isfinite(best)], where="post", color=INK, linewidth=1.3)
    for index, number in enumerate(shown.number):
        if number in marks and done[index]:
            star(ax, x[index], value[index], marks[int(number)], int(number))


def in_the_strip(
    ax: Axes,
    x: Floats,
    row: int,
    marker: Any,
    colour: str,
    trials: NDArray[np.int64],
    *,
    maximize: bool,
    hollow: bool = False,
) -> None:
    """Trials without a comparable value, in a row of the strip at the worse end: row 0 is the outermost."""
    depth = (0.27 + 0.46 * row) * GUTTER
    height = np.full(x.shape, depth if maximize else 1 - depth)
    style: dict[str, Any] = {"markersize": 4.2, "markeredgewidth": 0.9, "zorder": 4, "linestyle": "none"}
    face = "none" if hollow else colour
    style["transform"] = ax.get_xaxis_transform()
    (marks,) = ax.plot(x, height, marker=marker, color=colour, markerfacecolor=face, **style)
    points.name(marks, trials.tolist())


def unvalued(ax: Axes, x: Floats, shown: Progress, *, maximize: bool) -> None:
    """Pruned trials as hollow triangles and failed ones as red crosses, in the strip at the worse end."""
    pruned = np.array([name == "pruned" for name in shown.outcome], dtype=bool)
    broken = np.array([name in BROKEN for name in shown.outcome], dtype=bool)
    in_the_strip(ax, x[pruned], 0, "v", PRUNED, shown.number[pruned], maximize=maximize, hollow=True)
    in_the_strip(ax, x[broken], 1, "x", FAILURE, shown.number[broken], maximize=maximize)


def rest(ax: Axes, shown: Band, scale: float) -> None:
    """The trials that are not highlighted, as a grey band or as thin grey lines."""
    if shown.epoch.size:
        ax.fill_between(shown.epoch, shown.low * scale, shown.high * scale, color=GREY, alpha=0.28, linewidth=0)
    for line in shown.lines:
        ax.plot(np.arange(1, len(line) + 1), line * scale, color=GREY, linewidth=0.7)


def curve(ax: Axes, values: Floats, counted: int | None, look: Look, trial: int) -> None:
    """One trial's metric by epoch, from 1, with a mark on the selected epoch."""
    (line,) = ax.plot(np.arange(1, len(values) + 1), values, color=look.colour, linestyle=look.line, linewidth=1.4)
    points.name(line, [trial] * len(values))
    if counted is not None and np.isfinite(values[counted]):
        star(ax, counted + 1, float(values[counted]), look, trial, 5.5)


def scatter(
    ax: Axes, x: Floats, value: Floats, trials: Sequence[TrialRecord], ends: tuple[float, float], *, maximize: bool
) -> None:
    """Completed trials as dots, pruned ones as hollow triangles, failed ones as red crosses.

    A completed trial far worse than the rest is drawn at the worse end; a pruned one beyond it in the strip.
    """
    outcome, number = [trial.outcome for trial in trials], np.array([trial.number for trial in trials], dtype=np.int64)
    known = np.isfinite(x)
    complete = known & np.isfinite(value) & np.array([name == "complete" for name in outcome], dtype=bool)
    pruned = known & np.array([name == "pruned" for name in outcome], dtype=bool)
    inside = pruned & (value >= ends[0]) & (value <= ends[1])
    broken = known & np.array([name in BROKEN for name in outcome], dtype=bool)
    size = 2.4 if complete.sum() > 150 else 3.6
    hollow: dict[str, Any] = {"markerfacecolor": "none", "markeredgecolor": PRUNED, "markeredgewidth": 0.7}
    (triangles,) = ax.plot(x[inside], value[inside], "v", markersize=size + 0.4, alpha=0.85, **hollow)
    (dots,) = ax.plot(
        x[complete], np.clip(value[complete], *ends), "o", color=GREY, markersize=size, markeredgewidth=0, alpha=0.8
    )
    points.name(triangles, number[inside].tolist())
    points.name(dots, number[complete].tolist())
    outside = pruned & ~inside
    in_the_strip(ax, x[outside], 0, "v", PRUNED, number[outside], maximize=maximize, hollow=True)
    in_the_strip(ax, x[broken], 1, "x", FAILURE, number[broken], maximize=maximize)


def importance_shares(ax: Axes, found: Importance) -> None:
    """A bar for the share of each axis with its interval as a line."""
    y = _importance_bars(ax, found, found.share)
    ax.hlines(y, found.low, found.high, color=INK, linewidth=1.1)


def importance_test(ax: Axes, found: Importance) -> None:
    """A bar for what the parts of each axis explain, with a red tick at its chance level."""
    y = _importance_bars(ax, found, found.explained)
    ax.plot(found.chance, y, "|", color=FAILURE, markersize=13, markeredgewidth=1.6)


def _importance_bars(ax: Axes, found: Importance, lengths: Floats) -> NDArray[np.int64]:
    """A bar for each axis, filled if it matters beyond chance; returns their heights."""
    y, matters = np.arange(len(found.names))[::-1], set(found.matters)
    clear = [name in matters for name in found.names]
    face, edge = np.where(clear, "#7fb3d5", WASH), np.where(clear, PALETTE[0], GREY)
    ax.barh(y, np.maximum(lengths, 0), height=0.5, linewidth=0.6, color=face, edgecolor=edge)
    ax.set_yticks(y, [printable(name) for name in found.names], parse_math=False)
    ax.set_ylim(-0.6, len(y) - 0.4)
    ax.set_xlim(0, 1)
    ax.grid(False, axis="y")
    ax.tick_params(axis="y", labelsize=SMALL, length=0)
    return y


def confirmation(
    ax: Axes,
    rows: Sequence[ConfirmedTrial],
    scale: float,
    marks: Mapping[int, Look],
    names: Sequence[str],
    *,
    log: bool,
) -> None:
    """One row per confirmed trial: a dot for each seed, a bar for the mean, a hollow mark for the search's value."""
    for y, row in zip(range(len(rows) - 1, -1, -1), rows, strict=True):
        look = marks[row.trial]
        offsets = np.linspace(-0.09, 0.09, len(row.values)) if len(row.values) > 1 else np.zeros(1)
        (dots,) = ax.plot(
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
        (diamond,) = ax.plot(
            [row.search_value * scale],
            [y],
            "D",
            markerfacecolor="white",
            markeredgecolor=look.colour,
            markersize=5.5,
            markeredgewidth=1.1,
        )
        points.name(dots, [row.trial] * len(row.values))
        points.name(diamond, [row.trial])
    ax.set_yticks(range(len(rows) - 1, -1, -1), list(names), parse_math=False)
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.grid(False, axis="y")
    ax.tick_params(axis="y", labelsize=SMALL, length=0)
    ax.margins(x=0.08)
    if log:
        log_numbers(ax.xaxis, ax.get_xlim())


def interval(ax: Axes, difference: float, low: float, high: float, look: Look) -> None:
    """A difference with its interval, and a line at zero."""
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


def confusion(ax: Axes, found: Confusion, labels: Sequence[str], *, rotated: bool) -> None:
    """A confusion matrix with coloured mistakes; counts are written if there is space.

    Args:
        ax: where to draw.
        found: the matrix.
        labels: of the classes, short.
        rotated: whether the labels below the matrix stand upright, because they are wider than a cell.
    """
    n = len(found.counts)
    wrong = found.counts - np.diag(np.diag(found.counts))
    ax.imshow(wrong, cmap="Blues", vmin=0, vmax=max(1.5 * float(wrong.max()), 1.0), interpolation="nearest")
    ax.set_xticks(range(n), labels, parse_math=False, rotation=90 if rotated else 0)
    ax.set_yticks(range(n), labels, parse_math=False)
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
    """Accuracy against confidence by group, with intervals; on the dotted line they are equal."""
    x, y = 100 * found.confidence, 100 * found.accuracy
    ends = np.array([y - 100 * found.low, 100 * found.high - y]).clip(min=0)
    ax.errorbar(x, y, yerr=ends, fmt="o", color=PALETTE[0], markersize=4, linewidth=1, capsize=2)
    low = max(0.0, float(min(x.min(), (100 * found.low).min())) - 2)
    ax.plot([low, 100], [low, 100], color=BASE, linewidth=0.8, linestyle=(0, (1, 1.5)))
    ax.set_xlim(low, 101)
    ax.set_ylim(low, 101)


def image(ax: Axes, shown: Mistake, names: Sequence[str]) -> None:
    """A misclassified image, in colour or dark on light, with its class, the predicted class and its probability."""
    assert shown.image is not None
    ax.imshow(shown.image, cmap="gray_r", interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_color(RULE)
    width = 1.2 * ax.get_position().width * WIDTH  # into the gap between two images
    true, predicted = printable(names[shown.label]), printable(names[shown.predicted])
    probability = f", {100 * shown.probability:.0f}\u00a0%"
    text = f"{true} → {predicted}{probability}"
    if measure(text, TINY) > width:
        room = width - measure(f"→ {probability}", TINY)
        text = f"{shorten(true, width, TINY)}\n→ {shorten(predicted, room, TINY)}{probability}"
    ax.set_title(text, fontsize=TINY, color=INK, pad=3, parse_math=False)


def outcomes(ax: Axes, counts: Mapping[str, float], words: Mapping[str, str]) -> None:
    """Outcomes of trials as one stacked bar, with labels inside where they fit."""
    colours = {
        "complete": "#7fb3d5",
        "pruned": "#d9c79a",
        "running": "#e5e8eb",
        "paused": "#e5e8eb",
        "interrupted": "#e5e8eb",
    }
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
