"""The preprocessing is fitted on training rows, travels with the weights, and gives the network well-scaled inputs."""

import json

import numpy as np
import pytest

from model.data import datasets
from model.data.arrays import Arrays, Column, lossless
from model.data.cache import replace_folder
from model.data.named_rows import raw_table
from model.data.preprocessing import (
    Pixels,
    PreprocessingError,
    Table,
    fit_pixels,
    fit_table,
    from_dict,
)

NUMBERS = (Column("a"), Column("b"))


def table(values, columns=NUMBERS):
    raw = np.asarray(values, np.float64)
    return fit_table(raw, columns), raw


def test_numbers_are_standardised_with_the_training_rows():
    fitted, raw = table([[1, 1e6], [2, 3e6], [3, 2e6]])

    inputs = fitted.apply(raw, NUMBERS)

    assert inputs.dtype == np.float32
    assert inputs.mean(axis=0) == pytest.approx([0, 0], abs=1e-6)
    assert inputs.std(axis=0) == pytest.approx([1, 1])
    assert fitted.apply(np.array([[5.0, 2e6]]), NUMBERS)[0, 0] == pytest.approx(3 / np.std([1, 2, 3]))


def test_a_gap_is_filled_with_the_mean_and_flagged():
    fitted, raw = table([[1, 5], [np.nan, 6], [3, 7]])

    inputs = fitted.apply(raw, NUMBERS)

    assert fitted.features == 3
    assert inputs[1, 0] == 0
    assert inputs[:, 1].tolist() == [0, 1, 0]


def test_a_value_matches_without_the_spaces_around_it_but_first_as_it_is():
    kinds = (Column("x", ("a", "a ", "b ")),)
    fitted, _ = table([[0], [1], [2], [0], [1], [2]], kinds)
    asked = (Column("x", (" a", " b", "a", "a ")),)

    inputs = fitted.apply(np.array([[0.0], [1], [2], [3]]), asked)

    assert inputs.argmax(axis=1)[1:].tolist() == [2, 0, 1]
    assert inputs[0].sum() == 1


def test_a_gap_that_the_training_rows_never_had_is_the_mean():
    fitted, _ = table([[1, 5], [2, 6], [3, 7]])

    assert fitted.apply(np.array([[np.nan, 6]]), NUMBERS).tolist() == [[0, 0]]


def test_constant_and_empty_columns_are_dropped():
    columns = tuple(map(Column, "abcd"))
    fitted, raw = table([[1, 7, np.nan, 7], [2, 7, np.nan, np.nan]], columns)

    assert [column.name for column in fitted.columns] == ["a", "d"]
    assert fitted.apply(raw, columns).tolist() == [[-1, 0], [1, 1]]


def test_categories_are_one_hot_with_rare_and_unseen_values_as_other():
    column = Column("town", ("Bonn", "Kiel", "Ulm"))
    fitted, raw = table([[0], [0], [1], [1], [2], [np.nan]], (column,))

    assert fitted.apply(raw, (column,)).tolist() == [
        [1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1],
    ]  # fmt: skip
    seen_later = Column("town", ("Kiel", "Mainz"))
    assert fitted.apply(np.array([[0.0], [1.0]]), (seen_later,)).tolist() == [[0, 1, 0, 0], [0, 0, 1, 0]]


def test_an_unseen_value_is_all_zeros_if_no_training_row_was_rare():
    column = Column("town", ("Bonn", "Kiel"))
    fitted, _ = table([[0], [0], [1], [1]], (column,))

    assert fitted.apply(np.array([[0.0]]), (Column("town", ("Mainz",)),)).tolist() == [[0, 0]]


def test_a_column_with_heavy_tails_is_mapped_by_its_quantiles():
    values = np.concatenate([np.random.default_rng(0).normal(size=999), [1e9]])[:, None]
    fitted = fit_table(values, (Column("a"),))

    inputs = fitted.apply(values, (Column("a"),))

    assert np.abs(inputs).max() == pytest.approx(np.sqrt(3))
    assert inputs.mean() == pytest.approx(0, abs=0.1)
    assert inputs.std() == pytest.approx(0.5, abs=0.1)
    assert (np.argsort(values[:, 0])[-1], np.argsort(inputs[:, 0])[-1]) == (999, 999)


def test_the_quantiles_tell_large_values_apart():
    values = np.random.default_rng(0).lognormal(0, 2, 10_000)[:, None]
    fitted = fit_table(values, (Column("a"),))
    probed = np.quantile(values, [0.5, 0.9, 0.99, 0.999])[:, None]

    assert (np.diff(fitted.apply(probed, (Column("a"),))[:, 0]) > 0.5).all()


def test_the_largest_numbers_do_not_overflow():
    fitted, raw = table([[1e308, 1], [-1e308, 2], [0, 3]])

    assert np.isfinite(fitted.apply(raw, NUMBERS)).all()


def test_flattened_images_keep_one_scale(digits_folder):
    images = np.load(digits_folder / "images.npy").reshape(-1, 8, 8)
    raw = images.repeat(2, axis=1).reshape(-1, 128).astype(np.float64)
    columns = tuple(Column(f"pixel{i}") for i in range(128))

    inputs = fit_table(raw, columns).apply(raw, columns)

    assert (inputs.min(), inputs.max()) == (0, 1)
    varying = np.ptp(raw, axis=0) > 0
    assert np.array_equal(inputs, (raw[:, varying] / 16).astype(np.float32))


