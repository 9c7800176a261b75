"""A study: a question about a network, as data. One TOML file a study, checked here and nowhere else.

Nothing in a study file can run, and whatever is wrong in it is answered with the line and the nearest right word.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator, model_validator

from model.data import datasets
from model.hyperparameters import FIELDS, HyperparameterError, Hyperparameters, check
from model.metrics import METRICS, Metric, metric_of

FOLDER = Path(__file__).parent
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
PLAIN = "a study's name is 1 to 64 letters, digits, dots, dashes and underscores, the first a letter or digit"
SIZE_LIMIT = 1 << 20
"""Bytes; a study file larger than this is some other file."""


class StudyError(Exception):
    """A study file that cannot be used; the message says what is wrong, where, and what to do."""


class Suggester(Protocol):
    """What answers `suggest_*`: an Optuna trial, a `FixedTrial`, or a dictionary of one's own."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Return a float in [low, high]."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """Return a whole number in [low, high]."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Return one of the choices."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Float(_Strict):
    """A real number: uniform, log-uniform, or log-uniform in 1 - value (`log = "complement"`)."""

    kind: Literal["float"] = "float"
    low: float
    high: float
    log: bool | Literal["complement"] = False

    @model_validator(mode="after")
    def _ordered(self) -> Float:
        _require_order(self.low, self.high)
        if self.log is True and self.low <= 0:
            raise ValueError(f"a log scale needs low above 0, but got low = {self.low:g}")
        if self.log == "complement" and self.high >= 1:
            raise ValueError(f'log = "complement" needs high below 1, but got high = {self.high:g}')
        return self

    def suggest(self, trial: Suggester, name: str) -> float:
        """Draw a value; `one_minus_<name>` is what Optuna searches on the complement scale."""
        if self.log == "complement":
            return 1 - trial.suggest_float(f"one_minus_{name}", 1 - self.high, 1 - self.low, log=True)
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def encode(self, name: str, value: Any) -> dict[str, Any]:
        """Optuna's parameters that decode to `value`.

        Raises:
            ValueError: the value is outside the range.
        """
        _require_inside(value, self.low, self.high)
        if self.log == "complement":
            return {f"one_minus_{name}": min(max(1 - value, 1 - self.high), 1 - self.low)}
        return {name: value}

    def bounds(self) -> list[Any]:
        """Values that must be allowed for the whole range to be."""
        return [self.low, self.high]


class Int(_Strict):
    """A whole number, uniform or log-uniform."""

    kind: Literal["int"] = "int"
    low: int
    high: int
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Int:
        _require_order(self.low, self.high)
        if self.log and self.low < 1:
            raise ValueError(f"a log scale needs low of at least 1, but got low = {self.low}")
        return self

    def suggest(self, trial: Suggester, name: str) -> int:
        """Draw a value."""
        return trial.suggest_int(name, self.low, self.high, log=self.log)

    def encode(self, name: str, value: Any) -> dict[str, Any]:
        """Optuna's parameter for `value`; raises ValueError outside the range."""
        _require_inside(value, self.low, self.high)
        return {name: value}

    def bounds(self) -> list[Any]:
        """Values that must be allowed for the whole range to be."""
        return [self.low, self.high]


class Choice(_Strict):
    """One of several values. Optuna sees labels, because it keeps neither lists nor 1 and 1.0 apart."""

    kind: Literal["choice"] = "choice"
    choices: list[Any] = Field(min_length=1)

    @field_validator("choices")
    @classmethod
    def _distinct(cls, choices: list[Any]) -> list[Any]:
        labels = [_label(choice) for choice in choices]
        if len(set(labels)) < len(labels):
            raise ValueError(f"each choice must occur once, but got {', '.join(labels)}")
        return choices

    def suggest(self, trial: Suggester, name: str) -> Any:
        """Draw one of the choices."""
        by_label = {_label(choice): choice for choice in self.choices}
        return by_label[trial.suggest_categorical(name, tuple(by_label))]

    def encode(self, name: str, value: Any) -> dict[str, Any]:
        """Optuna's label for `value`; raises ValueError when it is not a choice."""
        labels = [_label(choice) for choice in self.choices]
        if _label(value) not in labels:
            raise ValueError(f"{_label(value)} is not among the choices {', '.join(labels)}")
        return {name: _label(value)}

    def bounds(self) -> list[Any]:
        """Values that must be allowed for the whole range to be."""
        return self.choices


