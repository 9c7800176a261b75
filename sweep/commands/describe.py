"""`sweep data describe`: rows, columns, classes and gaps of a dataset, and what its reader did with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model.data import datasets
from model.data.arrays import Arrays, Column
from model.data.balance import is_imbalanced, majority_share
from model.data.cache import FILES, map_arrays, read_card
from model.data.datasets import Source
from model.data.errors import first_names
from sweep.plural import counted

MAX_CLASS_LINES = 20


def read_dataset(source: Source, cache: Path, notify: Callable[[str], None]) -> Arrays:
    """A dataset as it is in its source; only built-in datasets are prepared in the cache.

    Raises:
        DatasetError: It is not available, or not a dataset.
    """
    if source.name in datasets.BUILT_IN:
        return stored_arrays(datasets.prepare(source, cache, notify=notify))
    return datasets.read_source(source)


def stored_arrays(folder: Path) -> Arrays:
    """The arrays of a prepared dataset, memory-mapped.

    Raises:
        DatasetDamaged: The folder is not a prepared dataset.
    """
    card = read_card(folder)
    arrays = {FILES[name]: array for name, array in map_arrays(folder, card).items()}
    return Arrays(
        **arrays, classes=card.classes, shape=card.shape, columns=card.columns, scale=card.scale, notes=card.notes
    )


def summary(name: str, arrays: Arrays) -> dict[str, Any]:
    """The description of a dataset, ready for JSON. `rows` include the test rows, as do all counts."""
    counts = _class_counts(arrays)
    return {
        "name": name,
        "rows": sum(counts),
        "test_rows": len(arrays.test_labels),
        "shape": list(arrays.shape),
        "columns": None if arrays.columns is None else [_column(arrays, at) for at in range(len(arrays.columns))],
        "classes": [
            {"name": label, "rows": count, "share": count / sum(counts)}
            for label, count in zip(arrays.classes, counts, strict=True)
        ],
        "notes": list(arrays.notes),
    }


def lines(name: str, arrays: Arrays) -> list[str]:
    """The description of a dataset for the terminal."""
    counts = _class_counts(arrays)
    size = " x ".join(map(str, arrays.shape))
    kinds = [f"images of {size}"] if arrays.columns is None else _kinds(arrays.columns)
    return [
        f"{name}: {sum(counts):,} rows, {len(arrays.test_labels):,} of them for the test",
        *kinds,
        *_class_lines(arrays.classes, counts),
        *arrays.notes,
    ]


def _class_counts(arrays: Arrays) -> list[int]:
    labels = np.concatenate([arrays.labels, arrays.test_labels])
    return [int(count) for count in np.bincount(labels, minlength=len(arrays.classes))]


def _column(arrays: Arrays, at: int) -> dict[str, Any]:
    assert arrays.columns is not None
    column = arrays.columns[at]
    gaps = int(np.isnan(arrays.inputs[:, at]).sum() + np.isnan(arrays.test_inputs[:, at]).sum())
    categories = None if column.categories is None else len(column.categories)
    return {"name": column.name, "categories": categories, "gaps": gaps}


def _kinds(columns: Sequence[Column]) -> list[str]:
    numbers = [column.name for column in columns if column.categories is None]
    texts = [f"{column.name} ({len(column.categories)})" for column in columns if column.categories is not None]
    return [
        *([f"{counted(len(numbers), 'number column')}: {first_names(numbers)}"] if numbers else []),
        *([f"{counted(len(texts), 'category column')} (values): {first_names(texts)}"] if texts else []),
    ]


def _class_lines(classes: Sequence[str], counts: Sequence[int]) -> list[str]:
    """The classes with their rows and shares; the line on the majority if it stands out."""
    shown = len(classes) if len(classes) <= MAX_CLASS_LINES else MAX_CLASS_LINES - 1
    names = [name if len(name) <= 40 else f"{name[:37]}..." for name in classes[:shown]]
    width = max(map(len, names))
    rows = [
        f"  {name:<{width}} {count:>9,} {100 * count / sum(counts):>5.1f} %"
        for name, count in zip(names, counts, strict=False)
    ]
    more = [f"  and {len(classes) - shown:,} more"] if len(classes) > shown else []
    always = f"always predicting {classes[int(np.argmax(counts))]!r} is right in {100 * majority_share(counts):.1f} %"
    return [f"{len(classes):,} classes:", *rows, *more, *([always] if is_imbalanced(counts) else [])]
