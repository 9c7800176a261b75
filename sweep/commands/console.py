"""The console that a sweep prints to."""

from rich.console import Console


class _PipeTolerantConsole(Console):
    """Stop printing when the reader of a pipe exits (`sweep run | head`), instead of ending the sweep."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


def make_console() -> Console:
    """A console on standard output: a live table on a terminal, plain lines otherwise."""
    return _PipeTolerantConsole(highlight=False)
