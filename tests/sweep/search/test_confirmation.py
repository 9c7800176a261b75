"""The confirmation: paired fresh seeds, intervals, and a test set that is opened once."""

import json

import numpy as np
import pytest
from optuna.trial import TrialState

from model import weights
from model.metrics import METRICS
from reports.analysis.final_models import final_accuracy
from studies.record import reader as records
from sweep.coordination.coordinator import Coordinator, Stop
from sweep.coordination.progress import Progress
from sweep.search import confirmation as champion
from sweep.search.confirmation import Repeats, paired
from sweep.workers.local import LocalPool


@pytest.fixture
def confirmed(tiny, opened, searched, digits_folder, tmp_path):
    """Runs search, confirmation, final models and verdict; returns the verdict and the record."""
    import contextlib
    import io

    from rich.console import Console

    def run(study=None, home="runs"):
        study = study or tiny("trials=4")
        database = opened(study, home)
        searched(study, database)
        progress = Progress(Console(file=io.StringIO()), [], study.metric)
        with contextlib.closing(LocalPool(2, database.folder)) as workers:
            coordinator = Coordinator(workers, progress, Stop())
            record = records.read(database.folder)
            coordinator.run(Repeats(study, database, digits_folder, champion.confirm_plan(study, record)))
            found = champion.summaries(study, records.read(database.folder))
            final = champion.final_plan(study, record, champion.choose(study, found))
            coordinator.run(Repeats(study, database, digits_folder, final))
        record = records.read(database.folder)
        verdict = champion.conclude(study, database, record, digits_folder, tmp_path / home)
        return verdict, records.read(database.folder)

    return run


def test_the_verdict_follows_from_the_recorded_runs(confirmed):
    """Means, pairs, epochs of the final models, and test results, recomputed from the record."""
    verdict, record = confirmed()

    assert record.verdict == json.loads(json.dumps(verdict))
    runs = [run for run in record.confirm if run.role == "confirm"]
    assert {(run.candidate, run.seed_index) for run in runs} == {
        (one["trial"], seed) for one in verdict["candidates"] for seed in range(2)
    }
    for one in verdict["candidates"]:
        values = [run.value for run in sorted(runs, key=lambda r: r.seed_index) if run.candidate == one["trial"]]
        assert one["values"] == values
        assert one["mean"] == pytest.approx(np.mean(values))
    assert verdict["champion"] == min(verdict["candidates"], key=lambda one: one["mean"])["trial"]
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


def test_the_champion_is_saved_with_its_metadata(confirmed):
    """champion.npz has the recorded hash; champion.json has its data and results."""
    verdict, record = confirmed()
    card = json.loads((record.folder / "champion.json").read_text())

    assert weights.sha256(weights.load(record.folder / "champion.npz").theta) == verdict["weights_sha256"]
    assert card["weights_sha256"] == verdict["weights_sha256"]
    assert card["test_accuracy"] == verdict["test"]["accuracies"][0]
    assert (card["dataset"], card["shape"], card["classes"]) == ("digits", [8, 8], 10)


def test_the_test_set_is_opened_once(confirmed, tiny, tmp_path):
    """Repeating the same final models does not open it again; another study's are the second opening."""
    first, _ = confirmed()
    again, record = confirmed()
    ledger = (tmp_path / "runs" / champion.LEDGER).read_text().splitlines()

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
    searched(study, database)
    plan = champion.confirm_plan(study, records.read(database.folder))
    failed = Repeats(study, database, digits_folder, plan).ask()
    database.confirm.finish(failed.trial._trial_id, TrialState.FAIL, None, {"outcome": "failed", "reason": "killed"})
    (told,) = champion.missing(study, records.read(database.folder))

    assert told == f"confirm run of trial {plan[0].candidate} on seed 0"
    assert Repeats(study, database, digits_folder, plan).remaining() == len(plan)


def test_a_baseline_among_the_best_is_run_once(confirmed, tiny):
    """It is a candidate; as champion it has no paired difference."""
    verdict, record = confirmed(tiny("trials=1"))

    assert [one["trial"] for one in verdict["candidates"]] == [0]
    assert verdict["champion"] == 0
    assert verdict["paired"] is None
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


def test_the_paired_interval_equals_students():
    """Differences 1, 2, 3: mean 2, half-width t(0.975, 2) / sqrt(3) = 4.303 / 1.732; it includes 0."""
    found = paired([2.0, 4.0, 6.0], [1.0, 2.0, 3.0], METRICS["accuracy"], among=1)

    assert found["difference"] == pytest.approx(2.0)
    assert found["high"] - found["difference"] == pytest.approx(4.302653 / np.sqrt(3), rel=1e-6)
    assert not found["better"]
    assert paired([0.1, 0.11, 0.09], [0.5, 0.52, 0.48], METRICS["loss"], among=3)["better"]
    assert paired([0.5, 0.52, 0.48], [0.1, 0.11, 0.09], METRICS["loss"], among=3)["difference"] < 0


@pytest.mark.parametrize(("seeds", "candidates"), [(3, 3), (5, 3), (5, 10)])
def test_false_positives_are_at_most_2_5_percent(seeds, candidates):
    """Of 4,000 studies in which all are truly equal; the uncorrected interval has more than 5 %.

    The bound is three standard errors above 2.5 %.
    """
    rng = np.random.default_rng(12)
    called = {"widened": 0, "plain": 0}
    for scores in rng.normal(size=(4000, candidates + 1, seeds)):
        if champion := np.argmax(scores.mean(axis=1)):
            called["widened"] += paired(scores[champion], scores[0], METRICS["accuracy"], among=candidates)["better"]
            called["plain"] += paired(scores[champion], scores[0], METRICS["accuracy"], among=1)["better"]

    assert called["widened"] / 4000 <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / 4000)
    assert called["plain"] / 4000 > 0.05
