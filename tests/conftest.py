"""Fixtures that more than one package needs."""

import math

import numpy as np
import pytest

from model.data import datasets
from model.data.datasets import Dataset, Examples
from model.data.preprocessing import Pixels


@pytest.fixture(scope="session")
def digits_folder(tmp_path_factory):
    """The digits, prepared once."""
    return datasets.prepare("digits", tmp_path_factory.mktemp("data"), download=False)


@pytest.fixture(scope="session")
def digits(digits_folder):
    """The digits, split with seed 0."""
    return datasets.load(digits_folder, 0)


@pytest.fixture(scope="session")
def blobs():
    """Three clouds of 2 x 2 pixels that a small network can tell apart."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    centres = np.array([[40, 200, 40, 200], [200, 40, 200, 40], [120, 120, 20, 20]])
    images = np.clip(centres[labels] + rng.normal(0, 25, (300, 4)), 0, 255).astype(np.uint8)
    parts = [Examples(images, labels, rows) for rows in np.split(np.arange(300), [200, 250])]
    names, pixels = ("0", "1", "2"), Pixels((2, 2), 0, 255)
    return Dataset("blobs", "0" * 64, names, (2, 2), None, (), pixels, *parts[:2], images[250:], labels[250:])


@pytest.fixture(scope="session")
def is_nan():
    """NaN equals nothing, itself included; this says whether a number is one."""
    return math.isnan
