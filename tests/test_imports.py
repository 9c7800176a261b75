"""The layers of the project, read from its source: who may import whom, and what no file may contain."""

import ast
import sys
from dataclasses import fields
from pathlib import Path

from model.hyperparameters import Hyperparameters

ROOT = Path(__file__).parent.parent
LAYERS = ("model", "studies", "reports", "sweep")
"""A package imports those before it and itself."""
LIBRARIES = {
    "model": {"numpy"},
    "studies": {"numpy", "optuna", "pandas", "pydantic", "sqlalchemy"},
    "reports": {"numpy", "pandas", "matplotlib", "pypdf"},
    "sweep": {"numpy", "optuna", "sqlalchemy", "scipy", "click", "rich", "PIL", "pandas"},
}
"""What every file of a package may import besides the standard library and our layers."""
EXCEPTIONS = {
    "model/estimator.py": {"sklearn"},
    "sweep/commands/dashboard.py": {"optuna_dashboard"},
    "sweep/workers/dask_client.py": {"dask", "distributed"},
    "sweep/workers/dask_worker.py": {"distributed"},
    "sweep/tracking/reconcile.py": {"mlflow", "requests"},
    "sweep/tracking/mlflow/champion_model.py": {"mlflow"},
    "sweep/tracking/mlflow/local_store.py": {"mlflow"},
    "sweep/tracking/mlflow/server.py": {"mlflow"},
}
FILES = [path for package in LAYERS for path in sorted((ROOT / package).rglob("*.py"))]


def place(path):
    return path.relative_to(ROOT).as_posix()


def modules(path):
    """Full names of the modules that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_imports_run_from_model_to_sweep():
    for path in FILES:
        package = place(path).split("/")[0]
        ours = set(LAYERS[: LAYERS.index(package) + 1])
        allowed = ours | LIBRARIES[package] | EXCEPTIONS.get(place(path), set()) | sys.stdlib_module_names
        assert {name.split(".")[0] for name in modules(path)} <= allowed, path


def test_nothing_draws_through_pyplot():
    """pyplot keeps figures alive and reads a matplotlibrc of the current folder."""
    for path in FILES:
        assert not any("pyplot" in name for name in modules(path)), path


def test_nothing_unpickles():
    """No pickle in any spelling; arrays are loaded without it."""
    for path in FILES:
        assert not [name for name in modules(path) if {"pickle", "cloudpickle", "dill", "joblib"} & {*name.split(".")}]
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert ast.unparse(node.value) == "False", path


def test_no_other_package_names_a_hyperparameter():
    """A new one is a field, its use, and a line in a study file: `sweep` and `reports` name none of them.

    `epochs` is the length of a training, which both must know; `learning_rate` is also a column of every epoch.
    """
    names = {field.name for field in fields(Hyperparameters)} - {"epochs", "learning_rate"}
    for path in [path for path in FILES if place(path).startswith(("sweep/", "reports/"))]:
        tree = ast.parse(path.read_text())
        words = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not (words | attributes) & names, path
