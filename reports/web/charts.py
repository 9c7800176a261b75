"""The axes of a page as figures of an HTML document, whose points know their trials."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from html import escape

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from reports.drawing import points
from reports.drawing.blocks import Charts, Symbol
from reports.drawing.fonts import POINT, measure
from reports.drawing.layout import HEIGHT, LEADING, SMALL, WIDTH, wrap
from reports.web import svg
from reports.web.text import element

ABOVE = 0.1  # inches above axes without a title
WIDE, NARROW = 5.0, 3.3
"""Inches: what is wider is also drawn in the second width, for narrow screens."""
Margins = tuple[float, float, float, float]


class Drawer:
    """Draws the axes and symbols of one document.

    Args:
        places: the place of each trial in the document's list of trials.
    """

    def __init__(self, places: Mapping[Hashable, int]) -> None:
        self._places = places
        self._drawn = 0

    def charts(self, block: Charts, heading: str) -> str:
        """The axes of a block side by side, as many as fit; without a title of their own they have the heading's."""
        groups = [list(block.axes)] if block.joined else [[ax] for ax in block.axes]
        figures = [self._shown(group, block.margins, heading) for group in groups]
        return f'<div class="charts">{"".join(figures)}</div>'

    def symbol(self, drawn: Symbol) -> str:
        """The symbol of a legend's entry."""
        figure = drawn.artists[0].get_figure(root=True)
        assert figure is not None
        return svg.part(figure, drawn.artists, drawn.box, name=self._name())

    def _shown(self, group: Sequence[Axes], margins: Margins, heading: str) -> str:
        """A figure for one or several axes, and another for narrow screens if that is too wide for them."""
        first = group[0]
        if _is_text(first):
            words = " ".join(text.get_text() for text in first.texts).split()
            return element("p", " ".join(words), classes="beside muted")
        label = ", ".join(filter(None, map(_title, group))) or heading
        box = _box(group, margins)
        if not any(margins):
            return self._figure(group, box, label, "strip")
        if box.width <= WIDE or len(group) > 1:
            return self._figure(group, box, label)
        shown = self._figure(group, box, label, "wide")
        margins = _narrowed(first, margins)
        return shown + self._figure(group, _box(group, margins), label, "narrow")

    def _figure(self, group: Sequence[Axes], box: Bbox, label: str, classes: str = "") -> str:
        figure = group[0].get_figure(root=True)
        assert isinstance(figure, Figure)
        drawing = svg.part(figure, group, box, name=self._name(), label=label)
        named = f'class="{classes}" ' if classes else ""
        look = f'{named}style="--wide:{box.width * svg.POINTS:.1f}"'
        found = [point for ax in group for point in self._points(ax, box)]
        if not found:
            return f"<figure {look}>{drawing}</figure>"
        kept = json.dumps(found, separators=(",", ":"))
        return f'<figure {look} tabindex="0" aria-label="{escape(label)}" data-points="{kept}">{drawing}</figure>'

    def _points(self, ax: Axes, box: Bbox) -> list[tuple[float, float, int]]:
        """Points of drawn axes, in the units of the drawing from its upper left corner, with the places of trials."""
        return [
            (
                round((point.x - box.x0) * svg.POINTS, 1),
                round((box.y1 - point.y) * svg.POINTS, 1),
                self._places[point.trial],
            )
            for point in points.named(ax)
        ]

    def _name(self) -> str:
        self._drawn += 1
        return f"part-{self._drawn}"


def _box(group: Sequence[Axes], margins: Margins) -> Bbox:
    """The axes with their margins, in inches."""
    left, above, right, below = margins
    for ax in group:
        ax.apply_aspect()
    at = Bbox.union([ax.get_position() for ax in group])
    if not any(map(_title, group)):
        above = min(ABOVE, above)
    beyond = max((measure(ax.get_ylabel(), SMALL) - at.height * HEIGHT) / 2 for ax in group)  # of a long label
    above, below = max(above, beyond), max(below, beyond)
    return Bbox.from_extents(
        at.x0 * WIDTH - left, at.y0 * HEIGHT - below, at.x1 * WIDTH + right, at.y1 * HEIGHT + above
    )


def _narrowed(ax: Axes, margins: Margins) -> Margins:
    """Make axes narrow, with their label below in as many lines as it needs; returns the margins."""
    left, above, right, below = margins
    inner = NARROW - left - right
    at = ax.get_position(original=True)
    ax.set_position((at.x0, at.y0, inner / WIDTH, at.height))
    lines = wrap(ax.get_xlabel(), inner, SMALL)
    ax.set_xlabel("\n".join(lines))
    return left, above, right, below + (len(lines) - 1) * SMALL * LEADING * POINT


def _title(ax: Axes) -> str:
    return ax.get_title("left") or ax.get_title("center").replace("\n", " ")


def _is_text(ax: Axes) -> bool:
    """Whether the axes only hold text, which is better read as text of the document."""
    return not ax.axison and bool(ax.texts) and not (ax.lines or ax.patches or ax.collections or ax.images)
