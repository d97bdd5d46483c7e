"""Progress of long work: a live bar on a terminal, a plain line now and then elsewhere or where rich is missing."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")

PLAIN_INTERVAL = 15.0
"""Seconds between two lines where there is no terminal to draw a bar on."""


class Bar:
    """One line of progress: call `advance` for every unit done, `note` for what else is worth seeing."""

    def __init__(self, label: str, total: int | None, progress: "Progress | None") -> None:
        self._label, self._total, self._progress = label, total, progress
        self._done, self._note = 0, ""
        self._last = time.monotonic()
        self._task = progress.add_task(label, total=total, note="") if progress else None

    def advance(self, count: int = 1) -> None:
        """Count `count` more units as done."""
        self._done += count
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, advance=count, note=self._note)
        elif time.monotonic() - self._last >= PLAIN_INTERVAL:
            self._last = time.monotonic()
            total = f"/{self._total}" if self._total else ""
            print(f"{self._label} {self._done}{total} {self._note}".rstrip(), file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """Show `text` behind the count from the next `advance` on."""
        self._note = text


@contextmanager
def bar(label: str, total: int | None = None) -> Iterator[Bar]:
    """Show progress on standard error while the block runs; the bar disappears afterwards."""
    progress = _live()
    if progress is None:
        yield Bar(label, total, None)
        return
    with progress:
        yield Bar(label, total, progress)


def track(items: Iterable[T], label: str) -> Iterator[T]:
    """Yield `items`, showing how many are done."""
    with bar(label, len(items) if isinstance(items, Sized) else None) as line:
        for item in items:
            yield item
            line.advance()


def _live() -> "Progress | None":
    """Return what draws bars; None off a terminal, and where rich is not installed, as beside an exported model."""
    if not sys.stderr.isatty():
        return None
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ModuleNotFoundError:
        return None
    console = Console(stderr=True)
    if not console.is_terminal:
        return None
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    # What is printed meanwhile stands above the bar, but what goes into a pipe must stay there.
    return Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty())
