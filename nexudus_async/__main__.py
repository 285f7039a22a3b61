"""`python -m nexudus_async`, and the console script `nexudus-async`."""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line, or say which extra it needs."""
    try:
        from ._cli.app import run  # noqa: PLC0415 - an extra: imported by those who use it
    except ModuleNotFoundError as exc:
        if exc.name not in ("typer", "rich"):
            raise
        sys.exit("the command line needs typer and rich: pip install 'nexudus-async[cli]'")
    try:
        sys.exit(run(sys.argv[1:]))
    except KeyboardInterrupt:  # after the command, while what it left behind is cleaned up
        sys.exit(130)


if __name__ == "__main__":
    main()
