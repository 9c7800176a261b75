"""Text from a record as text of an HTML document, whatever it holds."""

from __future__ import annotations

import json
import re
from html import escape
from typing import Any

from reports.drawing.fonts import UNKNOWN

# Control characters, marks that turn the direction of the text around them, and halves of characters.
UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\ufffe\uffff]"
)


def visible(text: str) -> str:
    """Text in which unseen characters are U+FFFD, except line breaks and tabs."""
    return UNSEEN.sub(UNKNOWN, text)


def element(name: str, text: str, *, classes: str = "", **attributes: str) -> str:
    """An element with escaped text and attributes; `classes` are its style classes."""
    given = {"class": classes, **attributes} if classes else attributes
    opened = "".join(f' {key}="{escape(value)}"' for key, value in given.items())
    return f"<{name}{opened}>{escape(text)}</{name}>"


def data(value: Any) -> str:
    """JSON that can stand inside a `script` element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
