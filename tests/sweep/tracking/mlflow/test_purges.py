"""Deletes, restores and `mlflow gc` of a study's runs and experiment in MLflow itself: one sync brings all back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from recorded import finished

from sweep.tracking.diff import YOURS
from sweep.tracking.doctor import examine
from sweep.tracking.mlflow.client import MlflowClient, MlflowTracker
from sweep.tracking.reconcile import sync

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("without_pictures"),
    # MLflow 3.17 still uses a loader that SQLAlchemy 2.1 deprecates, which we cannot change.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader:sqlalchemy.exc.SADeprecationWarning"),
]


class Place:
    """A home with a finished study that was sent to MLflow."""

    def __init__(self, home: Path) -> None:
        self.uri = f"sqlite:///{home / 'mlflow.db'}"
        self.folder = finished(home / "digits").close()
        self.client = MlflowClient(self.uri)
        self.sync()

    def sync(self) -> int:
        """Sync once; how many runs were created."""
        return sync(self.folder, MlflowTracker(self.uri), active=False).runs_created

    def run_id(self, key: str) -> str:
        """The only living run with this key, in any experiment."""
        experiments = [one.experiment_id for one in self.client.search_experiments()]
        (run,) = self.client.search_runs(experiments, f"tags.`sweep.key` = '{key}'")
        return str(run.info.run_id)

    def gc(self) -> None:
        """Remove for good what is deleted."""
        command = [sys.executable, "-m", "mlflow", "gc", "--backend-store-uri", self.uri]
        subprocess.run(command, check=True, capture_output=True, env=os.environ | {"MLFLOW_TRACKING_URI": self.uri})

    @property
    def experiment_id(self) -> str:
        """Of the study's experiment, under its own name."""
        return str(self.client.get_experiment_by_name("digits").experiment_id)


def delete_runs(*keys: str) -> Callable[[Place], None]:
    def apply(place: Place) -> None:
        for key in keys:
            place.client.delete_run(place.run_id(key))

    return apply


def delete_experiment(place: Place) -> None:
    place.client.delete_experiment(place.experiment_id)


def delete_and_restore_in_between(place: Place) -> None:
    """A sync while the runs are deleted makes copies, which go when the user restores the first ones."""
    runs = [place.run_id(key) for key in ("study", "search/3")]
    for run_id in runs:
        place.client.delete_run(run_id)
    place.sync()
    for run_id in runs:
        place.client.restore_run(run_id)


CASES: dict[str, tuple[Callable[[Place], None], bool]] = {
    "parent": (delete_runs("study"), True),
    "trial": (delete_runs("search/3"), True),
    "parent and trials": (delete_runs("study", "search/0", "search/3", "confirm/1"), True),
    "experiment": (delete_experiment, True),
    "experiment without gc": (delete_experiment, False),
    "restored": (delete_and_restore_in_between, False),
    "restored and gc": (delete_and_restore_in_between, True),
}


@pytest.mark.parametrize("case", CASES)
def test_one_sync_brings_everything_back(tmp_path: Path, migrated: Path, case: str) -> None:
    """A registered version whose run is gone is made again too."""
    shutil.copy(migrated, tmp_path / "mlflow.db")
    place = Place(tmp_path)
    place.client.update_run(place.run_id("search/5"), name="mine")
    damage, purge = CASES[case]
    damage(place)
    if purge:
        place.gc()

    place.sync()

    found = examine(place.folder, MlflowTracker(place.uri), active=False, fix=False)[0]
    assert [one for one in found if one.kind != YOURS] == []
    assert place.sync() == 0
    runs = place.client.search_runs([place.experiment_id], "tags.`sweep.key` LIKE '%/%'")
    assert {run.data.tags["mlflow.parentRunId"] for run in runs} == {place.run_id("study")}
    version = place.client.get_model_version_by_alias("sweep-digits", "champion")
    assert place.client.get_run(version.run_id).info.lifecycle_stage == "active"
    if "experiment" not in case:
        assert place.client.get_run(place.run_id("search/5")).info.run_name == "mine"


def test_a_renamed_experiment_and_model_are_followed_by_their_tags(tmp_path: Path, migrated: Path) -> None:
    """Also if the file with their ids was lost."""
    shutil.copy(migrated, tmp_path / "mlflow.db")
    place = Place(tmp_path)
    place.client.rename_experiment(place.experiment_id, "our digits")
    place.client.rename_registered_model("sweep-digits", "our-champion")
    (place.folder / "mlflow.json").unlink()

    assert place.sync() == 0
    assert "digits" not in [one.name for one in place.client.search_experiments()]
    assert [one.name for one in place.client.search_registered_models()] == ["our-champion"]
    assert examine(place.folder, MlflowTracker(place.uri), active=False, fix=False)[0] == []
