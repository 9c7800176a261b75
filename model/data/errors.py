"""The exceptions for datasets that cannot be used: not available, damaged, or invalid."""


class DatasetError(Exception):
    """A dataset cannot be used. The message has one to three lines: what is wrong, where, what to do."""


class DatasetUnavailable(DatasetError):
    """The data are not on this machine and could not be downloaded."""


class DatasetDamaged(DatasetError):
    """A file is incomplete, corrupt, or has unexpected content."""


class DatasetInvalid(DatasetError):
    """An unknown dataset name, or a file that is not a dataset."""
