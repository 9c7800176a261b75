"""A page as a section of an HTML document."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any

from reports.drawing import blocks
from reports.drawing.layout import MUTED, Page
from reports.web.charts import Drawer
from reports.web.text import element

LONG = 24
"""Characters from which on the text of a cell may be broken into lines."""


def contents(pages: Sequence[Page]) -> str:
    """The findings as links to them, those of the sections of a page below its title."""
    return f"<ol>{''.join(_entry(page, number) for number, page in enumerate(pages, 1))}</ol>"


def section(page: Page, number: int, drawer: Drawer) -> str:
    """A page, counted from 1: its findings are headings, its axes figures, its tables tables."""
    parts = [f'<section aria-labelledby="{_anchor(number, 0)}">', _title("h2", page.finding, _anchor(number, 0))]
    level, heading, place = 3, page.finding, 0
    for kind, found in groupby(page.blocks, type):
        for block in [list(found)] if kind is blocks.Item else found:
            if isinstance(block, blocks.Section):
                place, level, heading = place + 1, 4, block.finding
                parts.append(_title("h3", heading, _anchor(number, place)))
            elif isinstance(block, blocks.Heading):
                heading = block.text
                parts.append(element(f"h{level}", heading))
            elif isinstance(block, blocks.Charts):
                parts.append(drawer.charts(block, heading))
            elif isinstance(block, blocks.Legend):
                parts.append(_legend(block, drawer))
            else:
                parts.append(WRITERS[kind](block))
    notes = "".join(element("p", note) for note in page.notes)
    return "\n".join([*parts, f'<div class="notes muted">{notes}</div>' if notes else "", "</section>"])


def _entry(page: Page, number: int) -> str:
    title, *rest = (
        element("a", finding, href=f"#{_anchor(number, place)}") for place, finding in enumerate(page.findings)
    )
    below = "".join(f"<li>{link}</li>" for link in rest)
    return f"<li>{title}{f'<ul>{below}</ul>' if below else ''}</li>"


def _anchor(number: int, place: int) -> str:
    """The name of a finding in links: of a page, or of a section on it."""
    return f"finding-{number}-{place}" if place else f"finding-{number}"


def _title(level: str, text: str, anchor: str) -> str:
    return element(level, text, id=anchor)


def _paragraph(block: blocks.Paragraph) -> str:
    classes = " ".join(name for name, holds in (("bold", block.bold), ("muted", block.muted)) if holds)
    return element("p", block.text, classes=classes)


def _items(items: Iterable[blocks.Item]) -> str:
    """A list; marks are words, such as the name of a setting, or signs."""
    rows = [
        f"<li>{element('b', item.mark, style=f'color:{item.colour}')}"
        f"{element('span', item.label, classes='label') if item.label else ''}{element('span', item.text)}</li>"
        for item in items
    ]
    return f'<ul class="items">{"".join(rows)}</ul>'


def _command(block: blocks.Command) -> str:
    return f"<pre>{element('code', block.text)}</pre>"


def _figures(block: blocks.Figures) -> str:
    entries = [f"<div>{element('dd', value)}{element('dt', caption)}</div>" for value, caption in block.entries]
    return f'<dl class="figures">{"".join(entries)}</dl>'


def _legend(block: blocks.Legend, drawer: Drawer) -> str:
    entries = [f"<li>{drawer.symbol(symbol)}{element('span', label)}</li>" for label, symbol in block.entries]
    return f'<ul class="legend">{"".join(entries)}</ul>'


def _table(block: blocks.Table) -> str:
    """A table, which scrolls sideways by itself on a narrow screen."""
    aligned = ["right" if column in block.right else "" for column in range(len(block.head))]
    head = [
        element("th", name.replace("\n", " "), classes=side, scope="col")
        for name, side in zip(block.head, aligned, strict=True)
    ]
    rows = ["".join(_cell(cell, side) for cell, side in zip(row, aligned, strict=True)) for row in block.rows]
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{"".join(head)}</tr>{body}</table></div>'


def _cell(cell: blocks.Cell, side: str) -> str:
    kinds = (("bold", cell.bold), ("muted", cell.colour == MUTED), ("long", len(cell.text) > LONG))
    classes = " ".join([*filter(None, [side]), *(name for name, holds in kinds if holds)])
    coloured = cell.colour not in (blocks.INK, MUTED)
    return element("td", cell.text, classes=classes, **({"style": f"color:{cell.colour}"} if coloured else {}))


WRITERS: dict[type, Callable[[Any], str]] = {
    blocks.Paragraph: _paragraph,
    blocks.Item: _items,
    blocks.Command: _command,
    blocks.Figures: _figures,
    blocks.Table: _table,
}
