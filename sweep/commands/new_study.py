"""Write a study file for a data file: a baseline and a search space that suit its size and kind."""

from __future__ import annotations

import json
import math
import os
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from model.data import datasets
from model.data.arrays import Arrays
from model.data.balance import is_imbalanced, majority_share
from model.data.datasets import Source
from model.data.errors import shortened
from model.data.preprocessing import MAX_VALUES
from model.data.splits import VALIDATION_FRACTION, default_folds
from model.files import write_atomic
from studies.record.folder import RESERVED, Home
from studies.study_file import StudyError, load, names
from sweep.commands import describe
from sweep.commands.preparation import Options, is_recorded, make_home

MIN_STEPS, MAX_STEPS = 1500, 10_000
"""Steps of a trial, from small to large data."""
MAX_EPOCHS = 200
MANY_ROWS = 20_000
"""From so many training rows, three seeds confirm a result as well as five."""
FINE_ROWS = 1000
"""Fewer validation rows cannot rank trials by accuracy: too many tie."""
NAME_CHARACTERS = 48
SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class _Plan:
    """What depends on the size of the data: by training rows, the first that fits is used.

    Attributes:
        rows: Largest number of training rows.
        batches: Batch sizes to search; the baseline's is the middle one.
        units: Range of the units of a layer.
        hidden: Hidden layers of the baseline.
        layers: Largest number of layers.
        rate: Learning rate of the baseline.
        rates: Range of the learning rate.
        decay: Weight decay of the baseline; None if it is not searched.
        decays: Range of the weight decay.
        epoch: Which epoch is selected: with few validation rows, the best one is best by chance.
        trials: Number of trials.
        generation: Trials that are chosen at a time; None for one after the other.
    """

    rows: float
    batches: tuple[int, int, int]
    units: tuple[int, int]
    hidden: tuple[int, ...]
    layers: int
    rate: float
    rates: tuple[float, float]
    decay: float | None
    decays: tuple[float, float]
    epoch: str
    trials: int
    generation: int | None = None


PLANS = (
    _Plan(1_000, (8, 16, 32), (16, 128), (64,), 2, 0.003, (0.001, 0.01), 1.0, (0.3, 5.0), "last", 40, 8),
    _Plan(10_000, (16, 32, 64), (16, 256), (64,), 2, 0.002, (0.0003, 0.03), 0.1, (0.01, 3.0), "best", 40),
    _Plan(100_000, (64, 128, 256), (32, 512), (128, 64), 3, 0.001, (0.0003, 0.03), 0.01, (0.001, 1.0), "best", 40),
    _Plan(math.inf, (128, 256, 512), (64, 512), (256, 128), 3, 0.001, (0.0003, 0.03), None, (0.0, 0.0), "best", 20),
)
"""Decoupled weight decay shrinks weights by learning rate x decay x steps: under 1,000 rows, 0.3 is little.
There the space is narrow too, because so few validation rows cannot tell good settings from lucky ones; and trials come
in generations, so that the same file has the same answer each time. On two cores that takes no longer: wine's 178 rows
took 33 to 35 s in generations of 8, and 40 to 44 s without.
"""
WIDE_INPUTS = 200
"""With so many inputs, layers are twice as wide."""


def with_study_file(options: Options, notify: Callable[[str], None]) -> Options:
    """The options of `run_study` for those of `sweep run`: with a study file in place of a data file.

    A study file that was written before for the same data and target is used again. Else the data are prepared and
    described, and a study file is written.

    Raises:
        StudyError: A target is given, but no data file.
        DatasetError, HomeError, OSError: The data cannot be used, or no file can be written.
    """
    if not _is_data(options):
        if options.target is not None:
            raise StudyError('--target is for a data file; in a study file, write target = "COLUMN"')
        return options
    data = Path(str(options.study))
    path, folder = find_study(data, options.target), None
    if path is not None:
        notify(f"{path} was written before for this file and is used")
    else:
        path, folder = _write_described(data, options, notify)
        notify(f"wrote {path}: a baseline and a search space for these data, to be changed as you like")
    prepared = None if folder is None else (load(str(path)).source, folder)
    return replace(options, study=str(path), target=None, prepared=prepared)


def _is_data(options: Options) -> bool:
    """Whether the study is the path of a data file or folder: it is not the name or the file of a study."""
    name = options.study
    if name is None or name in names() or name.endswith(".toml") or is_recorded(name, options.home):
        return False
    return Path(name).suffix.lower() in datasets.READERS or Path(name).is_dir()


