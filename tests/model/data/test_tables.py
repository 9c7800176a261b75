"""Datasets in CSV and Parquet files of the user."""

import csv as csv_module
import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from model.data import datasets
from model.data.arrays import Arrays, Column
from model.data.datasets import Source, read_source
from model.data.errors import DatasetInvalid
from model.data.tables import read_table_dataset

ROWS = 60


def frame(**changes: object) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    columns = {
        "width": rng.normal(5, 1, ROWS),
        "petals": rng.integers(3, 9, ROWS),
        "site": rng.choice(["north", "south"], ROWS),
        "species": np.resize(["setosa", "virginica"], ROWS),
    }
    return pd.DataFrame({**{k: v for k, v in changes.items() if k not in columns}, **columns, **changes})[
        [*[k for k in changes if k not in columns], *columns]
    ]


def csv(folder: Path, table: pd.DataFrame, **options: object) -> Path:
    path = folder / "flowers.csv"
    table.to_csv(path, index=False, **options)  # type: ignore[call-overload]
    return path


def written(folder: Path, text: str | bytes, name: str = "flowers.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def read(path: Path, target: str | None = None, *keep: str) -> Arrays:
    return read_table_dataset(path, target, keep)


def column(arrays: Arrays, name: str) -> list[float]:
    """All values of a column, sorted; the rows are split into two parts."""
    at = [column.name for column in arrays.columns or ()].index(name)
    return sorted([*arrays.inputs[:, at].tolist(), *arrays.test_inputs[:, at].tolist()])


def names(arrays: Arrays) -> list[str]:
    return [column.name for column in arrays.columns or ()]


def same(one: Arrays, two: Arrays) -> bool:
    parts = ("inputs", "labels", "test_inputs", "test_labels")
    return (one.classes, one.columns) == (two.classes, two.columns) and all(
        getattr(one, part).dtype == getattr(two, part).dtype
        and np.array_equal(getattr(one, part), getattr(two, part), equal_nan=True)
        for part in parts
    )


def refusal(path: Path, target: str | None = None, *keep: str) -> str:
    with pytest.raises(DatasetInvalid) as caught:
        read(path, target, *keep)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3
    return str(caught.value)


# ------------------------------------------------------------------ values


def test_numbers_and_categories_are_stored_as_they_are(tmp_path: Path) -> None:
    table = frame()
    arrays = read(csv(tmp_path, table))

    assert arrays.columns == (Column("width"), Column("petals"), Column("site", ("north", "south")))
    assert (arrays.classes, arrays.shape, arrays.scale) == (("setosa", "virginica"), (3,), None)
    assert (len(arrays.labels), len(arrays.test_labels)) == (48, 12)
    assert column(arrays, "width") == sorted(table["width"])  # to the bit
    assert column(arrays, "site") == sorted((table["site"] == "south").astype(float))


@pytest.mark.parametrize("suffix", ["csv", "npz"])
def test_rows_that_are_all_equal_are_refused(tmp_path: Path, suffix: str) -> None:
    """A network would have no inputs. With a gap somewhere the rows differ."""
    path, labels = tmp_path / f"same.{suffix}", ["x", "y"] * 10
    if suffix == "csv":
        pd.DataFrame({"a": [1] * 20, "b": [2.5] * 20, "y": labels}).to_csv(path, index=False)
    else:
        np.savez(path, x_train=np.ones((20, 3)), y_train=labels)

    with pytest.raises(DatasetInvalid, match="all rows have the same inputs"):
        read_source(Source(str(path)))
    pd.DataFrame({"a": [None, *[1] * 19], "y": labels}).to_csv(tmp_path / "gap.csv", index=False)
    assert read_source(Source(str(tmp_path / "gap.csv"))).inputs.shape == (16, 1)


def test_a_wide_table_keeps_the_order_of_its_columns(tmp_path: Path) -> None:
    frame = pd.DataFrame(np.arange(40 * 150).reshape(40, 150)).add_prefix("c").assign(y=["x", "y"] * 20)
    frame.to_csv(tmp_path / "wide.csv", index=False)
    arrays = read_source(Source(str(tmp_path / "wide.csv")))

    assert [column.name for column in arrays.columns or ()] == list(frame.columns[:-1])
    assert (np.sort(np.concatenate([arrays.inputs, arrays.test_inputs]), axis=0) == frame.iloc[:, :-1].to_numpy()).all()


def test_every_row_keeps_its_label(tmp_path: Path) -> None:
    table = frame(width=np.resize([1.0, 2.0], ROWS))
    arrays = read(csv(tmp_path, table))

    assert (arrays.inputs[:, 0] == arrays.labels + 1).all()
    assert (arrays.test_inputs[:, 0] == arrays.test_labels + 1).all()


def test_parquet_gzip_and_every_separator_give_the_same_arrays(tmp_path: Path) -> None:
    table = frame(width=frame()["width"].where(np.arange(ROWS) % 7 != 0))
    expected = read(csv(tmp_path, table))
    table.to_parquet(tmp_path / "a.parquet")
    table.to_csv(tmp_path / "a.csv.gz", index=False)
    table.to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    table.to_csv(tmp_path / "bar.txt", index=False, sep="|")
    table.to_csv(tmp_path / "de.csv", index=False, sep=";", decimal=",", encoding="utf-8-sig")

    for path in tmp_path.iterdir():
        assert same(read(path), expected), path


def test_a_table_of_small_whole_numbers_is_stored_as_bytes(tmp_path: Path) -> None:
    pixels = pd.DataFrame(np.random.default_rng(0).integers(0, 256, (ROWS, 16))).add_prefix("pixel")
    arrays = read(csv(tmp_path, pixels.assign(label=np.arange(ROWS) % 3)))

    assert arrays.inputs.dtype == np.uint8


@pytest.mark.parametrize("values", [[True, False], ["True", "false"], ["1", "0"]])
def test_bool_and_text_of_numbers_are_numbers(tmp_path: Path, values: list[object]) -> None:
    table = frame(fresh=pd.Series(np.resize(np.array(values, object), ROWS)))
    table.to_parquet(tmp_path / "a.parquet") if isinstance(values[0], str) else csv(tmp_path, table)
    arrays = read(next(tmp_path.iterdir()))

    assert Column("fresh") in (arrays.columns or ())
    assert column(arrays, "fresh") == [0.0] * 30 + [1.0] * 30


def test_gaps_are_stored_and_named_with_their_number(tmp_path: Path) -> None:
    table = frame(fresh=np.resize(np.array([True, None, False], object), ROWS))
    table.loc[::10, "site"] = None
    arrays = read(csv(tmp_path, table))

    assert "gaps in 60 rows: fresh 20, site 6" in arrays.notes
    assert np.isnan(column(arrays, "site")).sum() == 6


@pytest.mark.slow
def test_a_column_whose_parts_look_different_is_read_as_text_throughout(tmp_path: Path) -> None:
    """pandas reads a long file in parts: the first would be the number 1, the second the text 01."""
    rows = 400_000
    codes = np.where(np.arange(rows) < rows // 2, "01", np.where(np.arange(rows) % 2, "01", "A"))
    path = csv(tmp_path, pd.DataFrame({"code": codes, "x": 1.5, "y": np.arange(rows) % 2}))
    arrays = read(path)

    assert arrays.columns == (Column("code", ("01", "A")), Column("x"))
    assert sum(column(arrays, "code")) == rows // 4


ZIPS = np.resize(["01234", "00501", "90210", "07030"], ROWS)


@pytest.mark.parametrize("form", ["a.csv", "quoted.csv", "de.csv", "a.tsv", "a.csv.gz", "a.parquet", "a.pq"])
@pytest.mark.parametrize("gaps", [False, True])
def test_digits_with_leading_zeros_are_categories(tmp_path: Path, form: str, gaps: bool) -> None:
    table = frame(zip=pd.Series(ZIPS).mask(np.arange(ROWS) % 5 == 0) if gaps else ZIPS)
    path = tmp_path / form
    if form.endswith(("parquet", "pq")):
        table.to_parquet(path)
    else:
        german = {"sep": ";", "decimal": ","} if form == "de.csv" else {}
        quoting = csv_module.QUOTE_NONNUMERIC if form == "quoted.csv" else csv_module.QUOTE_MINIMAL
        table.to_csv(path, index=False, quoting=quoting, **{"sep": "\t" if form == "a.tsv" else ",", **german})
    arrays = read_source(Source(str(path)))

    assert Column("zip", ("00501", "01234", "07030", "90210")) in (arrays.columns or ())
    assert Column("petals") in (arrays.columns or ())  # whole numbers beside it
    assert np.isnan(column(arrays, "zip")).sum() == (12 if gaps else 0)
    assert sum("leading zeros" in note and "zip" in note for note in arrays.notes) == 1


@pytest.mark.slow
def test_a_leading_zero_is_found_in_any_row_and_at_any_place_of_the_file(tmp_path: Path, monkeypatch) -> None:
    """The file is searched in blocks, and parsed in parts; the one zero may be at a border of both."""
    rows = [f"{10 + row},{row % 2}" for row in range(40)]
    for block in range(1, 12):
        monkeypatch.setattr("model.data.csv_format.BLOCK_BYTES", block)
        monkeypatch.setattr("model.data.frames.PART_VALUES", 2 * block)
        for place in (0, 20, 39):
            text = "\n".join(["code,y", *rows[:place], f"07,{place % 2}", *rows[place + 1 :]])
            arrays = read(written(tmp_path, text), None, "code")
            assert "07" in (arrays.columns or ())[0].categories, (block, place)


@pytest.mark.parametrize(
    "values", [["0", "10"], ["0.5", "00.5"], ["-01", "02"], ["1e3", "02"], ["0", "0"], ["0x1", "02"], ["+1", "02"]]
)
def test_numbers_that_are_not_all_digits_with_a_leading_zero_stay_as_they_were(tmp_path: Path, values) -> None:
    table = frame(code=np.resize(values, ROWS))
    arrays = read(csv(tmp_path, table))

    assert (Column("code") in (arrays.columns or ())) == ("0x1" not in values)  # which is text


def test_many_different_zip_codes_are_categories_and_one_a_row_an_identifier(tmp_path: Path) -> None:
    """They are not refused as numbers with separators of thousands or units."""
    arrays = read(csv(tmp_path, frame(zip=[f"{k % 30:05}" for k in range(ROWS)])))
    assert len((arrays.columns or ())[0].categories or ()) == 30

    left_out = read(csv(tmp_path, frame(zip=[f"{k:05}" for k in range(ROWS)])))
    assert "zip" not in names(left_out)
    assert any("leading zeros" in note and 'keep = ["zip"]' in note for note in left_out.notes)


def test_classes_of_digits_keep_their_leading_zeros(tmp_path: Path) -> None:
    arrays = read(csv(tmp_path, frame(species=np.resize(["01", "02", "10"], ROWS))))

    assert arrays.classes == ("01", "02", "10")


def test_pandas_categories_and_nullable_numbers_of_parquet_are_read(tmp_path: Path) -> None:
    table = frame(kind=pd.Categorical(np.resize(["1", "2"], ROWS)), count=pd.array(np.resize([4, None], ROWS), "Int64"))
    table.to_parquet(tmp_path / "a.parquet")
    arrays = read(tmp_path / "a.parquet")

    assert Column("kind", ("1", "2")) in (arrays.columns or ())
    assert np.isnan(column(arrays, "count")).sum() == 30


def test_an_index_with_a_name_is_a_column_and_a_shuffled_one_is_not(tmp_path: Path) -> None:
    table = frame().sample(frac=1, random_state=0)
    table.to_parquet(tmp_path / "shuffled.parquet")
    table.set_index("site").to_parquet(tmp_path / "named.parquet")

    assert names(read(tmp_path / "shuffled.parquet")) == ["width", "petals", "site"]
    assert names(read(tmp_path / "named.parquet")) == ["site", "width", "petals"]


# ------------------------------------------------------------------ the target


@pytest.mark.parametrize("target", ["label", "Target", "CLASS", "y"])
def test_the_usual_names_of_a_target_are_found(tmp_path: Path, target: str) -> None:
    arrays = read(csv(tmp_path, frame().rename(columns={"species": target})[[target, "width", "site"]]))

    assert (arrays.classes, names(arrays)) == (("setosa", "virginica"), ["width", "site"])


def test_the_last_column_is_the_target_otherwise_and_the_notes_say_so(tmp_path: Path) -> None:
    arrays = read(csv(tmp_path, frame()))

    assert "target 'species' (if another is meant, name it with --target COLUMN)" in arrays.notes


def test_a_named_target_wins(tmp_path: Path) -> None:
    arrays = read(csv(tmp_path, frame()), "site")

    assert (arrays.classes, names(arrays)) == (("north", "south"), ["width", "petals", "species"])


def test_a_target_that_is_not_there_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    assert "no column 'Speces' to predict\nDid you mean 'species'?" in refusal(csv(tmp_path, frame()), "Speces")
    assert "The columns are width, petals, site, species." in refusal(csv(tmp_path, frame()), "zzz")


def test_a_measurement_as_target_is_refused_with_a_way_out(tmp_path: Path) -> None:
    said = refusal(csv(tmp_path, frame()[["site", "species", "width"]]))

    assert "regression target" in said
    assert said.endswith("name another column to predict with --target COLUMN.")
    assert "--target" not in refusal(csv(tmp_path, frame()), "width")


def test_missing_labels_are_refused_with_their_first_line(tmp_path: Path) -> None:
    table = frame()
    table.loc[[4, 9], "species"] = None

    assert "2 of 60 labels are missing, first in line 6" in refusal(csv(tmp_path, table))


# ------------------------------------------------------------------ columns that are left out


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("number", np.arange(ROWS) + 7, "60 different whole numbers in 60 rows look like an identifier"),
        ("PassengerId", np.arange(ROWS) * 17, "60 different whole numbers in 60 rows look like an identifier"),
        ("user_id", np.arange(ROWS) * 17.0, "60 different whole numbers in 60 rows look like an identifier"),
        ("name", [f"Person {n}" for n in range(ROWS)], "60 different texts in 60 rows look like an identifier"),
        ("seen", pd.date_range("2024-01-01", periods=ROWS).strftime("%d.%m.%Y"), "its texts look like dates"),
        ("seen", pd.date_range("2024-01-01", periods=ROWS, freq="h"), "its texts look like dates"),
        ("seen", ["5 Jan 2024", "Feb 6, 2025"] * 30, "its texts look like dates"),
    ],
)
def test_identifiers_and_dates_are_left_out_unless_kept(tmp_path: Path, name: str, values: object, reason: str) -> None:
    path = csv(tmp_path, frame(**{name: values}))
    arrays = read(path)

    assert name not in names(arrays)
    note = next(note for note in arrays.notes if note.startswith(f"left out {name!r}: {reason}"))
    assert note.endswith(f'; keep it with keep = ["{name}"] in the study file')
    assert names(read(path, None, name)) == [name, "width", "petals", "site"]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("age", np.arange(ROWS) * 17),  # all different, but not consecutive
        ("shop_id", np.resize([11, 25, 32], ROWS)),  # named like an identifier, but few
        ("grid", np.arange(ROWS) * 17),  # "id" ends another word
        ("weight", np.arange(ROWS) + 0.5),
        ("month", np.resize(["may", "june"], ROWS)),
        ("version", np.resize(["1.2.3", "1.10"], ROWS)),
    ],
)
def test_other_columns_are_used(tmp_path: Path, name: str, values: object) -> None:
    assert name in names(read(csv(tmp_path, frame(**{name: values}))))


