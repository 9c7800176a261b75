"""What the schedulers reach on recorded learning curves, and how the race with other searches keeps its logs."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
import replay
from contest import Contest, Part, settle, write_offer

TABLE = np.load(replay.TABLE)
SHARES = (0.05, 0.1, 0.2)
"""Of the budget: of 200 complete trainings."""
EXPECTED = {
    "cosine, all epochs": (3.17, 2.95, 2.84),
    "cosine, median": (3.08, 2.87, 2.79),
    "averaged, median": (2.92, 2.69, 2.58),
    "averaged, halving": (2.69, 2.59, 2.56),
}
"""Mean validation errors in %, of the schedulers as they were on 2026-11-27."""
TOLERANCE = 0.03
"""In percentage points; the schedulers differ by more where it matters."""


@pytest.mark.parametrize("name", EXPECTED)
def test_mean_error_of_the_best_so_far_over_random_orders(name):
    found = replay.errors(*replay.contestants(TABLE)[name], SHARES).mean(axis=0)

    assert found == pytest.approx(EXPECTED[name], abs=TOLERANCE)


def test_a_paused_trial_continues_where_it_paused():
    """A quarter of the trials after an epoch is promoted: the best of the first four, then the better fifth."""
    accuracy = [[number / 10 + epoch / 1000 for epoch in range(12)] for number in range(6)]
    curves = replay.Curves(accuracy, [1.0] * 6, budget=72.0)

    epochs = list(replay.run(curves, replay.Halving([1.0] * 6), [3, 1, 2, 0, 4, 5], seconds=11.0))

    assert [seconds for seconds, _ in epochs] == list(range(1, 12))
    assert [value for _, value in epochs] == pytest.approx(
        [0.3, 0.1, 0.2, 0.0, 0.301, 0.302, 0.303, 0.4, 0.401, 0.402, 0.403]
    )


def test_a_stopped_trial_is_not_continued():
    accuracy = [[0.5] * 12] * 5 + [[0.4] * 12]
    curves = replay.Curves(accuracy, [1.0] * 6, budget=72.0)

    epochs = list(replay.run(curves, replay.contestants(TABLE)["cosine, median"][1](), range(6), seconds=72.0))

    assert len(epochs) == 5 * 12 + 3


def test_no_epoch_ends_after_the_seconds():
    curves = replay.Curves([[0.5] * 12], [1.0], budget=12.0)

    assert len(list(replay.run(curves, replay.Complete(), [0], seconds=3.5))) == 3


def test_the_best_three_are_trained_to_the_end_once_no_trial_is_new():
    accuracy = [[number / 10] * 12 for number in range(5)]
    curves = replay.Curves(accuracy, [1.0] * 5, budget=60.0)

    epochs = list(replay.run(curves, replay.Halving([1.0] * 5), range(5), seconds=60.0))

    assert [[value for _, value in epochs].count(number / 10) for number in range(5)] == [1, 1, 12, 12, 12]


@pytest.mark.parametrize("training", ["averaged", "latest", "cosine"])
def test_every_recorded_training_is_complete(training):
    assert TABLE[f"{training}_accuracy"].shape == TABLE[f"{training}_loss"].shape == (100, replay.EPOCHS)
    assert np.isfinite(TABLE[f"{training}_accuracy"]).all()
    assert np.isfinite(TABLE[f"{training}_loss"]).all()


@dataclass(frozen=True)
class Always:
    """A model that gives every input the same class."""

    label: int

    def predict(self, inputs):
        return np.full(len(inputs), self.label)


def test_the_log_of_a_contender_has_its_improvements_in_time_and_tests_the_best_at_the_marks(tmp_path):
    contest = Contest("mnist", "mnist", "", str(tmp_path), seed=0, seconds=100.0, started=1000.0)
    contest.__dict__["test"] = Part(np.zeros((4, 1), np.float32), np.array([0, 0, 0, 1]))
    for seconds, error, label in ((20, 0.5, 0), (50, 0.4, 1), (55, 0.45, 0), (90, 0.3, 0), (101, 0.1, 1)):
        write_offer(tmp_path, contest.started + seconds, error, Always(label))

    settle(contest, tmp_path / "log.jsonl")

    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["seconds"] for row in rows] == pytest.approx([20, 50, 90])
    assert [row["validation_error"] for row in rows] == [0.5, 0.4, 0.3]
    assert [row["test_error"] for row in rows] == [None, 0.75, 0.25]