def _write_described(data: Path, options: Options, notify: Callable[[str], None]) -> tuple[Path, Path]:
    """The new study file, and the folder of the prepared data."""
    datasets.check_name(str(data))
    make_home(options.home)
    target = _target(data, options.target)
    folder = datasets.prepare(Source(str(data), target), Home(options.home).data, notify=notify)
    arrays = describe.stored_arrays(folder)
    for line in describe.lines(data.name, arrays):
        notify(line)
    if target is not None and options.target is None:
        notify(f"if another column than {target!r} is meant, name it with --target COLUMN")
    return write_study(data, arrays, target), folder


def _target(data: Path, target: str | None) -> str | None:
    """The column to predict of a table; None for other data, whose readers refuse a target."""
    if data.suffix.lower() not in datasets.TABLES:
        return target
    from model.data.tables import target_name  # imports pandas

    return target_name(data, target)


def write_study(data: Path, arrays: Arrays, target: str | None) -> Path:
    """Write a study file for a data file, beside it or else in the current folder.

    Args:
        data: The data file, or a folder of IDX files.
        arrays: Its content, from its reader.
        target: Of a table: the column to predict; None for other data.

    Returns:
        The new file. It is named like the data file, with a number if another file has this name.

    Raises:
        OSError: No file can be written.
    """
    beside = data.absolute().parent
    folder = beside if os.access(beside, os.W_OK) else Path.cwd()
    path = next(path for path in _candidates(data, folder) if not path.exists())
    shown = os.path.relpath(data.absolute(), folder)
    write_atomic(path, study_text(shown, arrays, target).encode())
    return path


def find_study(data: Path, target: str | None) -> Path | None:
    """A study file for this data and target that was written before; None if there is none.

    Args:
        data: The data file.
        target: As given by the user; None matches any.
    """
    for folder in dict.fromkeys((data.absolute().parent, Path.cwd())):
        for path in _candidates(data, folder):
            if not path.exists():
                break
            if _is_for(path, data, target):
                return path
    return None


def _candidates(data: Path, folder: Path) -> Iterator[Path]:
    """The names that a study file of this data may have in a folder; a study is named like its file."""
    name = data.name.removesuffix(".gz").rpartition(".")[0] or data.name
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-_")[:NAME_CHARACTERS] or "data"
    if stem in RESERVED or stem in names():
        stem = f"{stem}-study"
    yield folder / f"{stem}.toml"
    number = 2
    while True:
        yield folder / f"{stem}-{number}.toml"
        number += 1


def _is_for(path: Path, data: Path, target: str | None) -> bool:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    dataset = table.get("dataset")
    same_data = isinstance(dataset, str) and (path.parent / dataset).resolve() == data.resolve()
    return same_data and target in (None, table.get("target"))


# ------------------------------------------------------------------ the text


def study_text(dataset: str, arrays: Arrays, target: str | None) -> str:
    """A study file for a dataset.

    Args:
        dataset: The value of its key `dataset`.
        arrays: The content of the dataset.
        target: Of a table: the column to predict; None for other data.
    """
    validation = round(len(arrays.labels) * VALIDATION_FRACTION)
    rows, plan, folds = len(arrays.labels) - validation, _plan(arrays), default_folds(arrays.labels)
    return "\n".join(
        [
            f"# {len(arrays.labels) + len(arrays.test_labels):,} rows: {_parts(arrays, rows, folds)},"
            f" {len(arrays.test_labels):,} for the test; {len(arrays.classes):,} classes.",
            "# Change what you like before the first trial; docs/commands.md lists all keys.",
            f"question  = {_quoted(_question(dataset, arrays, target))}",
            f"dataset   = {_quoted(dataset)}",
            *([f"target    = {_quoted(target)}"] if target is not None else []),
            *_objective(arrays, validation, folds),
            f'epoch     = "{plan.epoch}"',
            _folds(folds),
            "seed      = 7",
            f"trials    = {plan.trials}",
            'sampler   = "tpe"',
            'pruner    = "halving"                  # trials pause after a few epochs; the best are continued',
            "control   = 0.1                        # share of trials that are never stopped early",
            *_generation(plan),
            *_baseline(plan, rows, arrays),
            *_space(plan, arrays),
            "",
            "[confirm]                              # after the search: is the winner real?",
            "top = 3",
            f"repeats = {5 if rows < MANY_ROWS else 3}                            # on fresh splits and seeds",
            "",
        ]
    )


def _plan(arrays: Arrays) -> _Plan:
    return next(plan for plan in PLANS if len(arrays.labels) <= plan.rows)


