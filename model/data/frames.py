"""Read a table from a CSV or Parquet file into pandas columns of numbers, text and dates."""

import contextlib
import re
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from model.data.arrays import are_digits, are_padded
from model.data.assembly import MAX_BYTES
from model.data.csv_format import VALUE_BYTES, CsvFormat, check_widths, csv_format, line_of, too_wide
from model.data.errors import DatasetInvalid

PART_VALUES = 2**22
"""Values of a CSV file that are read at a time."""


def read_columns(path: Path) -> dict[str, pd.Series]:
    """Read a table. Numbers are exact; missing are pandas' usual markers and blank text.

    CSV: UTF-8, names in the first line, separated by comma, semicolon, tab or vertical bar; without commas between
    values, the decimal mark may be a comma. A name ending in .gz is decompressed.

    Args:
        path: A file ending in .parquet or .pq, or else a CSV file.

    Returns:
        Each column by its name, in their order: of numbers (bool, integers, floats; text that is all numbers or all
        "true" and "false" becomes numbers), of text without spaces around it (dtype str; also digits with leading
        zeros), of dates, or of objects that are none of these. NaN is a gap. A dict, because removing the columns of a
        wide DataFrame one by one takes time quadratic in their number: 100 s for 2,000.

    Raises:
        DatasetInvalid: The file is not such a table; the message has the line and what to do.
        OSError: The file cannot be read.
    """
    if not path.is_file():
        raise DatasetInvalid(f"{path}: there is no such file")
    columns = _parquet_columns(path) if is_parquet(path) else _csv_columns(path)
    if not len(next(iter(columns.values()), ())):
        raise DatasetInvalid(f"{path}: has column names but no rows")
    return {name: _plain(values) for name, values in columns.items()}


