"""Trials that exceeded a time limit are tried again when the limit is raised, and only then."""

import pytest

from studies.record import reader as records
from sweep.search.search import Search

SLOW = ("baseline.epochs=60", "baseline.batch_size=8")
"""A trial of half a second on a fast core."""


@pytest.fixture
def timed_out(tiny, opened, searched):
    """A search of two trials that both exceeded their limit; call it with changes of its study."""

    def run(*changes):
        study = tiny(*SLOW, "trials=2", "trial_seconds=0.05", *changes)
        database = opened(study)
        searched(study, database)
        database.close()
        assert records.read(database.folder).counts() == {"timeout": 2}

    return run


def continued(tiny, opened, searched, *changes):
    """The record after another start of the search with a changed study."""
    study = tiny(*SLOW, *changes)
    database = opened(study)
    searched(study, database)
    database.close()
    return records.read(database.folder)


@pytest.mark.parametrize("pruner", ["none", pytest.param("halving", marks=pytest.mark.slow)])
def test_with_a_higher_limit_the_settings_are_tried_again_as_new_trials(tiny, opened, searched, timed_out, pruner):
    """Although the total is reached; the timed-out trials stay as they are, and a third start adds nothing.

    So many are confirmed that halving completes all.
    """
    changes = (f"pruner={pruner}", "confirm.top=4")
    timed_out(*changes)
    for _ in range(2):
        record = continued(tiny, opened, searched, "trials=2", "trial_seconds=100.0", *changes)

        assert [trial.outcome for trial in record.trials] == ["timeout", "timeout", "complete", "complete"]
        assert [trial.repeats for trial in record.trials] == [None, None, 0, 1]
        for trial in record.trials[:2]:
            assert record.trials[trial.number + 2].hyperparameters == trial.hyperparameters
            assert trial.reason == "not finished within the limit of 0.05 s"


def test_they_count_as_trials_of_a_larger_total(tiny, opened, timed_out, digits_folder):
    """The first of the two that are still to come."""
    timed_out()
    study = tiny(*SLOW, "trials=4", "trial_seconds=100.0")
    database = opened(study)
    search = Search(study, database.search, database.folder, digits_folder)

    assert (search.again, search.remaining()) == (2, 2)
    settings = [search.ask().job.hyperparameters for _ in range(2)]
    assert settings[0] == study.baseline.as_dict()
    assert search.ask() is None


@pytest.mark.parametrize("limit", ["trial_seconds=0.05", "trials=3"])
def test_with_the_same_limit_nothing_is_tried_again(tiny, opened, timed_out, digits_folder, limit):
    """Also if trials are added."""
    timed_out()
    study = tiny(*SLOW, "trials=2", "trial_seconds=0.05", limit)
    database = opened(study)
    search = Search(study, database.search, database.folder, digits_folder)

    assert search.again == 0
    assert search.remaining() == study.trials - 2


def test_a_raised_limit_that_is_exceeded_again_is_not_tried_a_third_time(tiny, opened, searched, timed_out):
    timed_out()
    for _ in range(2):
        record = continued(tiny, opened, searched, "trials=2", "trial_seconds=0.06")

        assert record.counts() == {"timeout": 4}


def test_trials_that_may_be_repeated_are_not_the_worst(tiny, opened, timed_out, digits_folder):
    """The sampler must not avoid them."""
    timed_out()
    for limit, worst in [("0.05", [0, 1]), ("100.0", [])]:
        study = tiny(*SLOW, "trials=2", f"trial_seconds={limit}")
        database = opened(study)
        search = Search(study, database.search, database.folder, digits_folder)
        assert search._standings.worst == worst
        database.close()
