"""The model that MLflow is given computes what the network does, to the last bit, and refuses what does not fit."""

from __future__ import annotations

import ast
import importlib.util
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from model import weights
from model.classifier import Classifier
from model.data.arrays import Column
from model.data.preprocessing import fit_pixels, fit_table
from model.network import MLP
from sweep.champion_classifier import ChampionClassifier
from sweep.tracking.mlflow.champion_script import champion_script
from sweep.tracking.tracker import Model

# MLflow warns of its own type hints as it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*type hint is inferred as AnyType:UserWarning")

SCALE = np.float32(1 / 255)


def loaded(path: Path, sizes: tuple[int, ...], activation: str = "relu") -> tuple[Any, MLP]:
    """A random network, and the champion as MLflow loads it from the network's weights."""
    network = MLP(sizes, activation=activation, scale=float(SCALE))
    network.theta[...] = np.random.default_rng(0).normal(0, 0.05, network.theta.size)
    return as_loaded(path, Classifier.of(network)), network


def as_loaded(path: Path, classifier: Classifier) -> Any:
    """The champion as MLflow loads it."""
    code = path / "champion_model.py"
    code.write_text(champion_script())
    spec = importlib.util.spec_from_file_location("champion_model", code)
    module = importlib.util.module_from_spec(spec)
    sys.modules["champion_model"] = module
    spec.loader.exec_module(module)
    champion = module.Champion()
    weights.save(path / "champion.npz", classifier)
    champion.load_context(SimpleNamespace(artifacts={"weights": str(path / "champion.npz")}))
    return champion


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


def test_no_module_of_the_script_replaces_a_function_or_class_of_another() -> None:
    """All of them share one namespace there."""
    tree = ast.parse(champion_script())
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]

    assert sorted(names) == sorted(set(names))


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


COLUMNS = (Column("age"), Column("town", ("Bonn", "Kiel")), Column("floor"))


@pytest.fixture
def tenants() -> Classifier:
    """A random network for a table with names, of classes with names."""
    rng = np.random.default_rng(0)
    raw = np.stack([rng.normal(size=40), rng.integers(0, 2, 40), rng.integers(0, 9, 40)], axis=1)
    raw[::5, 1] = np.nan
    preprocessing = fit_table(raw, COLUMNS)
    network = MLP((preprocessing.features, 8, 2))
    network.initialise(rng)
    return Classifier(network, preprocessing, ("moves", "stays"))


def test_columns_of_a_table_are_found_by_name(tmp_path: Path, tenants: Classifier) -> None:
    champion = as_loaded(tmp_path, tenants)
    frame = pd.DataFrame({"age": [1.5, None], "town": ["Kiel", None], "floor": [1, 2], "other": "x"})
    raw = np.array([[1.5, 1, 1], [np.nan, np.nan, 2]])

    expected = tenants.predict(raw, COLUMNS)
    for given in (frame, frame[frame.columns[::-1]], frame.astype({"floor": "Int64"}), frame.astype(object)):
        found = champion.predict(None, given)
        assert list(found) == ["class", "probability_moves", "probability_stays"]
        assert found.iloc[:, 1:].to_numpy().tobytes() == expected.tobytes()
        assert found["class"].tolist() == [tenants.classes[k] for k in expected.argmax(axis=1)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (pd.DataFrame({"age": [1.0], "town": ["Kiel"]}), "missing columns: floor"),
        (pd.DataFrame({"age": ["old"], "town": ["Kiel"], "floor": [1]}), "row 0: column 'age' has 'old'"),
        (pd.DataFrame({"age": [np.inf], "town": ["Kiel"], "floor": [1]}), "column 'age' has an infinite number"),
        (pd.DataFrame({"age": [1e300], "town": ["Kiel"], "floor": [1]}), "numbers too far"),
        (pd.DataFrame({"age": pd.to_datetime(["2020-01-01"]), "town": ["Kiel"], "floor": [1]}), "'age' has dates"),
        (np.zeros((1, 3)), "expected a table with named columns"),
    ],
)
def test_a_table_that_does_not_fit_is_a_client_error(
    tmp_path: Path, tenants: Classifier, given: object, message: str
) -> None:
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException, match=message) as refusal:
        as_loaded(tmp_path, tenants).predict(None, given)
    assert refusal.value.get_http_status_code() == 400


def stored(folder: Path, classifier: Classifier) -> Any:
    """The model as MLflow loads it from its own files, which enforces the signature."""
    import mlflow

    weights.save(folder / "champion.npz", classifier)
    import sweep.tracking.mlflow.client  # noqa: F401  # sets what MLflow reads when it is imported, which takes 2 s
    from sweep.tracking.mlflow.model_files import save_model

    save_model(Model("m", folder / "champion.npz", "", "", {}, {}, 0, "", "", {}, {}), folder)
    return mlflow.pyfunc.load_model(str(folder / "model"))


