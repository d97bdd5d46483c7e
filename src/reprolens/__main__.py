"""The command line: `reprolens COMMAND`, or `python -m reprolens COMMAND`."""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from reprolens import __version__
from reprolens.errors import ConfigError, ReprolensError, TrackingError

if TYPE_CHECKING:
    from reprolens.tracking.dashboard.subject import Subject, TrialRun


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
    except OSError as error:  # a folder that cannot be written, a full disk
        if options.debug or error.filename is None:
            raise
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
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

    _add_data(commands)

    models = commands.add_parser("models", help="list the models with their papers, licences and published weights")
    models.set_defaults(command=_models)

    leaderboard = commands.add_parser("leaderboard", help="rank a sweep's trials, and write its page")
    leaderboard.add_argument("sweep", help="name of a sweep in multirun/")
    leaderboard.set_defaults(command=_leaderboard)

    promote = commands.add_parser("promote", help="make a trial the repository's params.yaml and restore its results")
    promote.add_argument("trial", help="SWEEP/NUMBER, its folder, or the name of its DVC experiment")
    promote.add_argument("--force", action="store_true", help="lose changes of params.yaml that are not committed")
    promote.set_defaults(command=_promote)

    _add_tracking(commands)

    selftest = commands.add_parser("selftest", help="try on this machine what is promised")
    selftest.add_argument("promise", choices=["resume"], help="resume: a killed training ends in the same bits")
    selftest.add_argument("--kills", type=int, default=5, metavar="N", help="how often to kill it (5)")
    selftest.add_argument("--workers", type=int, nargs="+", default=[0, 2], metavar="N", help="loader processes (0 2)")
    selftest.add_argument("--seed", type=int, default=1, metavar="N", help="seed of the moments (1)")
    selftest.set_defaults(command=_selftest)
    return parser