def test_empty_columns_dates_and_lists_of_parquet_are_left_out(tmp_path: Path) -> None:
    table = frame(empty=np.nan, seen=pd.date_range("2024-01-01", periods=ROWS), tags=[[1, 2]] * ROWS)
    table.to_parquet(tmp_path / "a.parquet")
    arrays = read(tmp_path / "a.parquet")

    assert names(arrays) == ["width", "petals", "site"]
    assert "left out 'empty': it has no values" in arrays.notes
    assert "left out 'tags': its values are neither numbers nor text" in arrays.notes
    assert any(note.startswith("left out 'seen': it has dates; add number columns") for note in arrays.notes)


def test_a_table_without_a_usable_column_is_refused(tmp_path: Path) -> None:
    said = refusal(csv(tmp_path, frame(id=np.arange(ROWS))[["id", "species"]]))

    assert "no column is left to learn from\nleft out 'id'" in said


def test_an_unknown_column_to_keep_is_refused(tmp_path: Path) -> None:
    assert "Did you mean 'site'?" in refusal(csv(tmp_path, frame()), None, "sites")


# ------------------------------------------------------------------ columns that are wrong


def test_text_among_numbers_is_refused_with_its_line_and_can_be_kept_as_a_category(tmp_path: Path) -> None:
    table = frame(petals=np.resize([3, 4, 5], ROWS).astype(object))
    table.loc[20, "petals"] = "many"
    path = csv(tmp_path, table)

    assert f"{path}, line 22: column 'petals' has 'many', but 59 of 60 values are numbers" in refusal(path)
    assert Column("petals", ("3", "4", "5", "many")) in (read(path, None, "petals").columns or ())


