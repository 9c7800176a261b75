"""Removes passwords from text: no log, tag, file, terminal output or traceback of this program contains one.

SQLAlchemy reads the address of a database. It also takes one that has an @ too many, and then part of the password is
where it would be shown: `postgresql://me:a@b@host/db` has the host `b@host`, `postgresql://me/a@host/db` the database
`a@host/db`. These are refused here. The rest is for free text and for addresses of web servers.
"""

from __future__ import annotations

import base64
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TextIO
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

HIDDEN = "***"
_NAME = r"(?:\w{0,40}(?:passw|passphrase|pwd|token|secret|api_?key)\w{0,40}|pass)"
# From // to the last @: a password may hold / and @ itself. A file of SQLite has none, and folders are called me@work.
_USER = r"(?s)(?<!/)(?!(?<=sqlite:)///)//(ANY*)@"
# To the end of the word: a password may hold & itself. %3D is the = of an address inside an address.
_SETTING = rf"(?si)(\b{_NAME}(?:=|%3d))(ANY+)"
_IN_TEXT = [re.compile(pattern.replace("ANY", r"\S")) for pattern in (_USER, _SETTING)]
_IN_ADDRESS = [re.compile(pattern.replace("ANY", ".")) for pattern in (_USER, _SETTING)]
_SHORTEST = 4  # characters; a shorter password is not replaced outside addresses, the gaps would reveal it

_SCHEME = re.compile(r"https?|(?:sqlite|postgresql|mysql|mssql)(?:\+\w+)?")
_WEB = re.compile(r"https?://(?:[^\s/?#@]*@)?(?:\[[^\s/?#@\]]+\]|[^\s/?#@:\[\]]+)(?::\d+)?(?:/[^\s?#@]*)?")
_WHERE = "it comes from --tracking or SWEEP_TRACKING; `none` means no MLflow"
_HERE = "it comes from --storage or SWEEP_STORAGE; without them a study is a file in its folder"
_ENCODE = "in a user or password write @ as %40, / as %2F, ? as %3F, # as %23, a space as %20; the port is a number"


class AddressError(Exception):
    """An address that cannot be parsed. It is not quoted in the message, since the end of its password is not known."""


def checked_address(address: str) -> str:
    """MLflow's address with its scheme in lower case; `none` is allowed too.

    Raises:
        AddressError: it is not an address, or could be read in more than one way.
    """
    if address == "none":
        return address
    scheme, separator, rest = address.partition("://")
    address = f"{scheme.lower()}{separator}{rest}"
    if not separator or not _SCHEME.fullmatch(scheme.lower()):
        schemes = "http:// https:// sqlite:/// postgresql:// mysql:// mssql://"
        raise AddressError(f"MLflow's address begins with none of {schemes}\n{_WHERE}")
    if not (_WEB.fullmatch(address) if address.startswith("http") else _parsed(address)):
        forms = {"http": f"it has no ? or #, and {_ENCODE}", "sqlite": "a database file is sqlite:///FILE"}
        form = next((form for name, form in forms.items() if address.startswith(name)), _ENCODE)
        raise AddressError(f"MLflow's address cannot be read: {form}\n{_WHERE}")
    return address


def checked_storage(address: str) -> str:
    """The address of the PostgreSQL database that holds studies, with the driver that is used.

    Raises:
        AddressError: it is not one of PostgreSQL, names no database, or could be read in more than one way.
    """
    scheme, _, rest = address.partition("://")
    if scheme.lower() not in ("postgresql", "postgresql+psycopg", "postgres"):
        raise AddressError(f"a study database's address begins with postgresql+psycopg:// and no other\n{_HERE}")
    url = _parsed(address)
    if url is None or not url.database:
        # Not as it is written, with USER@HOST: that would be hidden.
        form = "postgresql+psycopg://HOST/DATABASE with USER@ before HOST"
        raise AddressError(f"the study database's address cannot be read: it is {form}; {_ENCODE}\n{_HERE}")
    if any(re.fullmatch(_NAME, key, re.IGNORECASE) for key in url.query):
        raise AddressError(f"a password stands before the @, in PGPASSWORD or in ~/.pgpass, not behind a ?\n{_HERE}")
    return f"postgresql+psycopg://{rest}"


