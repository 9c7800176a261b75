"""Who may import whom, as a table; read from the source, so that no import has to be run."""

import ast
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from model.hyperparameters import Hyperparameters

ROOT = Path(__file__).parent.parent
OURS = {"model", "studies", "sweep", "reports"}
ALLOWED = {
    "model": {"numpy", "model", "sklearn"},
    "studies": {"pydantic", "model", "studies"},
    "sweep": {
        "numpy", "optuna", "sqlalchemy", "scipy", "click", "rich", "PIL",
        "mlflow", "requests", "fastapi", "uvicorn", "starlette", "pandas", "optuna_dashboard", "dask", "distributed",
        "model", "studies", "reports", "sweep",
    },
    "reports": {"numpy", "optuna", "sqlalchemy", "pandas", "matplotlib", "pypdf", "reports"},
}  # fmt: skip
ONLY = {
    "sklearn": {"model/estimator.py"},
    "mlflow": {"sweep/mirror.py", "sweep/champion_model.py", "sweep/local_mlflow.py", "sweep/mlflow_app.py"},
    "optuna_dashboard": {"sweep/dashboard.py"},
    "dask": {"sweep/cluster_link.py"},
    "distributed": {"sweep/cluster_link.py", "sweep/cluster_worker.py"},
    "optuna": {
        "sweep/coordinator.py",
        "sweep/champion.py",
        "sweep/migration.py",
        "sweep/objective.py",
        "sweep/pruners.py",
        "sweep/search.py",
        "sweep/postgres.py",
        "sweep/storage.py",
        "sweep/tpe.py",
        "reports/database.py",
        "reports/records.py",
        "reports/trials.py",
    },
}
FILES = [path for package in sorted(OURS) for path in sorted((ROOT / package).rglob("*.py"))]


def imported(path):
    """Top-level names of everything the file imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add((node.module or "").split(".")[0])
    return names - set(sys.stdlib_module_names)


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(ROOT)) for path in FILES])
def test_a_file_imports_what_its_package_may(path):
    """The table above; the standard library is free."""
    assert imported(path) <= ALLOWED[path.relative_to(ROOT).parts[0]]


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(ROOT)) for path in FILES])
def test_some_packages_belong_to_few_files(path):
    """MLflow to the mirror, Optuna to those who ask and the one who reads."""
    place = str(path.relative_to(ROOT))
    for name, files in ONLY.items():
        assert name not in imported(path) or place in files


def test_nothing_draws_through_pyplot():
    """pyplot keeps figures alive and reads a matplotlibrc of the current folder."""
    for path in FILES:
        assert "pyplot" not in path.read_text().replace("no pyplot", "").replace("without pyplot", ""), path


def test_nothing_unpickles():
    """No pickle in any spelling; arrays are loaded without it."""
    for path in FILES:
        tree = ast.parse(path.read_text())
        assert not imported(path) & {"cloudpickle", "dill", "joblib"}, path
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert "pickle" not in ast.unparse(node), path
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert ast.unparse(node.value) == "False", path


def test_no_other_package_knows_a_hyperparameter():
    """A new one is a field, its use, and a line in a study file: `sweep` and `reports` name none of them.

    `epochs` is the length of a training, which both must know; `learning_rate` is also a column of every epoch.
    """
    names = {field.name for field in fields(Hyperparameters)} - {"epochs"}
    for path in [*(ROOT / "sweep").rglob("*.py"), *(ROOT / "reports").rglob("*.py")]:
        tree = ast.parse(path.read_text())
        words = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        allowed = {"learning_rate"} if path.name in ("records.py", "runs.py") else set()
        assert (words | attributes) & names <= allowed, path
