"""Unpack gzip bytes up to a limit, so that a small file cannot fill the memory."""

import gzip
import io
import zlib


def gunzip(packed: bytes, at_most: int) -> bytes:
    """The first `at_most` + 1 unpacked bytes.

    Raises:
        EOFError: The stream is truncated.
        ValueError: Not gzip, or damaged.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
            return file.read(at_most + 1)
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(str(error)) from error
