"""The sentences that a report can print: a template each, and when it is true by the record.

A template is literal text with fields: `{n:int}` is a number, `{x:value}` a value of the objective, `{x:trial?}` with
any noun a number with its noun, `{name}` any text. The checker of a template gets the facts of the study and the
printed fields, and answers whether the sentence is true. It reads the record only, never the code that wrote the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

NUMBER = r"[\d.]+(?:e[+-]\d+)?"
KINDS = {
    "int": r"[\d\u202f]+",
    "value": rf"(?:–|{NUMBER}(?:\u00a0%)?)",
    "gain": rf"(?:less than )?{NUMBER}(?:\u00a0points)?",
    "signed": rf"[+−]?{NUMBER}(?:\u00a0points)?",
    "percent": r"\d+(?:\.\d+)?\u00a0%",
    "change": r"(?:(?:less than )?[\d.e+-]+\u00a0points|-?\d+\u00a0%)",
    "estimate": r"(?:(?:about )?-?[\d.e+-]+\u00a0(?:points|%)|less than [\d.e+-]+\u00a0points)",
    "time": r"[\d.]+\u00a0(?:s|min|h|d)",
    "who": r"(?:The baseline|Trial \d+)",
    "low": r"(?:the baseline|trial \d+)",
    "ratio": r"−?[\d.]+",
    "word": r"[a-z-]+",
}
"""What the printed form of each kind of field looks like."""
FIELD = re.compile(r"\{(\w+)(?::([^}]+))?\}")


@dataclass(frozen=True)
class Entry:
    """One sentence, with the place where it may be printed and its checker."""

    template: str
    pattern: re.Pattern[str]
    under: str | None
    holds: Callable[..., Any]
    whole: bool = False

    @cached_property
    def start(self) -> str:
        """What it begins with, before its first field."""
        return self.template.partition("{")[0]

    @cached_property
    def literal(self) -> int:
        """Number of characters that are not of a field."""
        return len(FIELD.sub("", self.template))


CATALOGUE: list[Entry] = []


def says(
    *templates: str, under: str | None = None, whole: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter sentences with their checker, `holds(facts, **fields)`.

    Args:
        templates: of the sentences.
        under: the label of the item of a list.
        whole: whether it is a text of its own, of a user's words, which is not divided.
    """

    def enter(holds: Callable[..., Any]) -> Callable[..., Any]:
        CATALOGUE.extend(Entry(text, re.compile(_regex(text), re.DOTALL), under, holds, whole) for text in templates)
        return holds

    return enter


def _regex(template: str) -> str:
    parts, at = [], 0
    for field in FIELD.finditer(template):
        parts += [re.escape(template[at : field.start()]), f"(?P<{field[1]}>{_kind(field[2])})"]
        at = field.end()
    return "".join([*parts, re.escape(template[at:])])


def _kind(kind: str | None) -> str:
    if kind is None:
        return ".+?"
    if kind.endswith("?"):  # a noun: `1 trial`, `2 trials`
        noun = re.escape(kind[:-1])
        return rf"(?:1 {noun}|(?!1 )[\d\u202f]+ {noun}s)"
    return KINDS[kind]


def parsed(text: str, under: str | None) -> Iterator[tuple[str, list[tuple[Entry, dict[str, str]]]]]:
    """The sentences of a text, each with the entries that match it: the shortest start of what is left that matches."""
    rest = text
    while rest:
        ends = [place.end() - 1 for place in re.finditer(r"[.?] ", rest)] + [len(rest)]
        if _matches(rest, under, whole=True):
            ends = [len(rest)]
        for end in ends:
            if found := _matches(rest[:end], under):
                yield rest[:end], found
                break
        else:
            end = ends[0]
            yield rest[:end], []
        rest = rest[end:].lstrip(" ")


@cache
def _under(under: str | None, entries: int) -> tuple[Entry, ...]:
    """The entries of a place, of so many in all."""
    return tuple(entry for entry in CATALOGUE[:entries] if entry.under == under)


def _matches(sentence: str, under: str | None, *, whole: bool = False) -> list[tuple[Entry, dict[str, str]]]:
    """The entries of a sentence: of several that match, those with the most literal text."""
    entries = (entry for entry in _under(under, len(CATALOGUE)) if entry.whole or not whole)
    fitting = (entry for entry in entries if sentence.startswith(entry.start))
    found = [(entry, match) for entry in fitting if (match := entry.pattern.fullmatch(sentence))]
    most = max((entry.literal for entry, _ in found), default=0)
    return [(entry, match.groupdict()) for entry, match in found if entry.literal == most]
