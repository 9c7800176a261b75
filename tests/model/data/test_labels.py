"""Labels in every usual form, and what is refused as labels."""

import numpy as np
import pytest

from model.data.errors import DatasetInvalid
from model.data.labels import Labels, encode_labels

CODES = np.array([2, 0, 1, 1, 2, 0, 0])
SPECIES = np.array(["setosa", "versicolor", "virginica"])


def encoded(labels: Labels) -> tuple[list[int], tuple[str, ...]]:
    assert labels.codes.dtype == np.int64
    return labels.codes.tolist(), labels.classes


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", ">i4", "u4", "i8", "u8", "f2", "f4", ">f8", "U1", "S1", "O"])
def test_numbers_from_0_have_equal_codes_in_every_dtype(dtype: str) -> None:
    assert encoded(encode_labels(CODES.astype(dtype), "y")) == (CODES.tolist(), ("0", "1", "2"))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16, np.float64, object])
def test_one_hot_rows_have_the_codes_of_their_columns(dtype: type) -> None:
    labels = encode_labels(np.eye(3, dtype=dtype)[CODES], "y")

    assert encoded(labels) == (CODES.tolist(), ("0", "1", "2"))
    assert labels.note == "labels are one-hot: 3 classes, 0, 1, 2"


def test_only_integers_from_0_have_no_note() -> None:
    assert encode_labels(CODES.astype(np.uint8), "y").note is None
    assert encode_labels(CODES[:, None], "y").note is None
    assert encode_labels(CODES.astype(float), "y").note == (
        "labels are whole numbers stored as float64: 3 classes, 0, 1, 2"
    )


@pytest.mark.parametrize(
    ("values", "classes", "form"),
    [
        (CODES + 1, ("1", "2", "3"), "not numbered 0 to 2"),
        (CODES * 5, ("0", "5", "10"), "not numbered 0 to 2"),
        (CODES.astype(np.int8) - 1, ("-1", "0", "1"), "not numbered 0 to 2"),
        (CODES.astype(np.uint64) + np.uint64(2**63), tuple(str(2**63 + k) for k in range(3)), "not numbered 0 to 2"),
        (CODES * 5.0 - 1, ("-1", "4", "9"), "whole numbers stored as float64"),
        (SPECIES[CODES], tuple(SPECIES), "text"),
        (SPECIES[CODES].astype(object), tuple(SPECIES), "text"),
        (SPECIES[CODES][:, None], tuple(SPECIES), "text"),
        (np.char.add(SPECIES[CODES], " "), tuple(SPECIES), "text"),
        (np.array(["rot", "grün", "süß"])[[0, 1, 2]].astype("U"), ("grün", "rot", "süß"), "text"),
        (np.char.encode(np.array(["b", "a", "ü"]), "utf-8"), ("a", "b", "ü"), "text"),
        (np.array(["10", "9", "-1"]), ("-1", "9", "10"), "text"),
        (np.array(["10", "9", "01"]), ("01", "9", "10"), "text"),
        (np.array(["10", "9", "b"]), ("10", "9", "b"), "text"),
        (CODES > 0, ("False", "True"), "bool"),
        (np.array([True, False], object), ("False", "True"), "bool"),
        (np.eye(4)[CODES], ("0", "1", "2"), "one-hot, 1 of 4 columns unused"),
    ],
)
def test_classes_are_sorted_and_named_as_they_are_written(
    values: np.ndarray, classes: tuple[str, ...], form: str
) -> None:
    labels = encode_labels(values, "y")

    assert labels.classes == classes
    assert labels.note is not None
    assert labels.note.startswith(f"labels are {form}: {len(classes)} classes, {classes[0]}, {classes[1]}")
    if values.ndim == 1 and values.dtype.kind == "U":
        assert [classes[code] for code in labels.codes] == [text.strip() for text in values.tolist()]
    elif values.ndim == 1 and values.dtype.kind in "iu":
        assert [int(classes[code]) for code in labels.codes] == values.tolist()


def test_minus_one_and_plus_one_are_two_classes() -> None:
    assert encoded(encode_labels(np.array([1.0, -1.0, 1.0]), "y")) == ([1, 0, 1], ("-1", "1"))


def test_known_classes_decide_the_codes() -> None:
    known = ("virginica", "setosa", "versicolor")

    assert encoded(encode_labels(np.array(["setosa", "virginica"]), "y_test", known)) == ([1, 0], known)
    assert encoded(encode_labels(np.array([3.0]), "y_test", ("1", "3"))) == ([1], ("1", "3"))


