"""The champion's predictions: for image files, and for the rows of tables."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model import weights
from model.classifier import Classifier
from model.data import datasets
from model.data.preprocessing import fit_pixels
from model.network import MLP
from model.weights import WeightsError
from sweep.commands.images import ImageError
from sweep.commands.predict import classify, load_champion


def png(folder: Path, array: np.ndarray, name: str) -> Path:
    Image.fromarray(array).save(folder / name)
    return folder / name


# ------------------------------------------------------------------ prediction


@pytest.fixture
def champion(tmp_path: Path) -> Path:
    """A network whose weights for a class are the mean image of its digits, less the mean of all."""
    dataset = datasets.load(datasets.prepare("digits", tmp_path), 0)
    images, labels = dataset.train.inputs.astype(np.float32) / 16, dataset.train.labels
    means = np.stack([images[labels == label].mean(axis=0) for label in range(10)])
    network = MLP((64, 10), scale=dataset.preprocessing.scale)
    network.layers[0].weights[...] = 2 * means.T
    network.layers[0].biases[...] = -(means**2).sum(axis=1)  # argmax = the nearest mean
    return saved(tmp_path, Classifier(network, dataset.preprocessing, dataset.class_names))


def saved(folder: Path, classifier: Classifier) -> Path:
    """The files of a champion, as the search writes them."""
    digest = weights.save(folder / "champion.npz", classifier)
    card = {"shape": [8, 8], "classes": 10, "weights_sha256": digest, "dataset": "digits"}
    (folder / "champion.json").write_text(json.dumps(card))
    return folder / "champion.npz"


def test_the_champion_is_as_accurate_on_images_as_on_the_dataset(tmp_path: Path, champion: Path) -> None:
    dataset = datasets.load(tmp_path / "digits", 0)
    shown = [np.rint(image.reshape(8, 8) * (255 / 16)).astype(np.uint8) for image in dataset.test.inputs[:100]]
    same = [png(tmp_path, image, f"{i}.png") for i, image in enumerate(shown)]
    large = [png(tmp_path, 255 - image.repeat(12, 0).repeat(12, 1), f"{i}.bmp") for i, image in enumerate(shown)]

    accuracies = []
    for images in (same, large):
        predictions = classify(images, load_champion(champion), photo=images is large)
        labels = np.array([int(prediction.label) for prediction in predictions])
        accuracies.append((labels == dataset.test.labels[:100]).mean())
        assert [prediction.image for prediction in predictions] == images

    assert accuracies[0] >= 0.85
    assert accuracies[1] >= accuracies[0] - 0.06


def test_probabilities_sum_to_one(tmp_path: Path, champion: Path) -> None:
    (one,) = classify([png(tmp_path, np.eye(8, dtype=np.uint8) * 255, "a.png")], load_champion(champion))

    assert one.probabilities.shape == (10,)
    assert one.probabilities.sum() == pytest.approx(1)
    assert one.probability == one.probabilities[int(one.label)] == one.probabilities.max()
    assert one.pixels.shape == (8, 8)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(("low", "high"), [(0, 16), (0, 254), (0, 1), (-1, 1)])
def test_the_training_images_saved_as_files_get_the_model_s_own_predictions(
    tmp_path: Path, low: float, high: float, dark: bool
) -> None:
    """Whatever the range and polarity of the dataset: a file has the values themselves, or 0..255 in their place."""
    digits = np.load(datasets.prepare("digits", tmp_path) / "images.npy")[:200] / 16
    raw = low + (1 - digits if dark else digits) * (high - low)
    raw = np.rint(raw).astype(np.uint8) if high > 1 else raw.astype(np.float32)
    pixels = fit_pixels(raw, (8, 8))
    network = MLP((64, 32, 10), scale=pixels.scale, offset=pixels.offset)
    network.initialise(np.random.default_rng(0))
    champion = load_champion(saved(tmp_path, Classifier(network, pixels, tuple("abcdefghij"))))
    stored = raw if high > 1 else np.rint((raw - low) / (high - low) * 255).astype(np.uint8)

    found = classify([png(tmp_path, one.reshape(8, 8), f"{i}.png") for i, one in enumerate(stored)], champion)

    own = champion.predict(raw)
    assert [one.label for one in found] == [champion.classes[k] for k in own.argmax(axis=1)]
    assert np.stack([one.probabilities for one in found]) == pytest.approx(own, abs=0 if high > 1 else 0.01)
    assert not any(one.has_other_background for one in found)


def test_a_champion_of_an_earlier_version_keeps_working(tmp_path: Path, champion: Path) -> None:
    """Its weights file has no names of classes and no preprocessing; its shape is in the card only."""
    network = weights.load(champion).network
    older = load_champion(saved(tmp_path, Classifier.of(network)))
    image = png(tmp_path, (np.eye(8) * 16).astype(np.uint8), "a.png")
    stretched = png(tmp_path, (np.eye(8) * 255).astype(np.uint8), "b.png")

    one, other, now = (*classify([image, stretched], older), *classify([image], load_champion(champion)))

    assert one.pixels.tolist() == other.pixels.tolist() == (np.eye(8) * 16).tolist()
    assert one.label == other.label == now.label


def test_a_champion_of_a_table_refuses_images(tmp_path: Path, champion: Path) -> None:
    from model.data.arrays import Column
    from model.data.preprocessing import fit_table

    table = fit_table(np.random.default_rng(0).normal(size=(9, 3)), tuple(map(Column, "abc")))
    with pytest.raises(ImageError, match="a table of 3 columns, not on gray or RGB images"):
        classify([tmp_path / "a.png"], Classifier(MLP((3, 2)), table, ("no", "yes")))
    with pytest.raises(ImageError, match=r"examples of shape \(64,\)"):
        classify([tmp_path / "a.png"], Classifier.of(MLP((64, 10))))


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ({"shape": [9, 9]}, "does not match"),
        ({"classes": 9}, "does not match"),
        ({"weights_sha256": "0" * 64}, "does not match"),
        ({"shape": None}, "not a champion's metadata"),
        (None, "metadata is missing"),
    ],
)
def test_a_champion_with_other_metadata_is_refused(
    champion: Path, card: dict[str, object] | None, message: str
) -> None:
    path = champion.with_suffix(".json")
    if card is None:
        path.unlink()
    else:
        path.write_text(json.dumps({**json.loads(path.read_text()), **card}))

    with pytest.raises(WeightsError, match=message):
        load_champion(champion)


def test_a_missing_champion_is_reported(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="sweep run"):
        load_champion(tmp_path / "champion.npz")