def _parsed(address: str) -> URL | None:
    """The address of a database; None where it cannot be read, or not in one way only."""
    from sqlalchemy.engine import make_url  # `sweep --help` need not wait for it
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(address)
    except (ArgumentError, ValueError):  # the latter for a port
        return None
    if url.drivername.startswith("sqlite"):
        plain = bool(url.database) and url.host is None and url.username is None and "?" not in address
    else:  # the only @ ends the user; white space would end the address in a text
        plain = address.count("@") == (url.username is not None) and not re.search(r"\s", address)
    return url if plain else None


def without_passwords(text: str, known: Iterable[str] = ()) -> str:
    """The text with `***` for every user and password of an address.

    Args:
        text: any text; an address in it ends at white space.
        known: addresses whose passwords are also removed outside addresses, encoded or not.
    """
    alone = {form for address in known for form in _forms(address) if len(form) >= _SHORTEST}
    for form in sorted(alone, key=len, reverse=True):
        text = text.replace(form, HIDDEN)
    user, setting = _IN_TEXT
    # Settings first: a password among them may hold an @, and would be taken for the end of a user.
    return user.sub(f"//{HIDDEN}@", setting.sub(rf"\1{HIDDEN}", text))


def in_environment() -> list[str]:
    """What of the environment may hold passwords, as `known` takes it: the addresses, and the logins of MLflow."""

    def login(name: str) -> str:
        return os.environ.get(f"MLFLOW_TRACKING_{name}", "")

    found = [os.environ.get(name, "") for name in ("SWEEP_TRACKING", "SWEEP_STORAGE")]
    found += [f"token={part}" for part in login("TOKEN").split()]  # one with a line break is quoted in parts
    if login("PASSWORD"):
        found.append(f"//{quote(login('USERNAME'), safe='')}:{quote(login('PASSWORD'), safe='')}@")
    return found


def _forms(address: str) -> Iterator[str]:
    """The secrets in an address: as typed, decoded, percent-encoded, and in base64 as in an HTTP header."""
    user, setting = _IN_ADDRESS
    for found in user.finditer(address):
        yield base64.b64encode(unquote(found[1]).encode()).decode()
        name, _, password = found[1].partition(":")
        # A token takes the place of a web server's user; a database's user alone is no secret, and is called postgres.
        yield from _spellings(password or ("" if "postgres" in address[: found.start()] else name))
    for found in setting.finditer(address):
        yield from _spellings(found[2])
        yield from _spellings(found[2].partition("&")[0])


def _spellings(secret: str) -> Iterator[str]:
    yield from (secret, unquote(secret), quote(unquote(secret), safe=""))


def shown_command(words: Sequence[str]) -> str:
    """A command to print; if a password was removed, a second line states this."""
    clean = [without_passwords(word) for word in words]
    line, before = shlex.join(clean), ["", *words]
    if clean == list(words):
        return line
    changed = [f"{before[i]} {words[i]}" for i in range(len(words)) if clean[i] != words[i]]
    name = "SWEEP_STORAGE" if any("--storage" in pair for pair in changed) else "SWEEP_TRACKING"
    return f"{line}\n({HIDDEN} is the password; the variable {name} takes the address too, unseen by others)"


class Clean:
    """A stream that removes passwords from what is written."""

    def __init__(self, stream: TextIO, known: Iterable[str]) -> None:
        self._stream, self._known = stream, list(known)

    def write(self, text: str) -> int:
        """Write the text without the passwords in it."""
        return self._stream.write(without_passwords(text, self._known))

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of them."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)
