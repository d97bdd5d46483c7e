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

    models = commands.add_parser("models", help="list the models with their costs, papers and licences")
    models.add_argument("part", nargs="?", metavar="NAME", help="only those whose name has this in it")
    models.add_argument("--classes", type=int, default=80, metavar="N", help="for so many classes (80, COCO's)")
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

    from reprolens.config.load import load_model
    from reprolens.models.cost import cost
    from reprolens.models.registry import get, names
    from reprolens.progress import track

    chosen = [name for name in names() if not options.part or options.part in name]
    if not chosen:
        raise ConfigError(f"models: none of the {len(names())} has {options.part!r} in its name; reprolens models")
    table = Table(box=None, padding=(0, 1))
    table.add_column("model", no_wrap=True)
    for title in ("parameters", "GFLOPs", "size"):
        table.add_column(title, justify="right", no_wrap=True)
    for title in ("task", "paper", "code", "weights"):
        table.add_column(title, no_wrap=True)
    for name in track(chosen, "models"):
        entry, choice = get(name), load_model(Path(), name)
        try:
            found = cost(choice, options.classes)
            numbers = (f"{found.parameters / 1e6:.2f} M", f"{found.flops / 1e9:.1f}")
        except ConfigError:  # its extra is not installed
            numbers = (f"needs reprolens\\[{entry.extra}]", "")
        size = "{1} x {0}".format(*choice.image_size)
        weights = entry.weights_licence if entry.weights else "none published"
        table.add_row(name, *numbers, size, entry.task, entry.paper, entry.licence, weights)
    console = Console(width=max(Console().width, 150), highlight=False)  # a narrow terminal breaks lines, not columns
    console.print(table)
    console.print(f"{options.classes} classes; a multiplication with its addition counts as two (FLOPs, not MACs)")


def _selftest(options: argparse.Namespace) -> None:
    from reprolens.selftest import resume

    if options.kills < 1 or min(options.workers) < 0:
        raise ConfigError("selftest: --kills must be at least 1, --workers at least 0")
    for workers in options.workers:
        for kill in resume(Path(), workers, options.kills, options.seed):
            where = f"after step {kill.step}, epoch {kill.epoch}, batch {kill.batch}"
            print(f"killed {where}{', while a checkpoint was written' if kill.writing else ''}")
        print(f"{workers} loader processes: the same bits as without the kills (weights, optimizer, history)")