def test_the_signature_has_the_columns_and_refuses_what_lacks_them(tmp_path: Path, tenants: Classifier) -> None:
    from mlflow.exceptions import MlflowException

    model = stored(tmp_path, tenants)
    frame = pd.DataFrame({"age": [3, 4], "town": ["Kiel", "Bonn"], "floor": [1, 2]})  # whole numbers, as CSV files have

    assert model.metadata.get_input_schema().input_names() == ["age", "town", "floor"]
    assert model.metadata.get_output_schema().input_names() == ["class", "probability_moves", "probability_stays"]
    expected = tenants.predict(*tenants.raw_rows(frame))
    for given in (frame, frame[frame.columns[::-1]]):
        assert model.predict(given).iloc[:, 1:].to_numpy().tobytes() == expected.tobytes()
    for given in (frame.drop(columns="town"), frame.to_numpy(), np.zeros((2, 3))):
        with pytest.raises(MlflowException, match="missing inputs"):
            model.predict(given)


def test_an_array_may_have_any_type_that_holds_its_numbers(tmp_path: Path) -> None:
    """MLflow passes it on as it is, and the model itself refuses another shape and what is not a number."""
    from mlflow.exceptions import MlflowException

    raw = np.random.default_rng(0).integers(0, 256, (20, 30)).astype(np.uint8)
    pixels = fit_pixels(raw, (6, 5))
    network = MLP((30, 3), scale=pixels.scale, offset=pixels.offset)
    network.initialise(np.random.default_rng(0))
    classifier = Classifier(network, pixels, ("2", "4", "8"))
    model, images = stored(tmp_path, classifier), raw.reshape(20, 6, 5)

    expected = classifier.predict(raw)
    assert model.metadata.metadata["example_shape"] == [6, 5]
    for kind in (np.uint8, np.int64, np.uint16, np.float32, np.float64, object):
        for given in (images, images[..., np.newaxis], raw):
            found = model.predict(given.astype(kind))
            assert found.iloc[:, 1:].to_numpy().tobytes() == expected.tobytes()
            assert found["class"].tolist() == [(2, 4, 8)[k] for k in expected.argmax(axis=1)]
    for given in (images[:, :5], images[0], images.astype(complex), images.astype("datetime64[s]")):
        with pytest.raises(MlflowException, match=r"expected examples of shape \(6, 5\)|expected numbers"):
            model.predict(given)


def test_every_form_of_examples_has_one_answer_in_mlflow_and_scikit_learn(tmp_path: Path, tenants: Classifier) -> None:
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(20, 3))
    numbered = fit_table(raw, tuple(Column(str(place)) for place in range(3)))
    network = MLP((numbered.features, 2))
    network.initialise(rng)
    frame = pd.DataFrame({"age": [1.5, None], "town": ["Kiel", None], "floor": [1, 2]})
    gaps = [[1.0, None, 2.0]]
    for number, (classifier, forms) in enumerate(
        (
            (tenants, (frame, frame.astype(object), dict(frame))),
            (Classifier(network, numbered, ("0", "1")), (gaps, np.array(gaps, object), pd.DataFrame(gaps))),
            (Classifier.of(network), ([[1, 2, 3]], np.array([[1, 2, 3]], np.uint8), pd.DataFrame([[1, 2, 3]]))),
        )
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        served, fitted = as_loaded(folder, classifier), ChampionClassifier(classifier)
        for given in forms:
            expected = fitted.predict_proba(forms[0])
            assert fitted.predict_proba(given).tobytes() == expected.tobytes()
            assert served.predict(None, given).iloc[:, 1:].to_numpy().tobytes() == expected.tobytes()


def answer(model: Any, body: object) -> list[dict[str, Any]]:
    """What MLflow's server answers to a body of JSON."""
    from mlflow.pyfunc.scoring_server import invocations

    found = invocations(json.dumps(body), "application/json", model, model.metadata.get_input_schema())
    assert found.status == 200
    return json.loads(found.response)["predictions"]


def test_a_server_reads_columns_and_gaps_in_every_form_of_json(tmp_path: Path, tenants: Classifier) -> None:
    model = stored(tmp_path, tenants)
    records = [{"floor": 1, "age": 1.5, "town": "Kiel"}, {"floor": 2, "age": None, "town": None}]
    columns = {"age": [1.5, None], "town": ["Kiel", None], "floor": [1, 2]}
    split = {"columns": list(columns), "data": [[1.5, "Kiel", 1], [None, None, 2]]}

    expected = tenants.predict(*tenants.raw_rows(columns))
    for body in (
        {"dataframe_records": records},
        {"dataframe_split": split},
        {"inputs": columns},
        {"inputs": records},
        {"instances": records},
    ):
        rows = answer(model, body)
        found = np.array([[row["probability_moves"], row["probability_stays"]] for row in rows], np.float32)
        assert found.tobytes() == expected.tobytes(), body
