"""The format of a CSV file: its encoding, separator, decimal mark and column names; and where its rows are."""

import codecs
import contextlib
import csv
import gzip
import re
import zlib
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from model.data.errors import DatasetInvalid

SEPARATORS = (",", ";", "\t", "|")
SAMPLE_ROWS = 1000
"""Rows from which the decimal mark, and whether line 1 has names, are read."""
BLOCK_BYTES = 2**20
VALUE_BYTES = 8
"""Memory of a value while a table is read: a float64."""
STARTS = np.isin(np.arange(256), list(b'\n\r,;\t| "'))
"""(256,) which byte may stand before a value."""
NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?")
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
DECIMAL_POINT = re.compile(r"[+-]?\d*\.\d+([eE][+-]?\d+)?")


@dataclass(frozen=True)
class CsvFormat:
    """How a CSV file is written.

    Attributes:
        separator: Between two values: a comma, semicolon, tab or vertical bar.
        decimal: The decimal mark, "." or ",".
        names: Of the columns, from the first line; one without a name gets "Unnamed: " and its number, as in pandas.
        may_be_padded: Whether some value may be digits with a leading zero; if not, none is.
    """

    separator: str
    decimal: str
    names: tuple[str, ...]
    may_be_padded: bool


def csv_format(path: Path, max_bytes: int) -> CsvFormat:
    """Find the format of a CSV file, gzipped if its name ends in .gz, and check what can be checked in one pass.

    Args:
        path: The file.
        max_bytes: Limit for the uncompressed text, and for the table in memory.

    Raises:
        DatasetInvalid: The file is too large, not UTF-8 text, or damaged; its first line has one column, no names or
            the same name twice; or a row has more values than there are columns.
        OSError: The file cannot be read.
    """
    lines, may_be_padded = _checked_lines(path, max_bytes)
    separator = _separator(path)
    with contextlib.closing(records(path, separator)) as rows:
        sample = list(islice(rows, SAMPLE_ROWS + 1))
    names = _names(path, sample)
    if lines * len(names) * VALUE_BYTES > max_bytes:
        raise DatasetInvalid(
            f"{path}: about {lines:,} rows of {len(names):,} columns need more than {max_bytes / 2**30:g} GiB of"
            " memory\nRemove columns, or take a random part of the rows."
        )
    decimal = _decimal([row for _, row in sample[1:]]) if separator != "," else "."
    return CsvFormat(separator, decimal, names, may_be_padded)


def records(path: Path, separator: str) -> Generator[tuple[int, list[str]]]:
    """The line number (from 1) and the values of each record, the header first; blank lines are skipped.

    Raises:
        DatasetInvalid: A quoted value is too long or not closed.
    """
    with _opened(path) as file:
        text = codecs.getreader("utf-8-sig")(file)
        reader = csv.reader(text, delimiter=separator, skipinitialspace=True)
        start = 1
        try:
            for row in reader:
                if row and (len(row) > 1 or row[0].strip()):
                    yield start, row
                start = reader.line_num + 1
        except csv.Error as error:
            raise DatasetInvalid(
                f"{path}, line {start}: cannot be read ({error})\nCheck that every quote is closed."
            ) from error


def line_of(path: Path, form: CsvFormat, row: int) -> int:
    """The line (from 1) where a data row (from 0) begins."""
    with contextlib.closing(records(path, form.separator)) as rows:
        return next(islice(rows, row + 1, None))[0]


def check_widths(path: Path, form: CsvFormat) -> None:
    """Refuse a row with fewer values than columns: a file that was cut off, or a value with a line break in it.

    Raises:
        DatasetInvalid: There is such a row.
    """
    with contextlib.closing(records(path, form.separator)) as rows:
        for line, row in rows:
            if len(row) < len(form.names):
                raise DatasetInvalid(
                    f"{path}, line {line}: has {len(row)} values, but line 1 names {len(form.names)} columns\n"
                    "Complete the row or remove it."
                )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            yield cast(BinaryIO, file)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DatasetInvalid(f"{path}: the gzip file is damaged ({error})\nCopy or download it again.") from error


