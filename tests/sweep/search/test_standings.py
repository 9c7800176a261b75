"""Rungs and standings: where trials are compared, and in which order they stand there."""

import math
import random

import pytest

from studies.rungs import rung_epochs
from sweep.search.standings import Standings


@pytest.mark.parametrize(
    ("longest", "rungs"),
    [
        (1, (1,)),
        (2, (2,)),
        (3, (1, 3)),
        (12, (1, 4, 12)),
        (30, (3, 10, 30)),
        (81, (9, 27, 81)),
        (100, (11, 33, 100)),
        (1000, (111, 333, 1000)),
    ],
)
def test_each_rung_has_three_times_the_epochs_of_the_one_before(longest, rungs):
    """At most two below the last."""
    assert rung_epochs(longest, longest) == rungs


@pytest.mark.parametrize("longest", [1, 2, 3, 12, 30, 100, 243])
def test_a_shorter_trial_has_the_same_rungs_at_the_same_shares_of_its_epochs(longest):
    """To the nearest epoch, and at least after one; so a very short trial reaches several rungs at once."""
    for epochs in range(1, longest + 1):
        rungs = rung_epochs(epochs, longest)

        assert len(rungs) == len(rung_epochs(longest, longest))
        assert list(rungs) == sorted(rungs)
        assert rungs[-1] == epochs
        for step, reached in enumerate(reversed(rungs)):
            assert reached >= 1
            assert reached == 1 or abs(reached - epochs / 3**step) <= 0.5


def filled(*costs, rungs=1):
    """Standings of trials 0, 1, ... with these costs and equal losses at rung 0."""
    standings = Standings(rungs)
    for number, cost in enumerate(costs):
        standings.add(number, 0, cost, 0.0)
    return standings


def test_ranks_follow_the_cost_then_the_loss_then_the_number():
    standings = Standings(1)
    for number, cost, loss in [(5, 0.2, 0.1), (4, 0.1, 0.9), (3, 0.1, 0.3), (9, 0.1, 0.3), (1, 0.3, 0.0)]:
        standings.add(number, 0, cost, loss)

    assert [standings.rank(number, 0) for number in (3, 9, 4, 5, 1)] == [1, 2, 3, 4, 5]


def test_the_order_of_arrival_does_not_change_the_standings():
    keys = [(number, random.Random(number).randint(0, 5) / 10, 0.5) for number in range(30)]
    standings = [Standings(1), Standings(1)]
    for one, order in zip(standings, (keys, sorted(keys, key=lambda key: -key[0])), strict=True):
        for number, cost, loss in order:
            one.add(number, 0, cost, loss)

    assert standings[0].reached == standings[1].reached


@pytest.mark.parametrize("nothing", [math.nan, math.inf])
def test_a_trial_without_a_number_is_behind_all_that_have_one(nothing):
    """An objective that cannot be computed; and a loss that is not a number only breaks ties."""
    standings = filled(0.3, nothing, 9e99)
    standings.add(3, 0, 0.3, nothing)

    assert [standings.rank(number, 0) for number in (0, 3, 2, 1)] == [1, 2, 3, 4]


def test_a_trial_is_entered_once_at_a_rung():
    """Its first mark counts: a start enters recorded trials again."""
    standings = filled(0.3, 0.2)
    standings.add(0, 0, 0.1, 0.0)

    assert standings.rank(0, 0) == 2
    assert len(standings.reached[0]) == 2
    assert standings.has(0, 0)
    assert not standings.has(2, 0)


def test_fewer_than_ten_known_trials_say_nothing():
    standings = filled(*range(9))
    assert standings.best_and_rest(standings.known, 1) is None

    standings.add_worst(9)
    assert standings.known == 10
    assert standings.best_and_rest(standings.known, 1) is not None


def test_the_best_are_those_at_the_highest_rung_with_enough_trials():
    """Ten, and twice as many as count as the best. Those stopped below it are left out."""
    standings = filled(*range(40), rungs=3)
    for number in range(0, 20, 2):  # ten trials, in the opposite order
        standings.add(number, 1, -number, 0.0)
    for number in range(0, 18, 2):  # nine
        standings.add(number, 2, number, 0.0)

    assert standings.best_and_rest(40, 3) == ([18, 16, 14], [12, 10, 8, 6, 4, 2, 0])
    assert standings.best_and_rest(40, 5)[0] == [18, 16, 14, 12, 10]
    assert standings.best_and_rest(40, 6)[0] == [0, 1, 2, 3, 4, 5]  # needs twelve
    standings.add(18, 2, -1.0, 0.0)
    assert standings.best_and_rest(40, 1)[0] == [18]


def test_settings_without_a_result_are_never_among_the_best():
    """Also if they were ahead at a rung before they diverged; and they are always among the others."""
    standings = filled(*range(12), rungs=2)
    for number in (0, 1, 20):
        standings.add_worst(number)
    best, rest = standings.best_and_rest(standings.known, 3)

    assert standings.known == 13  # trial 20 diverged before the first rung
    assert best == [2, 3, 4]
    assert rest == [5, 6, 7, 8, 9, 10, 11, 0, 1, 20]


def test_the_trials_ahead_are_the_best_at_the_highest_rung_of_each():
    """As a winner is chosen when the search ends: a paused trial that is better than a complete one is ahead of it."""
    standings = filled(0.1, 0.2, 0.3, 0.4, rungs=3)
    standings.add(3, 1, 0.05, 0.0)
    standings.add(2, 1, 0.15, 0.0)
    standings.add(2, 2, 0.35, 0.0)

    assert standings.ahead(1) == [3]
    assert standings.ahead(3) == [3, 0, 1]
    assert standings.ahead(9) == [3, 0, 1, 2]
    standings.add_worst(3)
    standings.add_worst(9)
    assert standings.ahead(9) == [0, 1, 2]
    assert Standings(2).ahead(3) == []
