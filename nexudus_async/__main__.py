"""`python -m nexudus_async`, and the console script `nexudus-async`."""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line, or say which extra it needs."""
    try:
        from ._cli.app import run  # noqa: PLC0415 - an extra: imported by those who use it

        sys.exit(run(sys.argv[1:]))
    except ModuleNotFoundError as exc:
        if exc.name not in ("typer", "rich"):
            raise
        sys.exit("the command line needs typer and rich: pip install 'nexudus-async[cli]'")
    except KeyboardInterrupt:  # before or after the command: while all is imported, or cleaned up
        if sys.stderr is not None and sys.stderr.isatty():
            sys.stderr.write("\n")  # the terminal has just shown ^C
        sys.exit(130)


if __name__ == "__main__":
    main()
