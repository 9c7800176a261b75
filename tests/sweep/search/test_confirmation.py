"""The confirmation: screening, fresh splits, final models, and a test set that is opened once."""

import json

import numpy as np
import pytest
from optuna.trial import TrialState

from model import weights
from model.data import datasets
from reports.analysis.final_models import final_accuracy, final_difference
from studies.record import reader as records
from studies.record.folder import Home
from sweep.coordination.coordinator import Coordinator, Stop
from sweep.coordination.progress import Progress
from sweep.search.champion import name_champion
from sweep.search.confirmation import (
    ConfirmationRuns,
    confirmation_plan,
    failed_runs,
    final_plan,
    screening_plan,
    split_seed,
)
from sweep.search.verdict import candidate_results, choose_champion
from sweep.workers.local import LocalPool


def finals(study, record):
    return final_plan(study, record, choose_champion(study, record, candidate_results(study, record)))


@pytest.fixture
def confirmed(tiny, opened, searched, digits_folder, tmp_path):
    """Runs search, confirmation, final models and verdict; returns the verdict and the record."""
    import contextlib
    import io

    from rich.console import Console

    def run(study=None, home="runs"):
        study = study or tiny("trials=4")
        database = opened(study, home)
        searched(study, database, workers=1)
        progress = Progress(Console(file=io.StringIO()), [], study.metric)
        with contextlib.closing(LocalPool(1, database.folder)) as workers:
            coordinator = Coordinator(workers, progress, Stop())
            for make_plan in (screening_plan, confirmation_plan, finals):
                plan = make_plan(study, records.read(database.folder))
                coordinator.run(ConfirmationRuns(study, database, digits_folder, plan))
        record = records.read(database.folder)
        verdict = name_champion(study, database, record, digits_folder)
        return verdict, records.read(database.folder)

    return run


@pytest.fixture(scope="module")
def found():
    """What the tests that only read it share, once it is made."""
    return []


@pytest.fixture
def verdict_and_record(found, confirmed):
    if not found:
        found.append(confirmed())
    return found[0]


def test_the_verdict_follows_from_the_recorded_runs(verdict_and_record):
    """Screening, means, pairs, epochs of the final models, and test results, recomputed from the record."""
    verdict, record = verdict_and_record

    assert record.verdict == json.loads(json.dumps(verdict))
    screens = {run.candidate: run.value for run in record.confirm if run.role == "screen"}
    assert verdict["screened"] == sorted(screens, key=screens.get)
    assert verdict["champion"] == verdict["screened"][0]
    runs = [run for run in record.confirm if run.role == "confirm"]
    assert {(run.candidate, run.split) for run in runs} == {
        (one["trial"], split) for one in verdict["candidates"] for split in (2, 3)
    }
    for one in verdict["candidates"]:
        values = [run.value for run in sorted(runs, key=lambda r: r.split) if run.candidate == one["trial"]]
        assert one["values"] == values
        assert one["mean"] == pytest.approx(np.mean(values))
    finals = [record.confirm[number] for number in verdict["final_trials"]]
    assert [len(run.epochs) for run in finals] == [verdict["epochs"]] * 2
    assert np.isnan(finals[0].epochs["validation_loss"]).all()
    assert np.sum(verdict["test"]["confusion"]) == verdict["test"]["examples"] == record.dataset["test"] == 359
    right = np.trace(verdict["test"]["confusion"]) / 359
    assert verdict["test"]["accuracies"][0] == pytest.approx(right)
    found = final_accuracy(record)
    assert found.mean == pytest.approx(np.mean(verdict["test"]["accuracies"]))
    assert found.shipped_low < right < found.shipped_high
    assert found.low < found.mean < found.high


def test_champion_and_baseline_are_compared_example_by_example(verdict_and_record, digits_folder):
    """The test difference and its interval, recomputed with the weights of the final models."""
    verdict, record = verdict_and_record
    data = datasets.load(digits_folder, None)
    right = {}
    for run in (run for run in record.confirm if run.role == "final"):
        path = record.folder / "confirm" / f"{run.number:04d}" / "weights.npz"
        predicted = weights.load(path).network.predict(data.test.inputs[data.test.rows]).argmax(axis=1)
        right.setdefault(run.candidate, []).append(predicted == data.test.labels[data.test.rows])
    found = final_difference(record)
    difference = np.mean(right[verdict["champion"]], axis=0) - np.mean(right[0], axis=0)

    assert found.mean == pytest.approx(difference.mean())
    assert found.baseline == pytest.approx(np.mean(right[0]))
    assert found.high - found.mean == pytest.approx(1.959964 * difference.std(ddof=1) / np.sqrt(359))


