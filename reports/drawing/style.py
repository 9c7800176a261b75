"""Colours, markers and axis style of all plots of a report.

A trial has one colour and one marker on all pages. A state has its own marker and colour, so that it can be recognised
in greyscale. Colours are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), chosen for colour-blind readers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from reports.drawing import points
from reports.drawing.blocks import INK
from reports.drawing.fonts import printable
from reports.drawing.layout import MUTED, RULE, SMALL, TINY

GREY, BASE, FAILURE, PRUNED = "#8b95a1", "#1b1f24", "#c0392b", "#a08a5b"
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9")
LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (2, 1.2)), (0, (6, 1.5, 1, 1.5)), (0, (1, 1)))
# Stars of five, four and six points for the best three, which can be distinguished in greyscale.
MARKERS: tuple[Any, ...] = ("*", (4, 1, 0), (6, 1, 0), "P", "X")


@dataclass(frozen=True)
class Look:
    """The style of one trial, on every page."""

    colour: str
    marker: Any
    line: Any


def looks(trials: Sequence[int], baseline: int) -> dict[int, Look]:
    """A style for each highlighted trial: the palette in order, then grey; the baseline is black."""
    found = {baseline: Look(BASE, "D", (0, (4, 2)))}
    for index, trial in enumerate(trials):
        colour = PALETTE[index] if index < len(PALETTE) else MUTED
        found[trial] = Look(colour, MARKERS[index % len(MARKERS)], LINES[index % len(LINES)])
    return found


def frame(ax: Axes, *, title: str = "", x: str = "", y: str = "") -> None:
    """Style the axes: two spines, a light grid, small labels."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(MUTED)
    ax.spines[["left", "bottom"]].set_linewidth(0.6)
    ax.grid(True, color=RULE, linewidth=0.35, alpha=0.7)
    ax.set_axisbelow(True)
    ax.tick_params(labelsize=TINY, color=MUTED, labelcolor=INK, length=2.5, width=0.6)
    # A fixed position: placing the title above the ticks takes matplotlib a fifth of a report's time.
    style: dict[str, Any] = {"fontsize": SMALL + 0.6, "fontweight": "bold", "color": INK, "parse_math": False}
    ax.set_title(printable(title), loc="left", y=1.0, pad=5, **style)
    ax.set_xlabel(printable(x), fontsize=SMALL, color=INK, labelpad=2.5, parse_math=False)
    ax.set_ylabel(printable(y), fontsize=SMALL, color=INK, labelpad=3, parse_math=False)


def star(ax: Axes, x: float, y: float, look: Look, trial: int, size: float = 7.0) -> None:
    """The mark of a highlighted trial, by its number."""
    size = size * (0.85 if isinstance(look.marker, str) and look.marker != "*" else 1.45)
    (mark,) = ax.plot(
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
    points.name(mark, [trial])


def level(ax: Axes, value: float, label: str, *, above: bool = True) -> None:
    """A horizontal line across the axes with its label at the right end."""
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
