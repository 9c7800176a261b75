"""A finite space: every setting is tried once before any is repeated."""

import math

import pytest

from model.hyperparameters import Hyperparameters
from studies.study_file import load
from sweep.search.untried import untried

STUDY = """\
question = "Which?"
dataset = "digits"
trials = 9
[baseline]
hidden_sizes = [3]
batch_size = 32
epochs = 2
[space]
"""
SPACES = {
    "one": ("batch_size = { choices = [32] }", 1),
    "integers": ("epochs = { low = 2, high = 6 }", 5),
    "choices": ("batch_size = { choices = [16, 32.0, 64] }\nschedule = { choices = ['constant', 'cosine'] }", 6),
    "layers": ("hidden_sizes = { layers = [1, 3], units = [2, 4] }", 3 + 9 + 27),
    "lists": ("hidden_sizes = { choices = [[3], [4, 2]] }\nepochs = { low = 2, high = 3, log = true }", 4),
}


@pytest.fixture
def study(tmp_path):
    """The study with a space."""

    def make(space):
        path = tmp_path / "finite.toml"
        path.write_text(STUDY + space)
        return load(str(path))

    return make


@pytest.mark.parametrize(("space", "count"), SPACES.values(), ids=SPACES)
def test_every_setting_is_found_once(study, space, count):
    """From any place in the list of all; then there is none."""
    finite = study(space)
    for seed in range(5):
        tried = {}
        while settings := untried(finite, tried, [seed, len(tried)]):
            assert settings not in tried
            tried[settings] = len(tried)
            finite.encode(settings)  # raises if it is outside the space

        assert len(tried) == count
        assert all(settings.learning_rate == finite.baseline.learning_rate for settings in tried)


@pytest.mark.parametrize(("space", "count"), SPACES.values(), ids=SPACES)
def test_the_place_is_random(study, space, count):
    """Each setting comes first for about as many seeds."""
    finite = study(space)
    firsts = [untried(finite, {}, [seed, 0]) for seed in range(20 * count)]

    assert all(4 <= firsts.count(settings) <= 45 for settings in set(firsts))
    assert len(set(firsts)) == count


def test_what_was_tried_is_skipped(study):
    """Also if it was written as another number: 32.0 is 32."""
    finite = study("batch_size = { choices = [16, 32.0, 64] }")
    tried = {Hyperparameters(**{**finite.baseline.as_dict(), "batch_size": size}): 0 for size in (32, 64)}

    assert {untried(finite, tried, [seed]).batch_size for seed in range(10)} == {16}


def test_an_infinite_space_is_left_to_the_sampler(study):
    infinite = study("batch_size = { choices = [32, 64] }\nlearning_rate = { low = 1e-4, high = 1e-2 }")

    assert untried(infinite, {}, [0]) is None


def test_a_space_with_more_settings_than_atoms_takes_no_time(study):
    """Only the place of one is computed."""
    huge = study("hidden_sizes = { layers = [1, 8], units = [1, 16384] }\nbatch_size = { low = 1, high = 65536 }")
    found = {untried(huge, {}, [seed]) for seed in range(100)}

    assert math.prod(dimension.count() for dimension in huge.space.values()) > 10**38
    assert len(found) == 100
