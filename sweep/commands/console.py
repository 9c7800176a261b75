"""The console that a sweep prints to."""

import sys
from collections.abc import Callable

from rich.console import Console


class _PipeTolerantConsole(Console):
    """Stop printing when the reader of a pipe exits (`sweep run | head`), instead of ending the sweep."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


def make_console() -> Console:
    """A console on standard output: a live table on a terminal, plain lines otherwise.

    FORCE_COLOR in the environment, as of many CI systems, makes rich take a file for a terminal.
    """
    is_file = sys.stdout is None or not sys.stdout.isatty()
    return _PipeTolerantConsole(highlight=False, force_terminal=False if is_file else None)


def line_printer(console: Console) -> Callable[[str], None]:
    """A function that prints a line as it is: not wrapped, and with brackets that rich would take for markup."""

    def notify(line: str) -> None:
        console.print(line, soft_wrap=True, markup=False, highlight=False)

    return notify
