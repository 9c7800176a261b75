"""How the minutes of a run are divided: the search gets what the confirmation does not need."""

import pytest

from studies.definition import Confirm
from sweep.search import budget as budgets
from sweep.search.budget import (
    LARGEST_SHARE,
    LEAST_CLOSING,
    MARGIN,
    MOST_CLOSING,
    REPORT_S,
    RUN_S,
    UNCONFIRMED,
    Budget,
    training_share,
)

FULL = Confirm(top=3, repeats=3)


def budget(seconds, confirm=FULL, workers=2, start=1000.0):
    return Budget(start, seconds, range(workers), confirm, slowness=1.0)


@pytest.fixture
def at(monkeypatch):
    """Sets the clock."""
    return lambda now: monkeypatch.setattr(budgets.time, "monotonic", lambda: now)


@pytest.mark.parametrize(("folds", "share"), [(1, 1.0), (2, 0.9), (3, 0.5), (10, 0.5)])
def test_a_training_of_the_confirmation_takes_a_part_of_the_time_of_all_folds(folds, share):
    """Two folds train on half of the rows each, the confirmation on nine tenths of them."""
    assert training_share(folds) == pytest.approx(share)


def test_nothing_is_kept_for_a_confirmation_that_is_not_wanted():
    assert budget(600, confirm=None).search_until([5.0, 5.0]) == 1600 - REPORT_S


def test_before_anything_is_measured_most_of_the_time_is_kept():
    assert budget(600).search_until([]) == pytest.approx(1000 + (1 - LARGEST_SHARE) * (600 - REPORT_S))


def test_the_search_gets_what_the_rest_does_not_need():
    """Three screening runs; the two slowest and the baseline three times; final models of two of them."""
    trainings = [10.0, 4.0, 2.0, 3.0]
    screening = 10 + RUN_S  # longer than the other two together
    confirm = 3 * (10 + 4 + 3 + 3 * RUN_S) / 2
    final = 10 + RUN_S

    assert budget(600).search_until(trainings) == pytest.approx(
        1600 - REPORT_S - MARGIN * (screening + confirm + final)
    )
    assert budget(600).search_until([1.0] * 4) > budget(600).search_until([2.0] * 4)
    assert budget(600, workers=4).search_until(trainings) > budget(600).search_until(trainings)


def test_what_is_kept_is_what_can_be_used():
    """With less time, for fewer repeats and candidates; nothing for a confirmation that would take more than half."""
    found = []
    for seconds in range(400, 20, -1):
        run = budget(seconds)
        found.append(run.trainings_until - run.search_until([10.0] * 4))
        assert found[-1] <= LARGEST_SHARE * (seconds - REPORT_S)
    runs = [3 + 9 + 2, 2 + 9 + 2, 6 + 2, 4 + 2, 2]  # screening, confirmation, final models

    assert list(dict.fromkeys(round(kept, 6) for kept in found)) == [
        *(pytest.approx(MARGIN * count * (10 + RUN_S) / 2) for count in runs),
        0.0,
    ]


def test_more_workers_do_not_shorten_the_longest_training():
    one, many = (budget(600, workers=workers).search_until([20.0, 1.0]) for workers in (12, 1000))

    assert one == many == pytest.approx(1600 - REPORT_S - MARGIN * 2 * (20 + RUN_S))


@pytest.mark.parametrize("seconds", [0.1, 1, REPORT_S, REPORT_S + 1, 60, 6000])
@pytest.mark.parametrize("trainings", [[], [0.0, 0.0], [1.0, 2.0], [1e6, 1e6, 1e6, 1e6]])
@pytest.mark.parametrize("confirm", [None, FULL, Confirm(top=20, repeats=50)])
def test_no_share_is_negative(seconds, trainings, confirm):
    """Start, last proposal, end of the search, end of the last training, end: in this order, however short the run."""
    run = budget(seconds, confirm)
    proposals, search = run.proposals_until(trainings), run.search_until(trainings)

    assert run.start < proposals < search <= run.trainings_until
    assert run.trainings_until < run.start + run.seconds
    assert search - run.start >= (1 - LARGEST_SHARE) * max(seconds - REPORT_S, seconds / 2) * 0.999


@pytest.mark.parametrize(
    ("longest", "share"),
    [(0.0, LEAST_CLOSING), (200.0, MARGIN * 200 / (1000 - REPORT_S)), (10_000.0, MOST_CLOSING)],
    ids=["short", "in between", "long"],
)
def test_proposals_end_a_whole_training_before_the_search(longest, share):
    """But not before six tenths of it, nor after nine tenths."""
    run = budget(1000, confirm=None)

    assert run.proposals_until([longest, 0.0]) == pytest.approx(1000 + (1 - share) * (1000 - REPORT_S))


