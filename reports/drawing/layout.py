"""Layout of an A4 page from top to bottom: text wrapped by its measured width, tables, and axes.

All lengths are inches, `y` is the distance from the upper edge. Text is never parsed as mathematics or markup: names
from users are drawn as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox

from reports.drawing import blocks
from reports.drawing.blocks import INK, Cell, Key
from reports.drawing.fonts import FALLBACK, MONO, POINT, SANS, measure, printable

WIDTH, HEIGHT = 8.27, 11.69
SIDE, TOP, BOTTOM = 0.87, 0.85, 0.95
INNER = WIDTH - 2 * SIDE

TITLE, FIGURE, SECTION, HEADING, BODY, SMALL, TINY = 17.0, 20.0, 12.5, 10.5, 9.3, 8.0, 7.0  # points
LEADING, ROW = 1.42, 1.62  # heights of a line and of a table's row, as multiples of the type size
ABOVE_HEADING, BELOW_HEADING = 0.15, 0.03  # inches
HEADING_HEIGHT = ABOVE_HEADING + HEADING * LEADING * POINT + BELOW_HEADING
MUTED, RULE, WASH = "#5b6570", "#c9ced4", "#f3f5f7"
CAPTION_LINES = 5  # most lines under a large figure
NOTE_LEADING, NOTE_GAP = (
    1.36,
    0.06,
)  # of a note at the foot: line height as a multiple of the type size, inches above it


def settings() -> dict[Any, Any]:
    """Matplotlib's default settings, independent of any matplotlibrc, with embedded fonts."""
    kept: dict[Any, Any] = dict(matplotlib.rcParamsDefault)
    for key in ("backend", "interactive", "toolbar"):  # only for windows, which a report does not open
        del kept[key]
    return {**kept, "pdf.fonttype": 42, "font.family": [SANS, FALLBACK]}


def wrap(text: str, width: float, size: float, *, bold: bool = False, family: str = SANS) -> list[str]:
    """Lines of text no wider than `width`, broken at spaces, or inside a word that is wider than a line."""
    lines = [""]
    for word in printable(text, family).split(" "):
        tried = f"{lines[-1]} {word}" if lines[-1] else word
        if measure(tried, size, bold=bold, family=family) <= width:
            lines[-1] = tried
            continue
        pieces = _broken(word, width, size, bold, family)
        lines = [*(lines if lines[-1] else lines[:-1]), *pieces]
    return lines


def _broken(word: str, width: float, size: float, bold: bool, family: str) -> list[str]:
    """A word in pieces no wider than `width`, by the widths of its characters: kerning only makes it narrower."""
    pieces, used = [""], 0.0
    for character in word:
        step = measure(character, size, bold=bold, family=family)
        if pieces[-1] and used + step > width:
            pieces.append("")
            used = 0.0
        pieces[-1] += character
        used += step
    return pieces


def lines_height(text: str, width: float, size: float, *, most: int = 12, family: str = SANS) -> float:
    """Inches that a paragraph of at most `most` lines takes."""
    return min(most, len(wrap(text, width, size, family=family))) * size * LEADING * POINT


def boxed_height(command: str) -> float:
    """Inches that a command to copy takes, of at most three lines."""
    return lines_height(command, INNER - 0.3, BODY, most=3, family=MONO) + 0.14


def shorten(text: str, width: float, size: float, *, bold: bool = False) -> str:
    """Text shortened to one line of this width, with an ellipsis if it was cut."""
    first, *rest = wrap(text, width, size, bold=bold)
    if not rest:
        return first
    while first and measure(f"{first}…", size, bold=bold) > width:
        first = first[:-1]
    return f"{first}…"


