"""The pictures of a trial in MLflow, drawn with Pillow: 5 ms each instead of 80 ms with matplotlib."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from reports.analysis.wording import short_names

Floats = NDArray[np.float64]
INK, PALE, PAPER = (40, 40, 40), (200, 200, 200), (255, 255, 255)
COLOURS = {
    "train": (230, 159, 0),
    "validation": (0, 114, 178),
}  # Okabe and Ito: safe for the colour-blind
_FONT, _SMALL = ImageFont.load_default(14), ImageFont.load_default(12)
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
LONGEST_NAME = 16
"""Characters of a class name beside the matrix."""
NAMED_CELL = 20
"""Pixels of a cell in which there is room for a number, and for a name beside it: up to 20 classes."""
_FINER = 3  # lines are drawn at this scale and reduced: Pillow has no antialiasing


def confusion_png(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> bytes:
    """A validation confusion matrix as PNG, rows are true classes, coloured by the share of the row.

    Args:
        matrix: (classes, classes) counts.
        names: of the classes; left out if there are too many classes.
    """
    counts = np.asarray(matrix)
    classes, cell = len(counts), max(16, 400 // len(counts))
    labels = short_names(names, LONGEST_NAME) if cell >= NAMED_CELL else ("",) * classes
    widest = math.ceil(max(_SMALL.getlength(label) for label in labels))
    rotated = widest > cell - 4
    left, top, below = 38 + widest, 30, (widest if rotated else 12) + 8
    side = classes * cell
    picture = Image.new("RGB", (max(left + side, 290) + 16, top + side + below + 26), PAPER)
    draw = ImageDraw.Draw(picture)
    _cells(draw, counts, cell, (left, top))
    for index, label in enumerate(labels):
        middle = index * cell + cell // 2
        draw.text((left - 6, top + middle), label, INK, _SMALL, anchor="rm")
        if rotated:
            _sideways(picture, label, (left + middle, top + side + 6 + widest // 2), _SMALL, widest)
        else:
            draw.text((left + middle, top + side + 12), label, INK, _SMALL, anchor="mm")
    draw.text((left, 14), "Validation, at the selected epoch", INK, _FONT, anchor="lm")
    draw.text((left + side / 2, top + side + below + 12), "predicted", INK, _FONT, anchor="mm")
    _sideways(picture, "true", (12, top + side // 2), _FONT, 40)
    return _png(picture)


def _cells(draw: ImageDraw.ImageDraw, counts: NDArray[np.int64], cell: int, corner: tuple[int, int]) -> None:
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    for row, column in np.ndindex(counts.shape):
        x, y, share = corner[0] + column * cell, corner[1] + row * cell, float(shares[row, column])
        draw.rectangle((x, y, x + cell, y + cell), _shade(share), PALE)
        if counts[row, column] and cell >= NAMED_CELL:
            colour = PAPER if share > 0.5 else INK
            draw.text((x + cell / 2, y + cell / 2), str(counts[row, column]), colour, _SMALL, anchor="mm")


def curves_png(epochs: NDArray[np.void], selected: int | None) -> bytes:
    """The learning curves of a trial as PNG: loss (by its logarithm) and accuracy against epochs.

    Args:
        epochs: (epochs,), with the fields train_loss, validation_loss, train_accuracy, validation_accuracy.
        selected: index of the selected epoch, marked by a ring, or None.
    """
    picture = Image.new("RGB", (900, 340), PAPER)
    for left, kind in ((0, "loss"), (450, "accuracy")):
        curves = {split: np.asarray(epochs[f"{split}_{kind}"], np.float64) for split in COLOURS}
        _panel(picture, left, kind, curves, selected)
    return _png(picture)


def _panel(picture: Image.Image, left: int, kind: str, curves: dict[str, Floats], selected: int | None) -> None:
    draw = ImageDraw.Draw(picture)
    x0, y0, x1, y1 = left + 62, 36, left + 436, 290
    draw.text((x0, 16), "Loss" if kind == "loss" else "Accuracy", INK, _FONT, anchor="lm")
    for place, split in enumerate(split for split, curve in curves.items() if np.isfinite(curve).any()):
        draw.text((x1 - 160 + 80 * place, 16), split, COLOURS[split], _FONT, anchor="lm")
    draw.text(((x0 + x1) / 2, 325), "epoch", INK, _FONT, anchor="mm")
    shown = [value for curve in curves.values() for value in curve if math.isfinite(value) and value > 0]
    if not shown:
        draw.text(((x0 + x1) / 2, (y0 + y1) / 2), "no values", INK, _FONT, anchor="mm")
        return
    length = max(len(curve) for curve in curves.values())
    scale = np.log10 if kind == "loss" else np.asarray
    low, high = float(scale(min(shown))), float(scale(max(shown)))
    high = high if high > low else low + 0.1
    for share in (0.0, 0.5, 1.0):
        value = low + share * (high - low)
        y = y1 - share * (y1 - y0)
        draw.line((x0, y, x1, y), PALE)
        label_text = f"{10**value:.3g}" if kind == "loss" else f"{100 * value:.1f} %"
        draw.text((x0 - 6, y), label_text, INK, _SMALL, anchor="rm")
    for epoch in sorted({1, (length + 1) // 2, length}):
        x = x0 + (epoch - 1) / max(length - 1, 1) * (x1 - x0)
        draw.text((x, y1 + 14), str(epoch), INK, _SMALL, anchor="mm")
    heights = {split: (scale(np.maximum(curve, 1e-300)) - low) / (high - low) for split, curve in curves.items()}
    _lines(picture, (x0, y0, x1, y1), heights, selected)


def _lines(
    picture: Image.Image, box: tuple[int, int, int, int], heights: dict[str, Floats], selected: int | None
) -> None:
    """Curves of heights 0..1 into the box, smoothed by drawing them larger."""
    x0, y0, x1, y1 = box
    pad = 8
    size = ((x1 - x0 + 2 * pad) * _FINER, (y1 - y0 + 2 * pad) * _FINER)
    for split, curve in heights.items():
        mask = Image.new("L", size, 0)
        draw = ImageDraw.Draw(mask)
        at = {
            epoch: ((pad + epoch / max(len(curve) - 1, 1) * (x1 - x0)) * _FINER, (pad + (1 - h) * (y1 - y0)) * _FINER)
            for epoch, h in enumerate(curve)
            if math.isfinite(h) and -0.01 <= h <= 1.01
        }
        if len(at) > 1:
            draw.line(list(at.values()), 255, 2 * _FINER, joint="curve")
        for x, y in at.values() if len(at) == 1 else ():
            draw.ellipse((x - 9, y - 9, x + 9, y + 9), 255)
        if split == "validation" and selected in at:
            x, y = at[selected]
            draw.ellipse((x - 5 * _FINER, y - 5 * _FINER, x + 5 * _FINER, y + 5 * _FINER), None, 255, _FINER)
        small = mask.resize((size[0] // _FINER, size[1] // _FINER), Image.Resampling.BOX)
        picture.paste(Image.new("RGB", small.size, COLOURS[split]), (x0 - pad, y0 - pad), small)


def _shade(share: float) -> tuple[int, int, int]:
    """White to dark blue."""
    return tuple(round(255 + share * (end - 255)) for end in (8, 48, 107))  # type: ignore[return-value]


def _sideways(picture: Image.Image, text: str, middle: tuple[int, int], font: Font, length: int) -> None:
    """Text of this length, read from below, with its middle there."""
    label = Image.new("RGB", (length, 18), PAPER)
    ImageDraw.Draw(label).text((length / 2, 9), text, INK, font, anchor="mm")
    turned = label.rotate(90, expand=True)
    picture.paste(turned, (middle[0] - 9, middle[1] - length // 2))


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "png", compress_level=6)
    return buffer.getvalue()
