"""The champion in MLflow: a logged model, which the experiment lists, and a registered version made from it."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, Metric
from mlflow.exceptions import MlflowException

from model import weights
from sweep.tracking.mlflow.model_files import MODEL_FILES, save_model
from sweep.tracking.tracker import Model, ModelVersion

NOT_THERE = "RESOURCE_DOES_NOT_EXIST"  # MLflow's error code
LAST_ALIAS = "sweep.champion"
"""Tag of a registered model: the version to which the alias `champion` was set last."""
_VERSIONS = "mlflow.modelVersions"
"""Tag of a logged model: the registered versions made from it, as MLflow's page shows them."""
_NAME = "champion"
"""Of the logged model. MLflow allows fewer letters in it than in the name of a registered model."""


class Registry:
    """MLflow's models behind a client; its methods raise what the client does.

    Args:
        client: MLflow's.
        artifacts: the store of artifacts at an address.
        send: sends the files in a folder to such a store, and verifies that they arrived.
    """

    def __init__(
        self, client: MlflowClient, artifacts: Callable[[str], Any], send: Callable[[Any, Path], None]
    ) -> None:
        self._client, self._artifacts, self._send = client, artifacts, send

    def names(self, study: str) -> list[str]:
        """The registered models with a version that has this tag `study`, the one with the latest such version last."""
        found = self._own(f"tags.study = '{study}'")
        found = sorted(found, key=lambda version: (version.creation_timestamp, int(version.version)))
        return list(dict.fromkeys(version.name for version in reversed(found)))[::-1]

    def owners(self, name: str) -> set[str]:
        """The tags `study` of the versions of a registered model; empty if there is no version."""
        found = self._own(_named(name))
        return {str(version.tags.get("study")) for version in found}

    def find(self, name: str, weights_sha256: str) -> ModelVersion | None:
        """The registered version with these weights whose run is not deleted."""
        for found in self._own(_named(name)):
            is_active = found.tags.get("weights_sha256") == weights_sha256 and self._is_active(found.run_id)
            if is_active:
                alias, last = self._aliased(name)
                return ModelVersion(str(found.version), found.run_id, weights_sha256, found.source, alias, last)
        return None

    def _own(self, wanted: str) -> list[Any]:
        """Versions but those that a user copied to another model: MLflow promotes them with all their tags."""
        return [one for one in self._client.search_model_versions(wanted) if not one.source.startswith("models:/")]

    def _is_active(self, run_id: str) -> bool:
        try:
            return bool(self._client.get_run(run_id).info.lifecycle_stage == "active")
        except MlflowException as error:
            if error.error_code == NOT_THERE:  # `mlflow gc` removes a run and leaves the versions that it holds
                return False
            raise

    def missing_files(self, version: ModelVersion) -> list[str]:
        """Files of a registered version that are gone, or, of the weights, changed."""
        artifacts = self._artifacts(version.source)
        listed = {file.path for place in (None, "artifacts") for file in artifacts.list_artifacts(place)}
        missing = [name for name in MODEL_FILES if name not in listed]
        champion = MODEL_FILES[0]
        if champion not in missing:
            with tempfile.TemporaryDirectory() as scratch:
                path = artifacts.download_artifacts(champion, scratch)
                missing += [champion] if weights.digest_of(Path(path)) != version.weights_sha256 else []
        return missing

    def register(self, run_id: str, model: Model, scratch: Path) -> None:
        """Store a model, register it, and point the alias `champion` at it.

        A call whose answer was lost is found by its tags when it is repeated. The files of a version that exists stay
        where they are: those that an older version of this program sent lie with the study's run.
        """
        save_model(model, scratch)
        found = self.find(model.name, model.weights_sha256)
        logged = self._logged(run_id, model, create=found is None)
        self._send(self._artifacts(found.source if found else logged.artifact_location), scratch / "model")
        version = found.version if found else self._create_version(run_id, model, logged)
        if logged is not None:
            self._complete(logged, run_id, model, version)
        if found is not None and found.is_settled:
            return
        if found is None and self._user_moved_alias(model):
            self._client.set_registered_model_tag(model.name, LAST_ALIAS, version)
        else:
            self.move_alias(model.name, version)

    def _user_moved_alias(self, model: Model) -> bool:
        """Whether the alias was taken from a version with these weights, whose run is gone."""
        alias, last = self._aliased(model.name)
        if alias is None or last is None or alias == last:
            return False
        former = [one for one in self._own(_named(model.name)) if str(one.version) == last]
        return any(one.tags.get("weights_sha256") == model.weights_sha256 for one in former)

    def _aliased(self, name: str) -> tuple[str | None, str | None]:
        """The version that the alias points at, and the one to which it was set last."""
        registered = self._client.get_registered_model(name)
        alias = registered.aliases.get("champion")
        return None if alias is None else str(alias), registered.tags.get(LAST_ALIAS)

    def move_alias(self, name: str, version: str) -> None:
        """Point the alias `champion` of a registered model at a version."""
        self._client.set_registered_model_alias(name, "champion", version)
        self._client.set_registered_model_tag(name, LAST_ALIAS, version)

    def _logged(self, run_id: str, model: Model, *, create: bool) -> Any:
        """The logged model with these weights of the run that it is said to come from; None if there is none."""
        experiment = self._client.get_run(run_id).info.experiment_id
        found = self._client.search_logged_models(
            [experiment], f"tags.weights_sha256 = '{model.weights_sha256}'", max_results=50
        )
        ours = [one for one in found if one.source_run_id == model.source_run]
        if ours or not create:
            return ours[0] if ours else None
        tags = {"weights_sha256": model.weights_sha256, **model.tags}
        return self._client.create_logged_model(experiment, _NAME, model.source_run, tags, dict(model.params))

    def _complete(self, logged: Any, run_id: str, model: Model, version: str) -> None:
        """Say of a logged model what is known once it is stored; repeating it changes nothing."""
        made = json.dumps([{"name": model.name, "version": version}])
        if logged.tags.get(_VERSIONS) != made:
            self._client.set_logged_model_tags(logged.model_id, {_VERSIONS: made})
        outputs = self._client.get_run(model.source_run).outputs
        if logged.model_id not in {one.model_id for one in (outputs.model_outputs if outputs else ())}:
            self._client.log_outputs(model.source_run, [LoggedModelOutput(logged.model_id, 0)])
        now, made_by = model.measured, logged.model_id
        measured = [Metric(key, value, now, 0, made_by, run_id=run_id) for key, value in model.metrics.items()]
        if measured:
            self._client.log_batch(run_id, metrics=measured)
        self._client.finalize_logged_model(logged.model_id, "READY")

    def _create_version(self, run_id: str, model: Model, logged: Any) -> str:
        with contextlib.suppress(MlflowException):  # it exists
            self._client.create_registered_model(model.name, description=model.question)
        version = self._client.create_model_version(
            model.name,
            logged.artifact_location,
            run_id,
            tags={"weights_sha256": model.weights_sha256, **model.tags},
            description=model.description,
            model_id=logged.model_id,
        )
        return str(version.version)


def _named(model: str) -> str:
    """The filter for a registered model, to which a user may have given a name with a quote."""
    quote = '"' if "'" in model else "'"
    return f"name = {quote}{model}{quote}"
