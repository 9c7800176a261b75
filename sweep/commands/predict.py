"""Classify images of any size, mode and polarity with a study's champion.

Preprocessing affects the result more than the network does: MNIST digits are light on dark, 20 pixels long, and centred
by mass in 28 x 28 pixels. An image is rotated, normalised, cropped, scaled and centred in the same way, unless it
already has the right shape.
"""

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from model import weights
from model.network import MLP
from model.weights import WeightsError

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 25_000_000
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")  # no EPS: Pillow would run Ghostscript on it
MIN_CONTRAST_LEVELS = 8  # of 255, between darkest and lightest; an image with less is blank
INK_THRESHOLD = 0.1  # fraction of full ink above which a pixel belongs to the digit and is not a JPEG artifact
NOISE_THRESHOLD_SIGMA = 8  # the same in standard deviations of the border: one noisy pixel would enlarge the crop
MNIST_FILL = 20 / 28
DIGITS_FILL = 1.0  # all 1,797 images of 8 x 8 touch the upper and the lower edge


class ImageError(Exception):
    """An image cannot be classified; the message contains file, size and mode."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """The champion's prediction for an image.

    Attributes:
        image: The file.
        label: The most probable class.
        probability: Its probability, in 0..1.
        probabilities: (classes,) float64, sums to 1.
        pixels: (height, width), the network's input before scaling.
    """

    image: Path
    label: int
    probability: float
    probabilities: NDArray[np.float64]
    pixels: NDArray[Any]


def classify(images: Sequence[Path], champion: Path) -> list[Prediction | ImageError | OSError]:
    """The champion's prediction for each image, or the error; one bad image does not affect the others.

    Args:
        images: Files that Pillow can read; see `pixels` for what happens to them.
        champion: The file champion.npz; its metadata champion.json is in the same folder.

    Returns:
        One result per image, in the same order: a prediction; an ImageError for a file that is not an image, or not one
        that can be classified; an OSError for a file that exists but cannot be read.

    Raises:
        WeightsError: The champion or its metadata is missing or damaged, the two do not match, or the champion was
            not trained on images.
    """
    network, shape = _load(champion)
    found: list[Prediction | ImageError | OSError] = []
    for image in images:
        try:
            found.append(_prediction(network, image, pixels(image, shape, network.scale)))
        except (ImageError, OSError) as error:
            found.append(error)
    return found


def pixels(path: Path, shape: tuple[int, int], scale: float) -> NDArray[Any]:
    """An image in the form of the dataset's examples: light on dark, of this shape, in the dataset's units.

    1. It is rotated by its EXIF orientation; colours become gray; transparent parts become white under dark ink and
       black under light ink. 16-bit gray is scaled to 0..255.
    2. It is inverted if the median of its border is lighter than the middle of its range.
    3. An image that already has the shape is used as it is: the digits of a dataset, saved as PNG, are unchanged to
       the bit, also with their raw values 0..16.
    4. Any other image is normalised so that the border's median is 0 and the darkest ink 1; cropped to the ink; scaled,
       keeping its aspect ratio, until its longer side is 20/28 of the frame (the whole frame for 8 x 8); and placed
       with its centre of mass in the middle. Frames smaller than MNIST's are drawn larger and reduced by block means.

    Args:
        path: PNG, JPEG, BMP, GIF, TIFF, WebP or PPM with one frame and at most 25 million pixels.
        shape: (height, width) of the dataset's examples.
        scale: The dataset's scale; the network's input is a pixel times this, so full ink is 1 / scale.

    Returns:
        (height, width) uint8 of 0 .. 1 / scale; float32 of 0..1 where scale is 1.

    Raises:
        ImageError: Not an image, damaged, animated, too large, blank, or of an unsupported mode.
        OSError: The file exists but cannot be read.
    """
    gray, what = _gray(path)
    if np.ptp(gray) < MIN_CONTRAST_LEVELS:
        raise ImageError(f"{what} is blank: all its pixels are nearly the same gray")
    full = round(1 / scale)
    if gray.shape == shape:
        raw = full < 255 and gray.max() <= full  # saved with the dataset's own values, not stretched to 0..255
        share = _light_on_dark(gray, full if raw else 255) / (full if raw else 255)
    else:
        share = _framed(_cropped(_light_on_dark(gray, 255), what), shape)
    return np.rint(share * full).astype(np.uint8) if full > 1 else share.astype(np.float32)


# ------------------------------------------------------------------ the champion


def _load(path: Path) -> tuple[MLP, tuple[int, int]]:
    """The network and the shape of its images; checks that network and metadata match."""
    if not path.is_file():
        raise WeightsError(f"{path}: there is no champion yet\nFinish the study with `sweep run` first.")
    network = weights.load(path).network
    card_path = path.with_suffix(".json")
    card = _read_card(card_path)
    shape = tuple(card["shape"])
    if len(shape) != 2:
        raise WeightsError(f"{card_path}: the champion was trained on examples of shape {shape}, not on images")
    ends = (shape[0] * shape[1], card["classes"])
    if (network.sizes[0], network.sizes[-1]) != ends or card["weights_sha256"] != weights.sha256(network.theta):
        raise WeightsError(f"{path}: does not match {card_path}\nCreate both again with `sweep run`.")
    return network, (shape[0], shape[1])


def _read_card(path: Path) -> dict[str, Any]:
    """The keys of the metadata that prediction needs, converted to the right types."""
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        return {
            "shape": [int(length) for length in card["shape"]],
            "classes": int(card["classes"]),
            "weights_sha256": str(card["weights_sha256"]),
        }
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: the champion's metadata is missing") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(f"{path}: not a champion's metadata ({type(error).__name__}: {error})") from error


def _prediction(network: MLP, image: Path, frame: NDArray[Any]) -> Prediction:
    probabilities = network.predict(frame.reshape(1, -1))[0].astype(np.float64)
    label = int(probabilities.argmax())
    return Prediction(image, label, float(probabilities[label]), probabilities, frame)


# ------------------------------------------------------------------ from a file to gray levels


def _gray(path: Path) -> tuple[NDArray[np.float64], str]:
    """Gray levels (height, width) of 0..255, and the description of the image for error messages."""
    from PIL import Image, UnidentifiedImageError

    if path.is_dir():
        raise ImageError(f"{path}: is a folder, not an image")
    if not path.is_file():
        raise ImageError(f"{path}: there is no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of what is checked here
            with Image.open(path, formats=FORMATS) as image:
                what = f"{path} ({image.format}, {image.width} x {image.height}, mode {image.mode})"
                return _decoded(image, what), what
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path}: has too many pixels, at most {MAX_PIXELS:,} are read") from error
    except UnidentifiedImageError as error:
        size = path.stat().st_size
        raise ImageError(f"{path}: not an image of {', '.join(FORMATS)} ({size:,} bytes)") from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, OverflowError) as error:
        # Pillow raises these for a damaged file; an error of the operating system has an error number.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ImageError(f"{path}: damaged or truncated ({error})") from error


def _decoded(image: "Image.Image", what: str) -> NDArray[np.float64]:
    """Gray levels of an open image; its pixels are decoded only after its header is checked."""
    from PIL import ImageOps

    if image.width * image.height > MAX_PIXELS:
        raise ImageError(f"{what} has too many pixels, at most {MAX_PIXELS:,} are read")
    if getattr(image, "n_frames", 1) > 1:
        raise ImageError(f"{what} is animated or has several pages\nSave one of them as PNG.")
    if image.mode in ("I", "F"):
        raise ImageError(f"{what} has a mode with an unknown range of values\nSave it as 8-bit or 16-bit gray.")
    turned = ImageOps.exif_transpose(image)
    if turned.mode.startswith("I;16"):
        return np.asarray(turned, np.float64) / 257
    if turned.has_transparency_data:
        return _on_background(np.asarray(turned.convert("RGBA").convert("LA"), np.float64))
    return np.asarray(turned.convert("RGB").convert("L"), np.float64)


def _on_background(gray_alpha: NDArray[np.float64]) -> NDArray[np.float64]:
    """(height, width, 2) gray and alpha -> (height, width): dark ink on a white background, light ink on black."""
    gray, alpha = gray_alpha[..., 0], gray_alpha[..., 1] / 255
    ink = (gray * alpha).sum() / max(float(alpha.sum()), 1e-9)
    paper = 255 if ink < 128 else 0
    return np.rint(gray * alpha + paper * (1 - alpha))


# ------------------------------------------------------------------ from gray levels to the form of the dataset


def _border(gray: NDArray[np.float64]) -> float:
    """The median of the outermost pixels: the background, unless more than half of the border is ink."""
    inner = gray[1:-1]
    return float(np.median(np.concatenate([gray[0], gray[-1], inner[:, 0], inner[:, -1]])))


def _light_on_dark(gray: NDArray[np.float64], full: float) -> NDArray[np.float64]:
    middle = (gray.min() + gray.max()) / 2
    return full - gray if _border(gray) > middle else gray


def _cropped(gray: NDArray[np.float64], what: str) -> NDArray[np.float64]:
    """The part that contains ink, scaled to 0..1: the background, gray in a scan, is 0, the darkest ink 1.

    Raises:
        ImageError: No pixel differs from the border by more than its noise.
    """
    paper = _border(gray)
    contrast = gray.max() - paper
    noise = 1.4826 * _border(np.abs(gray - paper))  # the median deviation, as a standard deviation
    inked = gray - paper > max(INK_THRESHOLD * contrast, NOISE_THRESHOLD_SIGMA * noise)
    if not inked.any():
        raise ImageError(f"{what} is blank: no pixel differs clearly from its border")
    rows, columns = (np.flatnonzero(inked.any(axis=axis)) for axis in (1, 0))
    box = gray[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    ink: NDArray[np.float64] = np.clip((box - paper) / contrast, 0, 1)
    return ink


def _framed(ink: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
    """Cropped ink (any size) scaled and centred by mass in a frame of this shape."""
    fill = DIGITS_FILL if max(shape) <= 8 else MNIST_FILL
    factor = max(1, round(28 / max(shape)))
    frame = np.zeros((shape[0] * factor, shape[1] * factor))
    digit = _scaled(ink, (fill * frame.shape[0], fill * frame.shape[1]))
    top, left = (_offset(digit, axis, frame.shape[axis]) for axis in (0, 1))
    frame[top : top + digit.shape[0], left : left + digit.shape[1]] = digit
    blocks: NDArray[np.float64] = frame.reshape(shape[0], factor, shape[1], factor).mean(axis=(1, 3))
    return blocks


def _scaled(ink: NDArray[np.float64], box: tuple[float, float]) -> NDArray[np.float64]:
    """The ink scaled to fit into the box (height, width), keeping its aspect ratio."""
    from PIL import Image

    factor = min(box[0] / ink.shape[0], box[1] / ink.shape[1])
    height, width = (max(1, round(length * factor)) for length in ink.shape)
    # Block means lose no ink when an image shrinks; enlarging needs interpolation between the pixels.
    rule = Image.Resampling.BOX if factor < 1 else Image.Resampling.BICUBIC
    scaled = Image.fromarray(ink.astype(np.float32)).resize((width, height), rule)
    return np.clip(np.asarray(scaled, np.float64), 0, 1)


def _offset(ink: NDArray[np.float64], axis: int, length: int) -> int:
    """Start of the ink along an axis, such that its mass is centred and no ink is cut off.

    Over MNIST's test digits the mean centre of mass is pixel 14.0, counted from 0 in 28.
    """
    mass = ink.sum(axis=1 - axis)
    centre = float((mass * np.arange(len(mass))).sum() / mass.sum())
    return min(max(0, round(length / 2 - centre)), length - len(mass))
