"""Each plot renders small arrays, including empty ones, on the given axes."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

from reports.analysis.axes import Axis
from reports.analysis.confirmation import ConfirmedTrial
from reports.analysis.confusion import Confusion
from reports.analysis.learning_curves import Band
from reports.analysis.progress import Progress
from reports.drawing import plots, points, scales, style

NONE = np.empty(0)
LOOKS = style.looks([7, 3], baseline=0)
RATE = Axis("rate", "rate", "rate", "log", False, 1e-4, 1e-2)


@pytest.fixture
def ax():
    """Axes that must render when the test is over."""
    figure = Figure()
    yield figure.add_subplot()
    figure.savefig(io.BytesIO(), format="pdf")


def test_a_trial_has_one_style_and_a_unique_colour():
    looks = style.looks([5, 2, 9, 1, 4], baseline=0)

    assert len({look.colour for look in looks.values()}) == 6
    assert len({str(look.marker) for look in looks.values()}) == 6
    assert style.looks([5, 2], baseline=0)[5] == looks[5]


def test_best_so_far(ax):
    shown = Progress(
        np.array([0, 7]), ("complete", "pruned"), np.array([0.9, np.nan]), np.array([0.9, 0.9]), np.array([1.0, 2.0])
    )
    scales.objective_axis(ax, (80, 95), maximize=True)
    plots.best_so_far(ax, np.array([1.0, 2.0]), shown, 100, (80, 95), LOOKS)
    plots.unvalued(ax, np.array([1.0, 2.0]), shown, maximize=True)

    low, high = ax.get_ylim()
    assert low < 80
    assert high == 95


@pytest.mark.parametrize("maximize", [True, False])
def test_scatter_draws_trials_without_a_value_in_the_strip(ax, maximize):
    x, value = np.array([1e-3, 2e-3, 3e-3, np.nan]), np.array([0.5, np.nan, 99.0, 0.4])
    scales.axis_scale(ax, RATE)
    scales.objective_axis(ax, (0, 1), maximize=maximize)
    outcomes = ("complete", "diverged", "pruned", "complete")
    trials = [SimpleNamespace(outcome=outcome, number=number) for number, outcome in enumerate(outcomes, 5)]
    plots.scatter(ax, x, value, trials, (0, 1), maximize=maximize)

    assert sorted(point.trial for point in points.named(ax)) == [5, 6, 7]


def test_scatter_of_nothing(ax):
    plots.scatter(ax, NONE, NONE, [], (0, 1), maximize=True)


@pytest.mark.parametrize(
    "axis",
    [
        RATE,
        Axis("n", "n", "n", "log", True, 64, 512),
        Axis("k", "k", "k", "linear", True, 1, 3),
        Axis("f", "f", "f", "linear", False, 0.2, 0.2),
        Axis("c", "c", "c", "choice", False, 0, 1, ("$_{", "<b>")),
        Axis("c", "c", "c", "choice", False, 0, 0, ("only",)),
        Axis("c", "c", "c", "choice", False, 0, 4, tuple("a long name of a choice" for _ in range(5))),
    ],
)
def test_every_axis_renders(ax, axis):
    style.frame(ax, title=axis.name, x=axis.label)
    scales.axis_scale(ax, axis)


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        (RATE, [1e-4, 1e-3, 1e-2]),
        (Axis("n", "n", "n", "log", True, 64, 512), [64, 128, 256, 512]),
        (Axis("x", "x", "x", "log", False, 0.011, 0.012), [0.011, 0.012]),
        (Axis("k", "k", "k", "linear", True, 1, 3), [1, 2, 3]),
    ],
)
def test_ticks_are_round_numbers_inside_the_range(axis, expected):
    assert scales.ticks(axis) == pytest.approx(expected)


def test_only_trials_with_the_same_choice_are_offset():
    choice = Axis("c", "c", "c", "choice", False, 0, 1, ("a", "b"))
    found = scales.spread(choice, np.zeros(4), [0, 1, 2, 3])

    assert len(set(found)) == 4
    assert np.abs(found).max() <= 0.15
    np.testing.assert_array_equal(scales.spread(RATE, np.ones(2), [0, 1]), np.ones(2))


def test_highlighted_curves_and_other_trials(ax):
    plots.rest(ax, Band(np.array([1.0, 2.0]), np.array([0.1, 0.1]), np.array([0.2, 0.3]), (), 6), 1.0)
    plots.rest(ax, Band(NONE, NONE, NONE, (np.array([0.5, np.nan]),), 1), 1.0)
    plots.curve(ax, np.array([0.5, 0.4, np.nan]), 2, LOOKS[7], 7)
    scales.same_window([ax], [np.array([0.5, 0.0, np.nan])], log=True)


@pytest.mark.parametrize("log", [True, False])
def test_a_window_of_no_curves(ax, log):
    scales.same_window([ax], [], log=log)


def test_confirmation_of_one_seed(ax):
    rows = [ConfirmedTrial(7, 0.9, np.array([0.8])), ConfirmedTrial(0, np.nan, np.array([0.7, 0.8]))]
    plots.confirmation(ax, rows, 100.0, LOOKS, ["Trial 7", "Baseline"], log=False)


def test_an_interval_that_does_not_exist(ax):
    plots.interval(ax, 0.0, np.nan, np.nan, LOOKS[7])


def test_confusion_of_many_classes_and_without_mistakes(ax):
    names = tuple(str(k) for k in range(30))
    plots.confusion(ax, Confusion(np.eye(30, dtype=np.int64), names, "test", 0), names, rotated=True)


def test_outcomes_and_shares_without_trials(ax):
    plots.outcomes(ax, {}, {})
    plots.shares(ax, NONE)


def test_the_last_epoch_belongs_to_the_last_bin(ax):
    plots.shares(ax, np.array([1.0, 0.1]))
    bars = [patch for patch in ax.patches if patch.get_height() == 1 and patch.get_width() == pytest.approx(5)]

    assert [round(bar.get_x()) for bar in bars] == [5, 95]