def _add_data(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    inspect = commands.add_parser("inspect", help="show what a data set holds and what is wrong with it")
    inspect.add_argument(
        "path", nargs="?", type=Path, default=Path("data/voc"), help="folder, annotation file or archive (data/voc)"
    )
    inspect.add_argument("--format", default="auto", metavar="F", help="its format, as in conf/data (found out)")
    inspect.add_argument("--images", metavar="DIR", help="folder of the pictures, where they lie elsewhere")
    inspect.add_argument("--json", action="store_true", help="print all of it as JSON")
    inspect.add_argument("--sheet", type=Path, metavar="FILE.png", help="draw some pictures with their boxes")
    inspect.add_argument("--augment", action="store_true", help="instead: a sheet of what augmentation makes of it")
    inspect.add_argument("--choice", nargs="+", metavar="NAME", help="with --augment: choices of conf/augment (all)")
    inspect.add_argument("--out", type=Path, default=Path("augment.png"), metavar="FILE.png", help="(augment.png)")
    inspect.add_argument("--seed", type=int, metavar="N", help="with --augment: seed of the draws (the experiment's)")
    inspect.set_defaults(command=_inspect)

    back = commands.add_parser("convert-back", help="write a VOC folder as COCO or YOLO")
    back.add_argument("format", choices=["coco", "yolo"])
    back.add_argument("out", type=Path, help="folder to write; what is in it is replaced")
    back.add_argument("--voc", type=Path, default=Path("data/voc"), metavar="DIR", help="VOC folder (data/voc)")
    back.add_argument("--decimals", type=int, metavar="N", help="yolo: digits of every number (as many as it needs)")
    back.set_defaults(command=_convert_back)


def _add_tracking(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    dashboard = commands.add_parser("dashboard", help="save the W&B workspace and the report on the best trials")
    dashboard.add_argument("--sweep", metavar="NAME", help="a sweep in multirun/ (all trials of the project)")
    dashboard.add_argument("--objective", metavar="KEY", help="what the best trial is best in (the sweep's metric)")
    dashboard.add_argument("--best", type=int, default=5, metavar="N", help="trials that the report compares (5)")
    dashboard.add_argument("--json", action="store_true", help="print what would be saved; needs no account")
    dashboard.set_defaults(command=_dashboard)

    sync = commands.add_parser("sync", help="send the W&B runs that were written offline, and see that they arrived")
    sync.add_argument("folder", nargs="?", type=Path, default=Path("wandb"), help="folder of runs (wandb)")
    sync.add_argument("--timeout", type=float, default=600, metavar="S", help="seconds for the upload of each (600)")
    sync.set_defaults(command=_sync)


def _compose(options: argparse.Namespace) -> None:
    from reprolens.config.compose import compose, to_yaml

    print(to_yaml(compose(Path(), options.overrides)), end="")


def _inspect(options: argparse.Namespace) -> None:
    if options.augment:
        _show_augmentation(options)
        return
    from reprolens.convert.formats import labelled
    from reprolens.convert.inspection import inspect
    from reprolens.convert.report import tables

    if options.sheet is not None and options.sheet.suffix != ".png":
        raise ConfigError(f"--sheet {options.sheet}: the sheet is a PNG; give a name that ends in .png")
    values = inspect(labelled(options.format, str(options.path), options.images, Path()), options.sheet)
    if options.json:
        text = json.dumps(values, indent=2, ensure_ascii=False)
        print(text.encode(errors="backslashreplace").decode())  # half of a surrogate pair is \udcXX in JSON too
        return
    from rich.console import Console

    console = Console()
    for table in tables(values):
        console.print(table, soft_wrap=isinstance(table, str))


def _convert_back(options: argparse.Namespace) -> None:
    from reprolens.convert.export_coco import write_coco
    from reprolens.convert.export_yolo import write_yolo
    from reprolens.voc import read_folder

    folder = read_folder(options.voc)
    if options.format == "coco":
        written = write_coco(folder, options.out)
    else:
        written = write_yolo(folder, options.out, options.decimals)
    counts = ", ".join(f"{value} {name}" for name, value in written.items() if isinstance(value, int))
    print(f"convert-back: {options.out}, {counts}")


def _show_augmentation(options: argparse.Namespace) -> None:
    from reprolens.config.compose import compose

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


def _sync(options: argparse.Namespace) -> None:
    from reprolens.tracking.sync import Fate, send, unsent

    if not options.folder.is_dir():
        raise TrackingError(f"{options.folder}: no such folder; runs lie in wandb/ of the repository")
    logs = unsent(options.folder)
    problems: dict[str, list[str]] = {}
    for result in send(logs, options.timeout):
        if result.cut:
            print(f"{result.name}: {result.cut} bytes cut off that a killed process left half written")
        if result.fate == Fate.failed:
            problems.setdefault(result.reason, []).append(result.name)
        else:
            print(f"{result.name}: {result.url or result.reason}", flush=True)
    if problems:
        raise TrackingError("\n".join(f"{', '.join(names)}: {reason}" for reason, names in problems.items()))
    if not logs:
        print(f"all runs in {options.folder} were sent")


def _dashboard(options: argparse.Namespace) -> None:
    if options.best < 1:
        raise ConfigError(f"--best {options.best}: must be at least 1")
    try:
        from reprolens.tracking.dashboard.save import save, specification, to_json
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "wandb_workspaces":
            raise
        raise TrackingError("dashboard: needs wandb-workspaces; pip install 'reprolens[dashboard]'") from None
    from reprolens.tracking.dashboard.subject import summary_key, swept_keys

    subject, names, runs = _compared(options)
    if options.json:
        objective = summary_key(subject.objective, runs)
        subject = dataclasses.replace(subject, objective=objective, swept=swept_keys(names, runs))
        print(to_json(specification(subject, runs, options.best)))
        return
    saved = save(subject, names, options.best)
    done = "updated" if saved.updated else "saved"
    print(f"dashboard: workspace {done}, {saved.workspace}\ndashboard: report {done}, {saved.report}")


def _compared(options: argparse.Namespace) -> "tuple[Subject, tuple[str, ...], tuple[TrialRun, ...]]":
    """Return what is compared, the names that the sweep varies, and the trials of it that lie here."""
    from reprolens.config.compose import compose
    from reprolens.tracking.dashboard.subject import Subject, lower_is_better, read_trials, summary_key

    names: tuple[str, ...] = ()
    runs: tuple[TrialRun, ...] = ()
    group: str | None = None
    if options.sweep is None:
        config = compose(Path())
        goals = dict(zip(config.sweep.metric, map(str, config.sweep.direction), strict=True))
    else:
        from reprolens.sweeps.plan import MULTIRUN
        from reprolens.sweeps.record import read_sweep, trial_folder
        from reprolens.sweeps.record import read_trials as read_records

        folder = MULTIRUN / options.sweep if (MULTIRUN / options.sweep).is_dir() else Path(options.sweep)
        sweep = read_sweep(folder)
        config = compose(Path(), [override for override in sweep.overrides if override.startswith("tracking")])
        goals = dict(zip(sweep.metrics, sweep.directions, strict=True))
        records = read_records(folder)
        names = tuple(dict.fromkeys(name for record in records for name in record.parameters))
        runs = read_trials(trial_folder(folder, record.number) for record in records)
        group = config.tracking.group or sweep.name
    objective = options.objective or next(iter(goals))
    lower = goals[objective] == "minimize" if objective in goals else lower_is_better(objective)
    return (
        Subject(config.tracking.project, config.tracking.entity, summary_key(objective, runs), lower, sweep=group),
        names,
        runs,
    )


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
