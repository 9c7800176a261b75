"""`sweep run` with a data file: the study file that is written for it."""

import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from model.data import datasets
from model.data.arrays import Arrays, Column
from model.data.errors import DatasetInvalid
from studies.definition import Study
from studies.record import reader
from studies.study_file import StudyError, load
from sweep.commands import status
from sweep.commands.new_study import find_study, study_text, with_study_file, write_study
from sweep.commands.preparation import Options, study_and_data
from sweep.commands.run import run_study
from sweep.errors import StudyChanged

pytestmark = pytest.mark.usefixtures("undrawn")
ONE_EPOCH = ("baseline.epochs=1", "space.hidden_sizes={layers=[1,1], units=[16,64]}", "sampler=random")


def arrays(rows: int, *, columns: int = 5, classes: int = 2, rare: int = 2) -> Arrays:
    """A table whose class 1 has one row in `rare`; the tests do not read its inputs."""
    labels = np.where(np.arange(rows) % rare == 1, 1 % classes, 0)
    names = tuple(Column(str(place)) for place in range(columns))
    inputs = np.zeros((1, columns), np.uint8)
    return Arrays(inputs, labels, inputs, np.arange(classes), ("a", "b", "c")[:classes], (columns,), names)


def options(home: Path, study: Path, target: str | None = None) -> Options:
    return Options(
        home=home,
        tracking="none",
        study=str(study),
        trials=2,
        workers=1,
        changes=ONE_EPOCH,
        confirm=False,
        arguments=["run", str(study)],
        target=target,
    )


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    rows = np.arange(120)
    table = pd.DataFrame(
        {"width": rows / 7, "site": np.where(rows % 3, "n", "s"), "species": rows % 2, "code": rows % 4}
    )
    table.to_csv(tmp_path / "flowers.csv", index=False)
    return tmp_path / "flowers.csv"


def written(tmp_path: Path, found: Arrays, target: str | None = "species", name: str = "flowers.csv") -> Study:
    (tmp_path / name).touch()
    path = write_study(tmp_path / name, found, target)
    return load(str(path))


