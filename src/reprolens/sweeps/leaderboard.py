"""What came out of a sweep: its trials, best first, what mattered, what is left without chance, and what failed."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group as Lines
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from reprolens.sweeps.importance import importances
from reprolens.sweeps.record import Status, Sweep, Trial, read_sweep, read_trials, trial_folder
from reprolens.sweeps.seeds import Group, Interval, group_seeds
from reprolens.sweeps.wording import (
    MISSING,
    shorten_names,
    varied_parameters,
    write_duration,
    write_number,
    write_parameters,
    write_value,
)
from reprolens.tracking.partial import read_object

_TAIL = 6  # lines shown of a failed trial's log


@dataclass(frozen=True)
class Measured:
    """A number of a trial's evaluation, and its interval if it has one."""

    value: float
    interval: Interval | None


@dataclass(frozen=True)
class Entry:
    """A finished trial: its place from 1, an interval for each objective that has one, and the epochs it trained.

    `on_front` tells whether no other trial is better in one objective and as good in the others. `test` is what it
    reached on the test split, under the board's `test_key`: to be seen, never to rank by.
    """

    rank: int
    trial: Trial
    intervals: tuple[Interval | None, ...]
    epochs: int | None
    on_front: bool
    test: Measured | None = None


@dataclass(frozen=True)
class Leaderboard:
    """A sweep's results. `importance` holds, for each objective, the parameters' shares, largest first.

    `groups` are empty unless the sweep varies the seed, and stand best first; `importance` is empty for an objective
    about which too few trials say anything; `parameters` are the names that the sweep varies.
    """

    sweep: Sweep
    parameters: tuple[str, ...]
    entries: tuple[Entry, ...]
    groups: tuple[Group, ...]
    importance: tuple[Mapping[str, float], ...]
    failed: tuple[Trial, ...]
    counts: Mapping[Status, int]

    @property
    def front(self) -> tuple[Entry, ...]:
        """The Pareto front, empty where there is one objective."""
        return tuple(entry for entry in self.entries if entry.on_front) if len(self.sweep.metrics) > 1 else ()

    @property
    def test_key(self) -> str | None:
        """The number of the test split that is shown beside the objectives, None where no trial was tested."""
        return _test_key(self.sweep) if any(entry.test for entry in self.entries) else None


def leaderboard(sweep: Path) -> Leaderboard:
    """Return the results in the folder of a sweep. Raises SweepError if no sweep is there or a record is damaged.

    The order is that of the first objective; equal ones stand in the order of the others, then of their numbers.
    """
    plan, trials = read_sweep(sweep), read_trials(sweep)
    if len(plan.trials) == plan.total:  # a grid: its folder may hold trials of values that are varied no more
        trials = [trial for trial in trials if trial.number in plan.trials]
    done = [trial for trial in trials if trial.status == Status.done and len(trial.values or ()) == len(plan.metrics)]
    key = _best_first(plan)
    done.sort(key=lambda trial: (key(trial.values or ()), trial.number))
    front = _pareto_front([key(trial.values or ()) for trial in done])
    entries = (
        _entry(rank, trial, plan, trial_folder(sweep, trial.number), on_front)
        for rank, (trial, on_front) in enumerate(zip(done, front, strict=True), 1)
    )
    waiting = max(0, plan.total - len(trials)) + sum(trial.status == Status.waiting for trial in trials)
    counts = {status: sum(trial.status == status for trial in trials) for status in Status} | {Status.waiting: waiting}
    return Leaderboard(
        sweep=plan,
        parameters=varied_parameters(trials),
        entries=tuple(entries),
        groups=tuple(sorted(group_seeds(done), key=lambda group: (key(group.means), group.trials))),
        importance=tuple(importances(done, index, plan.directions[index]) for index in range(len(plan.metrics))),
        failed=tuple(trial for trial in trials if trial.status == Status.failed),
        counts=counts,
    )


def render(board: Leaderboard, rows: int = 20) -> RenderableType:
    """Return the leaderboard for a terminal: the best `rows` trials, the seeds, what matters, and every failure."""
    parts: list[RenderableType] = [
        Text(f"{board.sweep.name}: {len(board.entries)} of {sum(board.counts.values())} trials done", style="bold"),
        _trial_table(board, rows),
    ]
    if board.front:
        parts.append(Text("* on the Pareto front", style="dim"))
    if board.test_key:
        parts.append(Text("test is told, not ranked by", style="dim"))
    if len(board.entries) > rows:
        parts.append(Text(f"{len(board.entries) - rows} more, on the page of the sweep", style="dim"))
    if board.groups:
        title = Text("Mean over seeds, 95 % interval of Student's t", style="bold")
        parts += [Text(), title, _group_table(board, rows)]
    for metric, shares in zip(board.sweep.metrics, board.importance, strict=True):
        if shares:
            title = Text(f"What decides {metric} (PED-ANOVA)", style="bold")
            parts += [Text(), title, _importance_table(shares)]
    for trial in board.failed:
        parts += [Text(), *_failure(trial)]
    others = {status: board.counts[status] for status in (Status.pruned, Status.running, Status.waiting)}
    if any(others.values()):
        told = ", ".join(f"{count} {status}" for status, count in others.items() if count)
        parts += [Text(), Text(told, style="dim")]
    return Lines(*parts)


def _best_first(sweep: Sweep) -> Callable[[Iterable[float]], tuple[float, ...]]:
    signs = [-1.0 if direction == "maximize" else 1.0 for direction in sweep.directions]
    return lambda values: tuple(sign * value for sign, value in zip(signs, values, strict=True))


