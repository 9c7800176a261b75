"""Stratified splits."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data.splits import stratified_split


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
