"""Predictions do not depend on size, mode and polarity of an image."""

import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from model import weights
from model.classifier import Classifier
from model.data import datasets
from model.network import MLP
from model.weights import WeightsError
from sweep.commands.predict import ImageError, classify, pixels

MNIST = ((28, 28), 1 / 255)
DIGITS = ((8, 8), 1 / 16)


def three() -> np.ndarray:
    """A 28 x 28 digit as MNIST has them: 20 pixels high, light on dark, its mass in the middle."""
    big = Image.new("L", (280, 280), 0)
    for box, start, end in (((90, 40, 190, 142), 180, 450), ((84, 130, 196, 240), 270, 540)):
        ImageDraw.Draw(big).arc(box, start, end, fill=255, width=24)
    return np.asarray(big.resize((28, 28), Image.Resampling.BOX))


@pytest.fixture(scope="module")
def digit() -> np.ndarray:
    return three()


def png(folder: Path, array: np.ndarray | Image.Image, name: str = "digit.png", **options: object) -> Path:
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(folder / name, **options)
    return folder / name


def alike(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


# ------------------------------------------------------------------ conversion


def test_an_image_of_the_dataset_s_shape_stays_the_same_to_the_bit(tmp_path: Path, digit: np.ndarray) -> None:
    assert pixels(png(tmp_path, digit), *MNIST).tolist() == digit.tolist()


def test_dark_on_light_is_inverted(tmp_path: Path, digit: np.ndarray) -> None:
    assert pixels(png(tmp_path, 255 - digit), *MNIST).tolist() == digit.tolist()


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16"])
def test_every_mode_gives_the_same_digit(tmp_path: Path, digit: np.ndarray, mode: str) -> None:
    deep = Image.fromarray(digit.astype(np.uint16) * 257)
    image = deep if mode == "I;16" else Image.fromarray(digit).convert(mode)
    path = png(tmp_path, image, "digit.tif" if mode == "CMYK" else "digit.png")

    found = pixels(path, *MNIST)

    assert alike(found, digit) > (0.9 if mode == "1" else 0.999)
    assert found.dtype == np.uint8


@pytest.mark.parametrize("ink", [0, 255])
def test_a_transparent_background_contrasts_with_the_ink(tmp_path: Path, digit: np.ndarray, ink: int) -> None:
    color = np.full_like(digit, ink)

    assert pixels(png(tmp_path, np.stack([color] * 3 + [digit], axis=-1)), *MNIST).tolist() == digit.tolist()


def variants(digit: np.ndarray) -> dict[str, Image.Image]:
    big = Image.fromarray(digit).resize((280, 280), Image.Resampling.NEAREST)
    sheet = Image.new("L", (900, 600), 0)
    sheet.paste(big, (600, 30))
    noise = np.random.default_rng(4).normal(0, 4, (600, 900))
    scan = np.clip(np.asarray(sheet) * 0.6 + 60 + noise, 0, 255).astype(np.uint8)
    return {
        "x10": big,
        "smooth": Image.fromarray(digit).resize((280, 280), Image.Resampling.BICUBIC),
        "inverted": Image.fromarray(255 - np.asarray(big)),
        "off centre": sheet,
        "noisy gray scan": Image.fromarray(scan),
        "dark on gray paper": Image.fromarray(255 - scan),
        "with a margin": Image.fromarray(np.pad(digit, 3)),
    }


@pytest.mark.parametrize("kind", variants(np.zeros((28, 28), np.uint8)))
def test_size_position_and_background_do_not_matter(tmp_path: Path, digit: np.ndarray, kind: str) -> None:
    assert alike(pixels(png(tmp_path, variants(digit)[kind]), *MNIST), digit) > 0.93


def test_an_enlarged_digit_is_close_to_the_original(tmp_path: Path, digit: np.ndarray) -> None:
    assert alike(pixels(png(tmp_path, variants(digit)["x10"]), *MNIST), digit) > 0.99


def test_exif_orientation_is_applied(tmp_path: Path, digit: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees: the camera was held upright
    path = png(tmp_path, np.rot90(digit), exif=exif)

    assert pixels(path, *MNIST).tolist() == digit.tolist()


def test_the_aspect_ratio_is_kept_and_no_ink_is_cut_off(tmp_path: Path) -> None:
    bar = np.zeros((300, 300), np.uint8)
    bar[20:280, 100:110] = 255
    frame = pixels(png(tmp_path, bar), *MNIST)

    rows, columns = np.flatnonzero(frame.any(axis=1)), np.flatnonzero(frame.any(axis=0))
    assert (len(rows), len(columns)) == (20, 1)
    assert rows[0] == 4


@pytest.mark.parametrize("stretched", [True, False])
def test_digits_saved_as_png_stay_the_same_to_the_bit(tmp_path: Path, stretched: bool) -> None:
    images = datasets.load(datasets.prepare("digits", tmp_path), 0).test.inputs[:20].reshape(-1, 8, 8)

    for image in images:
        shown = np.rint(image * (255 / 16)).astype(np.uint8) if stretched else image
        assert pixels(png(tmp_path, shown), *DIGITS).tolist() == image.tolist()


def test_values_depend_on_the_scale_of_the_dataset(tmp_path: Path, digit: np.ndarray) -> None:
    path = png(tmp_path, variants(digit)["x10"])

    assert pixels(path, (16, 16), 1.0).dtype == np.float32
    assert pixels(path, (16, 16), 1.0).max() <= 1
    assert pixels(path, *DIGITS).max() <= 16
    assert pixels(path, (56, 56), 1 / 255).shape == (56, 56)


# ------------------------------------------------------------------ what is refused


def bomb(folder: Path) -> Path:
    """A PNG header that claims 50,000 x 50,000 pixels."""
    head = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (folder / "bomb.png").write_bytes(data)
    return folder / "bomb.png"


def test_too_many_pixels_are_refused_before_decoding(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"bomb\.png: has too many pixels, at most 25,000,000 are read$"):
        pixels(bomb(tmp_path), *MNIST)
    with pytest.raises(ImageError, match=r"5001 x 5000, mode 1\) has too many pixels"):
        pixels(png(tmp_path, Image.new("1", (5001, 5000))), *MNIST)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"GIF89a"])
