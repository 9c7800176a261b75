"""`sweep data describe`."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from model.data.balance import is_imbalanced, majority_share
from sweep.entry import main


def described(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main(["data", "describe", *words])
    assert caught.value.code == 0
    return capsys.readouterr().out


def flowers(folder: Path, classes: int = 2) -> Path:
    rows = np.arange(200)
    table = pd.DataFrame(
        {
            "id": rows,
            "width": np.where(rows % 10, rows / 7, np.nan),
            "site": np.where(rows % 3, "north", "south"),
            "species": [f"kind {n}" for n in np.where(rows < 20, rows % classes, 0)],
        }
    )
    table.to_csv(folder / "flowers.csv", index=False)
    return folder / "flowers.csv"


def test_a_table_is_described_with_columns_classes_gaps_and_what_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = described(capsys, str(flowers(tmp_path)), "--target", "species").splitlines()

    assert out[:7] == [
        "flowers.csv: 200 rows, 40 of them for the test",
        "1 number column: width",
        "1 category column (values): site (2)",
        "2 classes:",
        "  kind 0       190  95.0 %",
        "  kind 1        10   5.0 %",
        "always predicting 'kind 0' is right in 95.0 %",
    ]
    assert "gaps in 200 rows: width 20" in out
    assert any(line.startswith("left out 'id': 200 different whole numbers") for line in out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flowers.csv"]


def test_json_has_every_class_and_column(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(described(capsys, str(flowers(tmp_path)), "--json"))

    assert (found["name"], found["rows"], found["test_rows"], found["shape"]) == ("flowers.csv", 200, 40, [2])
    assert found["columns"] == [
        {"name": "width", "categories": None, "gaps": 20},
        {"name": "site", "categories": 2, "gaps": 0},
    ]
    assert found["classes"][1] == {"name": "kind 1", "rows": 10, "share": 0.05}


def test_at_most_twenty_lines_are_printed_for_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = np.arange(600)
    pd.DataFrame({"x": rows / 7, "y": rows % 30}).to_csv(tmp_path / "many.csv", index=False)
    out = described(capsys, str(tmp_path / "many.csv")).splitlines()

    assert "  and 11 more" in out
    assert sum(line.startswith("  ") for line in out) == 20


def test_images_and_built_in_data_are_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "dots.npz", X=np.arange(800).reshape(40, 5, 4) % 256, y=np.arange(40) % 2)

    assert "images of 5 x 4" in described(capsys, str(tmp_path / "dots.npz"))
    assert "1,797 rows, 359 of them for the test" in described(capsys, "digits", "--home", str(tmp_path / "runs"))


def test_a_file_that_is_not_there_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["data", "describe", str(tmp_path / "none.csv")])

    assert caught.value.code == 2
    assert "there is no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("counts", "imbalanced"),
    [([98, 2], True), ([67, 33], True), ([66, 34], False), ([30, 30, 30], False), ([50, 20, 20], True), ([5], False)],
)
def test_classes_are_imbalanced_if_the_largest_has_twice_the_mean_of_the_others(
    counts: list[int], imbalanced: bool
) -> None:
    assert is_imbalanced(counts) == imbalanced
    assert majority_share([98, 2]) == 0.98
