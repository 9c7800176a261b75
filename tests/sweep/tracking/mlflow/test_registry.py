"""The champion among MLflow's models: stored once, found again after a lost answer, linked to its trial."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from recorded import model_of

from sweep.tracking.mlflow.client import MlflowTracker
from sweep.tracking.tracker import TrackerError

# MLflow 3.17 still uses a loader that SQLAlchemy 2.1 deprecates, which we cannot change.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:sqlalchemy.exc.SADeprecationWarning")
CALLS = (
    "create_logged_model",
    "create_registered_model",
    "create_model_version",
    "set_logged_model_tags",
    "log_outputs",
    "log_batch",
    "finalize_logged_model",
    "set_registered_model_alias",
    "set_registered_model_tag",
)
"""Every call that writes, in their order."""


class Stored:
    """A study's run, a trial's run, and a model that is to be registered."""

    def __init__(self, folder: Path, migrated: Path) -> None:
        shutil.copy(migrated, folder / "mlflow.db")
        self.folder, self.tracker = folder, MlflowTracker(f"sqlite:///{folder / 'mlflow.db'}")
        self.place = self.tracker.create_experiment("tiny", folder / "tiny", {}).experiment_id
        self.study, self.trial = (self.tracker.create_run(self.place, name, 1000, {}).run_id for name in "ab")
        self.model = model_of(folder / "champion.npz", 1, self.trial)

    def register(self) -> None:
        scratch = self.folder / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        self.tracker.register_model(self.study, self.model, scratch)

    def logged(self) -> list[Any]:
        return list(self.tracker._client.search_logged_models([self.place]))


@pytest.fixture
def stored(tmp_path: Path, migrated: Path) -> Stored:
    return Stored(tmp_path, migrated)


def assert_complete(stored: Stored) -> None:
    """One logged model of the trial, one version made from it, the alias on it, and all files where it says."""
    (logged,) = stored.logged()
    version = stored.tracker.find_model("sweep-tiny", stored.model.weights_sha256)
    assert version is not None
    assert (version.version, version.is_champion, version.run_id) == ("1", True, stored.study)
    assert version.source == logged.artifact_location
    assert stored.tracker.missing_model_files(version) == []
    assert (str(logged.status), logged.source_run_id, logged.params) == ("READY", stored.trial, {"width": "16"})
    assert json.loads(logged.tags["mlflow.modelVersions"]) == [{"name": "sweep-tiny", "version": "1"}]
    assert [(one.key, one.value) for one in logged.metrics] == [("test_accuracy", 0.75)]
    outputs = stored.tracker._client.get_run(stored.trial).outputs.model_outputs
    assert [one.model_id for one in outputs] == [logged.model_id]


@pytest.mark.parametrize("lost", CALLS)
def test_a_model_is_complete_after_a_lost_answer(stored: Stored, lost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = stored.tracker._client
    call = getattr(client, lost)

    def lose(*arguments: Any, **named: Any) -> None:
        call(*arguments, **named)
        raise OSError("the answer was lost")

    with monkeypatch.context() as patch:
        patch.setattr(client, lost, lose)
        with pytest.raises(TrackerError):
            stored.register()

    for _ in range(2):
        stored.register()
        assert_complete(stored)


def test_damaged_files_are_sent_again_to_where_they_were(stored: Stored) -> None:
    stored.register()
    (path,) = (stored.folder / "mlartifacts").rglob("champion.npz")
    path.write_bytes(b"damaged")
    version = stored.tracker.find_model("sweep-tiny", stored.model.weights_sha256)
    assert version is not None
    assert stored.tracker.missing_model_files(version) == ["artifacts/champion.npz"]

    stored.register()

    assert_complete(stored)


def test_a_version_of_before_keeps_its_files_with_the_study(stored: Stored) -> None:
    """Older versions of this program logged no model; nothing of theirs is moved."""
    stored.register()
    client, (logged,) = stored.tracker._client, stored.logged()
    client.create_registered_model("sweep-old")
    source = f"{client.get_run(stored.study).info.artifact_uri}/champion"
    tags = {"weights_sha256": stored.model.weights_sha256, "study": "5eed"}
    client.create_model_version("sweep-old", source, stored.study, tags=tags)
    client.delete_logged_model(logged.model_id)
    stored.model = replace(stored.model, name="sweep-old")

    stored.register()

    version = stored.tracker.find_model("sweep-old", stored.model.weights_sha256)
    assert version is not None
    assert (version.source, version.is_champion) == (source, True)
    assert stored.tracker.missing_model_files(version) == []
    assert stored.logged() == []


def test_the_model_moves_with_the_home(stored: Stored, tmp_path_factory: pytest.TempPathFactory) -> None:
    stored.register()
    del stored.tracker
    home = tmp_path_factory.mktemp("moved") / "home"
    stored.folder.rename(home)
    stored.tracker = MlflowTracker(f"sqlite:///{home / 'mlflow.db'}")

    (logged,) = stored.logged()

    assert logged.artifact_location.startswith(home.as_uri())
    assert_complete(stored)
