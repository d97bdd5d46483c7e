"""The trials of a sweep: leaderboard, promote."""

import argparse
from pathlib import Path


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    leaderboard = commands.add_parser("leaderboard", help="rank a sweep's trials, and write its page")
    leaderboard.add_argument("sweep", help="name of a sweep in multirun/")
    leaderboard.set_defaults(command=_leaderboard)

    promote = commands.add_parser("promote", help="make a trial the repository's params.yaml and restore its results")
    promote.add_argument("trial", help="SWEEP/NUMBER, its folder, or the name of its DVC experiment")
    promote.add_argument("--force", action="store_true", help="lose changes of params.yaml that are not committed")
    promote.set_defaults(command=_promote)


def _leaderboard(options: argparse.Namespace) -> None:
    from rich.console import Console

    from reprolens.sweeps.leaderboard import leaderboard, render
    from reprolens.sweeps.page import write_pages
    from reprolens.sweeps.plan import MULTIRUN

    folder = MULTIRUN / options.sweep if (MULTIRUN / options.sweep).is_dir() else Path(options.sweep)
    Console().print(render(leaderboard(folder)))
    print(write_pages(folder))


def _promote(options: argparse.Namespace) -> None:
    from reprolens.sweeps.promote import promote

    print(f"promote: {promote(Path(), options.trial, options.force)}")
