"""Which trials the points of a plot are, so that a document can show a trial when its point is pointed at.

A plot says it where it draws them. The names are kept beside the artists, which draw the same with and without them.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.lines import Line2D

from reports.analysis.statistics import Floats

_TRIALS: WeakKeyDictionary[Artist, tuple[Hashable, ...]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Point:
    """Where a trial is drawn, in inches from the lower left corner of the figure."""

    x: float
    y: float
    trial: Hashable


def name(artist: Line2D | PathCollection, trials: Sequence[Hashable]) -> None:
    """Keep which trial each point of an artist is.

    Raises:
        ValueError: there are more or fewer trials than points.
    """
    if len(trials) != len(_data(artist)):
        raise ValueError(f"{len(trials)} trials for {len(_data(artist))} points")
    _TRIALS[artist] = tuple(trials)


def named(ax: Axes) -> list[Point]:
    """The points of drawn axes whose trial is known and which have a finite place, from the lowest to the top layer."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    found: list[Point] = []
    for artist in sorted((child for child in ax.get_children() if child in _TRIALS), key=lambda one: one.get_zorder()):
        assert isinstance(artist, Line2D | PathCollection)
        places = _transformed(artist) / figure.dpi
        found += [
            Point(float(x), float(y), trial)
            for (x, y), trial in zip(places, _TRIALS[artist], strict=True)
            if np.isfinite(x) and np.isfinite(y)
        ]
    return found


def _data(artist: Line2D | PathCollection) -> Floats:
    """The points, (points, 2), in the units of their axes."""
    found = artist.get_xydata() if isinstance(artist, Line2D) else artist.get_offsets()
    return np.ma.filled(np.ma.asarray(found, dtype=np.float64), np.nan).reshape(-1, 2)


def _transformed(artist: Line2D | PathCollection) -> Floats:
    place = artist.get_transform() if isinstance(artist, Line2D) else artist.get_offset_transform()
    return np.asarray(place.transform(_data(artist)), dtype=np.float64)