class Page:
    """One page, filled from the top.

    Attributes:
        figure: the sheet.
        findings: its title, and those of the sections that follow.
        blocks: what it holds below the title.
        starts: for each block, how many texts of the figure are before its own.
        notes: how it was computed, in small print at its foot.
        y: how far it is filled.
    """

    def __init__(self, finding: str, note: str = "") -> None:
        self.figure = Figure(figsize=(WIDTH, HEIGHT))
        self.findings = [finding]
        self.blocks: list[blocks.Block] = []
        self.starts: list[int] = []
        self.notes: list[str] = []
        self.y = TOP
        self._write(finding, TITLE, bold=True, leading=1.25)
        self.space(0.1)
        self.rule()
        self.space(0.16)
        self.note(note)

    @property
    def finding(self) -> str:
        """The title."""
        return self.findings[0]

    @property
    def room(self) -> float:
        """Inches left above the notes and the footer."""
        return HEIGHT - BOTTOM - self.y - self._notes_height()

    def section(self, finding: str, note: str = "") -> None:
        """Another finding on this page, as a heading."""
        self.findings.append(finding)
        self._add(blocks.Section(finding))
        self.space(0.24)
        self._write(finding, SECTION, bold=True, leading=1.25)
        self.space(0.06)
        self.note(note)

    def note(self, text: str) -> None:
        """Keep how something was computed, in small print, for the foot of the page."""
        if text:
            self.notes.append(text)

    def space(self, inches: float) -> None:
        """Leave vertical space."""
        self.y += inches

    def rule(self, *, colour: str = RULE, width: float = 0.8) -> None:
        """A line across the page."""
        self._line(self.y, SIDE, WIDTH - SIDE, colour, width)

    def text(self, x: float, y: float, text: str, size: float = BODY, *, family: str = SANS, **style: Any) -> None:
        """One line of text with its baseline at `y`."""
        style = {"color": INK, "ha": "left", **style}
        self.figure.text(
            x / WIDTH, 1 - y / HEIGHT, printable(text, family),
            fontsize=size, va="baseline", parse_math=False, family=[family, FALLBACK], **style,
        )  # fmt: skip

    def paragraph(
        self, text: str, size: float = BODY, *, bold: bool = False, colour: str = INK, most: int = 12
    ) -> None:
        """Wrapped text of at most `most` lines, so that long names cannot overflow the page."""
        self._add(blocks.Paragraph(text, bold, colour == MUTED))
        self._write(text, size, bold=bold, colour=colour, most=most)

    def heading(self, text: str) -> None:
        """A small heading with space above it."""
        self._add(blocks.Heading(text))
        self.space(ABOVE_HEADING)
        self._write(text, HEADING, bold=True)
        self.space(BELOW_HEADING)

    def item(
        self, mark: str, text: str, *, colour: str = INK, label: str = "", indent: float = 2.55, most: int = 2
    ) -> None:
        """A list item of at most `most` lines: a mark, a label, and the text, indented by `indent` inches."""
        self._add(blocks.Item(mark, colour, label, text))
        first, second = SIDE + 0.95, SIDE + indent
        self.space(0.035)
        base = self.y + SMALL * LEADING * POINT - 0.28 * SMALL * POINT
        self.text(SIDE, base, mark, SMALL, color=colour, weight="bold")
        self.text(first, base, shorten(label, second - first - 0.1, SMALL), SMALL)
        self._write(text, SMALL, x=second, width=SIDE + INNER - second, most=most)

    def boxed(self, text: str) -> None:
        """A command to copy, on a tinted background."""
        self._add(blocks.Command(text))
        lines = wrap(text, INNER - 0.3, BODY, family=MONO)[:3]
        height = boxed_height(text)
        self._box(SIDE, self.y, INNER, height, WASH)
        self.space(0.07)
        self._write(" ".join(lines), BODY, x=SIDE + 0.15, width=INNER - 0.28, family=MONO, most=3)
        self.space(0.07)

    def figures(self, entries: Sequence[tuple[str, str]]) -> None:
        """Large figures side by side, each with a caption under it."""
        self._add(blocks.Figures(tuple(entries)))
        width = (INNER - 0.15 * (len(entries) - 1)) / len(entries)
        captions = [wrap(caption, width - 0.24, SMALL)[:CAPTION_LINES] for _, caption in entries]
        height = 0.58 + max(len(lines) for lines in captions) * SMALL * 1.35 * POINT
        for index, ((value, _), lines) in enumerate(zip(entries, captions, strict=True)):
            x = SIDE + index * (width + 0.15)
            self._box(x, self.y, width, height, WASH)
            size = min(FIGURE, FIGURE * (width - 0.24) / max(measure(value, FIGURE, bold=True), 1e-6))
            self.text(x + 0.12, self.y + 0.38, value, size, weight="bold")
            for number, line in enumerate(lines):
                self.text(x + 0.12, self.y + 0.55 + number * SMALL * 1.35 * POINT, line, SMALL, color=MUTED)
        self.space(height)

    def keys(self, entries: Sequence[Key]) -> None:
        """A legend, wrapped to several lines if needed."""
        drawn: list[tuple[str, blocks.Symbol]] = []
        self._add(blocks.Legend(drawn))
        x, size = SIDE, SMALL
        self.space(0.13)
        for key in entries:
            width = 0.34 + measure(printable(key.label), size)
            if x > SIDE and x + width > WIDTH - SIDE:
                x = SIDE
                self.space(0.19)
            drawn.append((key.label, self._key(x, self.y - 0.035, key)))
            self.text(x + 0.29, self.y, key.label, size, color=INK)
            x += width + 0.17
        self.space(0.1)

    def grid(
        self,
        count: int,
        columns: int,
        height: float,
        *,
        left: float = 0.56,
        below: float = 0.42,
        joined: bool = False,
    ) -> list[Axes]:
        """`count` axes in reading order, each with space for labels on the left and below, and for a title above.

        `joined` axes are one picture where there is no paper to keep them together.
        """
        across, down = INNER / columns, height / -(-count // columns)
        above, right = 0.27, 0.12
        found = []
        for index in range(count):
            x = SIDE + (index % columns) * across + left
            y = self.y + (index // columns) * down + above
            size = (across - left - right, down - above - below)
            found.append(self._axes(x, y, *size))
        self._add(blocks.Charts(found, (left, above, right, below), joined))
        self.space(height)
        return found

    def tiles(self, count: int, columns: int, height: float, above: float = 0.2) -> list[Axes]:
        """`count` small square axes in rows, each with space for text above it: one line by default."""
        across = INNER / columns
        side = min(across - 0.12, height - above - 0.04)
        found = []
        for index in range(count):
            x = SIDE + (index % columns) * across + (across - side) / 2
            found.append(self._axes(x, self.y + (index // columns) * height + above, side, side))
        self._add(blocks.Charts(found, ((across - side) / 2, above, (across - side) / 2, 0.02)))
        self.space(-(-count // columns) * height)
        return found

    def strip(self, height: float) -> Axes:
        """Axes as wide as the page, without space for labels."""
        ax = self._axes(SIDE, self.y, INNER, height)
        self._add(blocks.Charts([ax], (0.0, 0.0, 0.0, 0.0)))
        self.space(height)
        return ax

    def table(
        self,
        head: Sequence[str],
        rows: Sequence[Sequence[Cell | str]],
        *,
        right: Sequence[int] = (),
        size: float = SMALL,
    ) -> None:
        """A table as wide as the page or narrower; columns in `right` are aligned to the right.

        Headers break where they have line breaks, so that a long name above narrow numbers does not widen the column.
        """
        heads = [_head(name) for name in head]
        cells = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
        self._add(blocks.Table(tuple(head), cells, tuple(right)))
        widths = _widths(heads, cells, size)
        edges = [SIDE + sum(widths[:column]) for column in range(len(widths))]
        step = size * ROW * POINT
        tall = max(len(lines) for lines in heads)
        for line in range(tall):
            self.y += size * 1.2 * POINT
            for column, lines in enumerate(heads):
                start = line - (tall - len(lines))
                if start >= 0:
                    self._cell(edges[column], widths[column], Cell(lines[start], True, MUTED), size, column in right)
        self.space(0.05)
        self.rule(colour=MUTED, width=0.6)
        for row in cells:
            self.y += step
            for column, cell in enumerate(row):
                self._cell(edges[column], widths[column], cell, size, column in right, 0.3 * size * POINT)
            self._line(self.y, SIDE, WIDTH - SIDE, WASH, 0.6)

    def footer(self, left: str, number: int, total: int) -> None:
        """The notes, the study's name and the page's number."""
        self.y = HEIGHT - BOTTOM - self._notes_height()
        for note, lines in zip(self.notes, map(_note_lines, self.notes), strict=True):
            self._add(blocks.Note(note))
            self.space(NOTE_GAP)
            self._write(" ".join(lines), SMALL, colour=MUTED, leading=NOTE_LEADING, most=len(lines))
        self._add(blocks.Footer())
        y = HEIGHT - 0.6  # on Letter, 0.3 above its lower edge
        self._line(y - 0.17, SIDE, WIDTH - SIDE, RULE, 0.5)
        self.text(SIDE, y, shorten(left, INNER - 1.2, SMALL), SMALL, color=MUTED)
        self.text(WIDTH - SIDE, y, f"{number} / {total}", SMALL, color=MUTED, ha="right")

    def _add(self, block: blocks.Block) -> None:
        """Keep a block, before its texts are drawn."""
        self.blocks.append(block)
        self.starts.append(len(self.figure.texts))

    def _write(
        self,
        text: str,
        size: float,
        *,
        bold: bool = False,
        colour: str = INK,
        leading: float = LEADING,
        x: float = SIDE,
        width: float = INNER,
        family: str = SANS,
        most: int = 12,
    ) -> None:
        lines = wrap(text, width, size, bold=bold, family=family)
        if len(lines) > most:
            lines = [*lines[: most - 1], f"{lines[most - 1][:-1]}…"]
        for line in lines:
            self.y += size * leading * POINT
            weight = "bold" if bold else "normal"
            self.text(x, self.y - 0.28 * size * POINT, line, size, color=colour, weight=weight, family=family)

    def _cell(self, x: float, width: float, cell: Cell, size: float, right: bool, lift: float = 0.0) -> None:
        style: dict[str, Any] = {"color": cell.colour, "weight": "bold" if cell.bold else "normal"}
        text = shorten(cell.text, width - 0.06, size, bold=cell.bold)
        at = (x + width - 0.1, "right") if right else (x, "left")
        self.text(at[0], self.y - lift, text, size, ha=at[1], **style)

    def _axes(self, x: float, y: float, width: float, height: float) -> Axes:
        return self.figure.add_axes((x / WIDTH, 1 - (y + height) / HEIGHT, width / WIDTH, height / HEIGHT))

    def _line(self, y: float, x0: float, x1: float, colour: str, width: float) -> None:
        up = 1 - y / HEIGHT
        self.figure.add_artist(Line2D([x0 / WIDTH, x1 / WIDTH], [up, up], color=colour, linewidth=width))

    def _box(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        corner = (x / WIDTH, 1 - (y + height) / HEIGHT)
        self.figure.add_artist(Rectangle(corner, width / WIDTH, height / HEIGHT, facecolor=colour, edgecolor="none"))

    def _key(self, x: float, y: float, key: Key) -> blocks.Symbol:
        xs, up, drawn = ([x / WIDTH, (x + 0.22) / WIDTH], 1 - y / HEIGHT, [])
        if key.line is not None:
            drawn.append(Line2D(xs, [up, up], color=key.colour, linestyle=key.line, linewidth=1.5))
        if key.marker is not None:
            face = "white" if key.hollow else key.colour
            middle = [sum(xs) / 2]
            style: dict[str, Any] = {"markerfacecolor": face, "markeredgecolor": key.colour, "markersize": 5}
            drawn.append(Line2D(middle, [up], marker=key.marker, linestyle="none", **style))
        for artist in drawn:
            self.figure.add_artist(artist)
        return blocks.Symbol(drawn, Bbox.from_bounds(x, HEIGHT - y - 0.06, 0.22, 0.12))

    def _notes_height(self) -> float:
        return sum(NOTE_GAP + len(_note_lines(text)) * SMALL * NOTE_LEADING * POINT for text in self.notes)


def _note_lines(text: str) -> list[str]:
    return wrap(text, INNER, SMALL)


def _head(name: str) -> list[str]:
    """A column's name in lines."""
    return [printable(line) for line in name.split("\n")]


def _widths(heads: Sequence[Sequence[str]], cells: Sequence[Sequence[Cell]], size: float) -> list[float]:
    """Width of each column: that of its widest cell, reduced from the widest if the page is too narrow."""
    needed = [max(measure(line, size, bold=True) for line in lines) for lines in heads]
    for row in cells:
        needed = [max(w, measure(printable(c.text), size, bold=c.bold)) for w, c in zip(needed, row, strict=True)]
    widths = [width + 0.17 for width in needed]
    limit = max(widths, default=0.0)
    while sum(min(width, limit) for width in widths) > INNER:
        limit *= 0.97
    widths = [min(width, limit) for width in widths]
    spare = min((INNER - sum(widths)) / max(len(widths), 1), 0.5)
    return [width + spare for width in widths]