def test_a_file_that_is_not_an_image_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "digit.png"
    path.write_bytes(content)

    with pytest.raises(ImageError, match=r"digit\.png: (not an image|damaged)"):
        pixels(path, *MNIST)


def test_a_truncated_image_is_refused(tmp_path: Path, digit: np.ndarray) -> None:
    whole = png(tmp_path, variants(digit)["noisy gray scan"]).read_bytes()
    for length in (20, 40, 1000, len(whole) // 2, len(whole) - 200):
        (tmp_path / "cut.png").write_bytes(whole[:length])
        with pytest.raises(ImageError, match=r"cut\.png"):
            pixels(tmp_path / "cut.png", *MNIST)


@pytest.mark.parametrize(
    "image", [Image.new("L", (28, 28), 9), Image.new("RGB", (99, 50), "white"), Image.new("L", (1, 1))]
)
def test_a_blank_image_is_refused_with_its_size_and_mode(tmp_path: Path, image: Image.Image) -> None:
    with pytest.raises(ImageError, match=f"{image.width} x {image.height}, mode {image.mode}.*blank"):
        pixels(png(tmp_path, image), *MNIST)


def test_pure_noise_is_blank(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(128, 4, (100, 100)).astype(np.uint8)

    with pytest.raises(ImageError, match="no pixel differs clearly"):
        pixels(png(tmp_path, noise), *MNIST)


def test_an_animation_is_refused(tmp_path: Path, digit: np.ndarray) -> None:
    frames = [Image.fromarray(digit), Image.fromarray(255 - digit)]
    frames[0].save(tmp_path / "digit.gif", save_all=True, append_images=frames[1:])

    with pytest.raises(ImageError, match=r"GIF, 28 x 28.*animated"):
        pixels(tmp_path / "digit.gif", *MNIST)


def test_a_mode_without_a_known_range_is_refused(tmp_path: Path, digit: np.ndarray) -> None:
    with pytest.raises(ImageError, match="mode F"):
        pixels(png(tmp_path, digit.astype(np.float32), "digit.tif"), *MNIST)


@pytest.mark.parametrize(("name", "said"), [("none.png", "there is no such file"), (".", "is a folder")])
def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        pixels(tmp_path / name, *MNIST)


def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")

    with pytest.raises(ImageError, match="no such file"):
        pixels(tmp_path / "pipe.png", *MNIST)


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
    digest = weights.save(tmp_path / "champion.npz", Classifier.of(network))
    card = {"shape": [8, 8], "classes": 10, "scale": 1 / 16, "weights_sha256": digest, "dataset": "digits"}
    (tmp_path / "champion.json").write_text(json.dumps(card))
    return tmp_path / "champion.npz"


def test_the_champion_is_as_accurate_on_images_as_on_the_dataset(tmp_path: Path, champion: Path) -> None:
    dataset = datasets.load(tmp_path / "digits", 0)
    shown = [np.rint(image.reshape(8, 8) * (255 / 16)).astype(np.uint8) for image in dataset.test.inputs[:100]]
    same = [png(tmp_path, image, f"{i}.png") for i, image in enumerate(shown)]
    large = [png(tmp_path, 255 - image.repeat(12, 0).repeat(12, 1), f"{i}.bmp") for i, image in enumerate(shown)]

    accuracies = []
    for images in (same, large):
        predictions = classify(images, champion)
        labels = np.array([prediction.label for prediction in predictions])
        accuracies.append((labels == dataset.test.labels[:100]).mean())
        assert [prediction.image for prediction in predictions] == images

    assert accuracies[0] >= 0.85
    assert accuracies[1] >= accuracies[0] - 0.06


def test_probabilities_sum_to_one(tmp_path: Path, champion: Path) -> None:
    (one,) = classify([png(tmp_path, np.eye(28, dtype=np.uint8) * 255)], champion)

    assert one.probabilities.shape == (10,)
    assert one.probabilities.sum() == pytest.approx(1)
    assert one.probability == one.probabilities[one.label] == one.probabilities.max()
    assert one.pixels.shape == (8, 8)


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ({"shape": [20]}, "not on images"),
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
        classify([], champion)


def test_a_missing_champion_is_reported(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="sweep run"):
        classify([], tmp_path / "champion.npz")


@pytest.mark.mnist
def test_ten_digits_are_recognised_in_every_variant(tmp_path: Path) -> None:
    images = datasets.load(datasets.prepare("mnist", tmp_path, download=False), 0).test.inputs[:10].reshape(-1, 28, 28)

    for image in images:
        assert pixels(png(tmp_path, image), *MNIST).tolist() == image.tolist()
        assert pixels(png(tmp_path, 255 - image), *MNIST).tolist() == image.tolist()
        for kind, variant in variants(image).items():
            assert alike(pixels(png(tmp_path, variant), *MNIST), image) > (0.95 if kind == "x10" else 0.8), kind
