"""The Python API gives a study's tables, its champion as a scikit-learn classifier, and its report."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import sweep
from model.classifier import Classifier
from model.data.arrays import Column
from model.data.errors import DatasetInvalid
from model.data.named_rows import raw_table
from model.data.preprocessing import PreprocessingError, fit_table
from model.network import MLP
from studies.study_file import StudyError
from sweep.api import _one_column
from sweep.champion_classifier import ChampionClassifier
from sweep.result import NoChampion

pytestmark = pytest.mark.usefixtures("undrawn")
QUICK = ("baseline.epochs=2", "space.hidden_sizes={layers=[1,1], units=[8,64]}", "sampler=random", "confirm.top=1",
         "confirm.repeats=2")  # fmt: skip


@pytest.fixture(scope="module")
def result(undrawn, tmp_path_factory):
    """A small sweep of the digits."""
    home = tmp_path_factory.mktemp("api") / "runs"
    return sweep.run("digits", trials=3, home=home, tracking="none", changes=QUICK)


def test_a_result_has_tables_champion_and_report(result, digits):
    assert result.trials["number"].tolist() == [0, 1, 2]
    assert set(result.epochs["number"]) == {0, 1, 2}
    champion, test = result.champion, digits.test
    assert champion.classes_.tolist() == list(range(10))
    probabilities = champion.predict_proba(digits.raw_test)
    assert probabilities.shape == (359, 10)
    assert champion.predict(digits.raw_test).tolist() == probabilities.argmax(axis=1).tolist()
    accuracy = result.record.verdict["test"]["accuracies"][0]
    assert champion.score(digits.raw_test, test.labels) == pytest.approx(accuracy, abs=1e-9)
    assert result.report.path.read_bytes().startswith(b"%PDF-")
    shown = result.report._repr_mimebundle_()
    assert set(shown) == {"text/plain", "application/pdf"}


def test_the_same_call_continues_the_study(result):
    again = sweep.run("digits", trials=3, home=result.folder.path.parent, tracking="none", changes=QUICK)

    assert again.trials.equals(result.trials)


@pytest.mark.slow
def test_a_stopped_sweep_has_trials_and_no_champion(tmp_path):
    stopped = sweep.run("digits", trials=2, home=tmp_path, tracking="none", changes=QUICK, confirm=False)

    assert len(stopped.trials) == 2
    with pytest.raises(NoChampion, match="2 trials are recorded"):
        stopped.champion  # noqa: B018


@pytest.mark.slow
def test_minutes_end_the_search_early_and_still_name_a_champion(tmp_path):
    found = sweep.run("digits", trials=100_000, minutes=0.25, home=tmp_path, tracking="none", changes=QUICK)

    assert 0 < len(found.trials) < 100_000
    assert found.champion.classes_.tolist() == list(range(10))


@pytest.mark.slow
def test_a_script_needs_no_main_guard(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sweep\n"
        f"result = sweep.run('digits', trials=1, home='runs', tracking='none', changes={QUICK!r}, confirm=False)\n"
        "print('trials', len(result.trials))\n"
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=120)

    assert done.stdout.splitlines()[-1] == "trials 1", done.stderr


@pytest.fixture
def mixed():
    """A classifier of a number column and a text column."""
    frame = pd.DataFrame({"age": [1.0, 2.0, None, 4.0], "town": ["Kiel", "Bonn", "Kiel", "Bonn"]})
    raw, columns = raw_table({"age": frame["age"], "town": frame["town"]}, {"town"})
    fitted = fit_table(raw, columns)
    network = MLP((fitted.features, 2))
    network.initialise(np.random.default_rng(0))
    return ChampionClassifier(Classifier(network, fitted, ("no", "yes"))), frame


def test_a_dataframe_is_read_by_its_columns_names(mixed):
    champion, frame = mixed
    expected = champion.predict_proba(frame)

    assert champion.feature_names_in_.tolist() == ["age", "town"]
    assert set(champion.predict(frame)) <= {"no", "yes"}
    assert np.array_equal(champion.predict_proba(frame[["town", "age"]].assign(more=1)), expected)
    with pytest.raises(PreprocessingError, match="missing columns: town"):
        champion.predict(frame[["age"]])
    with pytest.raises(PreprocessingError, match="named columns"):
        champion.predict(frame[["age"]].to_numpy())


def test_spaces_around_text_and_labels_do_not_matter(mixed):
    champion, frame = mixed
    expected = champion.predict_proba(frame)
    labels = champion.predict(frame)
    padded = frame.assign(town=" " + frame["town"] + "  ")

    assert np.array_equal(champion.predict_proba(padded), expected)
    assert champion.score(padded, [f" {label}" for label in labels]) == 1


def test_labels_keep_their_type():
    def classes(*names):
        network = MLP((1, len(names)))
        fitted = fit_table(np.array([[0.0], [1.0]]), (Column("a"),))
        return ChampionClassifier(Classifier(network, fitted, names)).classes_

    assert classes("-1", "1").dtype == np.int64
    assert classes("False", "True").tolist() == [False, True]
    assert classes("1", "b").tolist() == ["1", "b"]


@pytest.mark.slow
def test_fit_searches_a_network_for_a_dataframe(tmp_path, monkeypatch):
    """With the home folder and the tracker of the environment, as the command line."""
    from sklearn.datasets import load_iris

    iris = load_iris(as_frame=True)
    X, y = iris.data.assign(site=["north", "south"] * 75), pd.Series(iris.target_names[iris.target], name="species")
    X.loc[::11, "petal width (cm)"] = None
    changes = ("baseline.epochs=60", "confirm.top=1", "confirm.repeats=2")
    options = {"trials": 2, "changes": changes}
    monkeypatch.setenv("SWEEP_HOME", str(tmp_path / "runs"))
    monkeypatch.setenv("SWEEP_TRACKING", "none")

    result = sweep.fit(X[::2], y[::2], **options)

    assert list(tmp_path.iterdir()) == [tmp_path / "runs"]
    assert not (tmp_path / "runs/mlflow.db").exists()
    champion = result.champion
    assert champion.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    assert champion.score(X[1::2], y[1::2]) > 0.85
    assert any("petal width (cm)" in note for note in result.record.dataset["notes"])
    assert sweep.fit(X[::2], y[::2], **options).trials.equals(result.trials)  # the same call continues the study


@pytest.mark.slow
def test_fit_takes_arrays_with_labels_of_any_kind(tmp_path, digits):
    changes = ("baseline.epochs=3", "confirm.top=1", "confirm.repeats=2")
    images, names = digits.raw_test.reshape(-1, 8, 8), np.array(list("abcdefghij"), object)[digits.test_labels]

    result = sweep.fit(images, names, name="letters", trials=1, home=tmp_path, tracking="none", changes=changes)

    assert result.record.name == "letters"
    assert result.champion.predict(images).shape == (359,)
    assert set(result.champion.classes_) == set("abcdefghij")


@pytest.mark.parametrize("wrong", [{"trials": 0}, {"trials": -1}, {"minutes": 0}, {"workers": 0}], ids=str)
def test_numbers_that_mean_nothing_are_refused(tmp_path, wrong):
    with pytest.raises(StudyError, match=rf"{next(iter(wrong))} must be"):
        sweep.run("digits", home=tmp_path, **wrong)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [list, np.array, lambda labels: np.array(labels)[:, None], pd.DataFrame])
def test_labels_may_be_a_column(kind):
    assert np.asarray(_one_column(kind(["a", "b"]))).tolist() == ["a", "b"]


def test_the_name_of_a_column_is_not_the_labels(tmp_path):
    with pytest.raises(DatasetInvalid, match="y is 'species', but must be the labels"):
        sweep.fit(pd.DataFrame({"species": list("abab")}), "species", home=tmp_path)


def test_examples_and_labels_must_be_as_many(tmp_path):
    from model.data.errors import DatasetInvalid

    with pytest.raises(DatasetInvalid, match="X has 3 rows and y 2 labels"):
        sweep.fit(pd.DataFrame({"a": [1, 2, 3]}), [0, 1], home=tmp_path)