def test_an_unknown_label_is_refused_with_its_row_and_the_known_ones() -> None:
    with pytest.raises(DatasetInvalid, match=r"^f\.npz: y_test: unknown label '4', first in row 2\nKnown are 1, 3"):
        encode_labels(np.array([1, 3, 4, 4]), "f.npz: y_test", ("1", "3"))


def test_a_note_and_an_error_stay_short_whatever_the_names_are() -> None:
    names = np.array([f"class\n{number:03d}" + "x" * 5_000 for number in range(100)])
    note = encode_labels(names.repeat(2), "y").note or ""

    assert "\n" not in note
    assert len(note) < 600
    with pytest.raises(DatasetInvalid) as caught:
        encode_labels(np.array(["a\n\nb" + "y" * 5_000]), "y", tuple(names.tolist()))
    assert len(str(caught.value).splitlines()) <= 3
    assert len(str(caught.value)) < 700


RNG = np.random.default_rng(0)
DIABETES_LIKE = np.round(RNG.normal(150, 77, 442).clip(25, 346))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([]), "has no rows"),
        (np.array(3), "has no rows"),
        (np.array([0, 1, np.nan, np.nan]), "2 of 4 labels are missing, first in row 2\nRemove"),
        (np.array(["a", "", "nan", "b"]), "2 of 4 labels are missing, first in row 1"),
        (np.array(["a", "b", None], object), "1 of 3 labels are missing, first in row 2"),
        (np.array(["a", "b", float("nan")], object), "1 of 3 labels are missing, first in row 2"),
        (np.array([[0, 1], [None, 1]], object), "1 of 2 labels are missing, first in row 1"),
        (np.zeros(5, int), "has the single class '0'"),
        (np.array(["yes", "yes "]), "has the single class 'yes'"),
        (np.eye(3)[[1, 1]], "has the single class '1'"),
        (np.array([0, 1, 1.5]), r"3 different numbers, some not whole \(row 2 has 1.5\): this is a regression target"),
        (np.array([0, 1, np.inf]), r"some not whole \(row 2 has inf\)"),
        (DIABETES_LIKE, "different numbers in 442 rows: this is a regression target, and this program trains class"),
        (DIABETES_LIKE.astype(int), "classifiers\nPut the values into classes first"),
        (np.arange(1001).repeat(50), "1,001 different numbers in 50,050 rows"),
        (
            np.array([f"order {k}" for k in range(90)] + ["order 1"] * 10),
            "90 different texts in 100 rows: these are id",
        ),
        (
            np.array([[1, 0, 1], [0, 1, 0]]),
            "1 of 2 are not, first row 0\nThis program trains classifiers with one",
        ),
        (np.array([[0, 1, 0], [0, 0, 0]]), "one-hot .* but 1 of 2 are not, first row 1"),
        (np.array([[0, 1.0], [0.5, 0.5]]), "one-hot .* but 1 of 2 are not, first row 1"),
        (np.array([[0, 2.0], [2, 0.0]]), "one-hot .* but 2 of 2 are not, first row 0"),
        (np.array([["a", "b"], ["a", "b"]]), "must have shape"),
        (np.zeros((4, 2, 2)), "must have shape"),
        (np.zeros(4, complex), "labels cannot be complex128"),
        (np.zeros(4, "M8[D]"), r"labels cannot be datetime64\[D\]"),
        (np.array(["a", 1], object), "row 0 has str and row 1 has int"),
        (np.array([1, True], object), "row 0 has int and row 1 has bool"),
        (np.array([[1], {}], object), "row 0 has list"),
        (np.array([b"\xff", b"a"]), "not UTF-8 text"),
    ],
)
def test_what_are_not_classes_is_refused(values: np.ndarray, message: str) -> None:
    with pytest.raises(DatasetInvalid, match=message) as caught:
        encode_labels(values, "flowers.npz: y_train")
    assert str(caught.value).startswith("flowers.npz: y_train: ")
    assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize(
    "values",
    [
        np.arange(100).repeat(2) * 7,  # many classes, each with several rows
        np.arange(21) % 20 * 3,  # few different numbers, though most occur once
        np.array([f"word {k}" for k in range(20)] * 2),
        np.eye(30)[np.arange(60) % 30],
        np.array(["3.5", "4.0", "3.5"]),  # ratings written as text
    ],
)
def test_many_classes_are_accepted(values: np.ndarray) -> None:
    labels = encode_labels(values, "y")

    assert len(labels.codes) == len(values)
    assert labels.codes.max() + 1 == len(labels.classes)
