"""Image files become examples in the shape, range and polarity of the training images."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from model.data import datasets
from model.data.preprocessing import Pixels, fit_pixels
from sweep.commands.images import ImageError, has_other_background, read_image

MNIST = Pixels((28, 28), 0, 255, background=0, whole=True)
DIGITS = Pixels((8, 8), 0, 16, background=0, whole=True)


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
    assert read_image(png(tmp_path, digit), MNIST).tolist() == digit.tolist()


def test_a_photograph_gets_the_background_of_the_training_images(tmp_path: Path, digit: np.ndarray) -> None:
    dark, light = png(tmp_path, digit, "dark.png"), png(tmp_path, 255 - digit, "light.png")
    on_paper = fit_pixels(255 - np.stack([digit.ravel()] * 3), (28, 28))

    for path in (dark, light):
        assert read_image(path, MNIST, photo=True).tolist() == digit.tolist()
        assert read_image(path, on_paper, photo=True).tolist() == (255 - digit).tolist()


def test_an_image_of_the_right_size_is_never_inverted(tmp_path: Path, digit: np.ndarray) -> None:
    found = read_image(png(tmp_path, 255 - digit), MNIST)

    assert found.tolist() == (255 - digit).tolist()
    assert has_other_background(found, MNIST)
    assert not has_other_background(255 - found, MNIST)


def test_another_size_is_refused_unless_it_is_a_photograph(tmp_path: Path, digit: np.ndarray) -> None:
    with pytest.raises(ImageError, match=r"28 x 28, mode L\) has another size .* 8 x 8\n.*--photo"):
        read_image(png(tmp_path, digit), DIGITS)
    assert read_image(png(tmp_path, digit), DIGITS, photo=True).shape == (8, 8)


def stored(image: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """A small image of whole numbers 0..16 as datasets hold it, each with the file that a person saves of it."""
    whole = image.astype(np.float64)
    return [
        ("0..16, saved as it is", whole),
        ("0..255", np.rint(whole * 255 / 16)),
        ("10..250", np.rint(10 + whole * 15)),
        ("dark on light", 255 - np.rint(whole * 15.9)),
        ("0 or 1, saved as it is", np.rint(whole / 16)),
    ]


@pytest.mark.parametrize("place", range(5))
def test_whole_numbers_that_a_file_can_hold_are_read_back_exactly(tmp_path: Path, place: int) -> None:
    image = np.random.default_rng(0).integers(0, 17, (8, 8))
    _, raw = stored(image)[place]
    fitted = fit_pixels(np.stack([raw.ravel(), raw[::-1].ravel()]).astype(np.uint8), (8, 8))

    assert read_image(png(tmp_path, raw.astype(np.uint8)), fitted).tolist() == raw.tolist()


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1), (-0.42, 2.82), (0, 16), (0, 1000), (1000, 1001), (0, 16.5)])
def test_values_that_a_file_cannot_hold_are_stretched_over_its_range(tmp_path: Path, low: float, high: float) -> None:
    gray = np.random.default_rng(0).integers(0, 256, (8, 8)).astype(np.uint8)
    gray[0, :2] = 0, 255
    values = low + gray / 255 * (high - low)
    fitted = fit_pixels(values.reshape(1, -1), (8, 8))

    assert read_image(png(tmp_path, gray), fitted) == pytest.approx(values)
    deep = Image.fromarray(gray.astype(np.uint16) * 257)
    assert read_image(png(tmp_path, deep), fitted) == pytest.approx(values)


def test_16_bit_data_are_read_back_exactly(tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 60_000, (8, 8)).astype(np.uint16)
    fitted = fit_pixels(deep.reshape(1, -1).astype(np.float32), (8, 8))

    assert read_image(png(tmp_path, Image.fromarray(deep)), fitted).tolist() == deep.tolist()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_last_axis_of_channels_is_kept(tmp_path: Path, channels: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (6, 5, 3)).astype(np.uint8)
    example = picture if channels == 3 else picture[..., :1]
    fitted = fit_pixels(example.reshape(1, -1), example.shape)
    path = png(tmp_path, picture if channels == 3 else picture[..., 0])

    assert read_image(path, fitted).tolist() == example.tolist()
    wide = png(tmp_path, np.pad(picture.repeat(4, 0).repeat(4, 1), ((0, 0), (10, 10), (0, 0))), "wide.png")
    if channels == 3:
        assert read_image(wide, fitted, photo=True).tolist() == example.tolist()


def test_a_gray_file_can_be_classified_among_colours(tmp_path: Path, digit: np.ndarray) -> None:
    fitted = Pixels((28, 28, 3), 0, 255, whole=True)

    assert (read_image(png(tmp_path, digit), fitted) == digit[..., None]).all()
    deep = Image.fromarray(digit.astype(np.uint16) * 257)
    assert (read_image(png(tmp_path, deep), fitted) == digit[..., None]).all()


def test_photographs_for_images_without_a_common_background_are_only_scaled(tmp_path: Path) -> None:
    scenes = np.linspace(0, 255, 40)[:, None].repeat(64, 1).astype(np.uint8)
    fitted = fit_pixels(scenes, (8, 8))
    picture = np.random.default_rng(1).integers(0, 256, (8, 8)).astype(np.uint8)

    assert fitted.background is None
    assert read_image(png(tmp_path, picture.repeat(9, 0).repeat(9, 1)), fitted, photo=True).tolist() == picture.tolist()


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16"])
def test_every_mode_gives_the_same_digit(tmp_path: Path, digit: np.ndarray, mode: str) -> None:
    deep = Image.fromarray(digit.astype(np.uint16) * 257)
    image = deep if mode == "I;16" else Image.fromarray(digit).convert(mode)
    path = png(tmp_path, image, "digit.tif" if mode == "CMYK" else "digit.png")

    found = read_image(path, MNIST)

    assert alike(found, digit) > (0.9 if mode == "1" else 0.999)
    assert (found == np.rint(found)).all()


@pytest.mark.parametrize("ink", [0, 255])
def test_a_transparent_background_contrasts_with_the_ink(tmp_path: Path, digit: np.ndarray, ink: int) -> None:
    color = np.full_like(digit, ink)
    path = png(tmp_path, np.stack([color] * 3 + [digit], axis=-1))

    assert read_image(path, MNIST, photo=True).tolist() == digit.tolist()
    assert read_image(path, MNIST).tolist() == (digit if ink else 255 - digit).tolist()
    in_colour = read_image(path, Pixels((28, 28, 3), 0, 255, whole=True))
    assert (in_colour == (digit if ink else 255 - digit)[..., None]).all()


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
    assert alike(read_image(png(tmp_path, variants(digit)[kind]), MNIST, photo=True), digit) > 0.93


def test_an_enlarged_digit_is_close_to_the_original(tmp_path: Path, digit: np.ndarray) -> None:
    assert alike(read_image(png(tmp_path, variants(digit)["x10"]), MNIST, photo=True), digit) > 0.99


def test_exif_orientation_is_applied(tmp_path: Path, digit: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees: the camera was held upright
    path = png(tmp_path, np.rot90(digit), exif=exif)

    assert read_image(path, MNIST).tolist() == digit.tolist()


def test_the_aspect_ratio_is_kept_and_no_ink_is_cut_off(tmp_path: Path) -> None:
    bar = np.zeros((300, 300), np.uint8)
    bar[20:280, 100:110] = 255
    frame = read_image(png(tmp_path, bar), MNIST, photo=True)

    rows, columns = np.flatnonzero(frame.any(axis=1)), np.flatnonzero(frame.any(axis=0))
    assert (len(rows), len(columns)) == (20, 1)
    assert rows[0] == 4


@pytest.mark.parametrize("stretched", [True, False])
def test_digits_saved_as_png_stay_the_same_to_the_bit(tmp_path: Path, stretched: bool) -> None:
    images = datasets.load(datasets.prepare("digits", tmp_path), 0).test.inputs[:20].reshape(-1, 8, 8)

    for image in images:
        shown = np.rint(image * (255 / 16)).astype(np.uint8) if stretched else image
        assert read_image(png(tmp_path, shown), DIGITS).tolist() == image.tolist()


@pytest.mark.parametrize(("low", "high", "background"), [(0, 1, 0), (0, 1, 1), (-1, 1, -1), (0, 255, 255), (0, 16, 0)])
def test_a_photograph_has_the_range_of_the_training_images(
    tmp_path: Path, digit: np.ndarray, low: float, high: float, background: float
) -> None:
    path = png(tmp_path, variants(digit)["x10"])
    light_on_dark = read_image(path, Pixels((28, 28), 0, 1, background=0), photo=True)
    found = read_image(path, Pixels((28, 28), low, high, background=background), photo=True)

    share = (found - low) / (high - low)
    assert (light_on_dark.min(), light_on_dark.max()) == (0, 1)
    assert share == pytest.approx(light_on_dark if background == low else 1 - light_on_dark)


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
        read_image(bomb(tmp_path), MNIST)
    with pytest.raises(ImageError, match=r"5001 x 5000, mode 1\) has too many pixels"):
        read_image(png(tmp_path, Image.new("1", (5001, 5000))), MNIST)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"GIF89a"])
def test_a_file_that_is_not_an_image_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "digit.png"
    path.write_bytes(content)

    with pytest.raises(ImageError, match=r"digit\.png: (not an image|damaged)"):
        read_image(path, MNIST)


def test_a_truncated_image_is_refused(tmp_path: Path, digit: np.ndarray) -> None:
    whole = png(tmp_path, variants(digit)["noisy gray scan"]).read_bytes()
    for length in (20, 40, 1000, len(whole) // 2, len(whole) - 200):
        (tmp_path / "cut.png").write_bytes(whole[:length])
        with pytest.raises(ImageError, match=r"cut\.png"):
            read_image(tmp_path / "cut.png", MNIST)


@pytest.mark.parametrize(
    "image", [Image.new("L", (28, 28), 9), Image.new("RGB", (99, 50), "white"), Image.new("L", (1, 1))]
)
@pytest.mark.parametrize("photo", [False, True])
def test_a_blank_image_is_refused_with_its_size_and_mode(tmp_path: Path, image: Image.Image, photo: bool) -> None:
    with pytest.raises(ImageError, match=f"{image.width} x {image.height}, mode {image.mode}.*blank"):
        read_image(png(tmp_path, image), MNIST, photo=photo)


def test_pure_noise_is_blank(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(128, 4, (100, 100)).astype(np.uint8)

    with pytest.raises(ImageError, match="no pixel differs clearly"):
        read_image(png(tmp_path, noise), MNIST, photo=True)


def test_an_animation_is_refused(tmp_path: Path, digit: np.ndarray) -> None:
    frames = [Image.fromarray(digit), Image.fromarray(255 - digit)]
    frames[0].save(tmp_path / "digit.gif", save_all=True, append_images=frames[1:])

    with pytest.raises(ImageError, match=r"GIF, 28 x 28.*animated"):
        read_image(tmp_path / "digit.gif", MNIST)


def test_a_mode_without_a_known_range_is_refused(tmp_path: Path, digit: np.ndarray) -> None:
    with pytest.raises(ImageError, match="mode F"):
        read_image(png(tmp_path, digit.astype(np.float32), "digit.tif"), MNIST)


@pytest.mark.parametrize(("name", "said"), [("none.png", "there is no such file"), (".", "is a folder")])
def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        read_image(tmp_path / name, MNIST)


def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")

    with pytest.raises(ImageError, match="no such file"):
        read_image(tmp_path / "pipe.png", MNIST)


@pytest.mark.mnist
def test_ten_digits_are_recognised_in_every_variant(tmp_path: Path) -> None:
    dataset = datasets.load(datasets.prepare("mnist", tmp_path, download=False), 0)
    images, mnist = dataset.test.inputs[:10].reshape(-1, 28, 28), dataset.preprocessing

    assert mnist == MNIST
    for image in images:
        assert read_image(png(tmp_path, image), mnist).tolist() == image.tolist()
        assert read_image(png(tmp_path, 255 - image), mnist, photo=True).tolist() == image.tolist()
        for kind, variant in variants(image).items():
            found = read_image(png(tmp_path, variant), mnist, photo=True)
            assert alike(found, image) > (0.95 if kind == "x10" else 0.8), kind
