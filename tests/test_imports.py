"""Architecture rules, checked on the source: allowed imports and forbidden content."""

import ast
import functools
import sys
from dataclasses import fields
from itertools import combinations
from pathlib import Path

from model.hyperparameters import Hyperparameters

ROOT = Path(__file__).parent.parent
LAYERS = ("model", "studies", "reports", "sweep")
"""A package imports those before it and itself."""
LIBRARIES = {
    "model": {"numpy"},
    "studies": {"numpy", "optuna", "pandas", "pydantic", "sqlalchemy"},
    "reports": {"numpy", "pandas", "matplotlib", "pypdf"},
    "sweep": {"numpy", "optuna", "sqlalchemy", "click", "rich", "PIL", "pandas"},
}
"""What every file of a package may import besides the standard library and our layers."""
EXCEPTIONS = {
    "model/estimator.py": {"sklearn"},
    "reports/analysis/importance.py": {"sklearn"},
    "reports/analysis/statistics.py": {"scipy"},
    "model/data/columns.py": {"pandas"},
    "model/data/frames.py": {"pandas", "pyarrow"},
    "model/data/tables.py": {"pandas"},
    "sweep/champion_classifier.py": {"sklearn"},
    "sweep/commands/dashboard.py": {"optuna_dashboard"},
    "sweep/workers/dask_client.py": {"dask", "distributed"},
    "sweep/workers/dask_worker.py": {"distributed"},
    "sweep/tracking/mlflow/client.py": {"mlflow", "requests"},
    "sweep/tracking/mlflow/champion_model.py": {"mlflow"},
    "sweep/tracking/mlflow/local_store.py": {"mlflow"},
    "sweep/tracking/mlflow/model_files.py": {"mlflow"},
    "sweep/tracking/mlflow/registry.py": {"mlflow"},
    "sweep/tracking/mlflow/server.py": {"mlflow"},
}
FILES = [path for package in LAYERS for path in sorted((ROOT / package).rglob("*.py"))]


@functools.cache
def parsed(path):
    return ast.parse(path.read_text())


def place(path):
    return path.relative_to(ROOT).as_posix()


@functools.cache
def nodes(path):
    """All of a file's syntax tree; several tests look at it."""
    return tuple(ast.walk(parsed(path)))


@functools.cache
def modules(path):
    """Full names of the modules that a file imports, inside functions too."""
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_imports_go_only_from_sweep_towards_model():
    for path in FILES:
        package = place(path).split("/")[0]
        ours = set(LAYERS[: LAYERS.index(package) + 1])
        allowed = ours | LIBRARIES[package] | EXCEPTIONS.get(place(path), set()) | sys.stdlib_module_names
        assert {name.split(".")[0] for name in modules(path)} <= allowed, path


def node(name):
    """The folder of a module, or the module itself where its folder holds other folders."""
    folder = ROOT / Path(*name.split(".")[:-1])
    mixed = any(path.is_dir() and path.name != "__pycache__" for path in folder.iterdir())
    return name if mixed else ".".join(name.split(".")[:-1])


def test_no_packages_import_each_other():
    """The packages, and modules beside packages, have no import cycle."""
    modules_ = {place(path).removesuffix(".py").replace("/", ".") for path in FILES if path.stem != "__init__"}
    arrows = {node(name): set() for name in modules_}
    for path in FILES:
        if path.stem != "__init__":
            here = place(path).removesuffix(".py").replace("/", ".")
            for imported in modules(path):
                there = next((name for name in (imported, imported.rpartition(".")[0]) if name in modules_), None)
                if there and node(there) != node(here):
                    arrows[node(here)].add(node(there))
    while leaves := {name for name, targets in arrows.items() if not targets & arrows.keys()}:
        arrows = {name: targets for name, targets in arrows.items() if name not in leaves}
    assert not arrows


def test_files_are_short_and_have_unique_names():
    long = [place(path) for path in FILES if len(path.read_text().splitlines()) > 400]
    assert long == []
    for folder in {path.parent for path in FILES}:
        names = sorted({path.stem for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()})
        assert not [pair for pair in combinations(names, 2) if pair[1] == f"{pair[0]}s"], folder


def test_pyplot_is_not_used():
    """pyplot keeps figures alive and reads a matplotlibrc of the current folder."""
    for path in FILES:
        assert not any("pyplot" in name for name in modules(path)), path


def test_pickle_is_not_used():
    """No use of pickle; arrays are loaded with allow_pickle=False."""
    for path in FILES:
        assert not [name for name in modules(path) if {"pickle", "cloudpickle", "dill", "joblib"} & {*name.split(".")}]
        for node in nodes(path):
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert ast.unparse(node.value) == "False", path


def test_no_other_package_names_a_hyperparameter():
    """A new one is a field and its use: `sweep` and `reports` name none of them.

    `epochs` is the length of a training, which both must know; `learning_rate` is also a column of every epoch.
    """
    names = {field.name for field in fields(Hyperparameters)} - {"epochs", "learning_rate"}
    for path in [path for path in FILES if place(path).startswith(("sweep/", "reports/"))]:
        words = {node.value for node in nodes(path) if isinstance(node, ast.Constant)}
        attributes = {node.attr for node in nodes(path) if isinstance(node, ast.Attribute)}
        assert not (words | attributes) & names, path


def test_scripts_import_existing_names():
    """The benchmarks and the chaos script are not run by the fast tests, and mypy does not check them."""
    scripts = [*(ROOT / "tests" / "benchmarks").rglob("*.py"), ROOT / "tests" / "chaos" / "chaos.py"]
    imported = {name for script in scripts for name in modules(script) if name.split(".")[0] in LAYERS}

    assert len(imported) >= 20
    assert not [name for name in imported if not is_defined(name)]


def is_defined(name):
    """Whether a dotted name is a module of ours, or a name at the top level of one."""
    module, _, attribute = name.rpartition(".")
    if any((ROOT / (name.replace(".", "/") + ending)).exists() for ending in ("", ".py")):
        return True
    path = ROOT / (module.replace(".", "/") + ".py")
    source = path if path.exists() else path.with_suffix("") / "__init__.py"
    return source.exists() and attribute in top_level_names(source)


def top_level_names(path):
    """Functions, classes, variables and imports at the top level of a file."""
    found = set()
    for node in parsed(path).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
        else:
            found |= {
                part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
            }
    return found
