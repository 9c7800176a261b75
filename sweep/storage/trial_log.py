"""Read and write the trials of one Optuna study in the database.

Only the coordinator, the single writer, uses it; `studies/record/schema.py` describes the attributes.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

import sqlalchemy
from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models  # its tables; the range of versions in pyproject.toml keeps them known
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.orm import Session

from studies.record.errors import readable
from studies.record.schema import require_sealed_trial, trial_seal, upgraded_hyperparameters
from studies.record.server import Place
from studies.record.trials import TRIALS_PER_QUERY, read_some, trial_ids
from sweep.failpoints import failpoint

_ATTRIBUTE = sqlalchemy.insert(models.TrialUserAttributeModel)
_CHANGE = sqlalchemy.update(models.TrialUserAttributeModel)
_SYSTEM = sqlalchemy.insert(models.TrialSystemAttributeModel)
_PARAM = sqlalchemy.insert(models.TrialParamModel)
_VALUE = sqlalchemy.insert(models.TrialValueModel)
_POINT = sqlalchemy.insert(models.TrialIntermediateValueModel)


class TrialLog:
    """The trials of one Optuna study in the database; all writes of trials go through it.

    Args:
        storage: Optuna's storage that holds the study.
        name: of the Optuna study, `search` or `confirm`.
        place: the file or schema, for error messages.
        persist: calls a function until it succeeds, with True if an earlier call may have succeeded already.
    """

    def __init__(
        self, storage: RDBStorage, name: str, place: Place, persist: Callable[[Callable[[bool], Any]], Any]
    ) -> None:
        self._storage = storage
        self._place = place
        self._persist = persist
        self.study_id = int(persist(lambda _: storage.get_study_id_from_name(name)))
        self.name = name

    def trials(self) -> Iterator[FrozenTrial]:
        """All trials, by number, each verified before it is returned.

        Raises:
            RecordError: they were changed since they were written.
        """
        with readable(self._place):
            ids = self._persist(lambda _: trial_ids(self._storage.engine, self.study_id))
            for start in range(0, len(ids), TRIALS_PER_QUERY):
                for trial in self._some(ids[start : start + TRIALS_PER_QUERY]):
                    require_sealed_trial(self._place, trial)
                    settings = trial.user_attrs["hyperparameters"]
                    trial.user_attrs["hyperparameters"] = upgraded_hyperparameters(settings)
                    yield trial

    def _some(self, ids: Sequence[int]) -> list[FrozenTrial]:
        return list(self._persist(lambda _: read_some(self._storage.engine, ids)))

    def count(self) -> int:
        """Number of trials that were started; does not read them."""

        def count(again: bool) -> int:
            with Session(self._storage.engine) as session:
                return session.query(models.TrialModel).filter_by(study_id=self.study_id).count()

        return int(self._persist(count))

    def finished(self) -> list[int]:
        """Numbers of the trials that have ended; does not read the trials."""
        trials = models.TrialModel.__table__.c
        ended = sqlalchemy.select(trials.number).where(
            trials.study_id == self.study_id, trials.state != TrialState.RUNNING
        )

        def read(again: bool) -> list[int]:
            with self._storage.engine.connect() as connection:
                return list(connection.scalars(ended))

        return list(self._persist(read))

    def begin(self, template: FrozenTrial) -> FrozenTrial:
        """Add a running trial, its parameters and attributes, in one commit.

        Optuna's own call makes three queries for every parameter, counts all trials to find the number, and retries up
        to five times, even if the commit before succeeded.
        """
        trials = models.TrialModel.__table__.c
        latest = sqlalchemy.select(models.TrialModel).filter_by(study_id=self.study_id).order_by(trials.trial_id.desc())
        cells = [{"key": key, "value_json": json.dumps(content)} for key, content in template.user_attrs.items()]
        begun = copy.deepcopy(template)
        begun.user_attrs = {cell["key"]: json.loads(cell["value_json"]) for cell in cells}

        def begin(again: bool) -> None:
            with Session(self._storage.engine, expire_on_commit=False) as session, session.begin():
                last = session.scalar(latest.limit(1))
                if again and last and last.datetime_start == template.datetime_start:  # to the microsecond
                    begun.number, begun._trial_id = last.number, last.trial_id
                    return
                begun.number = last.number + 1 if last else 0
                row = models.TrialModel(study_id=self.study_id, number=begun.number, state=TrialState.RUNNING)
                row.datetime_start = template.datetime_start
                session.add(row)
                session.flush()
                begun._trial_id = cast(int, row.trial_id)
                session.execute(_ATTRIBUTE, [{"trial_id": begun._trial_id, **cell} for cell in cells])
                if template.params:
                    session.execute(_PARAM, [_param(begun, name) for name in template.params])

        self._persist(begin)
        return begun

    def attribute(self, trial_id: int, key: str, value: Any) -> None:
        """Write or overwrite one attribute of a trial, in one commit."""
        cell, columns = _cell(trial_id, key, value), models.TrialUserAttributeModel.__table__.c
        change = _CHANGE.where(columns.trial_id == trial_id, columns.key == key).values(value_json=cell["value_json"])

        def write(again: bool) -> None:
            with self._storage.engine.begin() as connection:
                if not connection.execute(change).rowcount:
                    connection.execute(_ATTRIBUTE, cell)

        self._persist(write)

    def add(self, trial_id: int, attributes: Mapping[str, Any]) -> None:
        """Write attributes that a trial does not have yet, in one commit, in any state."""
        rows = [_cell(trial_id, key, content) for key, content in attributes.items()]

        def add(again: bool) -> None:
            with self._storage.engine.begin() as connection:
                if not (again and _are_there(connection, rows)):
                    connection.execute(_ATTRIBUTE, rows)

        self._persist(add)

    def epoch(self, trial_id: int, index: int, numbers: Mapping[str, Any], value: float | None) -> None:
        """Write an epoch, and the objective as Optuna's intermediate value, in one commit.

        Optuna's two calls for this take seven queries and two commits, 3.5 ms; two inserts take 0.6 ms.
        """
        row = _cell(trial_id, f"epoch.{index}", {**numbers, "time": round(time.time(), 3)})

        def write(again: bool) -> None:
            with self._storage.engine.begin() as connection:
                if again and _are_there(connection, [row]):
                    return
                connection.execute(_ATTRIBUTE, row)
                if value is not None:
                    point = {"trial_id": trial_id, "step": index, "intermediate_value": value}
                    connection.execute(_POINT, {**point, "intermediate_value_type": "FINITE"})

        self._persist(write)

    def finish(
        self,
        trial_id: int,
        state: TrialState,
        value: float | None,
        attributes: Mapping[str, Any],
        system: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the result, state and seal of a trial in one commit."""
        trial = self._some([trial_id])[0]
        trial.user_attrs.update(attributes)
        trial.system_attrs.update(system or {})
        trial.state, trial.values = state, None if value is None else [value]
        written = {**attributes, "seal": trial_seal(trial)}
        rows = [_cell(trial_id, key, content) for key, content in written.items()]

        def write(again: bool) -> None:
            with Session(self._storage.engine) as session, session.begin():
                if again and _are_there(session.connection(), rows):
                    return
                session.execute(_ATTRIBUTE, rows)
                if system:
                    session.execute(_SYSTEM, [_cell(trial_id, key, content) for key, content in system.items()])
                if value is not None:
                    one = {"trial_id": trial_id, "objective": 0, "value": value, "value_type": "FINITE"}
                    session.execute(_VALUE, one)
                row = session.get_one(models.TrialModel, trial_id)
                row.state, row.datetime_complete = state, datetime.now()
                failpoint("before_state")

        self._persist(write)


def _are_there(connection: sqlalchemy.Connection, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether an earlier commit of these attributes succeeded although the response was lost."""
    table = models.TrialUserAttributeModel
    query = sqlalchemy.select(table.key, table.value_json).where(table.trial_id == rows[0]["trial_id"])
    found = {row.key: row.value_json for row in connection.execute(query)}
    return all(found.get(row["key"]) == row["value_json"] for row in rows)


def _cell(trial_id: int, key: str, content: Any) -> dict[str, Any]:
    return {"trial_id": trial_id, "key": key, "value_json": json.dumps(content)}


def _param(trial: FrozenTrial, name: str) -> dict[str, Any]:
    kind = trial.distributions[name]
    stored = {"param_value": kind.to_internal_repr(trial.params[name]), "distribution_json": distribution_to_json(kind)}
    return {"trial_id": trial._trial_id, "param_name": name, **stored}