@pytest.mark.parametrize("rows", [60, 150, 900, 1437, 8000, 50_000, 300_000, 2_000_000])
def test_a_study_of_any_size_is_valid_and_trains_for_a_sensible_number_of_steps(tmp_path: Path, rows: int) -> None:
    study = written(tmp_path, arrays(rows))
    steps = study.baseline.epochs * -(-rows * 0.9 // study.baseline.batch_size)

    assert (study.dataset, study.target) == (str(tmp_path / "flowers.csv"), "species")
    assert 3 <= study.baseline.epochs <= 200
    assert 700 <= steps <= 25_000
    assert study.objective == ("validation_loss" if rows < 10_000 else "validation_accuracy")
    assert ("weight_decay" in study.space) == (rows <= 100_000)
    assert "species" in study.question


@pytest.mark.parametrize(
    ("found", "folds"), [(arrays(900), 5), (arrays(4900), 5), (arrays(5000), 1), (arrays(300, rare=100), 3)]
)
def test_few_rows_are_validated_in_folds(tmp_path: Path, found: Arrays, folds: int) -> None:
    assert written(tmp_path, found).folds == folds
    assert f"\nfolds     = {folds} " in (tmp_path / "flowers.toml").read_text()


@pytest.mark.parametrize(("rows", "generation"), [(150, 8), (1000, 8), (2000, None), (50_000, None)])
def test_a_few_rows_have_the_same_answer_each_time(tmp_path: Path, rows: int, generation: int | None) -> None:
    """By generations, which tests of the search show to be independent of speed and of the number of workers."""
    assert written(tmp_path, arrays(rows)).generation == generation


def test_wide_data_have_wide_layers_and_imbalanced_data_class_weights(tmp_path: Path) -> None:
    narrow, wide, rare = (
        written(tmp_path, found, name=name)
        for found, name in (
            (arrays(2000), "a.csv"),
            (arrays(2000, columns=300), "b.csv"),
            (arrays(2000, rare=50), "c.csv"),
        )
    )

    assert wide.baseline.hidden_sizes[0] == 2 * narrow.baseline.hidden_sizes[0]
    assert "class_weights" in rare.space
    assert "class_weights" not in narrow.space
    assert '# objective = "balanced_accuracy"' in (tmp_path / "c.toml").read_text()


def test_names_and_targets_of_any_characters_are_written_as_toml(tmp_path: Path) -> None:
    study = written(tmp_path, arrays(200), 'art "\\\t\x7fß', 'my data "2".csv')

    assert study.target == 'art "\\\t\x7fß'
    assert study.name == "my-data-2"


@pytest.mark.parametrize("name", ["data.csv", "mnist.csv", "digits.npz"])
def test_a_study_never_has_the_name_of_another_one_or_of_a_file_of_the_home_folder(tmp_path: Path, name: str) -> None:
    assert written(tmp_path, arrays(200), name=name).name == f"{Path(name).stem}-study"


def test_images_and_other_arrays_have_no_target(tmp_path: Path) -> None:
    images = replace(arrays(2000), shape=(8, 8), columns=None)

    assert "target" not in study_text("digits.npz", images, None)
    assert "classify the images of digits.npz best?" in study_text("digits.npz", images, None)


def test_an_existing_file_is_never_overwritten_and_used_only_for_the_same_data_and_target(
    tmp_path: Path, flowers: Path
) -> None:
    other = tmp_path / "flowers.toml"
    other.write_text("not for these data")
    first = write_study(flowers, arrays(200), "species")
    second = write_study(flowers, arrays(200), "site")

    assert other.read_text() == "not for these data"
    assert (first.name, second.name) == ("flowers-2.toml", "flowers-3.toml")
    assert find_study(flowers, None) == find_study(flowers, "species") == first
    assert find_study(flowers, "site") == second
    assert find_study(flowers, "code") is None


def test_without_write_permission_the_study_is_written_to_the_current_folder(
    tmp_path: Path, flowers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("sweep.commands.new_study.os.access", lambda *_: False)
    path = write_study(flowers, arrays(200), "species")

    assert path.parent == tmp_path / "here"
    assert Path(load(str(path)).dataset).resolve() == flowers
    assert find_study(flowers, "species") == path


def test_a_data_file_is_described_and_run_and_continued(tmp_path: Path, flowers: Path) -> None:
    home, console, lines = tmp_path / "runs", Console(file=io.StringIO()), []

    assert run_study(with_study_file(options(home, flowers, "species"), lines.append), console) == 0
    assert "flowers.csv: 120 rows, 24 of them for the test" in lines
    assert lines[-1].startswith(f"wrote {tmp_path / 'flowers.toml'}: ")
    assert run_study(with_study_file(options(home, flowers), lines.append), console) == 0
    assert lines[-1] == f"{tmp_path / 'flowers.toml'} was written before for this file and is used"
    assert len(reader.read(home / "flowers").trials) == 2


def test_a_study_file_without_folds_records_those_that_suit_its_data(tmp_path: Path, flowers: Path) -> None:
    """And continues with them; another number is refused, and one that is too large for the data at once."""
    told = with_study_file(options(tmp_path / "runs", flowers, "species"), lambda line: None)
    file, console = Path(str(told.study)), Console(file=io.StringIO())
    file.write_text(re.sub("folds .*\n", "", file.read_text()))
    for trials in (1, 2):
        assert run_study(replace(told, trials=trials), console) == 0
    record = reader.read(tmp_path / "runs/flowers")

    assert "folds" not in file.read_text()
    assert (record.study["folds"], record.folds, record.validated) == (5, 5, 96)
    assert "validation numbers are means of 5 folds" in status.lines(record)
    with pytest.raises(StudyChanged, match="folds 5 -> 1"):
        run_study(replace(told, changes=(*told.changes, "folds=1")), console)
    flowers.write_text("width,species\n" + "".join(f"{n / 7},{n < 4}\n" for n in range(90)))
    with pytest.raises(StudyError, match=r"flowers: folds = 4, .* has only 3 rows besides the test rows"):
        run_study(replace(options(tmp_path / "other", file), changes=(*told.changes, "folds=4")), console)
    assert not (tmp_path / "other/flowers").exists()


@pytest.mark.parametrize(("changes", "times"), [((), 1), (('keep=["width"]',), 2)])
def test_a_data_file_is_read_once_unless_the_study_reads_it_in_another_way(
    tmp_path: Path, flowers: Path, monkeypatch: pytest.MonkeyPatch, changes: tuple[str, ...], times: int
) -> None:
    hashed, sha256 = [], datasets._sha256
    monkeypatch.setattr("model.data.datasets._sha256", lambda path: hashed.append(path) or sha256(path))
    given = replace(options(tmp_path / "runs", flowers), changes=(*ONE_EPOCH, *changes))
    study, folder = study_and_data(with_study_file(given, lambda line: None), Console(file=io.StringIO()))

    assert len(hashed) == times
    assert folder == datasets.prepare(study.source, tmp_path / "runs" / "data")


def test_the_usual_target_is_written_into_the_study(tmp_path: Path, flowers: Path) -> None:
    found = with_study_file(options(tmp_path / "runs", flowers), lambda line: None)

    assert (load(str(found.study)).target, found.target) == ("code", None)


def test_a_target_that_was_not_named_is_said_to_be_one(tmp_path: Path, flowers: Path) -> None:
    told: list[str] = []
    with_study_file(options(tmp_path / "runs", flowers), told.append)
    assert "if another column than 'code' is meant, name it with --target COLUMN" in told

    flowers.with_suffix(".toml").unlink()
    pd.read_csv(flowers).assign(code=None).to_csv(flowers, index=False)
    with pytest.raises(DatasetInvalid, match=r"labels are missing.*\n.*\nOr name another column to predict"):
        with_study_file(options(tmp_path / "runs", flowers), told.append)


def test_a_target_that_was_named_is_not_doubted(tmp_path: Path, flowers: Path) -> None:
    told: list[str] = []
    with_study_file(options(tmp_path / "runs", flowers, "species"), told.append)

    assert not any("--target" in line for line in told)


def test_a_target_without_a_data_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="--target is for a data file"):
        with_study_file(replace(options(tmp_path, tmp_path), study="digits", target="x"), lambda line: None)
