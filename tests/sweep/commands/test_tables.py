"""The rows of tables and arrays get the champion's own predictions, in any order of columns and in batches."""

import io
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click import UsageError

from model import weights
from model.classifier import Classifier
from model.data import frames
from model.data.arrays import Column
from model.data.errors import DatasetInvalid
from model.data.preprocessing import PreprocessingError, fit_pixels, fit_table
from model.network import BATCH, MLP
from sweep.commands.predict import predict_files
from sweep.commands.tables import predict_rows

CLASSES = ("barbera", "barolo", "grignolino")


@pytest.fixture
def frame() -> pd.DataFrame:
    """A table with gaps, a category of three towns, a column of one value, an identifier, and the class at its end."""
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"id": [f"{k:04}" for k in range(300)], "alcohol": rng.normal(13, 1, 300)})
    rows["town"] = rng.choice(["Alba", "Asti", None], 300)
    rows["year"] = rng.integers(1990, 2000, 300)
    rows["country"] = 7
    rows["cultivar"] = rng.choice(CLASSES, 300)
    rows.loc[::9, "alcohol"] = np.nan
    return rows


@pytest.fixture
def champion(frame: pd.DataFrame) -> Classifier:
    """A random network for the table."""
    columns = (Column("alcohol"), Column("town", ("Alba", "Asti")), Column("year"), Column("country"))
    codes = frame["town"].map({"Alba": 0, "Asti": 1})
    raw = np.stack([frame["alcohol"], codes, frame["year"], frame["country"]], axis=1).astype(np.float64)
    return random_champion(fit_table(raw, columns), CLASSES)


def random_champion(preprocessing, classes) -> Classifier:
    network = MLP((preprocessing.features, 16, len(classes)), scale=preprocessing.scale, offset=preprocessing.offset)
    network.initialise(np.random.default_rng(1))
    return Classifier(network, preprocessing, classes)


def own(champion: Classifier, frame: pd.DataFrame) -> np.ndarray:
    return champion.predict(*champion.raw_rows(frame))


def written(path: Path) -> tuple[pd.DataFrame, np.ndarray]:
    """The file, and its probabilities as they were."""
    table = pd.read_csv(path, dtype={"id": str})
    return table, table[[f"probability_{name}" for name in CLASSES]].to_numpy(np.float32)


