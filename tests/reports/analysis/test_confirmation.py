"""Findings on small records, calculated by hand."""

import base64
import math
from dataclasses import replace

import numpy as np
import pytest

from reports.analysis.axes import axes, values
from reports.analysis.best_epochs import best_epochs
from reports.analysis.confirmation import confirmed_trials, paired_difference
from reports.analysis.confusion import LONGEST_NAME, confusion
from reports.analysis.failures import failure_causes
from reports.analysis.final_models import final_accuracy
from reports.analysis.learning_curves import band
from reports.analysis.mistakes import confident_mistakes
from reports.analysis.progress import search_progress
from reports.analysis.standing import standing, winner
from reports.analysis.statistics import wilson
from reports.analysis.wording import accuracy, duration, loss, ordinal, setting, short_names
from reports.drawing.scales import window
from reports.pages.context import notable


def with_values(record, found, outcomes=None):
    """The record with these objective values; None is a trial without one."""
    outcomes = outcomes or ["complete" if value is not None else "diverged" for value in found]
    states = {"complete": "complete", "failed": "failed"}
    trials = tuple(
        replace(t, value=v, outcome=o, state=states.get(o, "pruned"))
        for t, v, o in zip(record.trials, found, outcomes, strict=True)
    )
    return replace(record, trials=trials)


def test_gain_is_positive_when_the_best_is_better_whatever_the_direction(made_up):
    up = with_values(made_up(3, objective="validation_accuracy"), [0.90, 0.95, 0.80])
    down = with_values(made_up(3, objective="validation_loss"), [0.50, 0.75, 0.25])

    assert standing(up).best.number == 1
    assert standing(up).gain == pytest.approx(0.05)
    assert standing(down).best.number == 2
    assert standing(down).gain == pytest.approx(0.25)


def test_best_so_far_ignores_pruned_and_broken_trials(made_up):
    record = with_values(
        made_up(5, outcome="complete"),
        [0.90, 0.99, None, 0.95, 0.93],
        ["complete", "pruned", "diverged", "complete", "complete"],
    )
    record = replace(record, trials=tuple(replace(t, seconds=10.0, finished=None) for t in record.trials))

    found = search_progress(record)

    np.testing.assert_array_equal(found.number, [0, 1, 2, 3, 4])
    np.testing.assert_array_equal(found.value, [0.90, np.nan, np.nan, 0.95, 0.93])
    np.testing.assert_array_equal(found.best, [0.90, 0.90, 0.90, 0.95, 0.95])
    np.testing.assert_array_equal(found.seconds, [10, 20, 30, 40, 50])


def test_trials_are_in_the_order_in_which_they_ended(made_up):
    """By the record, not by the clock, which may have gone back."""
    record = made_up(3, outcome="complete")
    order = zip(record.trials, (9, 8, 4), strict=True)
    record = replace(record, trials=tuple(replace(trial, sequence=sequence) for trial, sequence in order))

    assert list(search_progress(record).number) == [2, 1, 0]


@pytest.mark.parametrize("outcome", ["pruned", "failed", "diverged"])
def test_without_a_completed_trial_there_is_no_best(made_up, outcome):
    record = made_up(4, outcome=outcome)
    found = standing(record)

    assert (found.best, found.baseline, found.gain, found.finished, found.complete) == (None, None, None, 4, 0)
    assert winner(record) is None
    assert notable(record) == []
    assert confusion(record) is None


def test_no_trials_at_all(made_up):
    record = made_up(0, planned=60)

    assert standing(record).finished == 0
    assert not standing(record).over
    assert search_progress(record).number.size == 0
    assert band(record, "validation_loss", []).trials == 0
    assert best_epochs(record).counted.size == 0


def test_a_sweep_is_over_when_every_trial_has_finished(made_up):
    assert standing(made_up(6)).over
    assert not standing(made_up(6, running=1)).over
    assert not standing(made_up(6, planned=7)).over


def test_window_excludes_outliers_but_includes_the_baseline():
    low, high = window(np.array([0.97, 0.98, 0.975, 0.982, 0.1, np.nan]), [0.96], maximize=True)

    assert 0.95 < low < 0.96
    assert 0.982 < high < 0.99


def test_window_of_a_loss_is_cut_at_its_upper_end():
    low, high = window(np.array([0.1, 0.11, 0.12, 0.13, 9.0]), [], maximize=False)

    assert 0.09 < low < 0.1
    assert 0.13 < high < 0.2


def test_window_of_one_value_and_of_none():
    low, high = window(np.array([0.5]), [], maximize=True)

    assert low < 0.5 < high
    assert window(np.array([np.nan]), [], maximize=True) == (0.0, 1.0)


def test_few_other_trials_are_lines_and_many_are_a_band(made_up):
    few, many = made_up(4, outcome="complete"), made_up(12, outcome="complete")

    assert len(band(few, "validation_loss", [0]).lines) == 3
    found = band(many, "validation_loss", [0])
    assert found.lines == ()
    np.testing.assert_array_equal(found.epoch, np.arange(1, 13))
    assert (found.low < found.high).all()


