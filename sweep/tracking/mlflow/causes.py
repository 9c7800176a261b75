"""MLflow's errors as one line that says what is wrong, and what to do where waiting does not help.

The cause stands at the end of a long line behind names of Python's classes, in front of the SQL that failed, or in a
page of HTML.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
from pathlib import Path

from sweep.passwords import in_environment, without_passwords
from sweep.tracking.tracker import TrackerError

ADDRESS = "check the address in --tracking or SWEEP_TRACKING"
LOGIN = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
CERTIFICATES = "MLFLOW_TRACKING_SERVER_CERT_PATH, REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE"
LONGEST = 500
"""Characters of a text of unknown form; of a longer one both ends are kept, for the cause may be at either."""

_KINDS: tuple[tuple[str, str, str | None], ...] = (
    # Between this process and the server.
    ("ProxyError", "the proxy does not answer", "correct HTTP_PROXY or HTTPS_PROXY, or name the host in NO_PROXY"),
    (
        r"ailed to resolve (?:host )?'(?P<host>[^']+)'(?:: | \()(?:\[Errno -?\d+\] )?(?P<cause>[^)\n]+)",
        "the host {host} was not found ({cause})",
        f"check the network, and {ADDRESS.removeprefix('check ')}",
    ),
    (r"Failed to establish a new connection: (?:\[Errno -?\d+\] )?(?P<cause>[^'\")]+)", "{cause}", None),
    (r"(?:read|connect) timeout=(?P<seconds>\d+)", "no answer within {seconds} s", None),
    ("Connection reset by peer|Remote end closed connection", "the server closed the connection", None),
    ("WRONG_VERSION_NUMBER|record layer failure", "the server does not speak https", f"{ADDRESS}: https or http?"),
    (
        r"certificate verify failed: (?P<cause>.+?) \(_ssl",
        "the certificate of the server is not trusted ({cause})",
        "set MLFLOW_TRACKING_SERVER_CERT_PATH to a file with the certificate of its authority",
    ),
    (
        r"TLS CA certificate bundle, invalid path: (?P<path>.+)",
        "there is no file {path} of certificates",
        f"correct or unset {CERTIFICATES}",
    ),
    (
        "Could not find the TLS (?:certificate|key) file, invalid path: (?P<path>.+)",
        "there is no file {path} of certificates",
        "correct or unset MLFLOW_TRACKING_CLIENT_CERT_PATH",
    ),
    (
        "in header value",  # which follows, and is the secret
        "the login has a space or a line break, and cannot be sent",
        "correct MLFLOW_TRACKING_TOKEN or, without one, MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    ),
    # The server's answers.
    (
        "Invalid Host header",
        "the server does not accept this name of its host (HTTP 403{said})",
        "start the server with the name in --allowed-hosts",
    ),
    (r"error code 401\b|^401 Client|^UNAUTHENTICATED", "the server requires a login (HTTP 401{said})", LOGIN),
    (r"error code 403\b|^403 Client|^PERMISSION_DENIED", "the login may not do this (HTTP 403{said})", LOGIN),
    (r"error code 404\b", "no MLflow is at this address (HTTP 404{said})", ADDRESS),
    (r"too many (?P<code>\d{3}) error responses", "the server answers HTTP {code}", None),
    ("(?i)<!doctype html|<html", "a web page answers in place of MLflow{said}", f"log in there, or {ADDRESS}"),
    (
        "workspaces are not enabled on this server|server does not support workspaces",
        "the server has no workspaces",
        "unset MLFLOW_WORKSPACE",
    ),
    ("Active workspace is required", "the server requires a workspace", "set MLFLOW_WORKSPACE to its name"),
    ("(?P<what>Workspace '[^']*' (?:was )?not found)", "{what}", "correct or unset MLFLOW_WORKSPACE"),
    # The database and the disk.
    (
        r"^No module named '(?P<module>\w+)'",
        "the Python package {module} is not installed",
        "install it with pip (for PostgreSQL: make .venv/.installed-postgres)",
    ),
    (
        '(?P<what>password authentication failed for user "[^"]*"|no password supplied)',
        "{what}",
        "correct the user and password in SWEEP_TRACKING, or the password in PGPASSWORD or ~/.pgpass",
    ),
    ("(?P<what>file is not a database)", "{what}", ADDRESS),
    ("database is locked", "database is locked: another process keeps writing to it", None),
    (
        "(?P<what>database or disk is full|No space left on device|Disk quota exceeded)",
        "{what}",
        "free some space on the disk",
    ),
    (
        "(?P<what>attempt to write a readonly database|unable to open database file)",
        "{what}",
        "give this user the right to write the file and its folder",
    ),
)
"""Patterns of MLflow's texts, what is said instead, and what to do about it; the first that is found counts."""
_OTHER_SCHEMA = re.compile(r"schema \(found version (\w+),|Can't locate revision identified by '(\w+)'")
_SQL = re.compile(r"\s*^(?:\[SQL: |\(Background on this error)", re.MULTILINE)


def explained(error: Exception, uri: str) -> TrackerError:
    """The error in one line, without passwords.

    Args:
        error: raised by MLflow or a library below it.
        uri: MLflow's tracking URI.
    """
    text = without_passwords(str(error), [uri, *in_environment()]).strip()
    if found := _OTHER_SCHEMA.search(text):
        return _other_schema(found[1] or found[2], without_passwords(uri))
    for pattern, what, fix in _KINDS:
        if found := re.search(pattern, text):
            return TrackerError(what.format(**found.groupdict(), said=_said(text)), fix)
    names = variables_in(error)
    return TrackerError(
        _shortened(text) or type(error).__name__, f"correct or unset {' and '.join(names)}" if names else None
    )


def variables_in(error: Exception) -> list[str]:
    """The environment variables of MLflow, of those that are set, whose values are the reason of an error."""
    text = str(error)
    if "sent to create_engine()" in text:
        return sorted(name for name in os.environ if name.startswith("MLFLOW_SQLALCHEMYSTORE_"))
    return sorted({name for name in re.findall(r"\bMLFLOW_[A-Z0-9_]+", text) if name in os.environ})


def _other_schema(found: str, address: str) -> TrackerError:
    """The error for a database that another version of MLflow made; our version has a file for each older schema."""
    package = importlib.util.find_spec("mlflow")
    folder = Path(package.origin if package and package.origin else "").parent / "store/db_migrations/versions"
    if any(folder.glob(f"{found}_*.py")):
        return TrackerError(
            f"the database was made by an older MLflow (schema {found})",
            f"make a backup of it and run `mlflow db upgrade {shlex.quote(address)}`",
        )
    return TrackerError(
        f"the database was made by a newer MLflow (schema {found})",
        "start that MLflow's server on it and give its address in --tracking, or give another database",
    )


def _said(text: str) -> str:
    """What the server itself says, to be appended: the title of a page, its text, or the message of its error."""
    page = re.search("<title>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
    said = page or re.search(r"Response body: '([^<]*)'$", text) or re.match(r"[A-Z_]+: (.*)", text)
    words = _shortened(said[1]) if said else ""
    return f": {words}" if words else ""


def _shortened(text: str) -> str:
    """The text in one line, without the SQL that SQLAlchemy appends."""
    line = " ".join(_SQL.split(text)[0].split())
    half = LONGEST // 2
    return line if len(line) <= LONGEST else f"{line[:half]} ... {line[-half:]}"
