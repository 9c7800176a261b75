"""Every implementation of `Tracker` behaves alike: MLflow, and the one in memory that other tests use."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from memory_tracker import MemoryTracker
from recorded import model_of

from sweep.tracking.tracker import Point, Tracker, TrackerError

# MLflow 3.17 still uses a loader that SQLAlchemy 2.1 deprecates, which we cannot change.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:sqlalchemy.exc.SADeprecationWarning")
DATASET = {"name": "digits", "digest": "ab" * 32, "train": 3, "validation": 2, "test": 1, "classes": 10}


def mlflow_tracker(folder: Path, migrated: Path) -> Tracker:
    from sweep.tracking.mlflow.client import MlflowTracker

    shutil.copy(migrated, folder / "mlflow.db")
    return MlflowTracker(f"sqlite:///{folder / 'mlflow.db'}")


@pytest.fixture(params=["memory", "mlflow"])
def any_tracker(request: pytest.FixtureRequest, tmp_path: Path, migrated: Path) -> Tracker:
    return MemoryTracker() if request.param == "memory" else mlflow_tracker(tmp_path, migrated)


def test_an_experiment_is_found_once_it_was_created(any_tracker: Tracker, tmp_path: Path) -> None:
    any_tracker.check_connection()
    assert any_tracker.find_experiment("tiny") is None

    created = any_tracker.create_experiment("tiny", tmp_path / "tiny", {"kind": "new"})
    again = any_tracker.create_experiment("tiny", tmp_path / "tiny", {"kind": "other"})
    any_tracker.tag_experiment(created.experiment_id, {"view": "table"})

    found = any_tracker.find_experiment("tiny")
    assert found is not None
    assert created.experiment_id == again.experiment_id == found.experiment_id
    assert (found.tags["kind"], found.tags["view"]) == ("new", "table")
    assert any_tracker.read_experiment(created.experiment_id) == found
    assert any_tracker.read_experiment("999") is None


def test_runs_are_found_by_a_tag_oldest_first_until_they_are_deleted(any_tracker: Tracker, tmp_path: Path) -> None:
    place = any_tracker.create_experiment("tiny", tmp_path / "tiny", {}).experiment_id
    for name, started in (("late", 2000), ("early", 1000), ("gone", 500)):
        any_tracker.create_run(place, name, started, {"sweep.study": "a"})
    any_tracker.create_run(place, "other", 1, {"sweep.study": "b"})
    for run in any_tracker.find_runs(place, "sweep.study", "a"):
        if run.name == "gone":
            any_tracker.delete_run(run.run_id)

    found = list(any_tracker.find_runs(place, "sweep.study", "a"))

    assert [run.name for run in found] == ["early", "late"]
    assert [(run.status, run.ended, run.has_dataset) for run in found] == [("RUNNING", None, False)] * 2


def test_a_run_returns_what_was_stored(any_tracker: Tracker, tmp_path: Path) -> None:
    place = any_tracker.create_experiment("tiny", tmp_path / "tiny", {}).experiment_id
    run_id = any_tracker.create_run(place, "one", 1000, {"sweep.study": "a"}).run_id
    points = [Point("loss", 0.5, 1000, 0), Point("loss", math.nan, 1001, 1), Point("loss", 0.25, 1002, 2)]
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "epochs.csv").write_bytes(b"1,2")

    any_tracker.log(run_id, points, {"width": "16"}, {"outcome": "complete"})
    any_tracker.log(run_id, points[:2], {"width": "16"}, {"outcome": "pruned"})  # a repeated point stays single
    any_tracker.log_dataset(run_id, DATASET)
    any_tracker.send_files(run_id, tmp_path / "files")
    any_tracker.update_run(run_id, "two", "FINISHED", 3000)

    (found,) = any_tracker.find_runs(place, "sweep.study", "a")
    assert (found.name, found.status, found.ended, found.has_dataset) == ("two", "FINISHED", 3000, True)
    assert found.params == {"width": "16"}
    assert found.tags["outcome"] == "pruned"
    assert found.points["loss"] == points[2:]
    history = any_tracker.read_history(run_id, ["loss"])["loss"]
    assert [repr(point) for point in history] == [repr(point) for point in points]
    assert any_tracker.read_files(run_id, ["epochs.csv", "weights.npz"]) == {"epochs.csv": b"1,2"}


def test_a_param_is_written_once(any_tracker: Tracker, tmp_path: Path) -> None:
    place = any_tracker.create_experiment("tiny", tmp_path / "tiny", {}).experiment_id
    run_id = any_tracker.create_run(place, "one", 1000, {}).run_id
    any_tracker.log(run_id, [], {"width": "16"}, {})

    with pytest.raises(TrackerError):
        any_tracker.log(run_id, [], {"width": "32"}, {})


def test_a_model_is_registered_once_for_its_weights(
    any_tracker: Tracker, tmp_path: Path, scratch: Callable[[], Path]
) -> None:
    place = any_tracker.create_experiment("tiny", tmp_path / "tiny", {}).experiment_id
    run_id = any_tracker.create_run(place, "study", 1000, {}).run_id
    models = [model_of(tmp_path / str(seed) / "champion.npz", seed, run_id) for seed in (1, 2)]

    for one in (models[0], models[0], models[1]):
        any_tracker.register_model(run_id, one, scratch())

    versions = [any_tracker.find_model("sweep-tiny", one.weights_sha256) for one in models]
    assert all(versions)
    assert versions[0].version != versions[1].version
    assert [version.is_champion for version in versions] == [False, True]
    assert [any_tracker.missing_model_files(version) for version in versions] == [[], []]
    assert any_tracker.find_model("sweep-tiny", "ab" * 32) is None
    assert [any_tracker.find_model_names(study) for study in ("5eed", "other")] == [["sweep-tiny"], []]
    assert [any_tracker.find_model_owners(name) for name in ("sweep-tiny", "none")] == [{"5eed"}, set()]
    any_tracker.delete_run(run_id)
    assert any_tracker.find_model("sweep-tiny", models[1].weights_sha256) is None


def test_the_name_of_a_model_may_have_a_quote(
    any_tracker: Tracker, tmp_path: Path, scratch: Callable[[], Path]
) -> None:
    """A user may rename it."""
    place = any_tracker.create_experiment("tiny", tmp_path / "tiny", {}).experiment_id
    run_id = any_tracker.create_run(place, "study", 1000, {}).run_id
    one = replace(model_of(tmp_path / "champion.npz", 1, run_id), name="Ann's network")
    any_tracker.register_model(run_id, one, scratch())

    found = any_tracker.find_model(one.name, one.weights_sha256)
    assert found is not None
    assert found.is_champion
    assert any_tracker.find_model_owners(one.name) == {"5eed"}


def test_a_version_whose_run_was_purged_is_registered_again(
    any_tracker: Tracker, tmp_path: Path, scratch: Callable[[], Path]
) -> None:
    """`mlflow gc` removes a run for good, and leaves the registered version that it held."""
    place = any_tracker.create_experiment("tiny", tmp_path / "tiny", {}).experiment_id
    purged, other = (any_tracker.create_run(place, "study", 1000, {}).run_id for _ in range(2))
    one = model_of(tmp_path / "champion.npz", 1, other)
    any_tracker.register_model(purged, one, scratch())
    if isinstance(any_tracker, MemoryTracker):
        del any_tracker.runs[purged]
    else:
        any_tracker._client._tracking_client.store._hard_delete_run(purged)

    assert any_tracker.find_model("sweep-tiny", one.weights_sha256) is None
    any_tracker.register_model(other, one, scratch())
    found = any_tracker.find_model("sweep-tiny", one.weights_sha256)
    assert found is not None
    assert (found.run_id, found.is_champion) == (other, True)


@pytest.fixture
def scratch(tmp_path: Path) -> Callable[[], Path]:
    """Makes empty folders."""
    numbers = iter(range(100))

    def make() -> Path:
        path = tmp_path / f"scratch{next(numbers)}"
        path.mkdir()
        return path

    return make
