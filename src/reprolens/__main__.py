"""The command line: `reprolens COMMAND`, or `python -m reprolens COMMAND`."""

import argparse
import sys
from pathlib import Path

from reprolens import __version__
from reprolens.errors import ConfigError, ReprolensError


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

    inspect = commands.add_parser("inspect", help="show what augmentation makes of a data set's pictures")
    inspect.add_argument("path", nargs="?", type=Path, default=Path("data/voc"), help="VOC folder (data/voc)")
    inspect.add_argument("--augment", action="store_true", help="write a contact sheet, a row for each choice")
    inspect.add_argument("--choice", nargs="+", metavar="NAME", help="choices of conf/augment to show (all)")
    inspect.add_argument("--out", type=Path, default=Path("augment.png"), metavar="FILE.png", help="(augment.png)")
    inspect.add_argument("--seed", type=int, metavar="N", help="seed of the draws (the experiment's)")
    inspect.set_defaults(command=_inspect)

    models = commands.add_parser("models", help="list the models with their papers, licences and published weights")
    models.set_defaults(command=_models)

    leaderboard = commands.add_parser("leaderboard", help="rank a sweep's trials, and write its page")
    leaderboard.add_argument("sweep", help="name of a sweep in multirun/")
    leaderboard.set_defaults(command=_leaderboard)

    promote = commands.add_parser("promote", help="make a trial the repository's params.yaml and restore its results")
    promote.add_argument("trial", help="SWEEP/NUMBER, its folder, or the name of its DVC experiment")
    promote.add_argument("--force", action="store_true", help="lose changes of params.yaml that are not committed")
    promote.set_defaults(command=_promote)

    selftest = commands.add_parser("selftest", help="try on this machine what is promised")
    selftest.add_argument("promise", choices=["resume"], help="resume: a killed training ends in the same bits")
    selftest.add_argument("--kills", type=int, default=5, metavar="N", help="how often to kill it (5)")
    selftest.add_argument("--workers", type=int, nargs="+", default=[0, 2], metavar="N", help="loader processes (0 2)")
    selftest.add_argument("--seed", type=int, default=1, metavar="N", help="seed of the moments (1)")
    selftest.set_defaults(command=_selftest)
    return parser


def _compose(options: argparse.Namespace) -> None:
    from reprolens.config.compose import compose, to_yaml

    print(to_yaml(compose(Path(), options.overrides)), end="")


def _inspect(options: argparse.Namespace) -> None:
    from reprolens.config.compose import compose

    if not options.augment:
        raise ConfigError("inspect: nothing to show; add --augment for a contact sheet of augmented pictures")
    if options.seed is not None and options.seed < 0:
        raise ConfigError(f"--seed {options.seed}: must be at least 0")
    if options.out.suffix != ".png":
        raise ConfigError(f"--out {options.out}: the sheet is a PNG; give a name that ends in .png")
    config = compose(Path())
    menu = {path.stem for path in Path("conf/augment").glob("*.yaml")}
    names = options.choice or sorted(menu, key=lambda name: (name != "none", name))
    choices = {name: compose(Path(), [f"augment={name}"]).augment for name in names}

    from reprolens.loading import open_index
    from reprolens.loading.sheet import draw_sheet
    from reprolens.voc import read_folder

    height, width = config.model.image_size
    seed = config.seed if options.seed is None else options.seed
    draw_sheet(open_index(read_folder(options.path)), choices, (height, width), seed, options.out)
    print(f"inspect: {len(choices)} choices of augmentation on pictures of {options.path} ({options.out})")


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


def _selftest(options: argparse.Namespace) -> None:
    from reprolens.selftest import resume

    if options.kills < 1 or min(options.workers) < 0:
        raise ConfigError("selftest: --kills must be at least 1, --workers at least 0")
    for workers in options.workers:
        for kill in resume(Path(), workers, options.kills, options.seed):
            where = f"after step {kill.step}, epoch {kill.epoch}, batch {kill.batch}"
            print(f"killed {where}{', while a checkpoint was written' if kill.writing else ''}")
        print(f"{workers} loader processes: the same bits as without the kills (weights, optimizer, history)")


if __name__ == "__main__":
    sys.exit(main())
