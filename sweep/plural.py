"""Numbers with their nouns, for the terminal."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """`1 trial`, `2 trials`, `1,000 trials`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