def test_the_line_is_that_of_the_file_after_line_breaks_in_values_and_blank_lines(tmp_path: Path) -> None:
    rows = "".join(f"{n}.5,z,{n % 2}\n" for n in range(30))
    path = written(tmp_path, f'a,"b\nc",y\n1,"x\ny",0\n\n2,"z\nz",1\noops,z,0\n{rows}')

    assert "line 8: column 'a' has 'oops'" in refusal(path)


def test_an_infinite_number_is_refused_with_its_place(tmp_path: Path) -> None:
    table = frame()
    table.loc[2, "width"] = np.inf
    table.to_parquet(tmp_path / "a.parquet")

    assert "line 4: column 'width' has an infinite number" in refusal(csv(tmp_path, table))
    assert "row 3: column 'width' has an infinite number" in refusal(tmp_path / "a.parquet")


@pytest.mark.parametrize("price", ["{:,}", "$ {}", "{} %"])
def test_numbers_with_thousands_and_units_are_refused(tmp_path: Path, price: str) -> None:
    path = csv(tmp_path, frame(price=[price.format(1000 + 37 * n) for n in range(ROWS)]))

    assert "line 2: column 'price' has numbers such as" in refusal(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("a,b,y\n", "column names but no rows"),
        ("a b y\n1 2 3\n", "line 1: names only one column"),
        ("a,a,y\n1,2,0\n", "line 1: names the column 'a' twice"),
        ("5.1,3.5,1\n4.9,3.0,0\n", "line 1: has values instead of column names"),
        ("5.1,3.5,setosa\n4.9,3.0,setosa\n6,7,virginica\n", "line 1: has values instead of column names"),
        ("a,b,y\n1,2,0\n1,2,3,1\n", "line 3: has 4 values, but line 1 names 3 columns"),
        ("a,b,y\n1,2,0,9\n1,2,3,1\n", "line 2: has 4 values, but line 1 names 3 columns"),
        ("a,b,y\n" + "1,2,0\n" * 1200 + "1,2,0,7\n", "line 1202: has 4 values, but line 1 names 3 columns"),
        ("a,b,y\n1,2,0\n1,2\n", "line 3: has 2 values, but line 1 names 3 columns"),
        ('a,b,y\n1,"x,0\n1,2,3\n', "a quote is opened in or near line 2 and never closed"),
        ("a,b,y\n1,2,x\n1,2,é\n".encode("latin-1"), "line 3: not UTF-8 text"),
        ("a,b,y\n1,2,x\n".encode("utf-16"), "is UTF-16 text"),
        (b"a,b,y\n1,2,\0\n", "line 2: contains a zero byte"),
    ],
)
def test_a_file_that_is_not_such_a_table_is_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    assert message in refusal(written(tmp_path, content))


