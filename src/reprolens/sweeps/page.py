"""A sweep to look at in a browser: one page for the sweep and one for each trial, without any network.

The same records give the same bytes. Everything that comes from outside (names, values, lines of logs) is escaped: by
Jinja in the pages, by `charts` in the figures.
"""

import json
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from reprolens.files import write_text
from reprolens.sweeps.charts import curve_figures, parallel_coordinates, parameter_figures, pareto_figure, whisker
from reprolens.sweeps.leaderboard import Leaderboard, leaderboard
from reprolens.sweeps.record import Status, Trial, read_trials, trial_folder
from reprolens.sweeps.results import REPORTS, read_history, read_list, read_object
from reprolens.sweeps.seeds import Interval
from reprolens.sweeps.wording import MISSING, shorten_names, write_duration, write_number, write_value

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
    reports = {name: read_object(folder / "reports" / f"{name}.json") for name in REPORTS}
    entry = next((entry for entry in board.entries if entry.trial.number == trial.number), None)
    values = zip(board.sweep.metrics, trial.values or (), entry.intervals if entry else (), strict=False)
    longest = max((float(stage.get("seconds", 0)) for stage in trial.stages.values()), default=0.0)
    link = read_object(folder / "reports" / "run.json").get("url")
    return (
        _environment()
        .get_template("trial.html")
        .render(
            plotly=f"../{PLOTLY}",
            sweep=board.sweep,
            trial=trial,
            entry=entry,
            ranked=len(board.entries),
            values=list(values),
            promote=f"reprolens promote {shlex.quote(f'{sweep.name}/{trial.number}')}",
            apply=f"dvc exp apply {shlex.quote(trial.experiment)}" if trial.experiment else None,
            longest=longest or 1.0,
            figures=curve_figures(read_history(folder)),
            precision_recall="reports/plots/pr.png" if (folder / "reports/plots/pr.png").is_file() else None,
            samples=_samples(folder),
            splits=_splits(reports["dataset"]),
            dataset=reports["dataset"],
            metrics={name: _scalars(report) for name, report in reports.items() if _scalars(report)},
            files=[name for name in FILES if (folder / name).is_file()],
            run=link if isinstance(link, str) and link.startswith(("https://", "http://")) else None,
        )
    )


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


def _samples(folder: Path) -> list[dict[str, Any]]:
    """Return the sample pictures with their boxes; what is not as the evaluate stage writes it is left out."""
    samples = []
    for entry in read_list(folder / "reports" / "samples" / "samples.json"):
        try:
            name = str(entry["image"])
            sample = {
                "image": f"reports/samples/{name}",
                "id": str(entry["id"]),
                "width": float(entry["width"]),
                "height": float(entry["height"]),
                "truth": [_box(item) for item in entry["truth"]],
                "predictions": [_box(item) for item in entry["predictions"]],
            }
        except (KeyError, TypeError, ValueError):
            continue
        if "/" not in name and (folder / "reports" / "samples" / name).is_file():
            samples.append(sample)
    return samples


def _box(item: Mapping[str, Any]) -> dict[str, Any]:
    x0, y0, x1, y1 = (float(value) for value in item["box"])
    score = item.get("score")
    label = str(item["label"]) if score is None else f"{item['label']} {float(score):.2f}"
    return {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0, "label": label}


def _splits(dataset: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    """Return name, pictures and boxes of each part of the data set."""
    names = [key.removeprefix("images/") for key in dataset if key.startswith("images/")]
    return [(name, dataset[f"images/{name}"], dataset.get(f"boxes/{name}", 0)) for name in names]


def _scalars(report: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in report.items() if isinstance(value, bool | int | float | str)}


def _write_plotly(path: Path) -> None:
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]  # here: it takes a while

    text = get_plotlyjs()
    if not path.is_file() or path.stat().st_size != len(text.encode()):
        write_text(path, text)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("reprolens.sweeps"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"value": write_value, "exact": _exact, "number": _number}
    environment.filters |= {"duration": write_duration, "time": _time}
    environment.globals |= {"missing": MISSING, "Status": Status}
    return environment


def _exact(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _number(value: Any) -> str:
    return write_number(value) if isinstance(value, float) or value is None else write_value(value)


def _time(seconds: float | None) -> str:
    """Return a moment as everyone reads it, in UTC, so that the page is the same wherever it is written."""
    return MISSING if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%d %B %Y, %H:%M} UTC"
