"""A sweep to look at in a browser: one page for the sweep and one for each trial, without any network.

The same records give the same bytes. Everything that comes from outside (names, values, lines of logs) is escaped: by
Jinja in the pages, by `charts` in the figures. What a trial's page shares with the run's own page, reports/index.html,
is shown by the same templates, those of `tracking`.
"""

import shlex
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment

from reprolens.files import write_text
from reprolens.sweeps.charts import parallel_coordinates, parameter_figures, pareto_figure, whisker
from reprolens.sweeps.leaderboard import Entry, Leaderboard, leaderboard
from reprolens.sweeps.record import Status, Trial, read_trials, trial_folder
from reprolens.sweeps.seeds import Interval
from reprolens.sweeps.wording import MISSING, shorten_names, write_number
from reprolens.tracking.page import PAGE, environment
from reprolens.tracking.page.sections import Tile, read_sections
from reprolens.tracking.partial import read_object

PLOTLY = "plotly.min.js"

FILES = ("dvc.log", "params.yaml", "config.yaml", "dvc.lock", "export/README.md", "reports/history.csv")
"""What a trial's page links to, of what its workspace has."""

_FEW_TRIALS = 20  # below, an importance is a hint only


def write_pages(sweep: Path) -> Path:
    """Write index.html into a sweep's folder and each trial's workspace, and return the path of the sweep's.

    Trials that are not done have a page too. Raises SweepError if no sweep is there or a record is damaged.
    """
    board = leaderboard(sweep)
    _write_plotly(sweep / PLOTLY)
    for trial in read_trials(sweep):
        write_text(trial_folder(sweep, trial.number) / "index.html", _trial_page(sweep, board, trial))
    page = sweep / "index.html"
    write_text(page, _sweep_page(board))
    return page


def _sweep_page(board: Leaderboard) -> str:
    return (
        _environment()
        .get_template("index.html")
        .render(
            plotly=PLOTLY,
            board=board,
            sweep=board.sweep,
            short=shorten_names(board.parameters),
            counts={str(status): count for status, count in board.counts.items() if count},
            entry_bars=_bars([(entry.trial.values or (), entry.intervals) for entry in board.entries]),
            test_bars=_test_bars(board),
            group_bars=_bars([(group.means, group.intervals) for group in board.groups]),
            importance=[pair for pair in zip(board.sweep.metrics, board.importance, strict=True) if pair[1]],
            few=len(board.entries) < _FEW_TRIALS,
            parallel=parallel_coordinates(board),
            parameter_figures=parameter_figures(board),
            pareto=pareto_figure(board),
        )
    )


def _trial_page(sweep: Path, board: Leaderboard, trial: Trial) -> str:
    folder = trial_folder(sweep, trial.number)
    entry = next((entry for entry in board.entries if entry.trial.number == trial.number), None)
    shown = read_sections(folder, lambda path, _: _beside(path, folder))
    longest = max((float(stage.get("seconds", 0)) for stage in trial.stages.values()), default=0.0)
    link = read_object(folder / "reports" / "run.json").get("url")
    return (
        _environment()
        .get_template("trial.html")
        .render(
            sweep=board.sweep,
            trial=trial,
            entry=entry,
            ranked=len(board.entries),
            tiles=[
                *_tiles(board, trial, entry),
                *(tile for tile in shown.tiles if tile.name not in board.sweep.metrics),
            ],
            promote=f"reprolens promote {shlex.quote(f'{sweep.name}/{trial.number}')}",
            apply=f"dvc exp apply {shlex.quote(trial.experiment)}" if trial.experiment else None,
            longest=longest or 1.0,
            shown=shown,
            page=PAGE.as_posix() if (folder / PAGE).is_file() else None,
            files=[name for name in FILES if (folder / name).is_file()],
            run=link if isinstance(link, str) and link.startswith(("https://", "http://")) else None,
        )
    )


def _tiles(board: Leaderboard, trial: Trial, entry: Entry | None) -> list[Tile]:
    """Return the objectives of a finished trial."""
    tiles = []
    intervals = entry.intervals if entry else (None,) * len(trial.values or ())
    for name, way, value, found in zip(
        board.sweep.metrics, board.sweep.directions, trial.values or (), intervals, strict=False
    ):
        ends = (write_number(found.low), write_number(found.high)) if found else ("", "")
        tiles.append(Tile(f"{name} {'↑' if way == 'maximize' else '↓'}", write_number(value), *ends))
    return tiles


def _beside(path: Path, folder: Path) -> str | None:
    """Return a picture's address as seen from the trial's page; None where there is no such file."""
    return quote(path.relative_to(folder).as_posix()) if path.is_file() else None


def _bars(rows: list[tuple[tuple[float, ...], tuple[Interval | None, ...]]]) -> list[list[dict[str, float] | None]]:
    """Return, of each row and objective, the small bar of its interval, all on one scale; None without an interval."""
    columns: list[list[dict[str, float] | None]] = []
    for index in range(len(rows[0][0]) if rows else 0):
        found = [interval for _, intervals in rows if (interval := intervals[index])]
        low = min((interval.low for interval in found), default=0.0)
        high = max((interval.high for interval in found), default=0.0)
        pairs = [(values[index], intervals[index]) for values, intervals in rows]
        columns.append([whisker(value, interval, low, high) if interval else None for value, interval in pairs])
    return [list(row) for row in zip(*columns, strict=True)]


def _test_bars(board: Leaderboard) -> list[dict[str, float] | None]:
    """Return, of each finished trial, the small bar of its interval on the test split; None without one."""
    tests = [entry.test for entry in board.entries]
    rows = _bars([((test.value,), (test.interval,)) if test else ((0.0,), (None,)) for test in tests])
    return [bars[0] for bars in rows]


def _write_plotly(path: Path) -> None:
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]  # here: it takes a while

    text = get_plotlyjs()
    if not path.is_file() or path.stat().st_size != len(text.encode()):
        write_text(path, text)


@cache
def _environment() -> Environment:
    made = environment("reprolens.sweeps")
    made.filters["time"] = _time
    made.globals["Status"] = Status
    return made


def _time(seconds: float | None) -> str:
    """Return a moment as everyone reads it, in UTC, so that the page is the same wherever it is written."""
    return MISSING if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%d %B %Y, %H:%M} UTC"
