"""What is seen while a sweep runs: one live table on a terminal, a plain line now and then elsewhere."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from reprolens.sweeps.live import Glance, Progress, Reader
from reprolens.sweeps.record import Status
from reprolens.sweeps.wording import (
    MISSING,
    shorten_names,
    varied_parameters,
    write_duration,
    write_number,
    write_parameters,
    write_value,
)

INTERVAL = 1.0
"""Seconds between two looks at the sweep."""

PLAIN_INTERVAL = 30.0
"""Seconds between two lines on what runs, where there is no terminal to draw a table on."""

_COLORS = {Status.done: "green", Status.running: "cyan", Status.failed: "red", Status.pruned: "yellow"}
_MAX_COLUMNS = 5  # more parameters share a column
_AROUND = 5  # lines of the screen that are not rows: title, header, summary, the prompt
_BEST = 5  # finished trials shown where there is no room for all


@contextmanager
def watching(sweep: Path, console: Console | None = None) -> Iterator[None]:
    """Show where the trials in a sweep's folder are, from a thread, while the block runs.

    `console` is standard error by default. What is shown last is how the sweep stood when the block ended. Files that
    are missing, damaged or half written are passed over; nothing is raised.
    """
    console = console or Console(stderr=True)
    reader = Reader(sweep)
    shown = _Lines(console, reader)
    # Lines that are printed meanwhile go above the table, unless standard output is a file.
    live = Live(console=console, auto_refresh=False, redirect_stdout=sys.stdout.isatty())
    draw = (lambda: _redraw(live, reader)) if console.is_terminal else shown.tell
    over = threading.Event()

    def watch() -> None:
        while not over.wait(INTERVAL):
            _safely(draw)

    thread = threading.Thread(target=watch, name="sweep-table", daemon=True)
    with live if console.is_terminal else nullcontext():
        _safely(draw)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            _safely(draw)
            if not console.is_terminal:
                _safely(shown.summarize)


def render_table(glance: Glance, rows: int) -> RenderableType:
    """Return the table of a sweep, at most `rows` trials high, and a line that sums up all of them."""
    names = varied_parameters([item.trial for item in glance.trials])
    short = shorten_names(names)
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("trial", justify="right", no_wrap=True)
    for title in short.values() if len(names) <= _MAX_COLUMNS else ["parameters"]:
        table.add_column(_cut(title))  # not no_wrap: where the screen is narrow, Rich takes room from these first
    table.add_column("status", no_wrap=True, min_width=8)
    table.add_column("epoch", justify="right", no_wrap=True)
    table.add_column(Text(glance.sweep.metrics[0]), justify="right", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("left", justify="right", no_wrap=True)
    for item in select_rows(glance, rows):
        table.add_row(*_cells(item, names))
    return Group(table, Text(), Text(summary_line(glance), style="bold"))


def select_rows(glance: Glance, rows: int) -> list[Progress]:
    """Return the trials to show: all of them, else those that run, the best of the finished, and what failed last."""
    if len(glance.trials) <= rows:
        return list(glance.trials)
    by_status = {status: [item for item in glance.trials if item.trial.status == status] for status in Status}
    sign = -1 if glance.sweep.directions[0] == "maximize" else 1
    done = [item for item in by_status[Status.done] if item.trial.values]
    best = sorted(done, key=lambda item: sign * (item.trial.values or (0.0,))[0])[:_BEST]
    running = by_status[Status.running][: max(1, rows - min(len(best), rows // 2))]
    failed = by_status[Status.failed][::-1]
    return [*running, *best, *failed][:rows]


def summary_line(glance: Glance) -> str:
    """Return the counts of a sweep and when it may be done: '4 of 12 done, 2 running, ..., about 5 min 10 s left'."""
    total = max(glance.sweep.total, len(glance.trials))
    parts = [f"{glance.counts[Status.done]} of {total} done"]
    parts += [
        f"{glance.counts[status]} {status}"
        for status in (Status.running, Status.waiting, Status.failed, Status.pruned)
        if glance.counts[status]
    ]
    unfinished = glance.counts[Status.running] or glance.counts[Status.waiting]
    if glance.left is not None and unfinished:
        parts.append(f"about {write_duration(glance.left)} left")
    return ", ".join(parts)


def _cells(item: Progress, names: Sequence[str]) -> list[Text]:
    trial = item.trial
    parameters = [write_value(trial.parameters[name]) if name in trial.parameters else MISSING for name in names]
    if len(names) > _MAX_COLUMNS:
        parameters = [write_parameters({shorten_names(names)[name]: trial.parameters.get(name) for name in names})]
    status = (item.stage or "starting") if trial.status == Status.running else str(trial.status)
    return [
        Text(str(trial.number)),
        *map(_cut, parameters),
        Text(status, style=_COLORS.get(trial.status, "dim")),
        Text(_epochs(item)),
        _metric(item),
        Text(write_duration(item.elapsed)),
        Text(write_duration(item.left), style="dim"),
    ]


def _cut(text: str) -> Text:
    """Return a cell that stays one line high, however narrow it is made."""
    return Text(text, no_wrap=True, overflow="ellipsis")


def _metric(item: Progress) -> Text:
    """Return the objective, or, in grey, the best validation metric until there is one."""
    if item.trial.values:
        return Text(write_number(item.trial.values[0]))
    return Text(f"val {write_number(item.best)}" if item.best is not None else MISSING, style="dim")


def _epochs(item: Progress) -> str:
    if item.epoch is None:
        return MISSING
    return f"{item.epoch}/{item.epochs}" if item.epochs else str(item.epoch)


def _redraw(live: Live, reader: Reader) -> None:
    glance = reader.glance()
    if glance is not None:
        live.update(render_table(glance, max(3, live.console.size.height - _AROUND)), refresh=True)


def _safely(draw: Callable[[], None]) -> None:
    """Draw, and let nothing that goes wrong with it (a terminal that closed, a file of tomorrow) end a sweep."""
    with suppress(Exception):
        draw()


@dataclass
class _Lines:
    """Tells in plain lines what has changed since the last look, and every half minute what runs."""

    console: Console
    reader: Reader
    _known: dict[int, tuple[Status, float | None]] = field(default_factory=dict)
    _last: float = field(default_factory=time.monotonic)

    def tell(self) -> None:
        glance = self.reader.glance()
        if glance is None:
            return
        for item in glance.trials:
            trial = item.trial
            # With its start, because a trial that comes from the cache may be over before the next look.
            state = (trial.status, trial.started)
            earlier = trial.status != Status.running and (trial.finished or 0) < glance.sweep.started
            if self._known.get(trial.number) != state and trial.status != Status.waiting and not earlier:
                self._print(_event(item, glance.sweep.metrics))
            self._known[trial.number] = state
        if time.monotonic() - self._last >= PLAIN_INTERVAL:
            self._print(_running_line(glance))

    def summarize(self) -> None:
        if glance := self.reader.glance():
            self._print(summary_line(glance))

    def _print(self, line: str) -> None:
        self._last = time.monotonic()
        self.console.print(Text(line), soft_wrap=True)


def _event(item: Progress, metrics: Sequence[str]) -> str:
    trial = item.trial
    if trial.status == Status.running:
        return f"trial {trial.number} started: {write_parameters(trial.parameters)}"
    took = f"after {write_duration(trial.seconds)}"
    if trial.status == Status.done:
        values = zip(metrics, trial.values or (), strict=False)
        told = ", ".join(f"{metric} {write_number(value)}" for metric, value in values)
        return f"trial {trial.number} done {took}: {told}"
    if trial.status == Status.failed:
        return f"trial {trial.number} failed {took}: {trial.error}"
    return f"trial {trial.number} {trial.status} {took}"


def _running_line(glance: Glance) -> str:
    running = [item for item in glance.trials if item.trial.status == Status.running]
    told = [
        f"{item.trial.number} {item.stage or 'starting'}" + (f" {_epochs(item)}" if item.epoch else "")
        for item in running
    ]
    return summary_line(glance) + (f"; trial {', '.join(told)}" if told else "")