def _question(dataset: str, arrays: Arrays, target: str | None) -> str:
    name = shortened(Path(dataset).name, SHOWN_CHARACTERS)
    if target is not None and arrays.columns is not None:
        column = shortened(target, SHOWN_CHARACTERS)
        what = f"predict {column} best from the {len(arrays.columns):,} other columns of {name}"
    else:
        what = f"classify the {'images' if arrays.columns is None else 'rows'} of {name} best"
    return f"Which width, learning rate, batch size and regularisation {what}?"


def _parts(arrays: Arrays, rows: int, folds: int) -> str:
    """How many rows are for training and for validation."""
    if folds > 1:
        return f"{len(arrays.labels):,} for training and validation"
    return f"{rows:,} for training, {len(arrays.labels) - rows:,} for validation"


def _folds(folds: int) -> str:
    what = "a trial is one training" if folds == 1 else f"a trial is {folds} trainings; each row validates one of them"
    return f"folds     = {folds:<27}# {what}"


def _objective(arrays: Arrays, validation: int, folds: int) -> list[str]:
    counts = np.bincount(np.concatenate([arrays.labels, arrays.test_labels])).tolist()
    few = f"{validation:,} validation rows cannot rank trials by accuracy: too many would tie"
    reason = f"# {few if folds == 1 else 'ranks trials more finely than the accuracy on so few rows'}"
    lines = [
        f'objective = "validation_loss"          {reason}'
        if validation < FINE_ROWS
        else 'objective = "validation_accuracy"'
    ]
    if is_imbalanced(counts):
        lines += [
            f"# Always predicting the largest class is right in {100 * majority_share(counts):.1f} %."
            " If the small classes matter as much:",
            '# objective = "balanced_accuracy"',
        ]
    return lines


def _generation(plan: _Plan) -> list[str]:
    if plan.generation is None:
        return []
    return [
        f"generation = {plan.generation:<26}# chosen at a time: the same result each time, on any number of workers"
    ]


def _baseline(plan: _Plan, rows: int, arrays: Arrays) -> list[str]:
    batch = plan.batches[1]
    epochs = _epochs(rows, batch)
    hidden = [units * _widening(arrays) for units in plan.hidden]
    steps = math.ceil(rows / batch) * epochs
    return [
        "",
        "[baseline]                             # trial 0; the answer is by how much the best trial is better",
        f"hidden_sizes = {hidden}",
        f"learning_rate = {plan.rate}",
        f"batch_size = {batch}",
        *([] if plan.decay is None else [f"weight_decay = {plan.decay}"]),
        f"epochs = {epochs:<30}# about {round(steps, -2):,} steps",
        "averaging = 0.33                       # weights are averaged over the latest third of the steps",
    ]


def _epochs(rows: int, batch: int) -> int:
    """Epochs for about 1,500 steps with small data, and up to 10,000 with large data."""
    steps = min(max(MIN_STEPS * (rows / 1000) ** 0.3, MIN_STEPS), MAX_STEPS)
    epochs: int = min(max(3, round(steps / math.ceil(rows / batch))), MAX_EPOCHS)
    return epochs if epochs < 20 else round(epochs / 10) * 10


def _space(plan: _Plan, arrays: Arrays) -> list[str]:
    low, high = plan.units[0], plan.units[1] * _widening(arrays)
    lines = [
        "",
        "[space]",
        f"hidden_sizes  = {{ layers = [1, {plan.layers}], units = [{low}, {high}], log = true }}",
        f"learning_rate = {{ low = {plan.rates[0]}, high = {plan.rates[1]}, log = true }}",
        f"batch_size    = {{ choices = {list(plan.batches)} }}",
        "dropout       = { low = 0.0, high = 0.3 }",
    ]
    if plan.decay is not None:
        lines.append(f"weight_decay  = {{ low = {plan.decays[0]}, high = {plan.decays[1]}, log = true }}")
    if is_imbalanced(np.bincount(np.concatenate([arrays.labels, arrays.test_labels])).tolist()):
        lines.append('class_weights = { choices = ["none", "balanced"] }')
    return lines


def _widening(arrays: Arrays) -> int:
    """Factor for the width of layers: 2 with many inputs of the network."""
    columns = arrays.columns
    units = [1 if column.categories is None else min(len(column.categories), MAX_VALUES) for column in columns or ()]
    return 2 if (math.prod(arrays.shape) if columns is None else sum(units)) >= WIDE_INPUTS else 1


def _quoted(text: str) -> str:
    """Text as in TOML, whose strings have the escapes of JSON; DEL must be one too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
