"""Pictures for MLflow: whatever was or was not measured, a picture comes out, and it shows it."""

import io

import numpy as np
import pytest
from PIL import Image

from studies.record.schema import EPOCH
from sweep.tracking.pictures import COLOURS, confusion_png, curves_png


def epochs(count, **columns):
    """So many epochs with these numbers, and 0.5 elsewhere."""
    table = np.full(count, 0.5, dtype=np.float64).astype([(name, np.float64) for name in EPOCH.names])
    for name, values in columns.items():
        table[name] = values
    return table


def colours(png):
    """Every colour of the picture, and its size."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    return {colour for _, colour in picture.getcolors(1 << 20)}, picture.size


def test_curves_show_both_splits():
    """In their colours."""
    falling = np.geomspace(2, 0.1, 12)
    found, size = colours(curves_png(epochs(12, train_loss=falling, validation_loss=falling + 0.1), 11))

    assert size == (900, 340)
    assert set(COLOURS.values()) <= found


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("hole", [np.nan, np.inf, 0.0])
def test_missing_values_are_not_drawn(count, hole):
    """A final model has no validation numbers, a divergence no finite loss; a perfect loss of 0 has no logarithm."""
    none = {f"validation_{kind}": hole for kind in ("loss", "accuracy")}
    found, _ = colours(curves_png(epochs(count, **none), None))

    assert COLOURS["train"] in found
    nothing = epochs(count, **{f"{split}_{kind}": hole for split in COLOURS for kind in ("loss", "accuracy")})
    if hole != 0.0:
        assert not set(COLOURS.values()) & colours(curves_png(nothing, None))[0]


def test_the_marker_is_at_the_selected_epoch():
    """The last of four, of which the first was not measured."""
    losses = np.array([np.nan, 0.4, 0.3, 0.2])
    ringed, plain = (curves_png(epochs(4, validation_loss=losses), counted) for counted in (3, None))

    left = [Image.open(io.BytesIO(png)).crop((0, 0, 450, 340)).tobytes() for png in (ringed, plain)]
    assert left[0] != left[1]


@pytest.mark.parametrize("classes", [2, 10, 40])
def test_a_confusion_matrix_has_a_dark_diagonal(classes):
    """A share of one is the darkest blue, none is white; with many classes the numbers are left out."""
    found, size = colours(confusion_png(np.diag([7] * classes).tolist(), [str(k) for k in range(classes)]))

    assert {(8, 48, 107), (255, 255, 255)} <= found
    assert max(size) < 800


@pytest.mark.parametrize("classes", [2, 10, 20])
def test_long_names_of_classes_stay_inside_the_picture(classes):
    """A confusion matrix with them is larger than one with numbers, but not much, and nothing is at its edge."""
    names = [f"a rather long name of class {k}" for k in range(classes)]
    picture = Image.open(io.BytesIO(confusion_png(np.diag([7] * classes).tolist(), names)))
    pixels = np.asarray(picture)

    assert picture.size > Image.open(io.BytesIO(confusion_png(np.diag([7] * classes).tolist(), "x" * classes))).size
    assert max(picture.size) < 700
    assert all((edge == 255).all() for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]))
