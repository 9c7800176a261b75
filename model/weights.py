"""A trained network as a file: `save` writes a `Classifier`, `load` returns one.

The file is a plain .npz that can be read without this project, and the same network always gives the same bytes:
`theta` (parameters,) float32, for each layer W (in, out) row by row, then b (out,); `sizes`, the units per layer, input
and output included; `scale`, by which an input is multiplied after its offset; `description`, JSON as bytes: the names
of the classes and the preprocessing (docs/own-data.md shows how to use it); and, unless it is `relu`, `activation`.
Files of earlier versions have no description: their inputs are scaled only, and their classes are numbered.
"""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.classifier import Classifier, describe, read_classifier
from model.data import npz
from model.files import write_atomic
from model.hyperparameters import HyperparameterError, check
from model.network import parameters

MAX_BYTES = 2**30
MAX_LAYERS = 64


class WeightsError(Exception):
    """A weights file is missing, damaged, or not in the expected format."""


def sha256(theta: NDArray[np.float32]) -> str:
    """The hash that identifies trained weights: SHA-256 (hex) of theta's bytes, little-endian float32."""
    return hashlib.sha256(np.ascontiguousarray(theta, "<f4").data).hexdigest()


def save(path: Path, classifier: Classifier) -> str:
    """Write a classifier to `path` atomically, and return the hash of its weights.

    Args:
        path: The .npz file to replace; its folder exists.
        classifier: The weights of its network are float32 and finite.

    Returns:
        SHA-256 (hex) of theta's bytes.

    Raises:
        ValueError: The weights are not float32 or not finite.
        OSError: The file cannot be written; an older one is unchanged.
    """
    network = classifier.network
    theta = network.theta
    if theta.dtype != np.float32:
        raise ValueError(f"the weights must be float32, but they are {theta.dtype}")
    if not np.isfinite(theta).all():
        raise ValueError("the weights must be finite, but they contain NaN or infinity")
    arrays = {
        "theta": np.ascontiguousarray(theta, "<f4"),
        "sizes": np.asarray(network.sizes, "<i8"),
        "scale": np.asarray(network.scale, "<f4"),
        "description": np.frombuffer(describe(classifier), np.uint8),
    }
    if network.activation != "relu":  # files of ReLU networks are the same as in older versions
        arrays["activation"] = np.frombuffer(network.activation.encode(), np.uint8)
    write_atomic(path, npz.write(arrays))
    return sha256(theta)


def load(path: Path) -> Classifier:
    """The classifier that `save` wrote to `path`.

    Raises:
        WeightsError: The file is missing, damaged, or does not contain finite weights of the given sizes.
        OSError: The file exists but cannot be read.
    """
    try:
        arrays = npz.read(
            path,
            ["theta", "sizes", "scale"],
            ["activation", "description"],
            check=_check(path),
            max_bytes=MAX_BYTES,
        )
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: there is no such weights file") from error
    except npz.NpzError as error:
        raise WeightsError(str(error)) from error
    sizes = tuple(int(size) for size in arrays["sizes"])
    theta, scale = arrays["theta"], float(arrays["scale"])
    if min(sizes) < 1 or parameters(sizes) != len(theta):
        raise WeightsError(f"{path}: layer sizes {sizes} need {parameters(sizes):,} weights, found {len(theta):,}")
    if not np.isfinite(theta).all() or not (math.isfinite(scale) and scale > 0):
        raise WeightsError(f"{path}: contains weights or a scale that are not finite")
    _check_activation(path, arrays)
    try:
        return read_classifier(arrays)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(f"{path}: its description cannot be used ({type(error).__name__}: {error})") from error


def digest_of(path: Path) -> str | None:
    """The hash of the weights in a file, as `save` returned it; None if the file is missing or damaged."""
    try:
        return sha256(load(path).network.theta)
    except WeightsError:
        return None


def _check_activation(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    if "activation" not in arrays:
        return
    try:
        check("activation", arrays["activation"].tobytes().decode("ascii", "replace"))
    except HyperparameterError as error:
        raise WeightsError(f"{path}: {error}") from error


def _check(path: Path) -> npz.Check:
    """The check of array headers, applied before any data is read."""
    rules = {"theta": ("<f4", 1), "sizes": ("<i8", 1), "scale": ("<f4", 0)}
    rules |= {"activation": ("|u1", 1), "description": ("|u1", 1)}

    def check(name: str, header: npz.Header) -> None:
        dtype, dimensions = rules[name]
        if header.dtype.str != dtype or len(header.shape) != dimensions or header.fortran_order:
            found = f"{header.dtype.str} with shape {header.shape}"
            raise WeightsError(f"{path}: {name} must be {dtype} with {dimensions} dimensions, found {found}")
        if name == "sizes" and not 2 <= header.shape[0] <= MAX_LAYERS:
            raise WeightsError(f"{path}: sizes must name 2 to {MAX_LAYERS} layers, found {header.shape[0]}")

    return check
