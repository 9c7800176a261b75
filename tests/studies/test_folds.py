"""How many folds a study has."""

import numpy as np
import pytest

from model.data.arrays import Arrays, Column
from model.data.cache import replace_folder
from studies.folds import with_folds
from studies.record.schema import continued, upgraded_study
from studies.study_file import StudyError, load

STUDY = """\
question = "Which width?"
dataset = "digits"
trials = 4
[baseline]
hidden_sizes = [16]
[space]
hidden_sizes = { layers = [1, 2], units = [8, 32] }
"""


@pytest.fixture
def study(tmp_path):
    """The study of a file without the key; call it with changes."""
    path = tmp_path / "small.toml"
    path.write_text(STUDY)
    return lambda *changes: load(str(path), changes)


@pytest.fixture
def data(tmp_path):
    """A prepared table with so many rows of each class besides the test rows."""

    def prepared(*counts):
        labels = np.repeat(np.arange(len(counts)), counts)
        raw, columns = np.arange(len(labels), dtype=float)[:, None], (Column("a"),)
        names = tuple(f"class {label}" for label in range(len(counts)))
        folder = tmp_path / "table"
        replace_folder(folder, "made", Arrays(raw, labels, raw[:5], labels[:5], names, (1,), columns))
        return folder

    return prepared


def test_a_study_that_names_none_has_those_that_suit_its_data(study, data):
    assert with_folds(study(), data(100, 100)).folds == 5
    assert with_folds(study(), data(100, 4)).folds == 4
    assert with_folds(study(), data(3000, 3000)).folds == 1


def test_what_the_file_sets_is_kept(study, data):
    assert with_folds(study("folds=1"), data(100, 100)).folds == 1
    assert with_folds(study("folds=20"), data(3000, 3000)).folds == 20


@pytest.mark.parametrize(("rows", "words"), [(3, "only 3 rows"), (1, "only 1 row ")])
def test_more_folds_than_the_rarest_class_has_rows_are_refused(study, data, rows, words):
    with pytest.raises(StudyError, match=f"small: folds = 4, but the rarest class of digits has {words}") as caught:
        with_folds(study("folds=4"), data(100, rows))
    assert f"set folds = {rows}" in str(caught.value)
    assert with_folds(study(f"folds={rows}"), data(100, rows)).folds == rows


@pytest.mark.parametrize("wrong", ["0", "21", "2.5", '"many"', "true"])
def test_folds_are_a_whole_number_from_1_to_20(study, wrong):
    with pytest.raises(StudyError, match=f"--set folds={wrong}"):
        study(f"folds={wrong}")


def test_a_continued_study_keeps_the_recorded_number(study, data):
    """Also if its data would now get another one, and as 1 if an older version recorded none."""
    begun = with_folds(study(), data(100, 4)).as_dict()
    older = {key: value for key, value in begun.items() if key != "folds"}
    again = with_folds(study(), data(100, 100))

    assert begun["folds"] == 4
    assert continued(again, upgraded_study(begun)).folds == 4
    assert continued(again, upgraded_study(older)).folds == 1
    assert continued(with_folds(study("folds=3"), data(100, 100)), upgraded_study(begun)).folds == 3  # then refused
