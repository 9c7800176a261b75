"""The model that MLflow is given computes what the network does, to the last bit, and refuses what is no picture."""

from __future__ import annotations

import ast
import importlib.util
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from model import weights
from model.classifier import Classifier
from model.network import MLP
from sweep.tracking.mlflow.champion_script import champion_script

# MLflow warns of its own type hints as it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*type hint is inferred as AnyType:UserWarning")

SCALE = np.float32(1 / 255)


def loaded(path: Path, sizes: tuple[int, ...], activation: str = "relu") -> tuple[Any, MLP]:
    """A random network, and the champion as MLflow loads it from the network's weights."""
    code = path / "champion_model.py"
    code.write_text(champion_script())
    spec = importlib.util.spec_from_file_location("champion_model", code)
    module = importlib.util.module_from_spec(spec)
    sys.modules["champion_model"] = module
    spec.loader.exec_module(module)
    generator, champion = np.random.default_rng(0), module.Champion()
    network = MLP(sizes, activation=activation, scale=float(SCALE))
    network.theta[...] = generator.normal(0, 0.05, network.theta.size)
    weights.save(path / "champion.npz", Classifier.of(network))
    champion.load_context(SimpleNamespace(artifacts={"weights": str(path / "champion.npz")}))
    return champion, network


# A product is summed in blocks of some hundred terms, so that a bias added later can round otherwise: MNIST's 784.
@pytest.mark.parametrize("sizes", [(64, 32, 16, 10), (784, 128, 64, 10), (784, 512, 10), (785, 17, 3), (4, 2)])
@pytest.mark.parametrize("count", [1, 2, 7, 33, 360])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_probabilities_equal_the_networks(tmp_path: Path, sizes: tuple[int, ...], count: int, activation: str) -> None:
    champion, network = loaded(tmp_path, sizes, activation)
    pixels = np.random.default_rng(count).integers(0, 256, (count, sizes[0])).astype(np.uint8)
    own = network.predict(pixels).copy()

    found = [champion.predict(None, pixels.astype(kind)) for kind in (np.uint8, np.int64, np.float32, np.float64)]

    for table in found:
        assert table.iloc[:, 1:].to_numpy().tobytes() == own.tobytes()
        assert table["class"].tolist() == own.argmax(axis=1).tolist()
        assert set(table.dtypes.iloc[1:]) == {np.dtype(np.float32)}


def test_the_script_imports_numpy_pandas_and_mlflow_only() -> None:
    tree = ast.parse(champion_script())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {(node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name for node in imports}

    assert {name.split(".")[0] for name in names} - sys.stdlib_module_names == {"numpy", "pandas", "mlflow"}


def test_concurrent_predictions_are_correct(tmp_path: Path) -> None:
    """A server predicts in several threads, and the network's buffers are shared."""
    champion, network = loaded(tmp_path, (64, 32, 10))
    batches = [np.random.default_rng(i).integers(0, 256, (200, 64)).astype(np.uint8) for i in range(40)]
    own = [network.predict(batch).tobytes() for batch in batches]

    with ThreadPoolExecutor(8) as pool:
        tables = list(pool.map(lambda batch: champion.predict(None, batch), batches))

    assert [table.iloc[:, 1:].to_numpy().tobytes() for table in tables] == own


@pytest.mark.parametrize(
    "given",
    [
        np.zeros((2, 5)),
        np.zeros(4),
        np.zeros((0, 4)),
        np.zeros((1, 2, 2)),
        np.full((1, 4), np.nan),
        np.full((1, 4), -np.inf),
        np.full((1, 4), 1e39),
        np.full((1, 4), "7"),
        np.full((1, 4), None),
        np.full((1, 4), True),
        np.full((1, 4), 1j),
        [[10**400] * 4],
        {"a": 1},
        None,
    ],
)
def test_invalid_input_is_a_client_error(tmp_path: Path, given: object) -> None:
    champion, _ = loaded(tmp_path, (4, 2))
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException) as refusal:
        champion.predict(None, given)

    assert refusal.value.error_code == "INVALID_PARAMETER_VALUE"
    assert refusal.value.get_http_status_code() == 400