class Layers(_Strict):
    """Hidden layers: how many, and the units of each.

    The units of every possible layer are always drawn, so that the space is the same for all trials: TPE then models
    the layers jointly, instead of falling back to independent draws for layers that only some trials have.
    """

    kind: Literal["layers"] = "layers"
    layers: tuple[int, int]
    units: tuple[int, int]
    log: bool = False

    @field_validator("layers", "units", mode="before")
    @classmethod
    def _pair(cls, value: Any) -> Any:
        if not isinstance(value, list) or len(value) != 2:
            raise ValueError(f"expected [least, most], but got {_toml(value)}")
        return tuple(value)

    @model_validator(mode="after")
    def _ordered(self) -> Layers:
        for low, high in (self.layers, self.units):
            if not 1 <= low <= high:
                raise ValueError(f"expected [least, most] with 1 <= least <= most, but got [{low}, {high}]")
        return self

    def suggest(self, trial: Suggester, name: str) -> tuple[int, ...]:
        """Draw the sizes of the hidden layers."""
        count = trial.suggest_int(f"{name}.layers", *self.layers)
        sizes = [trial.suggest_int(f"{name}.{i}", *self.units, log=self.log) for i in range(1, self.layers[1] + 1)]
        return tuple(sizes[:count])

    def encode(self, name: str, value: Any) -> dict[str, Any]:
        """Optuna's parameters for the sizes; layers that are not there get the middle of the range."""
        _require_inside(len(value), *self.layers, what="layers")
        for size in value:
            _require_inside(size, *self.units, what="units")
        middle = round(math.sqrt(self.units[0] * self.units[1]) if self.log else sum(self.units) / 2)
        sizes = [*value, *[middle] * (self.layers[1] - len(value))]
        return {f"{name}.layers": len(value), **{f"{name}.{i}": size for i, size in enumerate(sizes, start=1)}}

    def bounds(self) -> list[Any]:
        """Values that must be allowed for the whole range to be."""
        return [[self.units[0]] * self.layers[0], [self.units[1]] * self.layers[1]]


Dimension = Float | Int | Choice | Layers


class Confirm(_Strict):
    """How the winner is confirmed: the `top` trials and the baseline, each on so many fresh `seeds`."""

    top: int = Field(3, ge=1, le=20)
    seeds: int = Field(3, ge=2, le=50)


