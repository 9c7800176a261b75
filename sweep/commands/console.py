"""The terminal a sweep writes to."""

from rich.console import Console


class _Patient(Console):
    """Goes silent when its reader leaves (`sweep run | head`), instead of ending the sweep."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


def make_console() -> Console:
    """Standard output; a live table when it is a terminal, plain lines otherwise."""
    return _Patient(highlight=False)
