"""The experiment itself: compose, models, selftest."""

import argparse
from pathlib import Path

from reprolens.errors import ConfigError


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    compose = commands.add_parser("compose", help="print the experiment that params.yaml and conf/ make")
    compose.add_argument(
        "overrides", nargs="*", help="Hydra overrides to try, such as model=ssd300_vgg16 optimizer.lr=1e-3"
    )
    compose.set_defaults(command=_compose)

    models = commands.add_parser("models", help="list the models with their papers, licences and published weights")
    models.set_defaults(command=_models)

    selftest = commands.add_parser("selftest", help="try on this machine what is promised")
    selftest.add_argument("promise", choices=["resume"], help="resume: a killed training ends in the same bits")
    selftest.add_argument("--kills", type=int, default=5, metavar="N", help="how often to kill it (5)")
    selftest.add_argument("--workers", type=int, nargs="+", default=[0, 2], metavar="N", help="loader processes (0 2)")
    selftest.add_argument("--seed", type=int, default=1, metavar="N", help="seed of the moments (1)")
    selftest.set_defaults(command=_selftest)


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


def _selftest(options: argparse.Namespace) -> None:
    from reprolens.selftest import resume

    if options.kills < 1 or min(options.workers) < 0:
        raise ConfigError("selftest: --kills must be at least 1, --workers at least 0")
    for workers in options.workers:
        for kill in resume(Path(), workers, options.kills, options.seed):
            where = f"after step {kill.step}, epoch {kill.epoch}, batch {kill.batch}"
            print(f"killed {where}{', while a checkpoint was written' if kill.writing else ''}")
        print(f"{workers} loader processes: the same bits as without the kills (weights, optimizer, history)")