def test_each_repeat_has_its_own_split(verdict_and_record, tiny, digits_folder):
    """No two of them, nor that of the search, have the same validation examples; all candidates share them."""
    _, record = verdict_and_record
    study = tiny("trials=4")
    splits = sorted({run.split for run in record.confirm if run.role != "final"})
    validation = [frozenset(datasets.load(digits_folder, split_seed(study, i)).validation.rows) for i in (0, *splits)]

    assert splits == [1, 2, 3]
    assert len(set(validation)) == 4


def test_confirm_runs_are_trained_for_the_epochs_that_ship(verdict_and_record):
    verdict, record = verdict_and_record
    shipped = {one["trial"]: one["epochs"] for one in verdict["candidates"]}

    for run in record.confirm:
        if run.role in ("confirm", "final"):
            assert len(run.epochs) == shipped[run.candidate]
        if run.role == "confirm":
            assert run.selected_epoch == shipped[run.candidate] - 1


def test_a_champion_that_is_worse_than_the_baseline_gives_way(verdict_and_record, tiny):
    """The interval of the paired difference is below 0."""
    verdict, record = verdict_and_record
    results = [{**one, "values": [9.0 + i / 100 for i in range(8)]} for one in verdict["candidates"]]
    baseline = next(one for one in results if one["trial"] == 0)
    baseline["values"] = [0.1 + i / 101 for i in range(8)]

    assert choose_champion(tiny("trials=4"), record, verdict["candidates"]) == verdict["champion"] != 0
    assert choose_champion(tiny("trials=4"), record, results) == 0


def test_the_champion_is_saved_with_its_metadata(verdict_and_record):
    """champion.npz has the recorded hash; champion.json has its data and results."""
    verdict, record = verdict_and_record
    card = json.loads((record.folder / "champion.json").read_text())

    assert weights.sha256(weights.load(record.folder / "champion.npz").network.theta) == verdict["weights_sha256"]
    assert card["weights_sha256"] == verdict["weights_sha256"]
    assert card["test_accuracy"] == verdict["test"]["accuracies"][0]
    assert (card["dataset"], card["shape"], card["classes"]) == ("digits", [8, 8], 10)


@pytest.mark.slow
def test_the_test_set_is_opened_once(confirmed, tiny, tmp_path):
    """Repeating the same final models does not open it again; another study's are the second opening."""
    first, _ = confirmed()
    again, record = confirmed()
    ledger = Home(tmp_path / "runs").openings.read_text().splitlines()

    assert again == first
    assert first["test"]["opening"] == 1
    assert len(ledger) == 1
    assert json.loads(ledger[0])["uid"] == record.uid
    (tmp_path / "tiny.toml").rename(tmp_path / "second.toml")
    from studies.study_file import load

    other, _ = confirmed(load(str(tmp_path / "second.toml"), ["trials=3", "seed=9"]))
    assert other["test"]["opening"] == 2


def test_a_failed_run_is_reported_and_repeated(tiny, opened, searched, digits_folder):
    """Repeated worker exits must not decide the winner."""
    study = tiny("trials=2")
    database = opened(study)
    searched(study, database, workers=1)
    plan = screening_plan(study, records.read(database.folder))
    failed = ConfirmationRuns(study, database, digits_folder, plan).ask()
    database.confirm.finish(failed.trial._trial_id, TrialState.FAIL, None, {"outcome": "failed", "reason": "killed"})
    (told,) = failed_runs(records.read(database.folder), plan)

    assert told == f"screening run 1 of trial {plan[0].candidate}"
    assert ConfirmationRuns(study, database, digits_folder, plan).remaining() == len(plan)


@pytest.mark.slow
def test_a_baseline_among_the_best_is_run_once(confirmed, tiny):
    """It is a candidate; as champion it has no paired difference."""
    verdict, record = confirmed(tiny("trials=1"))

    assert [one["trial"] for one in verdict["candidates"]] == [0]
    assert verdict["champion"] == 0
    assert verdict["paired"] is None
    assert verdict["test"]["difference"] is None
    assert [run.role for run in record.confirm] == ["confirm"] * 2 + ["final"] * 2


@pytest.mark.slow
def test_more_trials_confirm_only_new_candidates(confirmed, tiny):
    """Recorded runs are kept."""
    _, before = confirmed(tiny("trials=2"))
    _, after = confirmed(tiny("trials=6"))
    kept = {(run.role, run.candidate, run.seed_index) for run in before.confirm}

    assert [run.weights_sha256 for run in before.confirm] == [
        run.weights_sha256 for run in after.confirm[: len(before.confirm)]
    ]
    assert len({(run.role, run.candidate, run.seed_index, len(run.epochs)) for run in after.confirm}) == len(
        after.confirm
    )
    assert kept <= {(run.role, run.candidate, run.seed_index) for run in after.confirm}
