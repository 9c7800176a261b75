"""Run a command: the exit code of its error, and the error in at most three lines; `--debug` adds the traceback."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import TextIO, cast

import click

from sweep import cli
from sweep.errors import exit_code
from sweep.passwords import Clean, in_environment

THIS_MACHINE = ("127.0.0.1", "localhost", "::1")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code; an expected error is printed in at most three lines.

    Passwords are removed from everything written to stderr, including library logs and tracebacks.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    stderr = cast(TextIO, Clean(sys.stderr, [*words, *in_environment()]))
    ask_no_proxy_for_this_machine()
    with contextlib.redirect_stderr(stderr):
        code = _call(words, stderr)
    sys.exit(code)


def ask_no_proxy_for_this_machine() -> None:
    """Except it from the proxy of the environment, for this process and those that it starts.

    A proxy elsewhere has no MLflow of ours on its own 127.0.0.1, and should not learn what is asked there.
    """
    for name in ("no_proxy", "NO_PROXY"):  # programs read either, and of two different ones either first
        given = os.environ.get(name) or os.environ.get(name.swapcase(), "")
        hosts = [] if given.strip() == "*" else THIS_MACHINE  # every host, but only where the star stands alone
        os.environ[name] = ",".join(dict.fromkeys(filter(None, [*given.split(","), *hosts])))


def _call(words: list[str], stderr: TextIO) -> int:
    try:
        return cli.sweep.main(words, prog_name="sweep", standalone_mode=False) or 0
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "sweep"
        stderr.write(f"sweep: {error.format_message()}\nsee {command} --help\n")
        return error.exit_code
    except click.ClickException as error:
        stderr.write(f"sweep: {error.format_message()}\n")
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        adds = any(word.partition("=")[0] == "--more" for word in words)  # would add them once again
        resumable = words[:1] in (["run"], ["sync"]) and not adds
        stderr.write(f"sweep: interrupted{'; nothing is lost, run the same command to resume' if resumable else ''}\n")
        return 130
    except SystemExit:  # from click or rich, if the reader of the output has exited, as `head` does
        return 128 + signal.SIGPIPE
    except Exception as error:
        code = exit_code(error)
        if "--debug" in words or code is None:
            traceback.print_exc(file=stderr)
        else:
            stderr.write("\n".join(f"sweep: {error}".splitlines()[:3]) + "\n")
        return code or 1
