"""The command line: `reprolens COMMAND`, or `python -m reprolens COMMAND`."""

import argparse
import os
import sys

from reprolens import __version__
from reprolens.commands import data, evaluation, experiment, predict, sweeps, tracking
from reprolens.errors import ReprolensError


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit status: its own if it has one, else 0, or 2 with a line for a user's error."""
    options = _parser().parse_args(argv)
    try:
        status: int | None = options.command(options)
    except ReprolensError as error:
        if options.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read the output has enough: `reprolens ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130  # as shells say it of a program that SIGINT ended
    except OSError as error:  # a folder that cannot be written, a full disk
        if options.debug or error.filename is None:
            raise
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    return status or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="reprolens", description="A labelled data set in, a tracked, exported model out."
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--debug", action="store_true", help="show where an error was raised")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for room in (experiment, data, evaluation, predict, sweeps, tracking):
        room.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
