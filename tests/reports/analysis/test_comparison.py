"""Comparison of sweeps, and refusal of incomparable ones."""

import math
from dataclasses import replace

import matplotlib
import numpy as np
import pytest

from reports import pdf
from reports.analysis import comparison as versus
from reports.analysis.confirmation import confirmed_trials
from reports.drawing.layout import HEIGHT, settings
from reports.pages.comparison import comparison

RATE = {"learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True}}


def named(record, name, **study):
    return replace(record, uid=name, study={**record.study, "name": name, **study})


def score(settings):
    return 0.9 + 0.02 * (math.log10(settings["learning_rate"]) + 4)


@pytest.fixture(scope="module")
def two(known):
    """The same question; the second sweep had three times the trials and a wider range."""
    wide = {"learning_rate": {**RATE["learning_rate"], "high": 3e-2}}
    first = named(known(20, score, space=RATE, confirm=5), "first", seed=7)
    second = named(known(60, lambda s: score(s) + 0.01, space=wide, confirm=5, seed=5), "second", seed=7)
    return first, second


def test_other_data_or_another_objective_is_refused(two):
    first, second = two
    with pytest.raises(versus.IncomparableError, match="different data"):
        versus.sides([first, replace(second, dataset={**second.dataset, "digest": "00"})])
    with pytest.raises(versus.IncomparableError, match="ranked by"):
        versus.sides([first, named(second, "second", objective="validation_loss")])
    with pytest.raises(versus.IncomparableError, match="1 different studies"):
        versus.sides([first, named(first, "again", seed=8)])


def test_studies_that_differ_only_in_their_seed_are_one_side(two):
    first, second = two
    found = versus.sides([first, second, named(first, "again", seed=8)])

    assert [side.label for side in found] == ["first (2 seeds)", "second"]


def test_what_differs_in_the_files_is_listed(two):
    rows = {row[0]: row[1:] for row in versus.differences(versus.sides(two))}

    assert rows["trials"] == ("20", "60")
    assert rows["space.learning_rate"] == ("0.0001 to 0.01, log", "0.0001 to 0.03, log")
    assert "dataset" not in rows
    assert "name" not in rows


def test_the_best_so_far_of_repeats_is_a_band(known):
    """Two repeats: after one trial 0.1 and 0.3, after two 0.4 and 0.3."""
    base = known(2, score, space=RATE)

    def of(values):
        trials = tuple(
            replace(t, value=v, seconds=10.0, finished=t.started) for t, v in zip(base.trials, values, strict=True)
        )
        return replace(base, trials=trials)

    side = versus.Side("a", (of([0.1, 0.4]), of([0.3, 0.2])))
    found = versus.by_trials(side)

    np.testing.assert_allclose(found.middle, [0.2, 0.35])
    np.testing.assert_allclose(found.low, [0.1, 0.3])
    np.testing.assert_allclose(found.high, [0.3, 0.4])
    timed = versus.by_time(side, points=5)  # 0, 5, 10, 15, 20 s
    np.testing.assert_allclose(timed.middle, [np.nan, np.nan, 0.2, 0.2, 0.35])


def test_the_equal_budget_is_the_smallest_total(two):
    courses = [versus.by_trials(side) for side in versus.sides(two)]
    trials, best = versus.at_equal(courses)

    assert trials == 20
    assert best == [courses[0].middle[-1], courses[1].middle[19]]


def test_quantiles_of_student_equal_the_tables():
    assert [round(versus.t_quantile(f, 0.975), 3) for f in (1, 2, 4, 9, 30)] == [12.706, 4.303, 2.776, 2.262, 2.042]


def test_intervals_of_differences_calculated_by_hand():
    """Pairs 1, 2, 3: 2 ± 4.303 / sqrt(3). Welch of [0, 2] and [5, 7]: 5 ± 4.303 sqrt(2), with 2 degrees of freedom."""
    paired = versus.in_pairs(np.zeros(3), np.array([1.0, 2, 3]))
    assert (paired.difference, paired.n) == (2, 3)
    assert paired.high == pytest.approx(2 + 4.302653 / math.sqrt(3), rel=1e-5)

    free = versus.welch(np.array([0.0, 2]), np.array([5.0, 7]))
    assert (free.difference, free.low) == (5, pytest.approx(5 - 4.302653 * math.sqrt(2), rel=1e-5))
    assert math.isnan(versus.welch(np.array([0.0]), np.array([5.0])).low)


def test_champions_are_compared_split_by_split_only_on_the_same_splits(two):
    first, second = two
    same = versus.gap(*versus.sides([first, second]))
    other = versus.gap(*versus.sides([first, named(second, "second", seed=9)]))

    assert same.paired.finding == "better"
    assert same.paired.difference == pytest.approx(0.02, abs=0.01)
    assert same.over == "other fresh splits, split by split"
    assert other.over == "other fresh splits; those of the two studies differ"
    assert versus.gap(*versus.sides([first, replace(second, verdict=None)])) is None


def test_a_sweep_with_more_repeats_is_compared_on_those_that_both_have(known):
    """A proposed study has more repeats; its first ones are those of the previous study."""
    made = (known(20, score, space=RATE, confirm=seeds, seed=seeds) for seeds in (3, 5))
    before, after = (named(record, name, seed=7) for record, name in zip(made, ("before", "after"), strict=True))
    found = versus.gap(*versus.sides([before, after]))
    values = [{row.trial: row.values for row in confirmed_trials(record)} for record in (before, after)]
    first, second = (one[record.verdict["champion"]] for one, record in zip(values, (before, after), strict=True))

    assert (len(first), len(second), found.paired.n) == (3, 5, 3)
    assert found.paired.difference == pytest.approx(np.mean(second[:3] - first))
    assert abs(found.paired.difference) > 1e-6
    assert found.over == "other fresh splits, split by split, of the 3 that both have"


def test_records_of_the_first_protocol_are_compared_seed_by_seed(two):
    """Their repeats share a split, so the interval is Student's; with a newer record there are no pairs."""
    older = [replace(record, verdict={k: v for k, v in record.verdict.items() if k != "protocol"}) for record in two]
    new, old, mixed = (versus.gap(*versus.sides(pair)) for pair in (two, older, [older[0], two[1]]))

    assert old.over == "other fresh seeds, seed by seed"
    assert mixed.over == "other fresh seeds; those of the two studies differ"
    overlap = two[0].dataset["validation"] / two[0].dataset["train"]
    widened = math.sqrt(1 + old.paired.n * overlap)
    assert new.paired.high - new.paired.low == pytest.approx((old.paired.high - old.paired.low) * widened)


def test_repeated_sweeps_are_compared_over_sweeps(two):
    first, second = two
    again = [named(record, f"{record.name}-again", seed=8) for record in two]

    assert versus.gap(*versus.sides([first, second, *again])).over == "other seeds of both sweeps"


@pytest.mark.slow
def test_the_comparison_is_drawn_reproducibly(two, tmp_path):
    with matplotlib.rc_context(settings()):
        sheets = comparison(versus.sides(two))
    assert "The champion of second is better than that of first" in sheets[0].finding
    assert all(sheet.y < HEIGHT for sheet in sheets)

    pdf.write_comparison(two, tmp_path / "one.pdf")
    pdf.write_comparison(two, tmp_path / "two.pdf")
    assert (tmp_path / "one.pdf").read_bytes() == (tmp_path / "two.pdf").read_bytes()


@pytest.mark.parametrize("trials", [0, 1])
def test_sweeps_without_results_are_compared_by_their_files(known, two, trials):
    empty = named(known(trials, score, space=RATE), "empty", trials=5)
    with matplotlib.rc_context(settings()):
        sheets = comparison(versus.sides([two[0], empty]))

    assert "cannot be compared yet" in sheets[0].finding
