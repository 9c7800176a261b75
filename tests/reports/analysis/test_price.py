"""The price of a proposed study: the measured times, multiplied by what changes."""

from dataclasses import replace

import pytest

from reports.analysis.next_study import Change
from reports.analysis.price import price

EPOCHS = 4


@pytest.fixture
def record(made_up):
    """Ten trials of 4 s, one of them stopped after a quarter of its epochs, and three confirming runs of 5 s."""
    base = made_up(10, epochs=EPOCHS, outcome="complete")
    trials = [replace(trial, seconds=4.0) for trial in base.trials]
    trials[3] = replace(trials[3], seconds=1.0, epochs=trials[3].epochs[:1])
    runs = tuple(replace(trials[0], role="confirm", seconds=5.0) for _ in range(3))
    study = {**base.study, "trials": 10, "confirm": {"top": 3, "repeats": 3}}
    study["baseline"] = {**study["baseline"], "epochs": EPOCHS}
    return replace(base, trials=tuple(trials), confirm=runs, study=study)


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({}, 37 + 15),
        ({"trials": 20}, 2 * 37 + 15),
        ({"baseline.epochs": 6}, 1.5 * (37 + 15)),
        ({"confirm.repeats": 6}, 37 + 2 * 15),
        ({"pruner": "none"}, 40 + 15),
        ({"trials": 30, "baseline.epochs": 8, "confirm.repeats": 9}, 2 * (3 * 37 + 3 * 15)),
    ],
)
def test_the_price_follows_from_the_measured_times(record, changes, seconds):
    found = price(record, [Change(key, None, new, "") for key, new in changes.items()])

    assert found.proposed == pytest.approx(seconds)
    assert found.reported == 37 + 15


def test_where_minutes_are_the_limit_there_is_no_price(record):
    assert price(replace(record, study={**record.study, "trials": None, "minutes": 3.0}), []) is None
    assert price(replace(record, trials=(), confirm=()), []) is None
