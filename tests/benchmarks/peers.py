"""From a CSV file to predictions for another: this program beside scikit-learn and FLAML.

    make peers          needs `.venv/bin/pip install "flaml[automl]>=2.7,<3"`
    .venv/bin/python tests/benchmarks/peers.py wine digits

Each contender is a process of its own that gets the same two files and writes the class of each test row; its seconds
are those of the whole process. `sweep run` is called without options but for the objective, and its champion is
trained on four fifths of the rows, since it keeps a fifth as its own test set. scikit-learn searches at random with
about as many trainings, FLAML as many seconds. The last line is everything as JSON.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
from aims import Aim, as_json, show
from numpy.typing import NDArray
from peer_tables import Table, all_tables

from studies.record.reader import read
from sweep.workers.local import ONE_THREAD

CONTENDERS = ("sweep", "scikit-learn", "FLAML")
CONTEND = "--contend"
"""First argument of the process of a contender."""
HEADER = """\
| table | rows | score in % | ours | scikit-learn | FLAML | seconds / CPU, ours | scikit-learn | FLAML | trainings |
|---|---|---|---|---|---|---|---|---|---|"""
FOLDS = 3
"""Of scikit-learn's search: a candidate costs so many trainings."""
FLAML_SECONDS = 30
CORES = 2
NOISE = 2.0
"""Standard errors up to which a difference between two scores is noise."""


# ------------------------------------------------------------------ contenders, each in a process of its own


def run_sweep(folder: Path, score: str) -> None:
    """Search and predict with this program's command line."""
    home = ["--home", str(folder / "runs"), "--tracking", "none"]
    objective = [] if score == "accuracy" else ["--set", f"objective={score}"]
    sweep = [sys.executable, "-m", "sweep"]
    run = [*sweep, "run", "train.csv", "--target", "target", "--workers", str(CORES), *objective, *home]
    predict = [*sweep, "predict", "test.csv", "--study", "train", "--out", "predicted.csv", *home]
    for command in (run, predict):
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def run_scikit_learn(folder: Path, score: str, candidates: int) -> None:
    """Random search of a pipeline with MLPClassifier, as its user guide does it, with rare classes weighted."""
    from scipy.stats import loguniform
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.model_selection import RandomizedSearchCV
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler
    from sklearn.utils.class_weight import compute_sample_weight

    inputs, labels = _read(folder / "train.csv")
    is_number = make_column_selector(dtype_include="number")
    is_text = make_column_selector(dtype_exclude="number")
    columns = make_column_transformer(
        (make_pipeline(StandardScaler(), SimpleImputer(add_indicator=True)), is_number),
        (OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=2), is_text),
    )
    network = MLPClassifier(max_iter=200, early_stopping=len(inputs) > 5000, random_state=0)
    space = {
        "hidden_layer_sizes": [(32,), (64,), (128,), (256,), (64, 64), (128, 64), (256, 128)],
        "learning_rate_init": loguniform(1e-4, 3e-2),
        "alpha": loguniform(1e-6, 1),
        "batch_size": [16, 32, 64, 128] if len(inputs) < 5000 else [64, 128, 256, 512],
    }
    search = RandomizedSearchCV(
        make_pipeline(columns, network),
        {f"mlpclassifier__{name}": values for name, values in space.items()},
        n_iter=candidates,
        scoring=score,
        n_jobs=CORES,
        cv=FOLDS,
        random_state=0,
    )
    weights = compute_sample_weight("balanced", labels) if score == "balanced_accuracy" else None
    search.fit(inputs, labels, mlpclassifier__sample_weight=weights)
    _write(folder, search.predict(_read(folder / "test.csv")[0]))


def run_flaml(folder: Path, score: str, seconds: float) -> None:
    """FLAML's search over tree ensembles and linear models, for this many seconds."""
    from flaml import AutoML
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.utils.class_weight import compute_sample_weight

    def balanced(x_val, y_val, estimator, classes, x_train, y_train, *rest, **named):  # type: ignore[no-untyped-def]
        loss = 1 - balanced_accuracy_score(y_val, estimator.predict(x_val))
        return loss, {"loss": loss}

    inputs, labels = _read(folder / "train.csv")
    is_balanced = score == "balanced_accuracy"
    weights = {"sample_weight": compute_sample_weight("balanced", labels)} if is_balanced else {}
    automl = AutoML()
    automl.fit(
        inputs,
        labels,
        task="classification",
        metric=balanced if is_balanced else "accuracy",
        time_budget=seconds,
        n_jobs=CORES,
        seed=0,
        verbose=0,
        **weights,
    )
    _write(folder, automl.predict(_read(folder / "test.csv")[0]))


def _read(path: Path) -> tuple[pd.DataFrame, NDArray[Any]]:
    frame = pd.read_csv(path)
    labels = frame.pop("target") if "target" in frame else pd.Series(dtype=object)
    return frame, labels.to_numpy()


def _write(folder: Path, classes: NDArray[Any]) -> None:
    pd.DataFrame({"class": classes}).to_csv(folder / "predicted.csv", index=False)


