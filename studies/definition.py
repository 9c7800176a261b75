"""The definition of a study: data, search space, baseline and settings of the search.

`studies/study_file.py` reads one from a TOML file; a study file contains no code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import (
    AliasChoices,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from model.data.datasets import Source
from model.data.splits import MOST_FOLDS
from model.hyperparameters import FIELDS, HyperparameterError, Hyperparameters, check
from model.metrics import METRICS, Metric, metric_of
from studies.dimensions import Choice, Dimension, Float, Int, Layers, Strict, Suggester
from studies.messages import StudyKeyError, reason, toml, unknown

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NAME_RULE = "a study's name is 1 to 64 letters, digits, dots, dashes and underscores, the first a letter or digit"


class Confirm(Strict):
    """The confirmation of the winner.

    Attributes:
        top: different settings that are screened: each is trained once on a fresh split and seed, and the best wins.
        repeats: further fresh splits and seeds on which champion, runner-up and baseline are trained; its former name
            `seeds` is still accepted in study files.
    """

    top: int = Field(3, ge=1, le=20)
    repeats: int = Field(5, ge=2, le=50, validation_alias=AliasChoices("repeats", "seeds"))


class Study(Strict):
    """The definition of a study, complete enough to repeat it. See docs/commands.md for all keys.

    Attributes:
        name: name of the study file and of the study's folder.
        question: the question that the report answers.
        dataset: `digits`, `mnist`, or the path of a data file. In a loaded study it is a path that can be opened; the
            record keeps the path as written, so that a study can be moved together with its data.
        target: of a table, the column to predict; None for `label`, `target`, `class` or `y`, or else the last column.
        keep: of a table, columns to keep although they look like identifiers or dates.
        objective: `validation_<metric>`; study files may leave out `validation_`. The metric decides the direction.
        epoch: the rule of the selected epoch, `best` or `last`.
        folds: a trial of the search is so many trainings in lockstep, one for each part of a stratified partition of
            all rows but the test rows, which is validated by the network that was trained on the others. Its numbers
            are their means. 1 is a single training on a tenth of the rows. Where a study file does not set it, it is
            chosen by the data (`studies/folds.py`) and recorded.
        seed: random seed of the study.
        trials: total number, over all starts of the sweep; None if only the time is limited.
        minutes: wall time of a run for everything up to the report; None if only the number of trials is limited.
        sampler: tpe, random or qmc.
        pruner: halving, median, hyperband or none.
        control: fraction of trials that are never pruned, so that the report can estimate the cost of pruning.
            Its former name `audit` is still accepted in study files.
        trial_seconds: longest training time of a trial, of all its folds together; a longer one ends as a timeout. None
            sets no limit.
        generation: trials that are proposed at a time and compared only with earlier generations, so that the result
            is the same for any number of workers; None proposes a trial whenever a worker is free.
        baseline: the settings of trial 0, and the fixed values of hyperparameters that are not searched.
        start: settings that are tried right after the baseline, as trials 1, 2, ...; in a study file the tables
            `[[start]]`, each completed with the baseline's values.
        space: the search space.
        confirm: the confirmation of the winner.
    """

    name: str
    question: str = Field(min_length=1, max_length=500)
    dataset: str = Field(min_length=1)
    target: str | None = None
    keep: tuple[str, ...] = ()
    objective: str = "validation_accuracy"
    epoch: Literal["best", "last"] = "best"
    folds: int = Field(1, ge=1, le=MOST_FOLDS)
    seed: int = Field(0, ge=0, lt=2**63)
    trials: int | None = Field(None, ge=1, le=1_000_000)
    minutes: float | None = Field(None, gt=0, le=100_000)
    sampler: Literal["tpe", "random", "qmc"] = "tpe"
    pruner: Literal["halving", "median", "hyperband", "none"] = "halving"
    control: float = Field(0.0, ge=0, le=1, validation_alias=AliasChoices("control", "audit"))
    trial_seconds: float | None = Field(None, gt=0)
    generation: int | None = Field(None, ge=1, le=1000)
    baseline: Hyperparameters
    space: dict[str, Dimension] = Field(min_length=1)
    start: tuple[Hyperparameters, ...] = ()
    confirm: Confirm = Confirm()
    _written: str | None = PrivateAttr(None)  # the dataset as in the study file, if that is another path

    @field_validator("name")
    @classmethod
    def _plain(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError(NAME_RULE)
        return name

    @field_validator("keep", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("objective")
    @classmethod
    def _known_metric(cls, objective: str) -> str:
        try:
            return metric_of(objective).objective
        except KeyError:
            raise StudyKeyError(("objective",), unknown(objective, METRICS, "metric")) from None

    @field_validator("baseline", mode="before")
    @classmethod
    def _settings(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise ValueError("expected a table of hyperparameters")
        return _hyperparameters(("baseline",), value, {})

    @field_validator("space", mode="before")
    @classmethod
    def _dimensions(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise ValueError("expected a table of ranges")
        return {key: _dimension(key, entry) for key, entry in value.items()}

    @field_validator("start", mode="before")
    @classmethod
    def _starts(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, list | tuple):
            raise ValueError("expected tables [[start]] of hyperparameters")
        if "baseline" not in info.data:  # it is wrong, which is reported first
            return ()
        baseline = info.data["baseline"].as_dict()
        return tuple(_hyperparameters(_start(number), entry, baseline) for number, entry in enumerate(value, start=1))

    @model_validator(mode="after")
    def _inside(self) -> Study:
        for number, settings in enumerate((self.baseline, *self.start)):
            where = _start(number) if number else ("baseline",)
            for key in FIELDS:
                self._require_in_space([*where, key], getattr(settings, key))
        return self

    def _require_in_space(self, where: Sequence[str], value: Any) -> None:
        """Check a fixed value of the hyperparameter `where[-1]`; one that is not searched is the baseline's."""
        key = where[-1]
        if key in self.space:
            try:
                self.space[key].encode(key, value)
            except ValueError as error:
                raise StudyKeyError(where, f"{'.'.join(where)} is outside space.{key}: {error}") from error
        elif value != (base := getattr(self.baseline, key)):
            raise StudyKeyError(
                where,
                f"{'.'.join(where)} is {toml(value)}, but {key} is not in [space], so that every trial has the "
                f"baseline's {toml(base)}",
            )

    @model_validator(mode="after")
    def _pruner_matches_generation(self) -> Study:
        if self.generation is not None and self.pruner == "hyperband":
            raise StudyKeyError(
                ("generation",),
                "generation cannot be combined with pruner = 'hyperband', which compares trials that run at the same "
                "time; use pruner = 'halving', 'median' or 'none'",
            )
        return self

    @model_validator(mode="after")
    def _is_limited(self) -> Study:
        if self.trials is None and self.minutes is None:
            raise StudyKeyError(("trials",), "the study has no end; add minutes = 10, or trials = 40, or both")
        return self

    @property
    def longest_epochs(self) -> int:
        """Epochs of the longest trial."""
        dimension = self.space.get("epochs")
        return int(max([self.baseline.epochs, *(dimension.bounds() if dimension else [])]))

    @property
    def source(self) -> Source:
        """Where the data come from and how they are read."""
        return Source(self.dataset, self.target, self.keep)

    @property
    def metric(self) -> Metric:
        """The metric of the objective."""
        return metric_of(self.objective)

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """Optuna's direction: `maximize` or `minimize`."""
        return self.metric.direction

    def draw(self, trial: Suggester) -> Hyperparameters:
        """The settings of a trial: values drawn from the space, and the baseline's for all others."""
        drawn = {key: dimension.suggest(trial, key) for key, dimension in self.space.items()}
        return Hyperparameters(**{**self.baseline.as_dict(), **drawn})

    def given(self, number: int) -> Hyperparameters | None:
        """The settings of trial `number` if no sampler draws them: the baseline's, or one of `start`."""
        return (self.baseline, *self.start)[number] if number <= len(self.start) else None

    def encode(self, settings: Hyperparameters) -> dict[str, Any]:
        """Optuna's parameters for settings of which all that is searched is inside the space."""
        encoded = [dimension.encode(key, getattr(settings, key)) for key, dimension in self.space.items()]
        return {name: value for params in encoded for name, value in params.items()}

    def encode_some(self, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
        """Optuna's parameters for some hyperparameters by name.

        Raises:
            ValueError: a name is unknown, a value is invalid or outside the space, or differs from the baseline's
                although the hyperparameter is not searched.
        """
        found: dict[str, Any] = {}
        for key, value in hyperparameters.items():
            if key not in FIELDS:
                raise ValueError(unknown(key, FIELDS, "hyperparameter"))
            self._require_in_space([key], checked := check(key, value))
            if key in self.space:
                found |= self.space[key].encode(key, checked)
        return found

    def as_dict(self) -> dict[str, Any]:
        """All keys of the study, ready for JSON; it is recorded and compared in this form.

        `start` has only what differs from the baseline.
        """
        plain = self.model_dump(mode="json", exclude={"baseline", "start"})
        plain["dataset"] = self._written or self.dataset
        baseline = self.baseline.as_dict()
        start = [{key: value for key, value in s.as_dict().items() if value != baseline[key]} for s in self.start]
        return {**plain, "direction": self.direction, "baseline": baseline, "start": start}


def from_record(table: Mapping[str, Any]) -> Study:
    """The study from the recorded output of `as_dict`."""
    return Study(**file_table(table))


def file_table(table: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a study file, and the name, from the recorded output of `as_dict`."""
    space = {key: {k: v for k, v in entry.items() if k != "kind"} for key, entry in table["space"].items()}
    return {**{k: v for k, v in table.items() if k != "direction"}, "space": space}


def _start(number: int) -> tuple[str, str]:
    """The path of keys of the `number`-th table `[[start]]`, from 1."""
    return "start", str(number)


def _hyperparameters(where: Sequence[str], value: Any, defaults: Mapping[str, Any]) -> Hyperparameters:
    """The settings of a table, with defaults for the hyperparameters that it does not name."""
    if not isinstance(value, Mapping):
        raise StudyKeyError(where, f"{'.'.join(where)}: expected a table of hyperparameters, but got {toml(value)}")
    for key, entry in value.items():
        _checked((*where, key), key, [entry])
    return Hyperparameters(**{**defaults, **value})


def _dimension(key: str, entry: Any) -> Dimension:
    """The dimension of a table; its kind depends on the keys and the field's type."""
    where = ("space", key)
    if key not in FIELDS:
        raise StudyKeyError(where, unknown(key, FIELDS))
    if not isinstance(entry, Mapping):
        raise StudyKeyError(
            where, f"space.{key} must be a table such as {{ low = 1, high = 2 }}, but got {toml(entry)}"
        )
    kind = _kind(key, entry)
    known = [field for field in kind.model_fields if field != "kind"]
    for word in entry:
        if word not in known:
            raise StudyKeyError(where, f"space.{key}: {unknown(word, known)}")
    try:
        dimension = kind(**entry)
    except ValidationError as error:
        raise StudyKeyError(*reason(error.errors()[0], known, where)) from error
    _checked(where, key, dimension.bounds())
    return dimension


def _checked(where: Sequence[str], key: str, values: Sequence[Any]) -> None:
    """Check that the hyperparameter allows all values."""
    if key not in FIELDS:
        raise StudyKeyError(where, unknown(key, FIELDS))
    for value in values:
        try:
            check(key, value)
        except HyperparameterError as error:
            said = re.sub(r"but got (True|False)$", lambda found: found[0].lower(), str(error))
            raise StudyKeyError(where, said) from error


def _kind(key: str, entry: Mapping[str, Any]) -> type[Float] | type[Int] | type[Choice] | type[Layers]:
    if "choices" in entry:
        return Choice
    if "layers" in FIELDS[key].metadata:
        return Layers
    if "words" in FIELDS[key].metadata:
        return Choice
    return Int if FIELDS[key].type == "int" else Float