@dataclass(frozen=True)
class TableFile:
    """A CSV or Parquet file that is read in parts, so that its size is limited by the disk only.

    Attributes:
        path: The file.
        names: Of its columns.
    """

    path: Path
    names: tuple[str, ...]
    _form: CsvFormat | None

    @classmethod
    def of(cls, path: Path) -> Self:
        """The columns of a file, after the checks of `read_columns` that need only one pass.

        Raises:
            DatasetInvalid: The file is not such a table.
            OSError: The file cannot be read.
        """
        if not path.is_file():
            raise DatasetInvalid(f"{path}: there is no such file")
        if not is_parquet(path):
            form = csv_format(path, sys.maxsize)
            return cls(path, form.names, form)
        with _opened_parquet(path) as file:
            return cls(path, tuple(_parquet_names(path, file)), None)

    def parts(
        self, columns: Sequence[str], text: Collection[str], rows: int, *, as_written: bool = False
    ) -> Iterator[pd.DataFrame]:
        """Some columns, and perhaps the last one, part by part; all parts but the last have the same number of rows.

        Args:
            columns: Their names.
            text: Those that are read as text from a CSV file; pandas guesses the types of the others, part by part.
            rows: That number is a multiple of it.
            as_written: Whether text of a CSV file such as "NA" stays as it is, instead of becoming a gap.

        Raises:
            DatasetInvalid: The file is damaged, or a row of a CSV file has more or fewer values than columns.
        """
        size = rows * max(1, PART_VALUES // len(self.names) // rows)
        if self._form is not None:
            last, is_checked = self.names[-1], False
            for part in _parsed(self.path, self._form, text, {*columns, last}, size, as_written):
                if not is_checked and part[last].isna().any():  # as it is if a row has too few values
                    check_widths(self.path, self._form)
                    is_checked = True
                yield part
            return
        with _opened_parquet(self.path) as file:
            for batch in file.iter_batches(size, columns=list(columns)):
                table = pa.Table.from_batches([batch]).replace_schema_metadata(None)  # else pandas makes an index
                yield table.to_pandas(date_as_object=False)


def is_parquet(path: Path) -> bool:
    """Whether the file's name is that of a Parquet file."""
    return path.suffix.lower() in (".parquet", ".pq")


def row_finder(path: Path) -> Callable[[int], str]:
    """A function from a row (from 0) to its place in the file: the line of a CSV file, a row (from 1) of Parquet."""
    if is_parquet(path):
        return lambda row: f"row {row + 1}"
    return lambda row: f"line {line_of(path, csv_format(path, MAX_BYTES), row)}"


# ------------------------------------------------------------------ CSV


def _csv_columns(path: Path) -> dict[str, pd.Series]:
    form = csv_format(path, MAX_BYTES)
    # In parts, because pandas needs four times the memory of the numbers to read them at once.
    parts = list(_parsed(path, form, ()))
    columns = {name: _joined([part[name] for part in parts]) for name in form.names}
    del parts
    text = [name for name, values in columns.items() if values is None]
    if form.may_be_padded:
        text += _padded(path, form, [name for name, values in columns.items() if _is_whole(values)])
    if text:
        again = pd.concat(_parsed(path, form, text, only=text), ignore_index=True)
        columns.update({name: again[name] for name in text})
    found = {name: values for name, values in columns.items() if values is not None}
    if found[form.names[-1]].isna().any():  # as it is if a row has too few values
        check_widths(path, form)
    return found


def _joined(parts: Sequence[pd.Series]) -> pd.Series | None:
    """A column from its parts; None if pandas read them as different types.

    It guesses types part by part: 01, 02, ..., A would become the numbers 1 and 2 in one part, and text in another.
    """
    kinds = {"f" if values.dtype.kind in "iuf" else str(values.dtype) for values in parts}
    return None if len(kinds) > 1 or kinds == {"object"} else pd.concat(parts, ignore_index=True)


def _is_whole(values: pd.Series | None) -> bool:
    """Whether the values are whole numbers, perhaps with gaps."""
    return values is not None and (
        values.dtype.kind in "iu" or (values.dtype.kind == "f" and bool((values.dropna() % 1 == 0).all()))
    )


def _padded(path: Path, form: CsvFormat, names: Sequence[str]) -> list[str]:
    """Those of the columns that are digits with leading zeros as they are written."""
    padded, other = set(), set()
    for part in _parsed(path, form, names, only=names) if names else ():
        for name in names:
            texts = part[name].dropna().str.strip().unique().tolist()
            if are_padded(texts):
                padded.add(name)
            elif not are_digits(texts):
                other.add(name)
    return [name for name in names if name in padded - other]


def _parsed(
    path: Path,
    form: CsvFormat,
    text: Collection[str],
    only: Collection[str] | None = None,
    rows: int | None = None,
    as_written: bool = False,
) -> Iterator[pd.DataFrame]:
    """The rows in parts, of so many rows if given, with all columns or only some; see `TableFile.parts`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pd.errors.DtypeWarning)
        warnings.simplefilter("error", pd.errors.ParserWarning)  # values beyond the last column would be lost
        try:
            with pd.read_csv(
                path,
                sep=form.separator,
                decimal=form.decimal,
                header=0,
                names=list(form.names),
                index_col=False,
                usecols=None if only is None else list(only),
                dtype=dict.fromkeys(text, "str"),
                keep_default_na=not as_written,
                skipinitialspace=True,
                encoding="utf-8-sig",
                compression="gzip" if path.suffix.lower() == ".gz" else None,
                chunksize=rows or max(1, PART_VALUES // len(form.names)),
            ) as parts:
                yield from parts
        except pd.errors.ParserError as error:
            raise _parser_fault(path, str(error)) from error
        except pd.errors.ParserWarning as error:
            raise DatasetInvalid(
                f"{path}: rows have more values than the {len(form.names)} columns that line 1 names\n"
                "Put quotes around a value that contains the separator."
            ) from error


def _parser_fault(path: Path, said: str) -> DatasetInvalid:
    """The fault that pandas found, in our words."""
    if place := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", said):
        columns, line, found = map(int, place.groups())
        return too_wide(path, line, found, columns)
    if place := re.search(r"EOF inside string starting at row (\d+)", said):
        return DatasetInvalid(f"{path}: a quote is opened in or near line {int(place[1]) + 1} and never closed")
    return DatasetInvalid(f"{path}: cannot be read as CSV ({said})")


# ------------------------------------------------------------------ Parquet


def _parquet_columns(path: Path) -> dict[str, pd.Series]:
    with _opened_parquet(path) as file:
        names = _parquet_names(path, file)
        _check_size(path, file, len(names))
        frame: pd.DataFrame = file.read().to_pandas(split_blocks=True, self_destruct=True, date_as_object=False)
    named = [name for name in frame.index.names if name is not None]
    frame = frame.reset_index(named) if named else frame.reset_index(drop=True)
    return {str(name): values for name, values in frame.items()}


@contextlib.contextmanager
def _opened_parquet(path: Path) -> Iterator[Any]:
    """The opened file; whatever pyarrow raises while it is read becomes a DatasetInvalid."""
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except pa.ArrowException as error:
        raise DatasetInvalid(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from error
    except OSError as error:
        if error.errno is not None:  # of the operating system; pyarrow raises OSError for a damaged file too
            raise
        raise DatasetInvalid(f"{path}: the Parquet file is damaged ({str(error).splitlines()[0]})") from error


def _parquet_names(path: Path, file: Any) -> list[str]:
    """The names of the columns; one that occurs twice is refused."""
    names: list[str] = file.schema_arrow.names
    if repeated := [name for name in names if names.count(name) > 1]:
        raise DatasetInvalid(f"{path}: has the column {repeated[0]!r} twice\nRename or remove one of them.")
    return names


def _check_size(path: Path, file: Any, columns: int) -> None:
    """Refuse too many values before any data is read."""
    rows = file.metadata.num_rows
    if max(rows * columns * VALUE_BYTES, _stored_bytes(file.metadata)) > MAX_BYTES:
        raise DatasetInvalid(
            f"{path}: {rows:,} rows of {columns:,} columns need more than {MAX_BYTES / 2**30:g} GiB of memory\n"
            "Remove columns, or take a random part of the rows."
        )


def _stored_bytes(metadata: Any) -> int:
    """Uncompressed bytes of all columns."""
    return sum(metadata.row_group(place).total_byte_size for place in range(metadata.num_row_groups))


# ------------------------------------------------------------------ columns


def as_text(values: pd.Series) -> pd.Series:
    """The column as text; whole numbers are written without a decimal point, text without spaces around it.

    Gaps and blank text are gaps.
    """
    codes, different = pd.factorize(values)
    names = [str(int(value)) if _is_whole_float(value) else str(value).strip() for value in different.tolist()]
    known = pd.Series([name or None for name in names], dtype="str")
    return known.reindex(codes).set_axis(values.index)


def _is_whole_float(value: object) -> bool:
    return isinstance(value, float) and value.is_integer()


def _plain(values: pd.Series) -> pd.Series:
    """The column as plain numbers, text or dates; unchanged if it is of another kind."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return as_text(values)
    if values.dtype == object:
        values = _unboxed(values)
    if values.dtype == "str":
        return _numbers_if_all(values)
    if pd.api.types.is_extension_array_dtype(values.dtype) and pd.api.types.is_numeric_dtype(values.dtype):
        return values.astype("float64") if values.isna().any() else pd.Series(values.to_numpy(), values.index)
    return values


def _unboxed(values: pd.Series) -> pd.Series:
    """A column of Python objects as one of numbers or text, if all its objects are such."""
    kinds = set(values.dropna().map(type))
    if kinds <= {str}:
        return values.astype("str")
    if kinds <= {bool, int, float, Decimal}:
        return pd.Series(pd.to_numeric(values.astype("float64")), index=values.index)
    return values


def _numbers_if_all(values: pd.Series) -> pd.Series:
    """Text that is all numbers, or all true and false, as numbers; other text without spaces around it, blank as gaps.

    Digits with leading zeros stay text.
    """
    codes, different = pd.factorize(values)
    known = pd.Series(different, dtype="str").str.strip()
    known = known.mask(known == "")
    logical = known.str.lower().map({"true": 1.0, "false": 0.0})
    is_text = known.isna().all() or are_padded(known.dropna().tolist())
    for numbers in () if is_text else (pd.to_numeric(known, errors="coerce"), logical):
        if numbers.notna().equals(known.notna()):
            return numbers.reindex(codes).set_axis(values.index)
    return values if known.equals(pd.Series(different, dtype="str")) else known.reindex(codes).set_axis(values.index)
