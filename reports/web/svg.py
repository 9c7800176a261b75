"""A part of a page's figure as SVG that can stand inside an HTML document."""

from __future__ import annotations

import io
import re
from collections.abc import Collection
from html import escape
from typing import Any

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

POINTS = 72  # an inch, and the unit of the drawing
DOTS = 200  # an inch, of what is drawn as a bitmap
HEAD = re.compile(r'<svg [^>]*viewBox="([^"]*)"[^>]*>')
# Namespaces are not needed inside HTML, names of groups occur in every drawing, and the style is in the style sheet.
NOT_NEEDED = re.compile(r'<metadata>.*?</metadata>|<style type="text/css">.*?</style>|(?<=<g) id="[^"]*"', re.DOTALL)


def settings() -> dict[Any, Any]:
    """Matplotlib's settings for these drawings: text stays text."""
    return {"svg.fonttype": "none", "svg.image_inline": True}


def part(figure: Figure, artists: Collection[Artist], box: Bbox, *, name: str, label: str = "") -> str:
    """What some of a figure's artists draw inside a box; the others are hidden from then on.

    The drawing's unit is a point, from the upper left corner of the box. It is wider than the box if tick labels have
    moved the label of an axis beyond its left edge.

    Args:
        figure: the page.
        artists: to draw.
        box: in inches from the lower left corner.
        name: unlike those of the other parts of the document, so that references inside the drawing stay inside.
        label: what a screen reader says; without it, the drawing is an ornament.
    """
    for artist in figure.get_children():
        artist.set_visible(artist in artists)
    content = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(content, format="svg", bbox_inches=box, dpi=DOTS, metadata={"Date": None})
    drawn = content.getvalue()
    head = HEAD.search(drawn)
    assert head is not None
    left, top, width, height = map(float, head[1].split())
    beyond = max((_beyond(artist) for artist in artists if isinstance(artist, Axes)), default=0.0)
    view = f"{left - beyond:.4g} {top:.4g} {width + beyond:.6g} {height:.6g}"
    told = f'role="img" aria-label="{escape(label)}"' if label else 'aria-hidden="true"'
    return f'<svg viewBox="{view}" {told}>{NOT_NEEDED.sub("", drawn[head.end() :])}'


def _beyond(ax: Axes) -> float:
    """How far the vertical axis' label of drawn axes reaches beyond the left edge, in points."""
    label = ax.yaxis.label  # its place is the right edge of the turned text, in points since it was drawn
    return max(0.0, 1.3 * float(label.get_fontsize()) - float(label.get_position()[0])) if label.get_text() else 0.0
