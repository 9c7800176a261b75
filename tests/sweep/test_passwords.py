"""Passwords are removed from addresses in every notation; other text is unchanged."""

from __future__ import annotations

import base64
import io
import string
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sweep import passwords
from sweep.passwords import AddressError, Clean, checked_address, checked_storage, shown_command, without_passwords

SHAPES = {
    "field": "http://me:{}@host:5000",
    "user only": "https://{}@host/path",
    "password only": "postgresql://:{}@host/db",
    "at": "http://me:a@{}@host",
    "tail": "http://me:{}@b@host@c/x",
    "slash": "postgresql://me:a/{}@host/db",
    "colon": "http://me:a:{}@host:1",
    "question mark": "http://me:a?{}@host",
    "hash": "http://me:a#{}@host",
    "encoded": "mysql+pymysql://me:%40{}%2F@host/db",
    "upper case": "HTTPS://ME:{}@HOST",
    "query": "postgresql://host/db?password={}",
    "second query": "postgresql://me@host/db?sslmode=require&sslpassword={}&x=y",
    "token": "http://host/?token={}",
    "upper query": "postgresql://host/db?PASSWORD={}",
    "cut query": "postgresql://host/db?password=a&{}",
    "socket": "postgresql://me:{}@%2Fvar%2Frun%2Fpostgresql/db",
    "socket query": "postgresql://me:{}@/db?host=/var/run/postgresql",
    "odbc": "mssql+pyodbc:///?odbc_connect=UID%3Dme%3BPWD%3D{}%3B",
    "sqlite": "sqlite://me:{}@host/db",
    "sqlcipher": "sqlite+pysqlcipher://:{}@/path.db",
    "dsn": "host=here password={} dbname=db",
}
unbroken = st.text(st.characters(exclude_categories=("C", "Z")))


@settings(max_examples=500)
@given(
    shape=st.sampled_from(sorted(SHAPES)), ahead=unbroken, behind=unbroken, before=st.sampled_from(["", "'", "a=b,"])
)
@example("second query", "@", "", "")
@example("field", "//@:", "//@&=", "'")
def test_a_password_is_removed_from_a_text(shape: str, ahead: str, behind: str, before: str) -> None:
    """In every notation and context; the function is idempotent."""
    found = without_passwords(f"{before}{SHAPES[shape].format(f'{ahead}canary{behind}')}, it says")

    assert "canary" not in found
    assert found.endswith("it says")
    assert without_passwords(found) == found


@pytest.mark.parametrize("shape", SHAPES)
def test_each_address_is_still_recognisable(shape: str) -> None:
    found = without_passwords(SHAPES[shape].format("canary"))

    assert "canary" not in found
    assert "***" in found


def test_several_addresses_in_one_text() -> None:
    text = "http://me:canary@a and http://you:canary@b/x,http://c@canary@d\nhttp://e?token=canary http://f/g"

    assert without_passwords(text) == "http://***@a and http://***@d\nhttp://e?token=*** http://f/g"


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:5000/#/experiments/3/runs?orderByKey=metrics.`objective`&viewStateShareKey=learning-curves",
        "sqlite:////home/me@work.example/runs/mlflow.db",
        "models:/sweep-digits@champion, write to me@work.example // or not",
        "tests passed=3 of 4; a/b//c",
        "",
    ],
)
def test_other_text_is_unchanged(text: str) -> None:
    assert without_passwords(text) == text


@given(st.text(string.printable))
def test_a_text_without_an_address_is_unchanged(text: str) -> None:
    bare = text.replace("//", "/").replace("=", "").replace("%", "")

    assert without_passwords(bare) == bare


@given(password=st.text(string.ascii_letters + string.digits + " @:/?#%&+é", min_size=4))
@example("canary")
@example("p@ss/w:rd?#")
def test_a_known_password_is_removed_also_without_its_address(password: str) -> None:
    """As typed, percent-encoded or not, and as an HTTP basic authorization header."""
    encoded = quote(password, safe="")
    header = base64.b64encode(f"me:{password}".encode()).decode()
    text = f"could not find {password}, {encoded}; Authorization: Basic {header}"

    for address in (f"http://me:{encoded}@host", f"postgresql://me@host/db?x=y&password={encoded}"):
        found = without_passwords(text if "me:" in address else text.partition(";")[0], [address])
        assert [form for form in {password, encoded, header} if form in found.replace("***", "")] == []


def test_a_very_short_password_is_removed_only_in_addresses() -> None:
    """Otherwise it could be inferred from the missing text."""
    assert (
        without_passwords("a cat sat at http://me:cat@host", ["http://me:cat@host"]) == "a cat sat at http://***@host"
    )


@pytest.mark.parametrize(
    "address",
    [
        "none",
        "http://host",
        "https://me:p%40ss@host:5000/prefix/",
        "http://me:a:b@[::1]:5000",
        "sqlite:////home/me@work/my runs/mlflow.db",
        "postgresql+psycopg://me:a/b%40@host:5432/db?sslmode=require&password=x",
        "postgresql://me@%2Fvar%2Frun/db",
        "postgresql:///db?host=/var/run",
        "mssql+pyodbc:///?odbc_connect=x",
    ],
)
def test_a_valid_address_is_accepted(address: str) -> None:
    assert checked_address(address) == address


