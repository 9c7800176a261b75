"""Stratified splits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data.splits import default_folds, fold_split, most_folds, stratified_split, validation_split


@settings(max_examples=150, deadline=None)
@given(
    labels=st.lists(st.integers(0, 6), min_size=1, max_size=300),
    fraction=st.floats(0.05, 0.5),
    seed=st.integers(0, 2**64),
)
def test_a_stratified_split_has_the_same_fraction_of_every_class(labels: list[int], fraction: float, seed: int) -> None:
    array = np.array(labels)
    rest, taken = stratified_split(array, fraction, np.random.SeedSequence(seed))

    assert sorted([*rest, *taken]) == list(range(len(labels)))
    assert (np.diff(rest) > 0).all()
    assert (np.diff(taken) > 0).all()
    for label in set(labels):
        count, share = labels.count(label), int((array[taken] == label).sum())
        assert abs(share - count * fraction) <= 1
        assert share < count
        assert share >= 1 or count == 1


def test_a_split_is_the_same_on_every_machine() -> None:
    rest, taken = stratified_split(np.arange(40) % 4, 0.2, np.random.SeedSequence(7))

    assert len(rest) == 32
    assert taken.tolist() == [6, 10, 21, 23, 24, 32, 37, 39]


@settings(max_examples=100, deadline=None)
@given(
    counts=st.lists(st.integers(2, 40), min_size=2, max_size=6), folds=st.integers(2, 20), seed=st.integers(0, 2**64)
)
def test_folds_are_a_stratified_partition(counts: list[int], folds: int, seed: int) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    folds = min(folds, most_folds(labels))
    parts = [fold_split(labels, seed, folds, fold) for fold in range(folds)]

    assert sorted(row for _, taken in parts for row in taken) == list(range(len(labels)))
    for rest, taken in parts:
        assert sorted([*rest, *taken]) == list(range(len(labels)))
        assert (np.diff(rest) > 0).all()
        assert (np.diff(taken) > 0).all()
    sizes = [len(taken) for _, taken in parts]
    assert max(sizes) - min(sizes) <= 1
    for label, count in enumerate(counts):
        shares = [int((labels[taken] == label).sum()) for _, taken in parts]
        assert set(shares) <= {count // folds, -(-count // folds)}
        assert min(shares) >= 1


def test_folds_are_the_same_on_every_machine_and_differ_by_seed() -> None:
    labels = np.arange(20) % 2
    _, taken = fold_split(labels, 7, 5, 0)

    assert taken.tolist() == [0, 1, 2, 11]
    assert fold_split(labels, 8, 5, 0)[1].tolist() != [0, 1, 2, 11]


def test_a_single_fold_is_the_validation_split() -> None:
    labels = np.arange(100) % 3
    for one, other in zip(fold_split(labels, 7, 1, 0), validation_split(labels, 7), strict=True):
        assert one.tolist() == other.tolist()


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([100, 60], 5),
        ([2500, 2494], 5),  # 499 rows for validation
        ([2500, 2500], 1),
        ([300, 4], 4),
        ([300, 0, 3], 3),  # no row of class 1
        ([300, 2], 1),  # with two folds, only half of the rows would train
        ([300, 1], 1),
    ],
)
def test_few_rows_are_validated_in_five_folds(counts: list[int], expected: int) -> None:
    assert default_folds(np.repeat(np.arange(len(counts)), counts)) == expected
