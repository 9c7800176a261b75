"""Classify images, or the rows of a table, with a study's champion."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from model import weights
from model.classifier import Classifier
from model.data.datasets import READERS
from model.data.errors import listed
from model.data.preprocessing import Pixels
from model.files import write_atomic
from model.weights import WeightsError
from sweep.commands.images import ImageError, has_other_background, read_image
from sweep.commands.tables import Summary, predict_rows, prediction_columns
from sweep.errors import exit_code


@dataclass(frozen=True, eq=False)
class Prediction:
    """The champion's prediction for an image.

    Attributes:
        image: The file.
        label: The name of the most probable class.
        probability: Its probability, in 0..1.
        probabilities: (classes,) float32, sums to 1.
        pixels: The example in the shape, range and units of the training images.
        has_other_background: Whether the image is dark on light and the training images light on dark, or the other
            way round.
    """

    image: Path
    label: str
    probability: float
    probabilities: NDArray[np.floating[Any]]
    pixels: NDArray[np.float64]
    has_other_background: bool


def predict_files(
    files: Sequence[Path], champion: Path, out: Path | None, identifiers: Sequence[str], *, photo: bool, debug: bool
) -> int:
    """Print or write the classes of images, or of the rows of one table or array; returns the exit code.

    Args:
        files: Image files; or a single .csv, .parquet or .npz file.
        champion: The file champion.npz.
        out: The CSV file to write; None to print the classes of images, or the first rows of a table.
        identifiers: Columns of a table to copy to the output.
        photo: Whether images are photographs.
        debug: Whether an unreadable image raises its error, instead of being one line on stderr.

    Raises:
        click.UsageError: The files or options do not go together.
        WeightsError: As `load_champion`.
        DatasetInvalid: As `predict_rows`.
        ImageError: As `classify`; with `debug` also of an image.
        OSError: A table cannot be read, or the output cannot be written.
    """
    if out and out.suffix.lower() not in ("", ".csv", ".txt"):
        raise click.UsageError(f"--out writes CSV, but {out.name} does not end in .csv")
    classifier = load_champion(champion)
    if not any(file.suffix.lower() in READERS for file in files):
        if identifiers:
            raise click.UsageError("--id names columns of a table, but the files are images")
        return _predict_images(files, classifier, out, photo, debug)
    if len(files) > 1:
        raise click.UsageError("give one table or array at a time, or only images")
    if photo:
        raise click.UsageError("--photo is for images")
    if out and out == files[0].resolve():
        raise click.UsageError(f"--out would replace {files[0]}")
    target = _read_card(champion.with_suffix(".json"))["target"]
    _print_summary(predict_rows(files[0], classifier, target, identifiers, out), out)
    return 0


def _print_summary(summary: Summary, out: Path | None) -> None:
    notes = []
    if summary.ignored:
        notes.append(f"not used: {listed(summary.ignored)}")
    if summary.unseen:
        counts = [f"{name} {count:,} (such as {summary.examples[name]!r})" for name, count in summary.unseen.items()]
        notes.append(f"rows with a value that was rare or not among the training rows: {listed(counts)}")
    if summary.gaps:
        counts = [f"{name} {count:,}" for name, count in summary.gaps.items()]
        notes.append(f"rows with a gap where the training rows have none (numbers count as the mean): {listed(counts)}")
    if summary.target:
        share = 100 * summary.right / summary.known if summary.known else math.nan
        notes.append(
            f"accuracy {share:.2f} %: {summary.right:,} of {summary.known:,} rows are as {summary.target!r} says"
        )
    if out:
        click.echo(f"{summary.rows:,} rows written to {out}")
    else:
        with pd.option_context("display.width", 200, "display.max_columns", 12):
            click.echo(str(summary.first.round(4)))
        if summary.rows > len(summary.first):
            click.echo(f"and {summary.rows - len(summary.first):,} more rows; --out FILE.csv writes all")
    for note in [*notes, *summary.notes]:
        click.echo(note)


def _predict_images(images: Sequence[Path], champion: Classifier, out: Path | None, photo: bool, debug: bool) -> int:
    code, read = 0, []
    for found in classify(images, champion, photo=photo):
        if isinstance(found, Prediction):
            read.append(found)
            if not out:
                click.echo(f"{found.image}: {found.label} ({100 * found.probability:.1f} %)")
        elif debug:
            raise found
        else:
            click.echo(f"sweep: {'; '.join(str(found).splitlines())}", err=True)
            code = code or exit_code(found) or 1
    if out:
        write_atomic(out, _as_csv(read, champion))
        click.echo(f"{len(read):,} rows written to {out}")
    turned = [one.image for one in read if one.has_other_background and not photo]
    if turned:
        click.echo(
            f"sweep: note: {len(turned):,} of {len(images):,} images, such as {turned[0]}, are light where the training"
            " images are dark, or dark where they are light; --photo inverts them",
            err=True,
        )
    return code


def _as_csv(found: Sequence[Prediction], champion: Classifier) -> bytes:
    images = pd.DataFrame({"image": [str(one.image) for one in found]})
    probabilities = np.array([one.probabilities for one in found]).reshape(-1, len(champion.classes))
    return images.assign(**prediction_columns(champion, probabilities)).to_csv(index=False).encode()


def classify(
    images: Sequence[Path], champion: Classifier, *, photo: bool = False
) -> list[Prediction | ImageError | OSError]:
    """The champion's prediction for each image, or the error; one bad image does not prevent the others.

    Args:
        images: Files that Pillow can read; see `read_image` for what happens to them.
        champion: As `load_champion` returns it.
        photo: Whether the images are photographs.

    Returns:
        One result per image, in the same order: a prediction; an ImageError for a file that is not an image, or not one
        that can be classified; an OSError for a file that exists but cannot be read.

    Raises:
        ImageError: The champion was not trained on images of one or three channels.
    """
    pixels = champion.preprocessing
    if not isinstance(pixels, Pixels) or not (len(pixels.shape) == 2 or pixels.shape[2:] in ((1,), (3,))):
        raise ImageError(f"the champion was trained on {_examples(champion)}, not on gray or RGB images")
    found: list[NDArray[np.float64] | ImageError | OSError] = []
    for image in images:
        try:
            found.append(read_image(image, pixels, photo=photo))
        except (ImageError, OSError) as error:
            found.append(error)
    read = [example for example in found if isinstance(example, np.ndarray)]
    # All together, as MLflow's model does it: a product of one row can differ in its last bit.
    rows = iter(champion.predict(np.stack(read)) if read else ())
    return [
        _prediction(image, example, next(rows), champion) if isinstance(example, np.ndarray) else example
        for image, example in zip(images, found, strict=True)
    ]


def _prediction(
    image: Path, example: NDArray[np.float64], probabilities: NDArray[np.floating[Any]], champion: Classifier
) -> Prediction:
    assert isinstance(champion.preprocessing, Pixels)
    best = int(probabilities.argmax())
    other = has_other_background(example, champion.preprocessing)
    return Prediction(image, champion.classes[best], float(probabilities[best]), probabilities, example, other)


def _examples(champion: Classifier) -> str:
    if isinstance(champion.preprocessing, Pixels):
        return f"examples of shape {champion.preprocessing.shape}"
    return f"a table of {len(champion.preprocessing.columns)} columns"


# ------------------------------------------------------------------ the champion


def load_champion(path: Path) -> Classifier:
    """The champion of a study; its metadata champion.json is in the same folder as champion.npz.

    Raises:
        WeightsError: The champion or its metadata is missing or damaged, or the two do not match.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: there is no champion yet\nFinish the study with `sweep run` first.")
    classifier = weights.load(path)
    card_path = path.with_suffix(".json")
    card = _read_card(card_path)
    found = len(classifier.classes), weights.sha256(classifier.network.theta)
    if found != (card["classes"], card["weights_sha256"]):
        raise WeightsError(f"{path}: does not match {card_path}\nCreate both again with `sweep run`.")
    if isinstance(classifier.preprocessing, Pixels):  # champions of earlier versions have their shape only in the card
        if classifier.preprocessing.features != np.prod(card["shape"]):
            raise WeightsError(f"{path}: does not match {card_path}\nCreate both again with `sweep run`.")
        return replace(classifier, preprocessing=replace(classifier.preprocessing, shape=card["shape"]))
    return classifier


def _read_card(path: Path) -> dict[str, Any]:
    """The keys of the metadata that prediction needs, converted to the right types."""
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        return {
            "shape": tuple(int(length) for length in card["shape"]),
            "classes": int(card["classes"]),
            "weights_sha256": str(card["weights_sha256"]),
            "target": card.get("target"),
        }
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: the champion's metadata is missing") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(f"{path}: not a champion's metadata ({type(error).__name__}: {error})") from error