@pytest.mark.parametrize(
    ("low", "high", "finding"),
    [
        (0.1, 0.3, "better"),
        (-0.3, -0.1, "worse"),
        (-0.1, 0.3, "not distinguishable"),
        (None, None, "not distinguishable"),
    ],
)
def test_a_paired_difference_in_words(made_up, low, high, finding):
    record = made_up(30, confirmed=True)
    paired = {"difference": 0.1, "low": low, "high": high, "n": 3, "better": False}

    assert paired_difference(replace(record, verdict={**record.verdict, "paired": paired})).finding == finding


def test_no_paired_difference_when_the_baseline_is_the_champion(made_up):
    record = made_up(30, confirmed=True)

    assert paired_difference(replace(record, verdict={**record.verdict, "paired": None})) is None


def test_confirmation_uses_the_repeats_before_there_is_a_verdict(made_up):
    record = replace(made_up(30, confirmed=True), verdict=None)
    found = confirmed_trials(record)

    assert {row.trial for row in found} == {repeat.candidate for repeat in record.confirm}
    assert all(len(row.values) == 3 for row in found)


def test_confusion_counts_mistakes(made_up):
    record = made_up(1, outcome="complete")
    record = replace(record, trials=(replace(record.trials[0], confusion=((5, 2), (1, 4))),))
    found = confusion(record)

    assert (found.split, found.trial, found.examples, found.errors) == ("validation", 0, 12, 3)
    assert found.worst_pairs() == [("0", "1", 2, 2 / 7), ("1", "0", 1, 1 / 5)]
    np.testing.assert_allclose(found.recall(), [5 / 7, 4 / 5])


def test_mistakes_are_images_with_the_most_confident_first(made_up):
    found = confident_mistakes(made_up(30, confirmed=True))

    assert found[0].image.shape == (28, 28)
    assert [m.probability for m in found] == sorted((m.probability for m in found), reverse=True)


@pytest.mark.parametrize("shape", [[784], [2, 14, 28]])
def test_mistakes_have_no_image_if_the_examples_are_not_images(made_up, shape):
    record = made_up(30, confirmed=True)
    found = confident_mistakes(replace(record, dataset={**record.dataset, "shape": shape}))
    recorded = record.verdict["test"]["mistakes"]

    assert [mistake.image for mistake in found] == [None] * 24
    assert {(m.row, m.label, m.predicted) for m in found} == {
        (entry["index"], entry["label"], entry["predicted"]) for entry in recorded
    }


@pytest.mark.parametrize(
    ("pixels", "drawn"),
    [
        (np.array([0, 51, 255] * 4, np.uint8), [0, 0.2, 1]),
        (np.array([0, 0.2, 1] * 4, np.float32), [0, 0.2, 1]),
        (np.array([-1, 0, 1] * 4, np.float64), [0, 0.5, 1]),
    ],
)
def test_images_in_colour_are_drawn_from_0_to_1(made_up, pixels, drawn):
    record = made_up(30, confirmed=True)
    stored = {"image": base64.b64encode(pixels.tobytes()).decode(), "dtype": str(pixels.dtype)}
    entry = {**record.verdict["test"]["mistakes"][0], **stored}
    verdict = {**record.verdict, "test": {**record.verdict["test"], "mistakes": [entry]}}
    found = confident_mistakes(replace(record, verdict=verdict, dataset={**record.dataset, "shape": [2, 2, 3]}))

    assert found[0].image.shape == (2, 2, 3)
    np.testing.assert_allclose(found[0].image[0, 0], drawn, atol=1e-7)


def test_one_channel_is_an_image_in_grey(made_up):
    record = made_up(30, confirmed=True)
    found = confident_mistakes(replace(record, dataset={**record.dataset, "shape": [28, 28, 1]}))

    assert found[0].image.shape == (28, 28)


def test_the_confusion_has_the_names_of_the_classes(made_up):
    record = made_up(30, confirmed=True)
    names = [f"a class with a rather long name, number {k}" for k in range(10)]
    found = confusion(replace(record, dataset={**record.dataset, "class_names": names}))

    assert len(set(found.names)) == 10
    assert all(len(name) <= LONGEST_NAME for name in found.names)
    assert confusion(record).names == tuple("0123456789")


def test_names_are_cut_where_they_do_not_become_the_same():
    assert short_names(["setosa", "versicolor"], 6) == ("setosa", "versi…")
    assert short_names(["northern region", "northern reason"], 9) == ("nort…gion", "nort…ason")


def test_causes_that_differ_only_in_numbers_are_grouped(made_up):
    record = made_up(3, outcome="diverged")
    reasons = ["loss became nan in epoch 2", "the worker died", "loss became nan in epoch 3"]
    trials = tuple(replace(t, reason=reason) for t, reason in zip(record.trials, reasons, strict=True))

    assert failure_causes(replace(record, trials=trials)) == {"loss became nan in epoch 2": 2, "the worker died": 1}


