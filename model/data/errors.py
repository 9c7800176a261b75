"""The exceptions for datasets that cannot be used: not available, damaged, or invalid; and names in their messages."""

from collections.abc import Sequence

NAMES_SHOWN = 10
NAMES_IN_NOTES = 8
NAME_CHARACTERS_SHOWN = 40


class DatasetError(Exception):
    """A dataset cannot be used. The message has one to three lines: what is wrong, where, what to do."""


class DatasetUnavailable(DatasetError):
    """The data are not on this machine and could not be downloaded."""


class DatasetDamaged(DatasetError):
    """A file is incomplete, corrupt, or has unexpected content."""


class DatasetInvalid(DatasetError):
    """An unknown dataset name, or a file that is not a dataset."""


def listed(names: Sequence[str]) -> str:
    """The first names of a list, in one line, for a message."""
    shown = [shortened(name) for name in names[:NAMES_SHOWN]]
    return ", ".join(shown + ["..."] * (len(names) > NAMES_SHOWN))


def first_names(names: Sequence[str]) -> str:
    """The first names of a list as they are, and how many there are besides, for a note."""
    more = len(names) - NAMES_IN_NOTES
    return ", ".join(names[:NAMES_IN_NOTES]) + (f" and {more:,} more" if more > 0 else "")


def shortened(name: str, characters: int = NAME_CHARACTERS_SHOWN) -> str:
    """A name from a user's file in one line of a message, whatever it contains."""
    line = " ".join(name.split())
    return line if len(line) <= characters else f"{line[: characters - 3]}..."