def test_columns_may_be_named_by_their_numbers(tmp_path: Path) -> None:
    """As pandas writes an array: the header is 0, 1, 2, ..."""
    table = pd.DataFrame(np.random.default_rng(0).integers(0, 2, (ROWS, 4)))

    assert names(read(csv(tmp_path, table))) == ["0", "1", "2"]


def test_a_separator_at_the_end_of_each_line_moves_no_column(tmp_path: Path) -> None:
    arrays = read(written(tmp_path, "a,b,y\n" + "1,2,0,\n3,4,1,\n" * 20))

    assert column(arrays, "a") == [1.0] * 20 + [3.0] * 20


def test_damaged_gzip_and_parquet_files_are_refused(tmp_path: Path) -> None:
    whole = gzip.compress(b"a,b\n" * 1000)

    assert "the gzip file is damaged" in refusal(written(tmp_path, whole[:-9], "a.csv.gz"))
    assert "not a readable Parquet file" in refusal(written(tmp_path, b"PAR1", "a.parquet"))
    assert "there is no such file" in refusal(tmp_path / "none.csv")


def test_a_file_above_the_memory_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame().to_parquet(tmp_path / "a.parquet")
    path = csv(tmp_path, frame())
    monkeypatch.setattr("model.data.frames.MAX_BYTES", 1900)  # the text has more

    assert "of text, the limit" in refusal(path)
    assert "60 rows of 4 columns need more than" in refusal(tmp_path / "a.parquet")

    short = written(tmp_path, "a,b,y\n" + "1,2,0\n3,4,1\n" * 50)
    assert "about 101 rows of 3 columns need more than" in refusal(short)


