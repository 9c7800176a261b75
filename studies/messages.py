"""One-line error messages for study files, from pydantic's errors and those of this package."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


class StudyKeyError(ValueError):
    """An error with the path of keys that it refers to."""

    def __init__(self, where: Sequence[str], reason: str) -> None:
        super().__init__(reason)
        self.where = list(where)


def unknown(key: str, known: Iterable[str], kind: str = "key") -> str:
    """The message for an unknown key, with the most similar known one, or all."""
    known = list(known)
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"unknown {kind} {key!r}; " + (f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}")


def reason(error: Mapping[str, Any], known: Sequence[str], inside: Sequence[str] = ()) -> tuple[list[str], str]:
    """The path of keys of one of pydantic's errors, below `inside`, and its message; `known` are the valid keys."""
    own = [str(part) for part in error["loc"] if not isinstance(part, int)]
    # Below the key `log` of a range, pydantic names the types of the union instead of keys.
    is_log_key = own[-1:] != ["log"] and "log" in own
    if is_log_key:
        own = own[: own.index("log") + 1]
    where = [*inside, *own]
    key, got = ".".join(where), toml(error["input"])
    if error["type"] == "missing":
        return where, f"the key {key!r} is missing"
    if error["type"] == "extra_forbidden":
        return where, unknown(where[-1], known)
    if error["type"] == "value_error":
        cause = error["ctx"]["error"]
        if isinstance(cause, StudyKeyError):
            return cause.where, str(cause)
        return where, f"{key}: {cause}" if key else str(cause)
    if is_log_key:
        return where, f'{key} must be true, false or "complement", but got {got}'
    return where, f"{key} must {_requirement(error)}, but got {got}"


def _requirement(error: Mapping[str, Any]) -> str:
    """The requirement of one of pydantic's errors, in terms of TOML."""
    demands = {
        "too_short": "not be empty",
        "string_too_short": "not be empty",
        "string_too_long": "have at most {max_length} characters",
        "model_type": "be a table",
        "dict_type": "be a table",
        "list_type": "be a list",
        "string_type": "be text in quotes",
        "int_type": "be a whole number",
        "int_from_float": "be a whole number",
        "float_type": "be a number",
        "bool_type": "be true or false",
    }
    if error["type"] in demands:
        return demands[error["type"]].format(**error.get("ctx", {}))
    return "be " + str(error["msg"]).removeprefix("Input should be ")


def toml(value: Any) -> str:
    """A value roughly as in a study file, in at most 80 characters."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        shown = "{ " + ", ".join(f"{key} = {toml(entry)}" for key, entry in value.items()) + " }" if value else "{}"
    elif isinstance(value, list | tuple):
        shown = f"[{', '.join(map(toml, value))}]"
    else:
        shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
