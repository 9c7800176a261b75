"""The structure of a PDF: what is a heading, a paragraph, a table or a figure, and in which order it is read.

Matplotlib draws a page in the order of its layers and marks nothing. Here every text and every axes of a page is drawn
between the marks of a numbered piece of content, anything else as an ornament, and a tree names the pieces in the
order of the page's blocks (ISO 32000-1, 14.7 and 14.8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, cast

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.text import Text
from pypdf import PdfWriter
from pypdf.generic import (
    ArrayObject,
    BooleanObject,
    DictionaryObject,
    IndirectObject,
    NameObject,
    NumberObject,
    TextStringObject,
)

from reports.drawing import blocks
from reports.drawing.fonts import printable
from reports.drawing.layout import Page


@dataclass(frozen=True)
class Tag:
    """An element of the structure.

    Attributes:
        role: a standard type of structure, such as `H1`.
        pieces: numbers of its pieces of content on the page.
        children: elements inside it.
        alternative: what is read instead of a figure.
    """

    role: str
    pieces: Sequence[int] = ()
    children: Sequence[Tag] = ()
    alternative: str = ""


def tagged(page: Page) -> Tag:
    """The structure of a page whose footer is written; drawing it as PDF writes the marks from then on."""
    return _Tagger(page).tag()


def add_structure(writer: PdfWriter, tags: Sequence[Tag]) -> None:
    """Add the structure of all pages to a PDF."""
    root = DictionaryObject({NameObject("/Type"): NameObject("/StructTreeRoot")})
    place = writer._add_object(root)
    document = _element("Document", place)
    inside = writer._add_object(document)
    parents = ArrayObject()
    sections = ArrayObject()
    for number, (page, tag) in enumerate(zip(writer.pages, tags, strict=True)):
        owners: dict[int, IndirectObject] = {}
        assert page.indirect_reference is not None
        sections.append(_write(writer, tag, inside, page.indirect_reference, owners))
        kept = writer._add_object(ArrayObject(owners[piece] for piece in range(len(owners))))
        parents.extend([NumberObject(number), kept])
        page[NameObject("/StructParents")] = NumberObject(number)
        page[NameObject("/Tabs")] = NameObject("/S")
    document[NameObject("/K")] = sections
    root[NameObject("/K")] = ArrayObject([inside])
    root[NameObject("/ParentTree")] = writer._add_object(DictionaryObject({NameObject("/Nums"): parents}))
    root[NameObject("/ParentTreeNextKey")] = NumberObject(len(tags))
    marked = DictionaryObject({NameObject("/Marked"): BooleanObject(True)})
    writer.root_object.update({NameObject("/StructTreeRoot"): place, NameObject("/MarkInfo"): marked})


def _write(
    writer: PdfWriter, tag: Tag, parent: IndirectObject, page: IndirectObject, owners: dict[int, IndirectObject]
) -> IndirectObject:
    """Add an element with all inside it; `owners` gets the element of each piece."""
    element = _element(tag.role, parent)
    place = writer._add_object(element)
    owners.update(dict.fromkeys(tag.pieces, place))
    inside = [_write(writer, child, place, page, owners) for child in tag.children]
    element[NameObject("/K")] = ArrayObject([*map(NumberObject, tag.pieces), *inside])
    if tag.pieces:
        element[NameObject("/Pg")] = page
    if tag.alternative:
        element[NameObject("/Alt")] = TextStringObject(tag.alternative)
    if tag.role == "TH":
        scope = {NameObject("/O"): NameObject("/Table"), NameObject("/Scope"): NameObject("/Column")}
        element[NameObject("/A")] = DictionaryObject(scope)
    return place


def _element(role: str, parent: IndirectObject) -> DictionaryObject:
    return DictionaryObject({NameObject("/S"): NameObject(f"/{role}"), NameObject("/P"): parent})


class _Tagger:
    """Gives the content of one page its numbers."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._marked: set[Artist] = set()
        self._next = 0

    def tag(self) -> Tag:
        """The page as a section, its blocks in reading order."""
        page, texts = self._page, list(self._page.figure.texts)
        ends = [*page.starts[1:], len(texts)]
        found = [self._leaf("H1", texts[: page.starts[0]])]
        level, heading = 2, page.finding
        shown = zip(page.blocks, [texts[a:b] for a, b in zip(page.starts, ends, strict=True)], strict=True)
        for kind, group in groupby(shown, lambda one: type(one[0])):
            if kind is blocks.Item:
                found.append(Tag("L", children=[self._item(own) for _, own in group]))
                continue
            for block, own in group:
                if isinstance(block, blocks.Section):
                    level, heading = 3, block.finding
                    found.append(self._leaf("H2", own))
                elif isinstance(block, blocks.Heading):
                    heading = block.text
                    found.append(self._leaf(f"H{level}", own))
                else:
                    found += self._block(block, own, heading)
        for artist in self._page.figure.get_children():
            if artist not in self._marked:
                _draw_between(artist, b"/Artifact BMC\n")
        return Tag("Sect", children=found)

    def _block(self, block: blocks.Block, own: Sequence[Text], heading: str) -> Iterator[Tag]:
        """The elements of a block, by its texts."""
        if isinstance(block, blocks.Charts):
            yield from (self._chart(ax, heading) for ax in block.axes)
        elif isinstance(block, blocks.Table):
            yield self._table(block, own)
        elif isinstance(block, blocks.Legend):
            entries = [Tag("LI", children=[self._leaf("LBody", [label])]) for label in own]
            yield Tag("L", children=entries)
        elif isinstance(block, blocks.Figures):
            bold = [place for place, text in enumerate(own) if text.get_fontweight() == "bold"]
            yield from (self._leaf("P", own[a:b]) for a, b in zip(bold, [*bold[1:], len(own)], strict=True))
        elif not isinstance(block, blocks.Footer):
            yield self._leaf("P", own)

    def _item(self, own: Sequence[Text]) -> Tag:
        """An item of a list: its mark, then its label and text."""
        return Tag("LI", children=[self._leaf("Lbl", own[:1]), self._leaf("LBody", own[1:])])

    def _chart(self, ax: Axes, heading: str) -> Tag:
        title = ax.get_title("left") or ax.get_title("center")
        return Tag("Figure", self._pieces("Figure", [ax]), alternative=printable(title or heading))

    def _table(self, block: blocks.Table, own: Sequence[Text]) -> Tag:
        """A table; the texts of its head come by line, those of its rows by cell."""
        lines = [name.split("\n") for name in block.head]
        tall = max(map(len, lines))
        columns = [
            column for line in range(tall) for column, own_lines in enumerate(lines) if line >= tall - len(own_lines)
        ]
        heads: list[list[Text]] = [[] for _ in lines]
        for column, text in zip(columns, own, strict=False):
            heads[column].append(text)
        rows = [Tag("TR", children=[self._leaf("TH", texts) for texts in heads])]
        cells = [self._leaf("TD", [text]) for text in own[len(columns) :]]
        rows += [Tag("TR", children=cells[at : at + len(lines)]) for at in range(0, len(cells), len(lines))]
        return Tag("Table", children=rows)

    def _leaf(self, role: str, texts: Iterable[Text]) -> Tag:
        return Tag(role, self._pieces(role, texts))

    def _pieces(self, role: str, artists: Iterable[Artist]) -> list[int]:
        """Number artists, which are drawn with marks from then on; a text of nothing draws nothing."""
        numbers = []
        for artist in artists:
            self._marked.add(artist)
            if isinstance(artist, Text) and not artist.get_text().strip():
                continue
            _draw_between(artist, f"/{role} <</MCID {self._next}>> BDC\n".encode())
            numbers.append(self._next)
            self._next += 1
        return numbers


def _draw_between(artist: Artist, mark: bytes) -> None:
    """Let an artist write a mark before what it draws, and the end of it after."""
    draw = cast(Callable[[Any], None], artist.draw)

    def marked(renderer: Any) -> None:
        renderer.file.write(mark)
        draw(renderer)
        renderer.file.write(b"EMC\n")

    artist.draw = marked  # type: ignore[method-assign]