# ------------------------------------------------------------------ notes


def test_constant_columns_many_categories_and_large_integers_are_noted(tmp_path: Path) -> None:
    codes = np.resize([f"c{n}" for n in range(150)], 450)
    table = pd.DataFrame(
        {"one": 1, "code": codes, "serial": 2**60 + np.arange(450) % 3 * 10**6, "y": np.arange(450) % 2}
    )
    notes = read(csv(tmp_path, table)).notes

    assert "constant, so they are not used: one" in notes
    assert "more than 100 categories, the rarer ones count as one: code 150" in notes
    assert "whole numbers above 2**53 are rounded to 53 bits: serial" in notes


def test_test_rows_that_are_training_rows_and_single_classes_are_noted(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": np.arange(100) // 2 * 1.5, "b": 1.25, "y": np.arange(100) // 2 % 2})
    table.loc[99, "y"] = 7
    path = csv(tmp_path, table)
    folder = datasets.prepare(datasets.Source(str(path)), tmp_path / "cache")
    notes = datasets.load(folder, seed=0).notes

    assert "classes with a single row, which cannot be tested: 7" in notes
    assert any("test rows are exactly the same as a training row" in note for note in notes)


def test_a_repeated_row_with_another_label_is_counted(tmp_path: Path) -> None:
    path = csv(tmp_path, pd.DataFrame({"a": np.resize([0.5, 1.5], 100), "b": 2, "y": np.resize([0, 1], 100)}))
    same_label = datasets.read_source(datasets.Source(str(path))).notes
    contrary = read(path)
    contrary.test_labels[:] = 1 - contrary.test_labels

    assert any(note.startswith("20 of 20 test rows are exactly the same as a training row;") for note in same_label)
    assert datasets.row_notes(contrary)[0].startswith(
        "20 of 20 test rows are exactly the same as a training row, 20 of them only with another label;"
    )


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_spaces_around_text_are_removed(tmp_path, ending):
    table = frame(town=np.resize([" Kiel", "Kiel", "Bonn ", "Bonn"], ROWS))
    table["species"] = " " + table["species"]
    path = tmp_path / f"padded.{ending}"
    table.to_csv(path, index=False) if ending == "csv" else table.to_parquet(path)

    found = read(path, "species")

    assert found.classes == ("setosa", "virginica")
    assert next(each for each in found.columns if each.name == "town").categories == ("Bonn", "Kiel")
