"""Which columns of a table become inputs: numbers and categories, but no identifiers, dates or empty columns."""

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from model.data.arrays import Column, are_padded, lossless
from model.data.errors import DatasetInvalid, first_names
from model.data.preprocessing import MAX_VALUES

IDENTIFIER_NAME = re.compile(r"(.*[\s_.-])?(id|ids|uid|uuid|guid|key|idx|index)|.*[a-z](Id|ID|UID|Key|Index)", re.ASCII)
"""Names of identifiers, such as id, user_id, PassengerId; the first alternative in any case."""
IDENTIFIER_SHARE = 0.95
"""Share of different values from which numbers with such a name are identifiers: some rows of a table are copies."""
TEXT_IDENTIFIER_SHARE = 0.9
"""Share of different values from which text is an identifier, such as a person's name."""
NUMBER_SHARE = 0.9
"""Share of numbers from which other text in a column is a mistake, and not a category."""
FEW_ROWS = 10
"""In so few rows all different values do not make an identifier."""
MANY_WRITTEN_NUMBERS = 20
"""More different numbers with units or separators are measurements; fewer can be categories, such as 10 % and 20 %."""
EXACT_INTEGERS = 2**53

_MONTH = r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_DAY = (
    r"\d{4}(?P<a>[-/.])\d{1,2}((?P=a)\d{1,2})?|\d{1,2}(?P<b>[-/.])\d{1,2}(?P=b)(\d{4}|\d{2})|"
    rf"\d{{1,2}}[-/. ]?{_MONTH}[-/.,]? ?\d{{2,4}}|{_MONTH}\.? \d{{1,2}},? \d{{4}}|\d{{4}}[-/ ]{_MONTH}[-/ ]\d{{1,2}}"
)
_TIME = r"\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?( ?[ap]m)?( ?(z|utc|[+-]\d{2}:?\d{2}))?"
DATE = re.compile(rf"(({_DAY})([t ]+{_TIME})?|{_TIME})", re.ASCII | re.IGNORECASE)
"""Text of a date, a time or both."""
WRITTEN_NUMBER = re.compile(r"[-+(]?[$€£]? ?(\d{1,3}([,.' ]\d{3})+|\d+)([.,]\d+)? ?[%€$)]?", re.ASCII)
"""A number with separators of thousands, a currency or a percent sign."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """The columns of a table that become inputs.

    Attributes:
        values: (n, columns) uint8, float32 or float64, the smallest that is exact: numbers, and for a category its
            place in `Column.categories`; NaN is a gap.
        columns: Name and categories of each.
        notes: What was found and done, a line each.
    """

    values: NDArray[Any]
    columns: tuple[Column, ...]
    notes: tuple[str, ...]


def choose_inputs(
    table: "dict[str, pd.Series[Any]]", keep: Sequence[str], where: str, place: Callable[[int], str]
) -> Inputs:
    """Take the columns of numbers and categories, and leave out those without a meaning for other rows.

    Left out are identifiers, dates, columns without values, and values that are neither numbers nor text.

    Args:
        table: As from `read_columns`, without the target. Columns are removed as they are used, to save memory.
        keep: Columns that are used although they look like identifiers, dates or badly written numbers.
        where: Names the table in errors.
        place: The place in the source of a row (from 0), for errors.

    Raises:
        DatasetInvalid: A number column has text or an infinite number, or no column is left.
    """
    _check_keep(list(table), keep, where)
    for name, values in table.items():
        if values.dtype != "str":
            _check_finite(name, values, where, place)
        elif name not in keep:
            _check_numbers(name, values, where, place)
    reasons = {name: _reason(values, name, name in keep, where) for name, values in table.items()}
    left_out = {name: reason for name, reason in reasons.items() if reason is not None}
    used = [name for name in reasons if name not in left_out]
    notes = [_left_out_note(name, reason) for name, reason in left_out.items()]
    if not used:
        raise DatasetInvalid("\n".join([f"{where}: no column is left to learn from", *notes][:3]))
    columns, parts = [], []
    for name in used:
        column, numbers = _encoded(name, table.pop(name))
        columns.append(column)
        parts.append(lossless(numbers))
    raw = _stacked(parts)
    return Inputs(raw, tuple(columns), (*notes, *_remarks(raw, columns)))


def _stacked(parts: list[NDArray[Any]]) -> NDArray[Any]:
    """The columns side by side (n, columns), in the smallest dtype for all of them; empties the list to save memory."""
    values = np.empty((len(parts[0]), len(parts)), np.result_type(*parts))
    for at in reversed(range(len(parts))):
        values[:, at] = parts.pop()
    return values


def _check_keep(names: Sequence[str], keep: Sequence[str], where: str) -> None:
    for name in keep:
        if name not in names:
            raise DatasetInvalid(f"{where}: keep names {name!r}, which is not one of the columns{nearest(name, names)}")


def nearest(name: str, names: Sequence[str]) -> str:
    """A hint with the most similar column name, or else the first names."""
    lower = {known.lower(): known for known in names}
    close = difflib.get_close_matches(name.lower(), lower, n=1)
    return (
        f"\nDid you mean {lower[close[0]]!r}?" if close else f"\nThe columns are {first_names(list(lower.values()))}."
    )


# ------------------------------------------------------------------ columns that are left out


def _left_out_note(name: str, reason: str) -> str:
    kept = f'; keep it with keep = ["{name}"] in the study file' if "look" in reason else ""
    return f"left out {name!r}: {reason}{kept}"


def _reason(values: "pd.Series[Any]", name: str, kept: bool, where: str) -> str | None:
    """Why a column is left out; None for one that is used."""
    if values.isna().all():
        return "it has no values"
    if values.dtype == "str":
        return None if kept else _text_reason(values)
    if pd.api.types.is_numeric_dtype(values.dtype):
        return None if kept else _number_reason(values, name)
    if values.dtype.kind in "mM" or isinstance(values.dtype, pd.DatetimeTZDtype | pd.PeriodDtype):
        return "it has dates; add number columns such as year, month or days since a start"
    if kept:
        raise DatasetInvalid(f"{where}: {name!r} cannot be kept: its values are neither numbers nor text")
    return "its values are neither numbers nor text"


def _text_reason(values: "pd.Series[Any]") -> str | None:
    known = values.dropna()
    different = known.unique().tolist()
    if all(DATE.fullmatch(text.strip()) for text in different):
        return "its texts look like dates; add number columns such as year and month"
    if len(known) <= FEW_ROWS or len(different) < TEXT_IDENTIFIER_SHARE * len(known):
        return None
    if are_padded(different):
        return f"{len(different):,} different digits with leading zeros in {len(known):,} rows look like an identifier"
    if _is_written(different):
        return None
    return f"{len(different):,} different texts in {len(known):,} rows look like an identifier"


def _number_reason(values: "pd.Series[Any]", name: str) -> str | None:
    known = values.dropna().to_numpy()
    if len(known) <= FEW_ROWS or known.dtype.kind == "b" or (known.dtype.kind == "f" and (known % 1 != 0).any()):
        return None
    consecutive = len(known) == len(values) and float(known.max()) - float(known.min()) == len(known) - 1
    named = IDENTIFIER_NAME.fullmatch(name) or IDENTIFIER_NAME.fullmatch(name.lower())
    if not (consecutive or named):
        return None
    different = len(np.unique(known))
    if different < (IDENTIFIER_SHARE * len(known) if named else len(known)):
        return None
    return f"{different:,} different whole numbers in {len(known):,} rows look like an identifier"


# ------------------------------------------------------------------ columns that are used


def _encoded(name: str, values: "pd.Series[Any]") -> tuple[Column, NDArray[np.float64]]:
    """The column, and its numbers or the codes of its categories."""
    if values.dtype != "str":
        return Column(name), values.to_numpy(np.float64)
    codes, different = pd.factorize(values, sort=True)
    return Column(name, tuple(map(str, different))), np.where(codes < 0, np.nan, codes)


def _check_finite(name: str, values: "pd.Series[Any]", where: str, place: Callable[[int], str]) -> None:
    infinite = values.dtype.kind == "f" and np.isinf(values.to_numpy())
    if np.any(infinite):
        raise DatasetInvalid(
            f"{where}, {place(int(np.argmax(infinite)))}: column {name!r} has an infinite number\n"
            "Leave the value empty if it is unknown."
        )


def _check_numbers(name: str, values: "pd.Series[Any]", where: str, place: Callable[[int], str]) -> None:
    """Refuse text in a column whose values are nearly all numbers, and numbers that are written for readers."""
    codes, different = pd.factorize(values)
    texts = pd.Series(different, dtype="str")
    is_number = pd.to_numeric(texts, errors="coerce").notna().to_numpy()
    known = codes[codes >= 0]
    numbers = int(np.count_nonzero(is_number[known])) if len(known) else 0
    as_category = f'or read it as a category with keep = ["{name}"].'
    if NUMBER_SHARE * len(known) <= numbers < len(known):  # all: text on purpose, such as categories of pandas
        row = int(np.argmax((codes >= 0) & ~is_number[codes]))
        raise DatasetInvalid(
            f"{where}, {place(row)}: column {name!r} has {str(values.iloc[row])[:40]!r}, but {numbers:,} of"
            f" {len(known):,} values are numbers\nWrite a number, leave an unknown value empty, {as_category}"
        )
    if len(texts) > MANY_WRITTEN_NUMBERS and _is_written(different.tolist()) and not are_padded(texts.tolist()):
        row = int(np.argmax((codes >= 0) & ~is_number[codes]))
        raise DatasetInvalid(
            f"{where}, {place(row)}: column {name!r} has numbers such as {str(values.iloc[row])!r}\n"
            f"Write them without separators of thousands and units, such as 1234.5, {as_category}"
        )


def _is_written(different: Sequence[str]) -> bool:
    """Whether different texts look like numbers that are written for readers."""
    return sum(bool(WRITTEN_NUMBER.fullmatch(text)) for text in different) > IDENTIFIER_SHARE * len(different)


# ------------------------------------------------------------------ notes


def _remarks(values: NDArray[Any], columns: Sequence[Column]) -> list[str]:
    """Lines on gaps, constant columns, many categories and large whole numbers."""
    facts = [_Facts.of(values[:, at], column) for at, column in enumerate(columns)]
    rows = len(values)
    categories = [(column.name, len(column.categories or ())) for column in columns]
    gaps = [f"{fact.name} {fact.gaps:,}" for fact in facts if fact.gaps]
    lines = [
        (f"gaps in {rows:,} rows", gaps),
        (
            "digits with leading zeros, which are categories (without the zeros they would be numbers)",
            [column.name for column in columns if are_padded(column.categories or ())],
        ),
        ("constant, so they are not used", [fact.name for fact in facts if fact.constant]),
        (
            f"more than {MAX_VALUES} categories, the rarer ones count as one",
            [f"{name} {count:,}" for name, count in categories if count > MAX_VALUES],
        ),
        ("whole numbers above 2**53 are rounded to 53 bits", [fact.name for fact in facts if fact.large]),
    ]
    return [f"{what}: {first_names(names)}" for what, names in lines if names]


@dataclass(frozen=True)
class _Facts:
    name: str
    gaps: int
    constant: bool
    large: bool

    @classmethod
    def of(cls, values: NDArray[Any], column: Column) -> "_Facts":
        gaps = int(np.count_nonzero(np.isnan(values)))
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        large = EXACT_INTEGERS < max(high, -low) < 2**64 and not (values[~np.isnan(values)] % 1).any()
        return cls(column.name, gaps, low == high and not gaps, large)
