"""Dimensions with a finite number of values list them all, once, inside the range."""

import pytest

from studies.dimensions import Choice, Float, Int, Layers

FINITE = {
    "integers": (Int(low=3, high=7), [3, 4, 5, 6, 7]),
    "one integer apart": (Int(low=-1, high=0), [-1, 0]),
    "choices": (Choice(choices=["a", 2, 0.5]), ["a", 2, 0.5]),
    "one choice": (Choice(choices=[[64, 32]]), [[64, 32]]),
    "one layer": (Layers(layers=[1, 1], units=[2, 4]), [(2,), (3,), (4,)]),
    "one width": (Layers(layers=[1, 3], units=[5, 5], log=True), [(5,), (5, 5), (5, 5, 5)]),
    "two layers": (Layers(layers=[2, 2], units=[1, 2]), [(1, 1), (2, 1), (1, 2), (2, 2)]),
    "one or two layers": (Layers(layers=[1, 2], units=[1, 2]), [(1,), (2,), (1, 1), (2, 1), (1, 2), (2, 2)]),
}


@pytest.mark.parametrize(("dimension", "values"), FINITE.values(), ids=FINITE)
def test_all_values_are_listed(dimension, values):
    assert dimension.count() == len(values)
    assert [dimension.at(index) for index in range(len(values))] == values
    for value in values:
        dimension.encode("key", value)  # raises outside the range


def test_the_values_of_a_float_cannot_be_listed():
    dimension = Float(low=0.1, high=0.2)

    assert dimension.count() is None
    with pytest.raises(TypeError, match="cannot be listed"):
        dimension.at(0)