def _pareto_front(costs: Sequence[tuple[float, ...]]) -> list[bool]:
    """Return of each tuple, less being better, whether no other is at most as large everywhere and smaller once."""

    def beaten(cost: tuple[float, ...]) -> bool:
        return any(
            other != cost and all(theirs <= mine for theirs, mine in zip(other, cost, strict=True)) for other in costs
        )

    return [not beaten(cost) for cost in costs]


def _entry(rank: int, trial: Trial, sweep: Sweep, workspace: Path, on_front: bool) -> Entry:
    evaluation = read_object(workspace / "reports" / "evaluation.json")
    epochs = read_object(workspace / "reports" / "train.json").get("epochs")
    intervals = tuple(_interval(evaluation, metric) for metric in sweep.metrics)
    test = _measured(evaluation, _test_key(sweep)) if evaluation.get("split") == "test" else None
    return Entry(rank, trial, intervals, epochs if isinstance(epochs, int) else None, on_front, test)


def _test_key(sweep: Sweep) -> str:
    """Return the key of evaluation.json that is the same measure as the first objective, if that is one of val's."""
    return "voc12/map50" if sweep.metrics[0] == "val/map50" else "coco/ap"


def _measured(evaluation: Mapping[str, Any], key: str) -> Measured | None:
    value = evaluation.get(key)
    return Measured(float(value), _interval(evaluation, key)) if isinstance(value, int | float) else None


def _interval(evaluation: Mapping[str, Any], metric: str) -> Interval | None:
    low, high = evaluation.get(f"{metric}/low"), evaluation.get(f"{metric}/high")
    if isinstance(low, int | float) and isinstance(high, int | float):
        return Interval(float(low), float(high))
    return None


def write_interval(value: float, interval: Interval | None) -> str:
    """Return a value and its interval: `0.9134 [0.8990, 0.9241]`."""
    if interval is None:
        return write_number(value)
    return f"{write_number(value)} [{write_number(interval.low)}, {write_number(interval.high)}]"


def write_test(entry: Entry) -> str:
    """Return what a trial reached on the test split, with its interval."""
    return MISSING if entry.test is None else write_interval(entry.test.value, entry.test.interval)


def _table() -> Table:
    """Return an empty table. What goes into it is made a Text, because Rich would take brackets for its markup."""
    return Table(box=None, pad_edge=False, header_style="dim")


def _add_metrics(table: Table, sweep: Sweep) -> None:
    whole = len(sweep.metrics) == 1  # several with their intervals would leave the names no room
    for metric, direction in zip(sweep.metrics, sweep.directions, strict=True):
        table.add_column(Text(f"{metric} {'↑' if direction == 'maximize' else '↓'}"), justify="right", no_wrap=whole)


def _trial_table(board: Leaderboard, rows: int) -> Table:
    names = shorten_names(board.parameters)
    table = _table()
    table.add_column("", justify="right")
    table.add_column("trial", justify="right")
    for name in board.parameters:
        table.add_column(Text(names[name]), overflow="fold")
    _add_metrics(table, board.sweep)
    if board.test_key:
        table.add_column(Text(f"test {board.test_key}"), justify="right", style="dim")
    table.add_column("epochs", justify="right")
    table.add_column("time", justify="right", no_wrap=True)
    for entry in board.entries[:rows]:
        trial = entry.trial
        values = zip(trial.values or (), entry.intervals, strict=True)
        mark = "*" if entry in board.front else ""
        cells = [
            f"{mark}{entry.rank}",
            str(trial.number),
            *(write_value(trial.parameters[name]) if name in trial.parameters else MISSING for name in names),
            *(write_interval(value, interval) for value, interval in values),
            *([write_test(entry)] if board.test_key else []),
            MISSING if entry.epochs is None else str(entry.epochs),
            write_duration(trial.seconds),
        ]
        table.add_row(*map(Text, cells), style="bold" if entry.rank == 1 else "")
    return table


def _group_table(board: Leaderboard, rows: int) -> Table:
    names = shorten_names(name for name in board.parameters if any(name in group.parameters for group in board.groups))
    table = _table()
    table.add_column("", justify="right")
    for short in names.values():
        table.add_column(Text(short), overflow="fold")
    table.add_column("seeds", justify="right")
    _add_metrics(table, board.sweep)
    for rank, group in enumerate(board.groups[:rows], 1):
        values = zip(group.means, group.intervals, strict=True)
        parameters = [write_value(group.parameters[name]) if name in group.parameters else MISSING for name in names]
        cells = [str(rank), *parameters, str(len(group.trials)), *(write_interval(*value) for value in values)]
        table.add_row(*map(Text, cells))
    return table


def _importance_table(shares: Mapping[str, float]) -> Table:
    table = _table()
    table.show_header = False
    for name, share in shares.items():
        table.add_row(Text(name), Text("█" * max(1, round(24 * share)), style="cyan"), f"{share:.0%}")
    return table


def _failure(trial: Trial) -> list[RenderableType]:
    title = Text.assemble((f"trial {trial.number} failed", "bold red"), f"  {write_parameters(trial.parameters)}")
    tail = Text("\n".join(trial.tail[-_TAIL:]), style="dim")
    lines = [Text(trial.error)] if trial.error else []
    return [title, *(Padding(part, (0, 0, 0, 2)) for part in (*lines, *([tail] if trial.tail else [])))]
