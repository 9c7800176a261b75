"""The pages of a report while they are filled, section by section."""

from __future__ import annotations

from collections.abc import Callable

from reports.drawing.layout import HEIGHT, Page


def height(finding: str, note: str, draw: Callable[[Page], None]) -> float:
    """Inches that a section takes below another one; it is drawn for this on a page of its own."""
    page = Page("")
    empty = page.room
    page.section(finding, note)
    draw(page)
    return empty - page.room


class Sheets:
    """The pages of a report as they are filled: sections follow each other on a page while there is room.

    Attributes:
        pages: those that were begun.
    """

    def __init__(self) -> None:
        self.pages: list[Page] = []
        self._is_open = False

    def turn(self) -> None:
        """Let the next section begin a page."""
        self._is_open = False

    def section(self, finding: str, note: str = "", *, room: float = HEIGHT) -> Page:
        """The page for a section: this one if it has so many inches left, else a new one with the finding as title."""
        if self._is_open and self.pages[-1].room >= room:
            self.pages[-1].section(finding, note)
        else:
            self.pages.append(Page(finding, note))
            self._is_open = True
        return self.pages[-1]
