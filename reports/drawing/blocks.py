"""What a page holds, in reading order, for documents that are not laid out on paper.

A `Page` draws its content at once and keeps it as these blocks too. Text is as given: neither wrapped nor shortened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

INK = "#1b1f24"


@dataclass(frozen=True)
class Cell:
    """A cell of a table, with its style."""

    text: str
    bold: bool = False
    colour: str = INK


@dataclass(frozen=True)
class Key:
    """An entry of a legend: a label with the style of its trial or state in the plots."""

    label: str
    colour: str
    marker: str | None = None
    line: Any = None  # a matplotlib line style, None for no line
    hollow: bool = False


@dataclass(frozen=True)
class Section:
    """The finding of a section that follows on a page."""

    finding: str


@dataclass(frozen=True)
class Heading:
    """A small heading."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """Text, in ink or muted."""

    text: str
    bold: bool
    muted: bool


@dataclass(frozen=True)
class Item:
    """An item of a list: a mark in its colour, a label, and the text."""

    mark: str
    colour: str
    label: str
    text: str


@dataclass(frozen=True)
class Command:
    """A command to copy."""

    text: str


@dataclass(frozen=True)
class Figures:
    """Large figures, each with a caption."""

    entries: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Symbol:
    """The symbol of a legend's entry as drawn: its artists, and the box around them in inches from the lower left."""

    artists: Sequence[Artist]
    box: Bbox


@dataclass(frozen=True)
class Legend:
    """The entries of a legend, with their symbols."""

    entries: Sequence[tuple[str, Symbol]]


@dataclass(frozen=True)
class Table:
    """A table; columns in `right` are aligned to the right. Line breaks in heads are only for narrow columns."""

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    right: Sequence[int]


@dataclass(frozen=True)
class Charts:
    """Axes in reading order.

    Attributes:
        axes: as drawn.
        margins: inches around each of them for its labels: left, above, right, below.
        joined: whether they are one picture, such as a row of which only the first axes have labels.
    """

    axes: Sequence[Axes]
    margins: tuple[float, float, float, float]
    joined: bool = False


@dataclass(frozen=True)
class Note:
    """How something was computed, at the foot of a sheet."""

    text: str


@dataclass(frozen=True)
class Footer:
    """What is printed on every sheet: the study, and the number of the page."""


Block = Section | Heading | Paragraph | Item | Command | Figures | Legend | Table | Charts | Note | Footer
