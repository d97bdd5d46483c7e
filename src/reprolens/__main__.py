"""The command line: `reprolens COMMAND`, or `python -m reprolens COMMAND`."""

import argparse
import sys
from pathlib import Path

from reprolens import __version__
from reprolens.errors import ReprolensError


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit status: 0, or 2 with one line for a user's error."""
    options = _parser().parse_args(argv)
    try:
        options.command(options)
    except ReprolensError as error:
        if options.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="reprolens", description="A labelled data set in, a tracked, exported model out."
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--debug", action="store_true", help="show where an error was raised")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    compose = commands.add_parser("compose", help="print the experiment that params.yaml and conf/ make")
    compose.add_argument(
        "overrides", nargs="*", help="Hydra overrides to try, such as model=ssd300_vgg16 optimizer.lr=1e-3"
    )
    compose.set_defaults(command=_compose)

    models = commands.add_parser("models", help="list the models with their papers, licences and published weights")
    models.set_defaults(command=_models)
    return parser


def _compose(options: argparse.Namespace) -> None:
    from reprolens.config.compose import compose, to_yaml

    print(to_yaml(compose(Path(), options.overrides)), end="")


def _models(options: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table

    from reprolens.models.registry import get, names

    table = Table(box=None)
    table.add_column("model", no_wrap=True)
    table.add_column("paper", no_wrap=True)
    table.add_column("licence", no_wrap=True)
    table.add_column("published backbone weights", overflow="fold")
    for name in names():
        entry = get(name)
        table.add_row(name, entry.paper, entry.licence, entry.backbone_weights)
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
