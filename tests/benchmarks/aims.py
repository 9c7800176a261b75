"""How every benchmark tells what was aimed at, and whether it was met."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

Aim = tuple[str, float, bool]
"""What was aimed at, what was measured, whether it was met."""


def show(aims: Sequence[Aim]) -> None:
    """A line each, for people."""
    for text, value, met in aims:
        print(f"{'met    ' if met else 'NOT MET'}  {value:7.3f}  {text}")


def as_json(aims: Sequence[Aim], **figures: Any) -> str:
    """Everything in a line, for programs."""
    return json.dumps({**figures, "aims": [{"aim": text, "value": value, "met": met} for text, value, met in aims]})
