"""The texts of a report, page by page, without drawing them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np

from reports import pages
from reports.analysis.comparison import sides
from reports.drawing import blocks
from reports.drawing.fonts import POINT
from reports.drawing.layout import CAPTION_LINES, INNER, LEADING, SMALL, Page, wrap
from reports.pages.comparison import comparison

_wrapped = cache(wrap)
"""A report wraps a text several times: to know its height, and to print it."""


@dataclass(frozen=True)
class Printed:
    """A text of a page.

    Attributes:
        kind: title, section, heading, paragraph, item, command, figure, note, table, legend, axis; or
            overflow, of a page that is too short.
        text: as given to the page; of a table its head.
        under: the label of an item.
        mark: what is before an item.
        rows: the cells of a table.
        cut: whether the page has no room for all of it.
    """

    kind: str
    text: str
    under: str | None = None
    mark: str = ""
    rows: tuple[tuple[str, ...], ...] = ()
    cut: bool = False


class Silent:
    """Axes that draw nothing, and keep their titles, labels and texts."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name in ("set_title", "set_xlabel", "set_ylabel"):
            return lambda text, **_: self.texts.append(text)
        if name == "text":
            return lambda x, y, text, **_: self.texts.append(text)
        special = {"get_xlim": lambda: (0.1, 1.0), "get_position": lambda: SimpleNamespace(width=0.1)}
        return special.get(name, self)

    def __call__(self, *_: Any, **__: Any) -> Silent:
        return self

    def __getitem__(self, _: Any) -> Silent:
        return self

    def __iter__(self) -> Iterator[Silent]:
        yield self  # `(dots,) = ax.plot(...)`


class Silenced(Page):
    """A page that keeps its blocks, and which texts it has cut, and draws nothing."""

    def __init__(self, finding: str, note: str = "") -> None:
        self.cut: set[str] = set()
        super().__init__(finding, note)

    def figures(self, entries: Sequence[tuple[str, str]]) -> None:
        """Keep also the captions that are cut."""
        width = (INNER - 0.15 * (len(entries) - 1)) / len(entries) - 0.24
        self.cut |= {caption for _, caption in entries if len(wrap(caption, width, SMALL)) > CAPTION_LINES}
        super().figures(entries)

    def _write(self, text: str, size: float, **style: Any) -> None:
        kept = {key: style[key] for key in ("bold", "family") if key in style}
        lines, most = len(_wrapped(text, style.get("width", INNER), size, **kept)), style.get("most", 12)
        if lines > most:
            self.cut.add(text)
        self.y += min(lines, most) * size * style.get("leading", LEADING) * POINT

    def text(self, *_: Any, **__: Any) -> None:
        """Draw nothing."""

    def _line(self, *_: Any) -> None:
        pass

    def _box(self, *_: Any) -> None:
        pass

    def _key(self, *_: Any) -> Any:
        return None

    def _axes(self, *_: Any) -> Any:
        return Silent()


def _no_forest(points: Any, sizes: Sequence[int], *_: Any) -> Any:
    """Shares without a random forest, which takes most of the time: the first axis is put first."""
    return np.linspace(0.5, 0.1, len(sizes))


def texts(record: Any, proposal: Any = None) -> list[Printed]:
    """All texts of a report in the order in which they are printed."""
    return _said(lambda: pages.pages(record, proposal))


def comparison_texts(records: Sequence[Any]) -> list[Printed]:
    """All texts of the comparison of studies."""
    return _said(lambda: comparison(sides(records)))


def _said(draw: Callable[[], Sequence[Page]]) -> list[Printed]:
    with (
        patch("reports.drawing.sheets.Page", Silenced),
        patch("reports.pages.comparison.Page", Silenced),
        patch("reports.drawing.points.name", lambda *_: None),
        patch("reports.drawing.layout.wrap", _wrapped),
        patch("reports.analysis.importance._main_effects", _no_forest),
    ):
        return [printed for page in draw() for printed in _printed(page)]


def _printed(page: Page) -> Iterator[Printed]:
    cut = page.cut if isinstance(page, Silenced) else set()
    yield Printed("title", page.finding, cut=page.finding in cut)
    for block in page.blocks:
        for printed in _of_block(block, cut):
            if printed.text or printed.rows:
                yield printed
    yield from (Printed("note", note) for note in page.notes)
    if page.room < -0.001:
        yield Printed("overflow", f"the page is {-page.room:.2f} inches too short: {page.finding}")


def _of_block(block: blocks.Block, cut: set[str]) -> Iterator[Printed]:
    match block:
        case blocks.Section(text):
            yield Printed("section", text, cut=text in cut)
        case blocks.Heading(text):
            yield Printed("heading", text, cut=text in cut)
        case blocks.Paragraph(text):
            yield Printed("paragraph", text, cut=text in cut)
        case blocks.Command(text):
            yield Printed("command", text, cut=text in cut)
        case blocks.Item(mark, _, label, text):
            yield Printed("item", text, _place(mark, text, label), mark, cut=text in cut)
        case blocks.Figures(entries):
            yield from (Printed("figure", f"{value}: {text}", cut=text in cut) for value, text in entries)
        case blocks.Legend(entries):
            yield from (Printed("legend", label) for label, _ in entries)
        case blocks.Table(head, rows):
            yield Printed("table", " | ".join(head), rows=tuple(tuple(cell.text for cell in row) for row in rows))
        case blocks.Charts(axes):
            for text in (text for ax in axes for text in ax.texts):  # type: ignore[attr-defined]
                yield Printed("paragraph" if text.endswith(".") and len(text) > 60 else "axis", text.replace("\n", " "))


def _place(mark: str, text: str, label: str) -> str:
    """Where an item of a list is: under a check, a change, advice, or a line of the provenance."""
    if label:
        return label.lower()
    if mark[:1].isupper():
        return "advice"
    return "change" if ", was " in text else mark or "preparation"
