"""Generations: the result does not depend on workers, speed, stops or crashes."""

import itertools

import pytest

from studies.record import reader as records
from sweep.search.search import Search
from sweep.storage.trial_log import TrialLog

START = (
    "start=[{ learning_rate = 0.01 }, { hidden_sizes = [24, 12] }, { hidden_sizes = [32] }, { learning_rate = 0.02 }]"
)
MEDIAN = (START, "generation=4", "trials=18", "pruner=median", "control=0.1", "baseline.epochs=5", "seed=5")
"""Eighteen trials are four generations and a half; five are given, five drawn at random, the rest by TPE."""
HALVING = (START, "generation=4", "trials=22", "pruner=halving", "control=0.1", "baseline.epochs=9", "seed=5")
"""Three rungs, after one, three and nine epochs."""
LENGTHS = (*HALVING, "trials=18", "space.epochs={low=2, high=20}")
"""A trial of two or three epochs reaches several rungs at once."""


class Crash(BaseException):
    """Stands for a coordinator that is gone: nothing handles it."""


def numbers(record):
    """What must repeat exactly: settings, outcome, every epoch's numbers, the weights' hash, who is best."""
    table = [
        (
            dict(trial.hyperparameters),
            trial.outcome,
            trial.epochs[list(records.EPOCH_COLUMNS[:5])].tolist(),
            trial.value,
            trial.weights_sha256,
            trial.control,
        )
        for trial in record.trials
    ]
    return table, [trial.number for trial in record.ranked()]


SLOW = pytest.mark.slow


@pytest.fixture(
    params=[pytest.param(MEDIAN, marks=SLOW), HALVING, pytest.param(LENGTHS, marks=SLOW)],
    ids=["median", "halving", "lengths"],
)
def changes(request):
    """What makes the study."""
    return request.param


@pytest.fixture
def reference(made, tiny, opened, searched, changes):
    """What one undisturbed worker finds."""

    def search():
        database = opened(tiny(*changes), "reference")
        searched(tiny(*changes), database, workers=1)
        return numbers(records.read(database.folder))

    return made(changes, search)


def test_the_reference_study_has_all_cases(reference, changes):
    """Pruned and completed trials, and more than TPE's random startup trials."""
    table, ranked = reference
    outcomes = [row[1] for row in table]

    assert len(table) == (22 if changes == HALVING else 18)
    assert {"complete", "pruned"} == set(outcomes)
    assert [row[0]["learning_rate"] for row in table[:5]] == [0.003, 0.01, 0.003, 0.003, 0.02]
    assert [row[0]["hidden_sizes"] for row in table[:5]] == [(16,), (16,), (24, 12), (32,), (16,)]
    assert len(ranked) == outcomes.count("complete")


@pytest.mark.parametrize("workers", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_the_result_does_not_depend_on_the_number_of_workers(tiny, opened, searched, reference, changes, workers):
    """With two and four workers, trials end in another order than with one."""
    database = opened(tiny(*changes))
    searched(tiny(*changes), database, workers=workers)

    assert numbers(records.read(database.folder)) == reference


CRASH_EVERY = {"begin": 5, "attribute": 11, "epoch": 23, "finish": 5}
"""Calls of each write between two crashes. A start makes four before its workers can have ended an epoch."""


@pytest.mark.slow
def test_a_crash_at_any_write_changes_nothing(tiny, opened, searched, reference, changes, monkeypatch):
    """The coordinator is killed before and after some writes of each kind, until the study is complete."""
    study, crashes = tiny(*changes), []

    def deadly(name):
        method, calls = getattr(TrialLog, name), itertools.count(1)

        def write(self, *arguments):
            number, rest = divmod(next(calls), CRASH_EVERY[name])
            moment = None if rest else ("after", "before")[number % 2]
            if moment == "before":
                crashes.append((name, moment))
                raise Crash
            found = method(self, *arguments)
            if moment == "after":
                crashes.append((name, moment))
                raise Crash
            return found

        return write

    for name in CRASH_EVERY:
        monkeypatch.setattr(TrialLog, name, deadly(name))
    while True:
        database = opened(study)
        try:
            searched(study, database)
            break
        except Crash:
            pass
        finally:
            database.close()
        assert len(crashes) < 400, "no progress"

    assert set(crashes) == set(itertools.product(CRASH_EVERY, ("before", "after")))
    assert numbers(records.read(database.folder)) == reference


def test_a_generation_uses_only_earlier_generations(tiny, opened, digits_folder):
    """Four trials can be proposed; the fifth has to wait."""
    study = tiny(*MEDIAN)
    database = opened(study)
    search = Search(study, database.search, database.folder, digits_folder)

    assert [search.ask().trial.number for _ in range(4)] == [0, 1, 2, 3]
    assert search.ask() is None
    assert Search(study, database.search, database.folder, digits_folder).ask() is None


@pytest.mark.slow
@pytest.mark.parametrize("changes", [MEDIAN], indirect=True, ids=["median"])
@pytest.mark.parametrize("first", [3, 6])
def test_an_extended_study_equals_one_that_was_larger_from_the_start(tiny, opened, searched, reference, changes, first):
    """Also if it is stopped inside a generation or at the end of the shorter study. Halving ends paused ones there."""
    database = opened(tiny(*changes, f"trials={first}"))
    searched(tiny(*changes, f"trials={first}"), database)
    database.close()
    grown = opened(tiny(*changes))
    searched(tiny(*changes), grown)

    assert numbers(records.read(grown.folder)) == reference