def test_a_scheme_is_lower_case() -> None:
    assert checked_address("HTTP://Me:Canary@Host") == "http://Me:Canary@Host"


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("ftp://me:canary@host", "begins with none of"),
        ("me:canary@host:5000", "begins with none of"),
        ("http:me:canary@host", "begins with none of"),
        ("databricks://me:canary@host", "begins with none of"),
        ("canary", "begins with none of"),
        ("http://me:a@canary@host", "%40"),
        ("http://me:a/canary@host", "%2F"),
        ("http://me:12/canary@host", "%2F"),
        ("http://me:12?canary@host", "%3F"),
        ("http://me:12#canary@host", "%23"),
        ("http://me:my canary@host", "%20"),
        ("http://me:canary\n@host", "%20"),
        ("http://me:canary@host:port", "a number"),
        ("http://host:canary", "a number"),
        ("http://me:canary@", "%40"),
        ("http://host?password=canary", "no ? or #"),
        ("http://host/#canary", "no ? or #"),
        ("postgresql://me:a@canary@host/db", "%40"),
        ("postgresql://me/canary@host/db", "%40"),
        ("postgresql://me:canary@host:port/db", "a number"),
        ("sqlite://me:canary@host/db", "sqlite:///FILE"),
    ],
)
def test_an_address_with_an_ambiguous_password_is_refused(address: str, told: str) -> None:
    """In two lines, which do not contain it."""
    with pytest.raises(AddressError) as refusal:
        checked_address(address)

    assert told in str(refusal.value)
    assert "canary" not in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 2


@pytest.mark.parametrize(
    "address",
    [
        "postgresql+psycopg://me:a%40b@host:5432/sweeps?sslmode=require",
        "postgresql+psycopg://me@[::1]:5432/sweeps",
        "postgresql+psycopg:///sweeps?host=/var/run/postgresql",
        "postgresql+psycopg://me@host/sweeps?passfile=/home/me/pgpass",
    ],
)
def test_the_address_of_a_study_database_names_its_driver(address: str) -> None:
    assert checked_storage(address) == address
    assert checked_storage(address.replace("postgresql+psycopg", "PostgreSQL")) == address


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("canary", "begins with postgresql"),
        ("none", "begins with postgresql"),
        ("mysql://me:canary@host/db", "begins with postgresql"),
        ("postgresql+psycopg2://me:canary@host/db", "begins with postgresql"),
        ("sqlite:////home/canary/study.db", "begins with postgresql"),
        ("postgresql://me:canary@host", "HOST/DATABASE"),
        ("postgresql://me:canary@host/", "HOST/DATABASE"),
        ("postgresql://me:a@canary@host/db", "%40"),
        ("postgresql://me/canary@host/db", "%40"),
        ("postgresql://me:canary@host:port/db", "a number"),
        ("postgresql://me@host/db?password=canary", "before the @"),
        ("postgresql://me@host/db?sslmode=require&sslpassword=canary", "before the @"),
    ],
)
def test_an_invalid_address_of_a_study_database_is_refused(address: str, told: str) -> None:
    """In two lines, which do not contain it."""
    with pytest.raises(AddressError) as refusal:
        checked_storage(address)

    assert told in str(refusal.value)
    assert "canary" not in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 2


def test_a_databases_user_name_is_not_secret() -> None:
    """It is often `postgres`; in the address of a web server it may be a token."""
    text = "postgresql and canary"

    assert without_passwords(text, ["postgresql://postgres@host/db", "--storage=postgresql://postgres@host/db"]) == text
    assert without_passwords(text, ["http://canary@host"]) == "postgresql and ***"
    assert without_passwords(text, ["postgresql://:canary@host"]) == "postgresql and ***"


def test_a_printed_command_hides_the_password() -> None:
    words = ["sweep", "run", "digits", "--tracking", "http://me:canary@host:5000", "--home", "my runs"]

    line, remark = shown_command(words).splitlines()

    assert line == "sweep run digits --tracking 'http://***@host:5000' --home 'my runs'"
    assert "SWEEP_TRACKING" in remark
    words[3:5] = ["--storage", "postgresql://me:canary@host/db"]
    assert "SWEEP_STORAGE" in shown_command(words).splitlines()[1]
    assert shown_command(words[:3]) == "sweep run digits"


def test_a_clean_stream_only_removes_passwords() -> None:
    inner = io.StringIO()
    stream = Clean(inner, ["http://me:canary@host"])

    stream.write("canary at http://you:secret@b\n")
    stream.writelines(["of a ", "canary\n"])

    assert inner.getvalue() == "*** at http://***@b\nof a ***\n"
    assert (stream.isatty(), stream.writable()) == (False, True)
    assert passwords.HIDDEN == "***"