def test_answers_on_one_scale_are_standardised():
    raw = np.random.default_rng(0).integers(1, 6, (200, 20)).astype(np.float64)
    columns = tuple(Column(f"question {i}") for i in range(20))

    inputs = fit_table(raw, columns).apply(raw, columns)

    assert inputs.mean(axis=0) == pytest.approx(0, abs=1e-6)
    assert inputs.std(axis=0) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("low", "high"), [(0, 255), (0, 16), (0, 1), (-1, 1), (1000, 1001)])
def test_images_of_any_range_become_zero_to_one(low, high):
    from model.network import MLP

    raw = np.linspace(low, high, 20).reshape(5, 4)
    pixels = fit_pixels(raw, (2, 2))
    network = MLP((4, 3), scale=pixels.scale, offset=pixels.offset)
    network.feed(pixels.apply(raw))

    fed = network._of_size(5).activations[0]
    assert fed[:, :-1] == pytest.approx((raw - low) / (high - low), abs=1e-6)
    assert (fed[:, -1] == 1).all()


def test_the_fixed_ranges_are_exact():
    assert (Pixels((28, 28), 0.0, 1 / (1 / 255)).scale, Pixels((8, 8), 0.0, 1 / (1 / 16)).scale) == (1 / 255, 1 / 16)


def test_it_is_read_back_from_json_to_the_last_bit():
    column = Column("town", ("Bonn", "Kiel"))
    values = [[0.1, 0, np.nan], [0.3, 0, 1e9], [1e-300, 1, 2], [0.7, 1, 3], *[[0.5, 1, 4]] * 200]
    fitted, _ = table(values, (Column("a"), column, Column("c")))

    assert any(getattr(column, "quantiles", ()) for column in fitted.columns)
    for found in (fitted, Pixels((2, 3), -0.1, 0.7)):
        assert from_dict(json.loads(json.dumps(found.as_dict()))) == found


def test_columns_are_found_by_name_in_any_order():
    fitted, raw = table([[1, 5], [2, 6], [4, 7]])

    assert np.array_equal(fitted.apply(raw[:, ::-1], NUMBERS[::-1]), fitted.apply(raw, NUMBERS))
    with pytest.raises(PreprocessingError, match="missing columns: b"):
        fitted.apply(raw[:, :1], NUMBERS[:1])
    with pytest.raises(PreprocessingError, match="'a' has text"):
        fitted.apply(raw, (Column("a", ("x",)), Column("b")))


def test_named_columns_become_raw_rows():
    raw, columns = raw_table({"a": [1, None, 3], "town": ["Kiel", None, "Bonn"]}, {"town"})

    assert columns == (Column("a"), Column("town", ("Bonn", "Kiel")))
    assert np.array_equal(raw, [[1, 1], [np.nan, np.nan], [3, 0]], equal_nan=True)
    with pytest.raises(PreprocessingError, match="row 1: column 'a' has 'x', but a number"):
        raw_table({"a": [1, "x"]}, ())


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([0, 255], np.int64), np.uint8),
        (np.array([True, False]), np.uint8),
        (np.array([0.0, 255.0]), np.uint8),
        (np.array([0.5, np.nan]), np.float32),
        (np.array([0.1]), np.float64),
        (np.array([-1, 70000], np.int32), np.float32),
        (np.array([2**30 + 1]), np.float64),
        (np.array([0.5], np.float16), np.float32),
    ],
)
def test_numbers_are_stored_in_the_smallest_exact_type(values, dtype):
    found = lossless(values)

    assert found.dtype == dtype
    assert np.array_equal(found.astype(np.float64), values.astype(np.float64), equal_nan=True)


def test_a_number_that_no_type_holds_is_refused():
    with pytest.raises(ValueError, match="beyond"):
        lossless(np.array([2**53 + 1]))


def prepared(folder, change):
    """A table with gaps and categories; `change` alters its raw and test rows."""
    rng = np.random.default_rng(0)
    raw = np.stack([rng.normal(size=200), rng.integers(0, 3, 200), rng.normal(size=200)], axis=1)
    raw[::9, 2] = np.nan
    labels = rng.integers(0, 2, 200)
    test = raw[:50].copy()
    columns = (Column("a"), Column("town", ("Bonn", "Kiel", "Ulm")), Column("c"))
    change(raw, test, labels)
    replace_folder(folder, "made", Arrays(raw, labels, test, labels[:50], ("no", "yes"), (3,), columns))
    return folder


def test_validation_and_test_rows_do_not_change_what_is_fitted(tmp_path):
    seen = datasets.load(prepared(tmp_path / "one", lambda *_: None), 5)

    def change(raw, test, labels):
        raw[seen.validation.rows] = [1e6, 2, -1e6]
        test[:] = [-1e6, 0, np.nan]

    other = datasets.load(prepared(tmp_path / "two", change), 5)
    assert np.array_equal(other.validation.rows, seen.validation.rows)
    assert other.preprocessing == seen.preprocessing
    assert isinstance(other.preprocessing, Table)

    def change_training(raw, test, labels):
        raw[seen.train.rows[0], 0] = 100

    assert datasets.load(prepared(tmp_path / "three", change_training), 5).preprocessing != seen.preprocessing


def test_the_final_models_preprocessing_is_fitted_on_all_but_the_test_rows(tmp_path):
    folder = prepared(tmp_path / "one", lambda *_: None)
    whole = datasets.load(folder, None)

    assert whole.preprocessing == fit_table(np.load(folder / "images.npy"), whole.columns)
    assert whole.test.inputs.dtype == np.float32
    assert len(whole.test) == 50
