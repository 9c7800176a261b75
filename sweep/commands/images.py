"""Read image files as examples of a dataset: of its shape, and in the range and polarity of its training images.

Preprocessing affects the result more than the network does. A file of the training images' size is used as it is. A
photograph (`--photo`) of something dark on light or light on dark gets the form of MNIST's digits, which are 20 pixels
long and centred by mass in 28 x 28 pixels.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from model.data.preprocessing import Pixels

if TYPE_CHECKING:
    from PIL import Image

Levels = NDArray[np.float64]
"""Gray levels (height, width) or colours (height, width, 3)."""

MAX_PIXELS = 25_000_000
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")  # no EPS: Pillow would run Ghostscript on it
MIN_CONTRAST = 8 / 255  # of the full range, between darkest and lightest; a photograph with less is blank
INK_THRESHOLD = 0.1  # fraction of full ink above which a pixel belongs to the digit and is not a JPEG artifact
NOISE_THRESHOLD_SIGMA = 8  # the same in standard deviations of the border: one noisy pixel would enlarge the crop
MNIST_FILL = 20 / 28
DIGITS_FILL = 1.0  # all 1,797 images of 8 x 8 touch the upper and the lower edge


class ImageError(Exception):
    """An image cannot be classified; the message contains file, size and mode."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """An image file in memory.

    Attributes:
        levels: Whole numbers of 0 .. full.
        full: The largest level that the file can hold: 255, or 65535 in 16-bit gray.
        what: Path, format, size and mode, for error messages.
    """

    levels: Levels
    full: int
    what: str


def read_image(path: Path, pixels: Pixels, *, photo: bool = False) -> Levels:
    """An image file as one raw example of the dataset.

    It is rotated by its EXIF orientation, and becomes gray unless the training images have colours. Transparent parts
    become white under dark ink and black under light ink.

    An image of exactly the training images' size is used as it is. Its levels are kept if the file can hold the range
    low .. high of the training images, and either the range reaches the upper half of the file's (0..255, 10..250), or
    the training images are whole numbers and no level is above `high` (digits saved with their values 0..16). Otherwise
    the full range of the file is mapped to low .. high, and rounded if the training images are whole numbers (digits
    stretched to 0..255; floats of 0..1 or -1..1).

    An image of another size is refused unless it is a photograph, and so is never inverted silently. A photograph is
    inverted if its background is light and that of the training images dark, or the other way round. If it has another
    size, it is cropped to the ink; scaled, keeping its aspect ratio, until its longer side is 20/28 of the frame (the
    whole frame for 8 x 8); and placed with its centre of mass in the middle. Colours, and training images without a
    common background, have no ink: the largest centred part of the right aspect ratio is scaled.

    Args:
        path: PNG, JPEG, BMP, GIF, TIFF, WebP or PPM with one frame and at most 25 million pixels.
        pixels: Shape (h, w), (h, w, 1) or (h, w, 3), range and background of the training images.
        photo: Whether the image is a photograph.

    Returns:
        An array of the training images' shape, in low .. high.

    Raises:
        ImageError: Not an image, damaged, animated, too large, blank, of an unsupported mode, or of another size.
        OSError: The file exists but cannot be read.
    """
    image = _decoded_file(path, colour=pixels.shape[2:] == (3,))
    extent = pixels.high - pixels.low
    if np.ptp(image.levels) < (MIN_CONTRAST * image.full if photo else 1):
        raise ImageError(f"{image.what} is blank: all its pixels are nearly the same gray")
    if image.levels.shape[:2] == pixels.shape[:2]:
        values = _in_training_range(image.levels, image.full, pixels)
        if photo and has_other_background(values, pixels):
            values = pixels.low + pixels.high - values
    elif not photo:
        height, width = pixels.shape[:2]
        raise ImageError(
            f"{image.what} has another size than the training images, {width} x {height}\n"
            "Give an image of that size, or use --photo, which crops, scales and centres it."
        )
    elif pixels.background is None or image.levels.ndim == 3:
        values = _rounded(pixels.low + _centre(image.levels / image.full, pixels.shape) * extent, pixels)
    else:
        values = _drawn(image, pixels)
    return values.reshape(pixels.shape)


def has_other_background(values: Levels, pixels: Pixels) -> bool:
    """Whether a raw example is dark on light and the training images are light on dark, or the other way round."""
    if pixels.background is None:
        return False
    gray = values.reshape(pixels.shape[:2])
    is_light = _border(gray) > float(gray.min() + gray.max()) / 2
    return is_light != _has_light_background(pixels)


def _has_light_background(pixels: Pixels) -> bool:
    assert pixels.background is not None
    return pixels.background > (pixels.low + pixels.high) / 2


def _in_training_range(levels: Levels, full: int, pixels: Pixels) -> Levels:
    """Levels of 0 .. full in the units of the training images; `read_image` has the rule."""
    can_hold = pixels.low >= 0 and pixels.high <= full
    if can_hold and (pixels.high > full / 2 or (pixels.whole and levels.max() <= pixels.high)):
        return levels
    return _rounded(pixels.low + levels / full * (pixels.high - pixels.low), pixels)


def _rounded(values: Levels, pixels: Pixels) -> Levels:
    return np.rint(values) if pixels.whole else values


# ------------------------------------------------------------------ from a file to levels


def _decoded_file(path: Path, *, colour: bool) -> Decoded:
    """The pixels of an image file."""
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
                return _decoded(image, what, colour)
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


def _decoded(image: "Image.Image", what: str, colour: bool) -> Decoded:
    """The pixels of an open image; they are decoded only after its header is checked."""
    from PIL import ImageOps

    if image.width * image.height > MAX_PIXELS:
        raise ImageError(f"{what} has too many pixels, at most {MAX_PIXELS:,} are read")
    if getattr(image, "n_frames", 1) > 1:
        raise ImageError(f"{what} is animated or has several pages\nSave one of them as PNG.")
    if image.mode in ("I", "F"):
        raise ImageError(f"{what} has a mode with an unknown range of values\nSave it as 8-bit or 16-bit gray.")
    turned = ImageOps.exif_transpose(image)
    if turned.mode.startswith("I;16"):
        deep = np.asarray(turned, np.float64)
        return Decoded(np.stack([deep] * 3, axis=-1) if colour else deep, 65535, what)
    kinds = ("RGBA", "RGB") if colour else ("LA", "L")
    if turned.has_transparency_data:
        return Decoded(_on_background(np.asarray(turned.convert("RGBA").convert(kinds[0]), np.float64)), 255, what)
    return Decoded(np.asarray(turned.convert("RGB").convert(kinds[1]), np.float64), 255, what)


def _on_background(levels: Levels) -> Levels:
    """(height, width, channels + 1), the last one alpha, without it: dark ink on white, light ink on black."""
    ink, alpha = levels[..., :-1], levels[..., -1:] / 255
    mean = (ink * alpha).sum() / max(float(alpha.sum()) * ink.shape[-1], 1e-9)
    paper = 255 if mean < 128 else 0
    opaque = np.rint(ink * alpha + paper * (1 - alpha))
    return opaque if opaque.shape[-1] == 3 else opaque[..., 0]


# ------------------------------------------------------------------ from a photograph to the form of the dataset


def _border(gray: Levels) -> float:
    """The median of the outermost pixels: the background, unless more than half of the border is ink."""
    inner = gray[1:-1]
    return float(np.median(np.concatenate([gray[0], gray[-1], inner[:, 0], inner[:, -1]])))


def _drawn(image: Decoded, pixels: Pixels) -> Levels:
    """The ink of a photograph in a frame of the training images' shape, in their polarity and range."""
    assert pixels.background is not None
    ink = _framed(_cropped(image), pixels.shape[:2])
    other_end = pixels.low if _has_light_background(pixels) else pixels.high
    return _rounded(pixels.background + ink * (other_end - pixels.background), pixels)