SPACE = {
    "layers_of_any_name": {"kind": "layers", "layers": [1, 2], "units": [8, 32], "log": True},
    "share": {"kind": "float", "low": 0.9, "high": 0.9999, "log": "complement"},
    "rate": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True},
    "size": {"kind": "choice", "choices": [32, 64]},
    "drop": {"kind": "float", "low": 0.0, "high": 0.5, "log": False},
}


def test_every_dimension_becomes_axes_with_gaps_where_a_layer_is_absent(made_up):
    trial = made_up(1).trials[0]
    settings = {"layers_of_any_name": (16,), "share": 0.99, "rate": 0.001, "size": 64, "drop": 0.0}
    found = {axis.name: axis for axis in axes(SPACE)}
    at = {name: values(axis, [replace(trial, hyperparameters=settings)])[0] for name, axis in found.items()}

    assert at["number of layers"] == 1
    assert at["width of layer 1"] == 16
    assert math.isnan(at["width of layer 2"])
    assert at["share"] == pytest.approx(0.01)
    assert found["share"].label == "1 − share"
    assert (at["rate"], at["size"]) == (0.001, 1.0)
    assert found["rate"].position(0.001) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("name", "value", "bound"),
    [
        ("rate", 1.05e-4, "lower"),
        ("rate", 9.9e-3, "upper"),
        ("rate", 1e-3, None),
        ("share", 1 - 0.99988, "upper"),
        ("share", 0.099, "lower"),
        ("drop", 0.0, None),
        ("drop", 0.5, "upper"),
        ("size", 1.0, None),
        ("number of layers", 1.0, None),
        ("number of layers", 2.0, "upper"),
    ],
)
def test_bounds_are_those_of_the_hyperparameter_on_its_own_scale(name, value, bound):
    assert next(axis for axis in axes(SPACE) if axis.name == name).bound(value) == bound


def test_decimals_depend_on_the_noise():
    assert accuracy(10_000).text(0.98347) == "98.35\u00a0%"
    assert accuracy(180).text(0.98347) == "98.3\u00a0%"
    assert accuracy(10_000).compared(0.983, 0.979) == "0.40\u00a0points above"
    assert loss().signed(-0.0124) == "−0.012"
    assert loss(size=0.0042).text(0.00421) == "0.0042"
    assert accuracy(10).text(None) == "–"
    assert loss(size=0.0042).text(0.00004) == "4.0e-05"
    assert loss(size=0.0042).signed(0.163049) == "+0.163"
    assert loss(size=0.0042).gain(-0.00003) == "less than 0.0001"
    assert accuracy(180).gain(0.0) == "0\u00a0points"
    assert (loss().text(123456.7), loss().text(1e23), loss().signed(-1e23)) == ("123456.700", "1.0e+23", "−1.0e+23")


def test_settings_are_short_but_distinguish_values_near_one():
    assert setting(0.00123456) == "0.00123"
    assert setting(0.999) == "0.999"
    assert setting(0.99987) == "0.99987"
    assert setting((128, 64)) == "128-64"
    assert setting("cosine") == "cosine"


def test_formatting_helpers():
    assert [ordinal(n) for n in (1, 2, 3, 4, 11, 21, 112)] == ["1st", "2nd", "3rd", "4th", "11th", "21st", "112th"]
    assert [duration(s) for s in (1.26, 59, 600, 7200)] == ["1.3\u00a0s", "59\u00a0s", "10.0\u00a0min", "2.0\u00a0h"]


def test_the_wilson_interval_equals_published_values():
    """81 of 263 gives 0.255 to 0.366 (Newcombe 1998, table I, method 3)."""
    low, high = wilson(81 / 263, 263)

    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    for n in range(1, 2000):  # 1 - high is printed: it must not be -0.0 %
        assert 0 <= wilson(0.0, n)[0] < 1e-12
        assert 0 <= 1 - wilson(1.0, n)[1] < 1e-12


def test_the_test_figure_is_the_mean_of_the_final_models(made_up):
    """0.9806, 0.9813 and 0.9802 have the mean 0.9807; the shipped model is the first and has its own interval."""
    mnist = made_up(confirmed=True)
    found = final_accuracy(mnist)

    assert found.accuracies == pytest.approx((0.9806, 0.9813, 0.9802))
    assert found.mean == pytest.approx(0.9807)
    assert (found.low, found.high) == wilson(found.mean, 10_000)
    assert (found.shipped_low, found.shipped_high) == wilson(found.accuracies[0], 10_000)
    assert final_accuracy(replace(mnist, verdict=None)) is None


def test_the_best_epoch_is_found_if_the_last_is_selected(made_up):
    """A curve that peaks at epoch 3 of 12 is best after a quarter, whichever epoch is selected."""
    record = made_up(1, outcome="complete")
    epochs = record.trials[0].epochs.copy()
    epochs["validation_accuracy"] = [0.5, 0.6, 0.9, *[0.8] * 9]
    trial = replace(record.trials[0], epochs=epochs, selected_epoch=11)
    last = replace(record, trials=(trial,), study={**record.study, "epoch": "last"})

    assert best_epochs(last).counted.tolist() == [0.25]