def save(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".parquet":
        frame.to_parquet(path, row_group_size=70)
    else:
        frame.to_csv(path, index=False, sep=";" if ".s." in path.name else ",")
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.s.csv", "a.csv.gz", "a.parquet"])
def test_every_row_has_its_class_and_probabilities(
    tmp_path: Path, frame: pd.DataFrame, champion: Classifier, name: str
) -> None:
    """To the bit, with the columns in any order, and the identifier as it was written."""
    reversed_ = frame[frame.columns[::-1]]
    summary = predict_rows(save(reversed_, tmp_path / name), champion, "cultivar", ["id"], tmp_path / "out.csv")
    table, probabilities = written(tmp_path / "out.csv")

    expected = own(champion, frame)
    assert list(table) == ["id", "class", *(f"probability_{name}" for name in CLASSES)]
    assert probabilities.tobytes() == expected.tobytes()
    assert table["class"].tolist() == [CLASSES[k] for k in expected.argmax(axis=1)]
    assert table["id"].tolist() == frame["id"].tolist()
    assert (summary.rows, summary.known, summary.ignored) == (300, 300, [])
    assert summary.right == (table["class"] == frame["cultivar"]).sum()


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_parts_of_a_large_table_give_the_bits_of_the_whole(
    tmp_path: Path, frame: pd.DataFrame, champion: Classifier, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "PART_VALUES", 6 * 2 * BATCH)
    large = pd.concat([frame] * 19, ignore_index=True).sample(frac=1, random_state=0)

    predict_rows(save(large, tmp_path / name), champion, None, ["id"], tmp_path / "out.csv")

    table, probabilities = written(tmp_path / "out.csv")
    assert len(large) > 5 * BATCH
    assert probabilities.tobytes() == own(champion, large.reset_index(drop=True)).tobytes()
    assert table["id"].tolist() == large["id"].tolist()


@pytest.mark.slow
def test_a_large_table_is_never_in_memory_as_a_whole(
    tmp_path: Path, frame: pd.DataFrame, champion: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read in 14 parts it takes less than half of what it takes in one."""
    path = save(pd.concat([frame] * 90), tmp_path / "a.csv")
    peaks = []
    for values in (frames.PART_VALUES, 6 * 2 * BATCH):
        monkeypatch.setattr(frames, "PART_VALUES", values)
        tracemalloc.start()
        predict_rows(path, champion, None, [], tmp_path / "out.csv")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[1] < 0.5 * peaks[0]


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns=["town", "year"]), r"lacks columns that the champion needs: town, year\nIts columns"),
        (lambda t: t.drop(columns="id"), r"lacks the columns named by --id: id"),
        (lambda t: t.assign(alcohol=["12"] * 200 + ["strong"] * 100), r"(line 202|row 201): column 'alcohol' has 'str"),
        (lambda t: t.assign(year=[1.0] * 299 + [np.inf]), r"(line 301|row 300): column 'year' has an infinite number"),
        (lambda t: t.assign(year=[1.0] * 299 + [1e300]), r"(line 301|row 300): has NaN, or numbers too far"),
        (lambda t: t[:0], r"no rows"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_and_nothing_is_written(
    tmp_path: Path, frame: pd.DataFrame, champion: Classifier, name: str, change, message: str
) -> None:
    path, out = save(change(frame), tmp_path / name), tmp_path / "out.csv"
    out.write_text("old")

    with pytest.raises(DatasetInvalid, match=message):
        predict_rows(path, champion, None, ["id"], out)
    assert out.read_text() == "old"
    assert {file.name for file in tmp_path.iterdir()} == {name, "out.csv"}


def test_an_error_in_a_later_part_leaves_no_output(
    tmp_path: Path, frame: pd.DataFrame, champion: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "PART_VALUES", 6 * BATCH)
    large = pd.concat([frame] * 10, ignore_index=True).astype({"alcohol": object})
    large.loc[2500, "alcohol"] = "strong"

    with pytest.raises(DatasetInvalid, match="line 2502: column 'alcohol' has 'strong', but a number is expected"):
        predict_rows(save(large, tmp_path / "a.csv"), champion, None, [], tmp_path / "out.csv")
    assert [file.name for file in tmp_path.iterdir()] == ["a.csv"]


def test_unseen_values_and_unused_columns_are_counted(
    tmp_path: Path, frame: pd.DataFrame, champion: Classifier
) -> None:
    other = frame.assign(town=["Turin"] * 5 + ["Alba"] * 295, note="x", cultivar="x")
    summary = predict_rows(save(other, tmp_path / "a.csv"), champion, None, [], None)

    assert dict(summary.unseen) == {"town": 5}
    assert summary.examples == {"town": "Turin"}
    assert summary.target is None
    assert summary.ignored == ["id", "cultivar", "note"]


def test_spaces_around_a_value_do_not_make_it_unseen(tmp_path: Path, frame: pd.DataFrame, champion: Classifier) -> None:
    padded = frame.assign(town=frame["town"] + " ")
    summary = predict_rows(save(padded, tmp_path / "a.parquet"), champion, None, [], None)

    assert summary.unseen.total() == 0


def test_gaps_that_the_training_rows_did_not_have_are_counted(
    tmp_path: Path, frame: pd.DataFrame, champion: Classifier
) -> None:
    fitted = {column.name: column.gaps for column in champion.preprocessing.columns}
    gapped = frame.assign(**{name: [None] * 3 + frame[name].tolist()[3:] for name in fitted})
    summary = predict_rows(save(gapped, tmp_path / "a.csv"), champion, None, [], None)

    assert set(fitted.values()) == {True, False}
    assert dict(summary.gaps) == {name: 3 for name, gaps in fitted.items() if not gaps}


def test_rows_without_a_known_class_do_not_count_for_the_accuracy(
    tmp_path: Path, frame: pd.DataFrame, champion: Classifier
) -> None:
    summary = predict_rows(
        save(frame.assign(cultivar=[None] * 100 + ["barolo"] * 200), tmp_path / "a.csv"), champion, None, [], None
    )

    assert (summary.target, summary.rows, summary.known) == ("cultivar", 300, 200)
    assert summary.right == (own(champion, frame)[100:].argmax(axis=1) == 1).sum()


def test_identifiers_stay_as_they_are_written(tmp_path: Path, frame: pd.DataFrame, champion: Classifier) -> None:
    text = frame.assign(id=["NA", "007", "1e3", "true"] + [" x"] * 296)
    predict_rows(save(text, tmp_path / "a.csv"), champion, None, ["id"], tmp_path / "out.csv")

    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:5]] == ["NA", "007", "1e3", "true"]


@pytest.mark.parametrize("key", ["x", "X", "x_test", "inputs"])
def test_an_array_gets_the_predictions_of_its_rows(tmp_path: Path, key: str) -> None:
    raw = np.random.default_rng(0).normal(size=(50, 4))
    raw[:, 2] = 5
    raw[3, 0] = np.nan
    names = tuple(Column(str(place)) for place in range(4))
    champion = random_champion(fit_table(raw, names), ("no", "yes"))
    np.savez(tmp_path / "a.npz", **{key: raw, "other": np.arange(3)})

    predict_rows(tmp_path / "a.npz", champion, None, [], tmp_path / "out.csv")

    table = pd.read_csv(tmp_path / "out.csv")
    expected = champion.predict(raw, names)
    assert table["probability_yes"].to_numpy(np.float32).tobytes() == np.ascontiguousarray(expected[:, 1]).tobytes()
    assert set(table["class"]) <= {"no", "yes"}


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 1), (30,)])
def test_an_array_of_images_may_be_flat_or_have_one_channel(tmp_path: Path, shape: tuple[int, ...]) -> None:
    raw = np.random.default_rng(0).integers(0, 256, (20, 30)).astype(np.uint8)
    champion = random_champion(fit_pixels(raw, (6, 5)), CLASSES)
    np.savez(tmp_path / "a.npz", x=raw.reshape(20, *shape))

    summary = predict_rows(tmp_path / "a.npz", champion, None, [], tmp_path / "out.csv")

    assert summary.rows == 20
    assert written(tmp_path / "out.csv")[1].tobytes() == champion.predict(raw).tobytes()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((2, 5, 6))}, r"expected examples of shape \(6, 5\), got an array of shape \(2, 5, 6\)"),
        ({"x": np.zeros((0, 6, 5))}, "got an array of shape"),
        ({"x": np.full((2, 6, 5), np.nan)}, "row 0: has NaN"),
        ({"x": np.full((2, 6, 5), "a")}, "expected numbers"),
        ({"x": np.zeros((2, 6, 5)), "inputs": np.zeros((2, 6, 5))}, "must have one array named x, X, x_test or inputs"),
        ({"y": np.zeros(2)}, "must have one array named .* found y"),
    ],
)
def test_an_array_that_does_not_fit_is_refused(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    raw = np.random.default_rng(0).integers(0, 256, (20, 30)).astype(np.uint8)
    np.savez(tmp_path / "a.npz", **arrays)

    with pytest.raises(DatasetInvalid, match=message):
        predict_rows(tmp_path / "a.npz", random_champion(fit_pixels(raw, (6, 5)), CLASSES), None, [], None)


@pytest.mark.parametrize(
    ("values", "note"),
    [
        (np.arange(1024.0).reshape(16, 8, 8) % 256, []),
        (
            np.arange(1024.0).reshape(16, 8, 8) % 256 / 255,
            ["the values lie between 0 and 1, those of the training images between 0 and 255: are they"],
        ),
        (np.arange(1024.0).reshape(16, 8, 8) * 257, ["the values lie between 0 and 262911, those of the training"]),
    ],
    ids=["same", "smaller", "larger"],
)
def test_images_in_other_units_are_noticed(tmp_path: Path, values: np.ndarray, note: list[str]) -> None:
    images = random_champion(fit_pixels(np.array([[0] * 64, [255] * 64], np.uint8), (8, 8)), CLASSES)
    np.savez(tmp_path / "x.npz", x=values)

    summary = predict_rows(tmp_path / "x.npz", images, None, (), None)

    assert len(summary.notes) == len(note)
    assert all(found.startswith(said) for found, said in zip(summary.notes, note, strict=True))


def test_a_format_without_rows_to_predict_is_refused(tmp_path: Path, champion: Classifier) -> None:
    """Also if a dataset can be read from such a file; it is not taken for a CSV file."""
    path = tmp_path / "rows.unknown"
    path.write_text('{"alcohol": 13, "town": "Alba"}\n')

    with pytest.raises(DatasetInvalid, match=r"rows.unknown: predictions are made for tables \(\.csv"):
        predict_rows(path, champion, None, (), None)


def test_an_array_is_refused_where_columns_have_names(tmp_path: Path, champion: Classifier) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 4)))

    with pytest.raises(DatasetInvalid, match="expected a table with named columns, not an array"):
        predict_rows(tmp_path / "a.npz", champion, None, [], None)


def test_a_table_is_refused_by_a_champion_of_images(tmp_path: Path, frame: pd.DataFrame) -> None:
    raw = np.random.default_rng(0).integers(0, 256, (20, 30)).astype(np.uint8)

    with pytest.raises(DatasetInvalid, match=r"trained on examples of shape \(6, 5\), not on a table\nGive image"):
        predict_rows(save(frame, tmp_path / "a.csv"), random_champion(fit_pixels(raw, (6, 5)), CLASSES), None, [], None)


# ------------------------------------------------------------------ the command


@pytest.fixture
def stored(tmp_path: Path, champion: Classifier) -> Path:
    """The champion's files."""
    folder = tmp_path / "study"
    folder.mkdir()
    digest = weights.save(folder / "champion.npz", champion)
    card = {"shape": [4], "classes": 3, "weights_sha256": digest, "target": "cultivar"}
    (folder / "champion.json").write_text(json.dumps(card))
    return folder / "champion.npz"


def test_without_an_output_file_the_first_rows_are_printed(
    tmp_path: Path, frame: pd.DataFrame, stored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(frame.assign(town="Turin", note="x"), tmp_path / "a.csv")

    assert predict_files([path], stored, None, ["id"], photo=False, debug=False) == 0
    told = capsys.readouterr().out.splitlines()

    assert told[0].split() == ["id", "class", *(f"probability_{name}" for name in CLASSES)]
    assert told[1].split()[:2] == ["0", "0000"]
    assert told[11] == "and 290 more rows; --out FILE.csv writes all"
    assert told[12:14] == [
        "not used: note",
        "rows with a value that was rare or not among the training rows: town 300 (such as 'Turin')",
    ]
    assert told[14].startswith("accuracy ")
    assert told[14].endswith(" of 300 rows are as 'cultivar' says")


def test_files_and_options_that_do_not_go_together_are_refused(
    tmp_path: Path, frame: pd.DataFrame, stored: Path
) -> None:
    path = save(frame, tmp_path / "a.csv")
    for files, out, identifiers, photo, message in (
        ([path, path], None, [], False, "one table or array at a time"),
        ([path], None, [], True, "--photo is for images"),
        ([path], path.resolve(), [], False, "would replace"),
        ([tmp_path / "a.png"], None, ["id"], False, "the files are images"),
    ):
        with pytest.raises(UsageError, match=message):
            predict_files(files, stored, out, identifiers, photo=photo, debug=False)


def test_predictions_of_images_are_written_with_their_paths(tmp_path: Path) -> None:
    from PIL import Image

    raw = np.random.default_rng(0).integers(0, 256, (20, 30)).astype(np.uint8)
    champion = random_champion(fit_pixels(raw, (6, 5)), CLASSES)
    digest = weights.save(tmp_path / "champion.npz", champion)
    (tmp_path / "champion.json").write_text(json.dumps({"shape": [6, 5], "classes": 3, "weights_sha256": digest}))
    files = [tmp_path / f"{k}.png" for k in range(3)]
    for file, one in zip(files, raw, strict=False):
        Image.fromarray(one.reshape(6, 5)).save(file)

    code = predict_files(
        [*files, tmp_path / "gone.png"], tmp_path / "champion.npz", tmp_path / "out.csv", [], photo=False, debug=False
    )

    table = pd.read_csv(io.BytesIO((tmp_path / "out.csv").read_bytes()))
    assert code == 2
    assert table["image"].tolist() == [str(file) for file in files]
    assert written(tmp_path / "out.csv")[1].tobytes() == champion.predict(raw[:3]).tobytes()


def test_digits_with_leading_zeros_are_found_as_text_and_never_as_numbers(tmp_path: Path) -> None:
    """Columns and known classes alike; a number has lost its zeros, so that it may be another value."""
    texts = ("0123", "0456", "123")
    fitted = fit_table(np.resize(np.arange(3.0), (12, 1)), (Column("zip", texts),))
    champion = random_champion(fitted, ("00", "01"))
    rows = pd.DataFrame({"zip": np.resize(texts, 12), "label": "00"})
    expected = own(champion, rows)
    for name in ("a.csv", "a.parquet"):
        summary = predict_rows(save(rows, tmp_path / name), champion, None, [], tmp_path / "out.csv")
        assert (summary.target, summary.known, summary.unseen.total()) == ("label", 12, 0)
        assert summary.right == np.count_nonzero(expected.argmax(axis=1) == 0)
        found = pd.read_csv(tmp_path / "out.csv")[["probability_00", "probability_01"]].to_numpy(np.float32)
        assert found.tobytes() == expected.tobytes()

    numbers = rows.assign(zip=[*texts[:2], None, *[123] * 9])
    with pytest.raises(PreprocessingError, match=r"row 3: column 'zip' has the number 123, .* '0123' is expected"):
        own(champion, numbers)
    pd.DataFrame({"zip": [123, 456]}).to_parquet(tmp_path / "numbers.parquet")
    with pytest.raises(DatasetInvalid, match=r"row 1: column 'zip' has the number 123"):
        predict_rows(tmp_path / "numbers.parquet", champion, None, [], None)