def test_repeats_are_given_up_before_candidates_and_candidates_before_the_confirmation(at):
    """With ever less time: repeats down to three, candidates down to one, one more repeat, then all."""
    run, trainings = budget(1000, Confirm(top=3, repeats=5)), [10.0, 10.0, 10.0, 10.0]
    found = []
    for left in range(300, 0, -1):
        at(run.trainings_until - left)
        plan = run.affordable(trainings)
        if not found or found[-1] != plan:
            found.append(plan)

    plans = [(5, 3), (4, 3), (3, 3), (3, 2), (3, 1), (2, 1)]
    assert found == [*(Confirm(top=top, repeats=repeats) for repeats, top in plans), UNCONFIRMED, None]


def test_what_is_affordable_fits_into_the_time_that_is_left(at):
    """As estimated; and the next larger plan does not fit."""
    run, trainings = budget(1000, Confirm(top=2, repeats=4)), [8.0, 6.0, 7.0]

    def needed(top, repeats):
        screening = max((8.0 + 6.0 + 2 * RUN_S) / 2, 8.0 + RUN_S) if top == 2 else 0.0
        confirm = repeats * (sum(trainings[:top]) + 7.0 + (top + 1) * RUN_S) / 2
        final = 8.0 + RUN_S
        return MARGIN * (screening + confirm + final)

    at(run.trainings_until - needed(2, 3) - 0.01)
    assert run.affordable(trainings) == Confirm(top=2, repeats=3)
    at(run.trainings_until - needed(2, 3) + 0.01)
    assert run.affordable(trainings) == Confirm(top=1, repeats=3)
    assert needed(1, 2) > max(trainings)


def test_the_smallest_confirmation_is_tried_without_a_margin(at):
    """And ends in time for two final models if it takes longer than estimated."""
    run, trainings = budget(1000, Confirm(top=2, repeats=4)), [8.0, 6.0, 7.0]
    pair = (8.0 + 7.0 + 2 * RUN_S) / 2  # the best candidate and the baseline, on two workers
    two_pairs = max(2 * pair, 8.0 + RUN_S)

    at(run.trainings_until - two_pairs - max(pair, 8.0 + RUN_S) - 0.01)
    assert run.affordable(trainings) == Confirm(top=1, repeats=2)
    at(run.trainings_until - two_pairs - max(pair, 8.0 + RUN_S) + 0.01)
    assert run.affordable(trainings) == UNCONFIRMED
    assert run.confirm_until(trainings) == pytest.approx(run.trainings_until - MARGIN * max(pair, 8.0 + RUN_S))
    assert run.confirm_until([7.0]) == pytest.approx(run.trainings_until - MARGIN * (7.0 + RUN_S))


def test_as_many_final_models_are_trained_as_there_is_time_for(at):
    run, pair = budget(1000), (8.0 + 7.0 + 2 * RUN_S) / 2

    at(run.trainings_until - 3 * MARGIN * pair - 0.01)
    assert run.final_models([8.0, 7.0]) == 3
    at(run.trainings_until + 5)
    assert run.final_models([8.0, 7.0]) == 1
    at(run.trainings_until - 2 * MARGIN * (7.0 + RUN_S) / 2 - 0.01)
    assert run.final_models([7.0]) == 2  # the baseline is the champion


def test_a_search_that_ends_a_moment_late_has_left_enough_for_what_it_kept(at):
    """Three minutes of MNIST: only final models fit, and the search ends when just their time is left."""
    run, trainings = budget(180), [64.0, 31.0, 7.0]
    at(run.search_until(trainings) + 1.0)

    assert run.affordable(trainings) == UNCONFIRMED


def test_nothing_is_affordable_after_the_end(at):
    run = budget(1000)
    at(run.start + run.seconds + 1)

    assert run.affordable([0.0, 0.0]) is None


def test_fewer_candidates_than_wanted_cost_less(at):
    """A study of one setting has a single candidate, its baseline."""
    run = budget(1000)
    at(run.trainings_until - 60)

    assert run.affordable([10.0]) == FULL
    assert run.affordable([10.0] * 4) == Confirm(top=1, repeats=3)


def test_a_run_that_is_shorter_than_its_report_still_searches():
    """Half of the time is for the report then, which takes longer; the other half is searched."""
    run = budget(REPORT_S / 2, confirm=None)

    assert run.search_until([]) == 1000 + REPORT_S / 4


@pytest.mark.parametrize(("running", "slowness"), [(8, 4), (20, 4), (2, 1)])
def test_the_report_takes_longer_on_a_loaded_machine(monkeypatch, running, slowness):
    """Beside seven other processes on two cores it gets a quarter of one; unless most of them have ended."""
    monkeypatch.setattr(budgets.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setattr(budgets.os, "getloadavg", lambda: (7.0, 0.0, 0.0))
    monkeypatch.setattr(budgets.Path, "read_text", lambda _: f"7.0 0.0 0.0 {running}/300 4711")

    assert Budget(1000.0, 600.0, range(2), None).trainings_until == 1600 - slowness * REPORT_S