def _cropped(image: Decoded) -> Levels:
    """The part that contains ink, scaled to 0..1: the background, gray in a scan, is 0, the strongest ink 1.

    Raises:
        ImageError: No pixel differs from the border by more than its noise.
    """
    gray = image.levels
    if _border(gray) > (gray.min() + gray.max()) / 2:
        gray = image.full - gray
    paper = _border(gray)
    contrast = gray.max() - paper
    noise = 1.4826 * _border(np.abs(gray - paper))  # the median deviation, as a standard deviation
    inked = gray - paper > max(INK_THRESHOLD * contrast, NOISE_THRESHOLD_SIGMA * noise)
    if not inked.any():
        raise ImageError(f"{image.what} is blank: no pixel differs clearly from its border")
    rows, columns = (np.flatnonzero(inked.any(axis=axis)) for axis in (1, 0))
    box = gray[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    ink: Levels = np.clip((box - paper) / contrast, 0, 1)
    return ink


def _framed(ink: Levels, shape: tuple[int, ...]) -> Levels:
    """Cropped ink (any size) scaled and centred by mass in a frame of this shape."""
    fill = DIGITS_FILL if max(shape) <= 8 else MNIST_FILL
    factor = max(1, round(28 / max(shape)))
    frame = np.zeros((shape[0] * factor, shape[1] * factor))
    digit = _scaled(ink, (fill * frame.shape[0], fill * frame.shape[1]))
    top, left = (_offset(digit, axis, frame.shape[axis]) for axis in (0, 1))
    frame[top : top + digit.shape[0], left : left + digit.shape[1]] = digit
    blocks: Levels = frame.reshape(shape[0], factor, shape[1], factor).mean(axis=(1, 3))
    return blocks


def _scaled(ink: Levels, box: tuple[float, float]) -> Levels:
    """The ink scaled to fit into the box (height, width), keeping its aspect ratio."""
    factor = min(box[0] / ink.shape[0], box[1] / ink.shape[1])
    height, width = (max(1, round(length * factor)) for length in ink.shape)
    return _resized(ink, (height, width), (0.0, 0.0, ink.shape[1], ink.shape[0]))


def _centre(levels: Levels, shape: tuple[int, ...]) -> Levels:
    """The largest centred part with the aspect ratio of `shape`, scaled to it; levels are 0..1."""
    factor = min(levels.shape[0] / shape[0], levels.shape[1] / shape[1])
    size = shape[0] * factor, shape[1] * factor
    top, left = ((levels.shape[axis] - size[axis]) / 2 for axis in (0, 1))
    box = left, top, left + size[1], top + size[0]
    planes = levels.reshape(*levels.shape[:2], -1)
    return np.stack([_resized(planes[..., i], shape[:2], box) for i in range(planes.shape[2])], axis=-1)


def _resized(plane: Levels, shape: tuple[int, ...], box: tuple[float, float, float, float]) -> Levels:
    """The box (left, top, right, bottom) of a plane with values of 0..1, scaled to the shape (height, width)."""
    from PIL import Image

    # Block means lose no ink when an image shrinks; enlarging needs interpolation between the pixels.
    rule = Image.Resampling.BOX if shape[0] < box[3] - box[1] else Image.Resampling.BICUBIC
    scaled = Image.fromarray(plane.astype(np.float32)).resize((shape[1], shape[0]), rule, box)
    return np.clip(np.asarray(scaled, np.float64), 0, 1)


def _offset(ink: Levels, axis: int, length: int) -> int:
    """Start of the ink along an axis, such that its mass is centred and no ink is cut off.

    Over MNIST's test digits the mean centre of mass is pixel 14.0, counted from 0 in 28.
    """
    mass = ink.sum(axis=1 - axis)
    centre = float((mass * np.arange(len(mass))).sum() / mass.sum())
    return min(max(0, round(length / 2 - centre)), length - len(mass))
