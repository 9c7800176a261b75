"""Entry point of `sweep` and `python -m sweep`; imports are inside `main` so that Ctrl-C prints one line."""

import sys


def main() -> None:
    """Run the command line."""
    try:
        from sweep import entry

        entry.main()
    except KeyboardInterrupt:
        sys.stderr.write("sweep: interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