# ------------------------------------------------------------------ one table


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a contender did on one split: elapsed and processor seconds, and the class of each test row."""

    seconds: float
    cpu_seconds: float
    predicted: NDArray[Any]


def compare(train: pd.DataFrame, test: pd.DataFrame, score: str) -> tuple[dict[str, Outcome], int]:
    """The outcome of each contender on one split, and the complete trainings of the sweep."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        train.to_csv(folder / "train.csv", index=False)
        test.drop(columns="target").to_csv(folder / "test.csv", index=False)
        ours = _contend("sweep", folder, score)
        record = read(folder / "runs" / "train")
        trainings = sum(trial.state == "complete" for trial in (*record.trials, *record.confirm))
        return {
            "sweep": ours,
            "scikit-learn": _contend("scikit-learn", folder, score, max(1, round(trainings / FOLDS))),
            "FLAML": _contend("FLAML", folder, score, FLAML_SECONDS),
        }, trainings


def _contend(name: str, folder: Path, score: str, *amount: int) -> Outcome:
    """Run a contender in a process of its own."""
    started, used = perf_counter(), _cpu_seconds()
    command = [sys.executable, __file__, CONTEND, name, str(folder), score, *map(str, amount)]
    subprocess.run(command, check=True, env={**os.environ, **ONE_THREAD} if name == "scikit-learn" else None)
    seconds, cpu_seconds = perf_counter() - started, _cpu_seconds() - used
    print(f"{name}: {seconds:.0f} s", file=sys.stderr, flush=True)
    return Outcome(seconds, cpu_seconds, pd.read_csv(folder / "predicted.csv")["class"].to_numpy())


def _cpu_seconds() -> float:
    """Of all processes that this one has started, and of theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def row_scores(labels: NDArray[Any], predicted: NDArray[Any], score: str) -> NDArray[np.float64]:
    """A number for each row whose mean is the score."""
    right = (labels == predicted).astype(np.float64)
    if score == "accuracy":
        return right
    classes, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return right * (len(labels) / (len(classes) * counts))[codes]


def measure(table: Table) -> dict[str, Any]:
    """Scores and seconds of each contender on each split of a table."""
    found: dict[str, dict[str, list[Any]]] = {
        name: {"seconds": [], "cpu_seconds": [], "row_scores": []} for name in CONTENDERS
    }
    fits = []
    for train, test in table.splits():
        outcomes, trainings = compare(train, test, table.score)
        fits.append(trainings)
        for name, outcome in outcomes.items():
            found[name]["seconds"].append(outcome.seconds)
            found[name]["cpu_seconds"].append(outcome.cpu_seconds)
            found[name]["row_scores"].append(row_scores(test["target"].to_numpy(), outcome.predicted, table.score))
    differences = {
        name: _difference(found["sweep"]["row_scores"], found[name]["row_scores"]) for name in CONTENDERS[1:]
    }
    return {
        "table": table.name,
        "rows": len(table.frame),
        "score": table.score,
        "trainings": statistics.mean(fits),
        "scores": {name: [float(np.mean(each)) for each in found[name]["row_scores"]] for name in CONTENDERS},
        "seconds": {name: found[name]["seconds"] for name in CONTENDERS},
        "cpu_seconds": {name: found[name]["cpu_seconds"] for name in CONTENDERS},
        "differences": differences,
    }


def _difference(ours: list[NDArray[np.float64]], theirs: list[NDArray[np.float64]]) -> tuple[float, float]:
    """Mean difference of the scores and its standard error over the test rows of all splits."""
    each = np.concatenate(ours) - np.concatenate(theirs)
    return float(each.mean()), float(each.std(ddof=1) / np.sqrt(len(each)))


# ------------------------------------------------------------------ results


def row(result: dict[str, Any]) -> str:
    """A row of the table in README.md."""
    cells = [f"{result['table']} | {result['rows']:,} | {result['score'].replace('_', ' ')}"]
    cells += [_spread([100 * score for score in result["scores"][name]]) for name in CONTENDERS]
    cells += [
        f"{statistics.mean(result['seconds'][name]):.0f} / {statistics.mean(result['cpu_seconds'][name]):.0f}"
        for name in CONTENDERS
    ]
    cells += [f"{result['trainings']:.0f}"]
    return f"| {' | '.join(cells)} |"


def _spread(values: list[float], digits: int = 1) -> str:
    middle = f"{statistics.mean(values):.{digits}f}"
    return f"{middle} ({min(values):.{digits}f} to {max(values):.{digits}f})" if len(values) > 1 else middle


def aims(result: dict[str, Any]) -> list[Aim]:
    """Within noise of the best neural peer, and faster than it."""
    (difference, error), seconds = result["differences"]["scikit-learn"], result["seconds"]
    ratio = statistics.median(seconds["scikit-learn"]) / statistics.median(seconds["sweep"])
    name = result["table"]
    noise = f"% {name}: above MLPClassifier, at least {-100 * NOISE * error:.1f} (two standard errors)"
    return [
        (noise, 100 * difference, difference >= -NOISE * error),
        (f"{name}: seconds of RandomizedSearchCV / ours, more than 1", ratio, ratio > 1),
    ]


def main(names: Sequence[str]) -> None:
    """Measure the named tables, or all."""
    print(HEADER, flush=True)
    results = []
    for table in all_tables():
        if not names or table.name in names:
            results.append(measure(table))
            print(row(results[-1]), flush=True)
    found = [aim for result in results for aim in aims(result)]
    show(found)
    print(as_json(found, results=results))


def _contender(name: str, folder: str, score: str, amount: str = "0") -> None:
    if name == "sweep":
        run_sweep(Path(folder), score)
    elif name == "scikit-learn":
        run_scikit_learn(Path(folder), score, int(amount))
    else:
        run_flaml(Path(folder), score, int(amount))


if __name__ == "__main__":
    if sys.argv[1:2] == [CONTEND]:
        _contender(*sys.argv[2:])
    else:
        main(sys.argv[1:])
