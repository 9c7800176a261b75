"""The NumPy code in docs/own-data.md gives the predictions of `sweep predict`."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from model import weights
from model.classifier import Classifier
from model.data import datasets
from model.data.cache import replace_folder
from model.data.datasets import READERS
from model.hyperparameters import Hyperparameters
from model.training import TrainingState, train
from sweep.commands.predict import load_champion
from sweep.commands.tables import predict_rows

PAGE = Path(__file__).parent.parent / "docs" / "own-data.md"


@pytest.fixture
def snippet(tmp_path, monkeypatch):
    """Runs the code of the page beside champion.npz, and returns its `predict` and the names of the classes."""

    def run():
        monkeypatch.chdir(tmp_path)
        section = PAGE.read_text().split("## Predictions without this package")[1]
        names = {}
        exec(re.search(r"```python\n(.*?)```", section, re.DOTALL)[1], names)
        return names["predict"], names["described"]["classes"]

    return run


def champion(folder, file, target=None, activation="relu"):
    """A champion that is trained on a file, in its two files."""
    replace_folder(folder / "prepared", file.name, READERS[file.suffix](file, target, ()))
    data = datasets.load(folder / "prepared", None)
    settings = Hyperparameters(hidden_sizes=(16, 8), activation=activation, epochs=3, batch_size=16)
    state = TrainingState.of(settings, data, (0,))
    for _ in train(state, data.train, None):
        pass
    classifier = Classifier(state.network, data.preprocessing, data.class_names)
    digest = weights.save(folder / "champion.npz", classifier)
    card = {"shape": data.shape, "classes": data.classes, "weights_sha256": digest, "target": target}
    (folder / "champion.json").write_text(json.dumps(card))
    return load_champion(folder / "champion.npz")


def check(file, champion, found, classes):
    """Compare probabilities with those that `sweep predict` writes: to float32, and always the same class."""
    predict_rows(file, champion, None, [], file.with_name("out.csv"))
    table = pd.read_csv(file.with_name("out.csv"), dtype={"class": str})

    own = table[[f"probability_{name}" for name in classes]].to_numpy()
    assert found == pytest.approx(own, abs=1e-5)
    assert [classes[k] for k in found.argmax(axis=1)] == table["class"].tolist()
    assert table["class"].nunique() > 1


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_a_table(tmp_path, snippet, activation):
    """With gaps in numbers and text, rare and unseen towns, a constant column and one with a heavy tail."""
    rng = np.random.default_rng(0)
    kind = rng.choice(["cat", "dog", "hen"], 300)
    frame = pd.DataFrame({"size": rng.normal(size=300) + 3 * (kind == "dog"), "pay": rng.normal(size=300) ** 9})
    frame["town"] = np.where(kind == "cat", "Bonn", rng.choice(["Bonn", "Kiel", "Ulm"], 300))
    frame["fixed"], frame["kind"] = 4, kind
    frame.loc[::7, "size"], frame.loc[::11, "town"], frame.loc[5:6, "town"] = np.nan, None, ["Köln", "Bern"]
    frame.to_csv(tmp_path / "pets.csv", index=False)
    trained = champion(tmp_path, tmp_path / "pets.csv", "kind", activation)
    frame.loc[20:22, "town"] = "Mainz"
    frame.to_csv(tmp_path / "new.csv", index=False)

    columns = trained.preprocessing.as_dict()["columns"]
    assert [("quantiles" in column, column["gaps"], column.get("other")) for column in columns] == [
        (False, True, None), (True, False, None), (False, True, True),
    ]  # fmt: skip
    predict, classes = snippet()
    check(tmp_path / "new.csv", trained, predict(pd.read_csv(tmp_path / "new.csv")), classes)


@pytest.mark.parametrize("shape", [(64,), (8, 8)])
def test_an_array(tmp_path, snippet, digits_folder, shape):
    """As a table without names, and as images in a range that does not begin at 0."""
    raw, labels = np.load(digits_folder / "images.npy")[:600], np.load(digits_folder / "labels.npy")[:600]
    images = (raw / 8 - 1).reshape(600, *shape)
    np.savez(tmp_path / "train.npz", x=images, y=labels)
    np.savez(tmp_path / "new.npz", x=images[:50])
    trained = champion(tmp_path, tmp_path / "train.npz")
    predict, classes = snippet()
    rows = images[:50] if shape == (8, 8) else {str(k): images[:50, k] for k in range(64)}

    check(tmp_path / "new.npz", trained, predict(rows), classes)
