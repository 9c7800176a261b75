"""The fonts of the reports, and the widths of their characters.

IBM Plex is shipped with its licence (fonts/LICENSE.txt), so that a report looks the same on every machine. All its
figures have one width. Characters that it lacks are taken from DejaVu, which comes with matplotlib.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.ft2font import LoadFlags

SANS, MONO, FALLBACK = "IBM Plex Sans", "IBM Plex Mono", "DejaVu Sans"
UNKNOWN = "\ufffd"
POINT = 1 / 72
EM = 100.0  # points, at which characters are measured
FIXED_POINT = 1 << 16  # FreeType's advances have 16 bits after the point

for _file in sorted((Path(__file__).parent / "fonts").glob("*.ttf")):
    fontManager.addfont(_file)


def printable(text: str, family: str = SANS) -> str:
    """Text in one line without control characters; characters missing in both fonts become U+FFFD."""
    flat = " ".join(text.split()) if any(c in text for c in "\n\r\t\v\f") else text
    return "".join(c if ord(c) in _known(family) or ord(c) in _known(FALLBACK) else UNKNOWN for c in flat)


def measure(text: str, size: float, *, bold: bool = False, family: str = SANS) -> float:
    """Width of a line of text in inches, by the advances of its characters: kerning only makes it narrower."""
    return sum(_advance(character, family, bold) for character in text) * size * POINT


@cache
def _known(family: str) -> frozenset[int]:
    return frozenset(get_font(findfont(FontProperties(family=family))).get_charmap())


@cache
def _advance(character: str, family: str, bold: bool) -> float:
    """From the start of a character to that of the next, as a multiple of the type size."""
    family = family if ord(character) in _known(family) else FALLBACK
    font = get_font(findfont(FontProperties(family=family, weight="bold" if bold else "normal")))
    font.set_size(EM, 72)
    advance = font.load_char(ord(character), flags=LoadFlags.NO_HINTING).linearHoriAdvance
    return advance / FIXED_POINT / EM