class Study(_Strict):
    """A question, and all that is needed to answer it again. See the shipped files for every key.

    Attributes:
        name: of the file; also of the folder the study is recorded in.
        question: what the report answers.
        dataset: `digits`, `mnist`, or a path to an .npz file; of a study that was loaded, a path that can be opened,
            while the record keeps what was written: so a study may be moved together with its data.
        objective: `validation_<metric>`; study files may leave out `validation_`. The metric decides the direction.
        epoch: which epoch of a trial is selected, `best` or `last`.
        seed: of everything random.
        trials: in total, however often the sweep is started.
        sampler: tpe, random or qmc.
        pruner: median, hyperband or none.
        audit: share of trials that are judged but never stopped, so that the report can say what pruning costs.
        trial_seconds: longest training time of a trial; a longer one ends as a timeout. None sets no limit.
        generation: trials that are asked for at once and judged only against earlier generations, so that the result
            is the same for any number of workers; None asks whenever a worker is free, with all that is known then.
        baseline: the settings of trial 0, and of whatever the space leaves alone.
        space: what is searched.
        confirm: how the winner is confirmed.
    """

    name: str
    question: str = Field(min_length=1, max_length=500)
    dataset: str = Field(min_length=1)
    objective: str = "validation_accuracy"
    epoch: Literal["best", "last"] = "best"
    seed: int = Field(0, ge=0, lt=2**63)
    trials: int = Field(ge=1, le=1_000_000)
    sampler: Literal["tpe", "random", "qmc"] = "tpe"
    pruner: Literal["median", "hyperband", "none"] = "median"
    audit: float = Field(0.0, ge=0, le=1)
    trial_seconds: float | None = Field(None, gt=0)
    generation: int | None = Field(None, ge=1, le=1000)
    baseline: Hyperparameters
    space: dict[str, Dimension] = Field(min_length=1)
    confirm: Confirm = Confirm()
    _written: str | None = PrivateAttr(None)  # the dataset as the study file has it, where that is another path

    @field_validator("name")
    @classmethod
    def _plain(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError(PLAIN)
        return name

    @field_validator("objective")
    @classmethod
    def _known_metric(cls, objective: str) -> str:
        try:
            return metric_of(objective).objective
        except KeyError:
            raise _Wrong(("objective",), _unknown(objective, METRICS, "metric")) from None

    @field_validator("baseline", mode="before")
    @classmethod
    def _settings(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise ValueError("expected a table of hyperparameters")
        for key, entry in value.items():
            _checked(("baseline", key), key, [entry])
        return Hyperparameters(**value)

    @field_validator("space", mode="before")
    @classmethod
    def _dimensions(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise ValueError("expected a table of ranges")
        return {key: _dimension(key, entry) for key, entry in value.items()}

    @model_validator(mode="after")
    def _inside(self) -> Study:
        for key, dimension in self.space.items():
            try:
                dimension.encode(key, getattr(self.baseline, key))
            except ValueError as error:
                raise _Wrong(("baseline", key), f"baseline.{key} lies outside space.{key}: {error}") from error
        return self

    @model_validator(mode="after")
    def _judged_alike(self) -> Study:
        if self.generation is not None and self.pruner == "hyperband":
            raise _Wrong(
                ("generation",),
                "generation does not go with pruner = 'hyperband', which compares trials that run at the same moment; "
                "take pruner = 'median' or 'none'",
            )
        return self

    @property
    def metric(self) -> Metric:
        """The metric of the objective."""
        return metric_of(self.objective)

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """Optuna's word: `maximize` or `minimize`."""
        return self.metric.direction

    def draw(self, trial: Suggester) -> Hyperparameters:
        """The settings of a trial: what the space draws, over the baseline."""
        drawn = {key: dimension.suggest(trial, key) for key, dimension in self.space.items()}
        return Hyperparameters(**{**self.baseline.as_dict(), **drawn})

    def baseline_params(self) -> dict[str, Any]:
        """Optuna's parameters that decode to the baseline."""
        encoded = [dimension.encode(key, getattr(self.baseline, key)) for key, dimension in self.space.items()]
        return {name: value for params in encoded for name, value in params.items()}

    def as_dict(self) -> dict[str, Any]:
        """The study in full, ready for JSON; the form in which it is recorded and compared."""
        plain = self.model_dump(mode="json", exclude={"baseline"})
        plain["dataset"] = self._written or self.dataset
        return {**plain, "direction": self.direction, "baseline": self.baseline.as_dict()}


class _Wrong(ValueError):
    """A reason, and the path of keys to the line it concerns."""

    def __init__(self, where: Sequence[str], reason: str) -> None:
        super().__init__(reason)
        self.where = list(where)


def _unknown(key: str, known: Iterable[str], kind: str = "key") -> str:
    known = list(known)
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"unknown {kind} {key!r}; " + (f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}")


def load(study: str, changes: Sequence[str] = ()) -> Study:
    """Read a study by its name or by the path of its file.

    Args:
        study: `mnist` for the file of that name that ships, or a path ending in .toml.
        changes: `key=value` each, with dots into tables, as `baseline.epochs=5`; values are TOML, or else words.

    Raises:
        StudyError: no such study, or something in it is wrong.
    """
    path = _find(study)
    if not NAME.fullmatch(path.stem):
        raise StudyError(f"{path.name}: rename the file; a study is named by its file, and {PLAIN}")
    text = _text(path)
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise StudyError(f"{path.name} is not valid TOML: {_toml_reason(error, text)}") from error
    for change in changes:
        _apply(table, change)
    if "name" in table:
        source = _source(["name"], path, text, changes)
        raise StudyError(f"{source}: a study is named by its file; remove the key 'name'")
    checked = _validated({"name": path.stem, **table}, path, text, changes)
    return _with_data(checked, path, _source(["dataset"], path, text, changes))


def names() -> list[str]:
    """Names of the studies that ship."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def from_record(table: Mapping[str, Any]) -> Study:
    """The study as `as_dict` recorded it."""
    space = {key: {k: v for k, v in entry.items() if k != "kind"} for key, entry in table["space"].items()}
    return Study(**{**{k: v for k, v in table.items() if k != "direction"}, "space": space})


def _find(study: str) -> Path:
    if study.endswith(".toml"):
        path = Path(study)
        if path.is_dir():
            raise StudyError(f"{study} is a folder, not a study file")
        if path.exists() and not path.is_file():
            raise StudyError(f"{study} is a pipe or a device, not a study file")
        if not path.exists():
            raise StudyError(
                f"there is no study file {study}\ngive the path of a .toml file, or one of: {', '.join(names())}"
            )
        return path
    if study not in names():
        if Path(study).is_file():
            raise StudyError(f"{study} is a file, but the name of a study file ends in .toml; rename it")
        near = difflib.get_close_matches(study, names(), n=1)
        hint = (
            f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names())}; or give the path of a .toml file"
        )
        raise StudyError(f"there is no study named {study!r}; {hint}")
    return FOLDER / f"{study}.toml"


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > SIZE_LIMIT:
            raise StudyError(f"{path.name} is larger than 1 MiB; that is not a study file")
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise StudyError(f"{path.name}, line {line}: not UTF-8 text; save the file as UTF-8") from error
    except OSError as error:
        raise StudyError(f"{path.name} cannot be read: {error.strerror}") from error


def _toml_reason(error: Exception, text: str) -> str:
    """What tomllib says, with the key or the quotes that it leaves out."""
    if not isinstance(error, tomllib.TOMLDecodeError):
        return "it is nested too deeply" if isinstance(error, RecursionError) else "a number in it is too long"
    said = str(error)
    place = re.search(r"\(at line (\d+), column (\d+)\)", said)
    line = text.splitlines()[int(place[1]) - 1] if place and int(place[1]) <= len(text.splitlines()) else ""
    if place and said.startswith("Cannot overwrite a value") and "=" in line:
        return f"the key {line.partition('=')[0].strip()!r} is given twice, the second time in line {place[1]}"
    if place and said.startswith("Cannot declare") and line.strip().startswith("["):
        return f"the table {line.strip()} is given twice, the second time in line {place[1]}"
    if place and said.startswith("Invalid value") and (word := re.match(r"[\w./~-]+", line[int(place[2]) - 1 :])):
        return f'{said}; text needs quotes: "{word[0]}"'
    return said


def _apply(table: dict[str, Any], change: str) -> None:
    """Set one dotted key, as `--set space.learning_rate.high=0.1` asks."""
    key, equals, text = change.partition("=")
    if not equals or not key.strip():
        raise StudyError(f"--set expects KEY=VALUE, for example baseline.epochs=5, but got {change!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text
    *parents, last = key.strip().split(".")
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise StudyError(f"--set {change}: {parent!r} is not a table")
    table[last] = value


def _validated(table: dict[str, Any], path: Path, text: str, changes: Sequence[str]) -> Study:
    try:
        return Study(**table)
    except ValidationError as error:
        where, reason = _reason(error.errors()[0])
        source = _source(where, path, text, changes)
        if changes and not source.startswith("--set") and _is_valid({"name": path.stem, **tomllib.loads(text)}):
            source = " ".join(f"--set {change}" for change in changes)
        raise StudyError(f"{source}: {reason}") from error


def _with_data(study: Study, path: Path, source: str) -> Study:
    """The study with a dataset that can be opened: a file beside the study file, or else below the current folder.

    Raises:
        StudyError: there is no such dataset; `source` is what named it.
    """
    name = study.dataset
    if name.endswith(".npz"):
        places = (
            [Path.cwd() / name] if source.startswith("--set") else [path.parent.absolute() / name, Path.cwd() / name]
        )
        name = str(next((place for place in places if place.is_file()), places[0]))
    try:
        datasets.check_name(name)
    except datasets.DatasetInvalid as error:
        raise StudyError(f"{source}: {error}") from error
    if name == study.dataset:
        return study
    found = study.model_copy(update={"dataset": name})
    found._written = study.dataset
    return found


def _source(where: Sequence[str], path: Path, text: str, changes: Sequence[str]) -> str:
    """What to blame for a wrong key: the `--set` that gave it, or else the file, with the line where there is one."""
    given = [change for change in changes if _overlap(_keys(change), where)]
    if given:
        return " ".join(f"--set {change}" for change in given)
    line = _line(text, where)
    return f"{path.name}, line {line}" if line else path.name


def _keys(change: str) -> list[str]:
    return change.partition("=")[0].strip().split(".")


def _overlap(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether one path of keys leads to the other, or through it."""
    return all(a == b for a, b in zip(one, other, strict=False))


def _is_valid(table: dict[str, Any]) -> bool:
    try:
        Study(**table)
    except ValidationError:
        return False
    return True


def _reason(error: Mapping[str, Any], inside: Sequence[str] = ()) -> tuple[list[str], str]:
    """Where one of pydantic's errors lies, below the keys `inside`, and one line about it in our words."""
    own = [str(part) for part in error["loc"] if not isinstance(part, int)]
    scale = own[-1:] != ["log"] and "log" in own  # of a Float: what follows names the types that it can have
    if scale:
        own = own[: own.index("log") + 1]
    where = [*inside, *own]
    key, got = ".".join(where), _toml(error["input"])
    if error["type"] == "missing":
        return where, f"the key {key!r} is missing"
    if error["type"] == "extra_forbidden":
        known = Confirm.model_fields if where[0] == "confirm" else [k for k in Study.model_fields if k != "name"]
        return where, _unknown(where[-1], known)
    if error["type"] == "value_error":
        reason = error["ctx"]["error"]
        return (
            (reason.where, str(reason))
            if isinstance(reason, _Wrong)
            else (where, f"{key}: {reason}" if key else str(reason))
        )
    if scale:
        return where, f'{key} must be true, false or "complement", but got {got}'
    return where, f"{key} must {_demand(error)}, but got {got}"


def _demand(error: Mapping[str, Any]) -> str:
    """What pydantic asks for, in words of TOML."""
    demands = {
        "too_short": "not be empty",
        "string_too_short": "not be empty",
        "string_too_long": "have at most {max_length} characters",
        "model_type": "be a table",
        "dict_type": "be a table",
        "list_type": "be a list",
        "string_type": "be text in quotes",
        "int_type": "be a whole number",
        "int_from_float": "be a whole number",
        "float_type": "be a number",
        "bool_type": "be true or false",
    }
    if error["type"] in demands:
        return demands[error["type"]].format(**error.get("ctx", {}))
    return "be " + str(error["msg"]).removeprefix("Input should be ")


def _toml(value: Any) -> str:
    """A value about as a study file writes it, and not longer than a line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        shown = "{ " + ", ".join(f"{key} = {_toml(entry)}" for key, entry in value.items()) + " }" if value else "{}"
    elif isinstance(value, list | tuple):
        shown = f"[{', '.join(map(_toml, value))}]"
    else:
        shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


def _line(text: str, where: Sequence[str]) -> int | None:
    """Number of the line that holds a key, or else the table it should be in; None when neither is in the text."""
    table: list[str] = []
    best, depth = None, 0
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", line):
            here = table = [part.strip() for part in header[1].split(".")]
        elif entry := re.match(r"\s*([A-Za-z0-9_.\"'-]+)\s*=", line):
            here = [*table, *entry[1].strip("\"'").split(".")]
        else:
            continue
        if len(here) > depth and here == list(where)[: len(here)]:
            best, depth = number, len(here)
    return best


def _dimension(key: str, entry: Any) -> Dimension:
    """The kind of range that a table means: its keys and the field's type decide."""
    where = ("space", key)
    if key not in FIELDS:
        raise _Wrong(where, _unknown(key, FIELDS))
    if not isinstance(entry, Mapping):
        raise _Wrong(where, f"space.{key} must be a table such as {{ low = 1, high = 2 }}, but got {_toml(entry)}")
    kind = _kind(key, entry)
    known = [field for field in kind.model_fields if field != "kind"]
    for word in entry:
        if word not in known:
            raise _Wrong(where, f"space.{key}: {_unknown(word, known)}")
    try:
        dimension = kind(**entry)
    except ValidationError as error:
        raise _Wrong(*_reason(error.errors()[0], where)) from error
    _checked(where, key, dimension.bounds())
    return dimension


def _checked(where: Sequence[str], key: str, values: Sequence[Any]) -> None:
    """Every value must be one the hyperparameter allows."""
    if key not in FIELDS:
        raise _Wrong(where, _unknown(key, FIELDS))
    for value in values:
        try:
            check(key, value)
        except HyperparameterError as error:
            reason = re.sub(r"but got (True|False)$", lambda found: found[0].lower(), str(error))
            raise _Wrong(where, reason) from error


def _kind(key: str, entry: Mapping[str, Any]) -> type[Float] | type[Int] | type[Choice] | type[Layers]:
    if "choices" in entry:
        return Choice
    if "layers" in FIELDS[key].metadata:
        return Layers
    if "words" in FIELDS[key].metadata:
        return Choice
    return Int if FIELDS[key].type == "int" else Float


def _label(value: Any) -> str:
    return "-".join(str(item) for item in value) if isinstance(value, list | tuple) else str(value)


def _require_order(low: float, high: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"range ends must be finite numbers, but got low = {low:g}, high = {high:g}")
    if not low < high:
        raise ValueError(f"low must be less than high, but got low = {low:g}, high = {high:g}")


def _require_inside(value: float, low: float, high: float, what: str = "") -> None:
    if not low <= value <= high:
        raise ValueError(f"{value:g} {what + ' ' if what else ''}is not in [{low:g}, {high:g}]")