def _checked_lines(path: Path, max_bytes: int) -> tuple[int, bool]:
    """Number of lines, and whether a value may be padded; reads the whole file once, without keeping it."""
    decoder, size, lines, padded, end = codecs.getincrementaldecoder("utf-8")(), 0, 0, False, b"\n"
    with _opened(path) as file:
        while block := file.read(BLOCK_BYTES):
            if size == 0 and block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise DatasetInvalid(f"{path}: is UTF-16 text\nSave the file as UTF-8.")
            size += len(block)
            if size > max_bytes:
                raise DatasetInvalid(
                    f"{path}: has more than {max_bytes / 2**30:g} GiB of text, the limit\n"
                    "Remove columns, or take a random part of the rows."
                )
            _check_block(path, decoder, block, lines)
            lines += block.count(b"\n")
            padded = padded or _may_be_padded(end + block)
            end = (end + block)[-2:]
    return lines, padded


def _may_be_padded(text: bytes) -> bool:
    """Whether a zero follows the start of a value and precedes a digit; a search by `re` takes four times as long."""
    codes = np.frombuffer(text, np.uint8)
    zeros = np.flatnonzero(codes[1:-1] == ord("0"))
    return bool((STARTS[codes[zeros]] & (codes[zeros + 2] - ord("0") < 10)).any())


def _check_block(path: Path, decoder: codecs.IncrementalDecoder, block: bytes, lines: int) -> None:
    try:
        decoder.decode(block)
    except UnicodeDecodeError as error:
        line = lines + error.object.count(b"\n", 0, error.start) + 1
        raise DatasetInvalid(
            f"{path}, line {line}: not UTF-8 text\nSave the file as UTF-8 (in a spreadsheet: 'CSV UTF-8')."
        ) from error
    if b"\0" in block:
        line = lines + block.count(b"\n", 0, block.index(b"\0")) + 1
        raise DatasetInvalid(f"{path}, line {line}: contains a zero byte, so it is not a text file")


def _separator(path: Path) -> str:
    """The separator that gives line 1 the most columns."""
    widths = {}
    for separator in SEPARATORS:
        with contextlib.closing(records(path, separator)) as rows:
            widths[separator] = len(next(rows, (1, []))[1])
    best = max(SEPARATORS, key=lambda separator: widths[separator])
    if widths[best] == 0:
        raise DatasetInvalid(f"{path}: is empty")
    if widths[best] == 1:
        raise DatasetInvalid(
            f"{path}, line 1: names only one column\n"
            "Give a column with the labels and at least one other, separated by , ; tab or |."
        )
    return best


def _names(path: Path, sample: list[tuple[int, list[str]]]) -> tuple[str, ...]:
    header, rows = [name.strip() for name in sample[0][1]], [row for _, row in sample[1:]]
    if not rows:
        raise DatasetInvalid(f"{path}: has column names but no rows")
    for line, row in sample[1:]:
        if any(value.strip() for value in row[len(header) :]):  # pandas would take the width of the first rows
            raise too_wide(path, line, len(row), len(header))
    if _is_data(header, rows):
        raise DatasetInvalid(
            f"{path}, line 1: has values instead of column names ({', '.join(header[:3])}, ...)\n"
            "Write the names of the columns into a line above."
        )
    names = tuple(name or f"Unnamed: {place}" for place, name in enumerate(header))
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise DatasetInvalid(f"{path}, line 1: names the column {repeated[0]!r} twice\nRename or remove one of them.")
    return names


def too_wide(path: Path, line: int, found: int, columns: int) -> DatasetInvalid:
    """The error for a row with more values than columns."""
    return DatasetInvalid(
        f"{path}, line {line}: has {found} values, but line 1 names {columns} columns\n"
        "Put quotes around a value that contains the separator."
    )


def _is_data(first: list[str], rows: list[list[str]]) -> bool:
    """Whether the first line holds values.

    It does if every text of it occurs again in its own column; or, without text, unless it numbers the columns.
    """
    texts = [place for place, name in enumerate(first) if name and not NUMBER.fullmatch(name)]
    if texts:
        return all(any(row[place : place + 1] == [first[place]] for row in rows) for place in texts)
    numbers = [name for name in first if name]
    return numbers not in ([str(start + step) for step in range(len(numbers))] for start in (0, 1))


def _decimal(rows: list[list[str]]) -> str:
    """The decimal mark that more values of the sample have."""
    values = [value.strip() for row in rows for value in row]
    commas = sum(bool(DECIMAL_COMMA.fullmatch(value)) for value in values)
    points = sum(bool(DECIMAL_POINT.fullmatch(value)) for value in values)
    return "," if commas > points else "."
