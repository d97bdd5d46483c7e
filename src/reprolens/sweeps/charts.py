"""The figures of a sweep's pages, as Plotly's JSON. A colour such as `--accent` is the page's own, light or dark."""

import html
import math
import re
from collections.abc import Sequence
from typing import Any

from reprolens.sweeps.leaderboard import Entry, Leaderboard, write_interval
from reprolens.sweeps.seeds import Interval
from reprolens.sweeps.wording import same_value, shorten_names, write_number, write_value

Figure = dict[str, Any]

_FEW_VALUES = 6  # so many different numbers stand beside each other, as those of a grid; more lie on an axis
_LOG_RANGE = 20.0  # an axis of positive numbers that span more is logarithmic
_SPREAD = 0.6  # share of a choice's width over which its trials are laid out, so that none hides another
_LABEL = 13  # letters of a line under an axis


def parallel_coordinates(board: Leaderboard) -> Figure | None:
    """Return a line for each finished trial through its parameters and objectives; None for fewer than two trials.

    `axes` have a name and ticks, `(place, text)`; `lines` have a place on each axis (None where the trial has no such
    parameter), from 0 at the bottom to 1, and `good`, from 0 for the worst trial to 1 for the best. They are drawn by
    templates/parallel.js, because Plotly's own have lines one pixel thin that lead to no trial's page.
    """
    names = _varied(board)
    if len(board.entries) < 2 or not names:
        return None
    entries = board.entries[::-1]  # the best are drawn last, over the others
    short = shorten_names(names)
    columns = [[entry.trial.parameters.get(name) for entry in entries] for name in names]
    columns += [[_values(entry)[index] for entry in entries] for index in range(len(board.sweep.metrics))]
    axes = [_parallel_axis(column, index >= len(names)) for index, column in enumerate(columns)]
    arrows = ["↑" if direction == "maximize" else "↓" for direction in board.sweep.directions]
    titles = [*(short[name] for name in names), *map(" ".join, zip(board.sweep.metrics, arrows, strict=True))]
    first = _scaled([_values(entry)[0] for entry in entries])
    good = first if board.sweep.directions[0] == "maximize" else [1 - value for value in first]
    lines = [
        {
            "places": list(places),
            "good": round(value, 4),
            "title": "\n".join(_told(entry, board)),
            "page": f"{entry.trial.number}/index.html",
        }
        for *places, value, entry in zip(*(axis[0] for axis in axes), good, entries, strict=True)
    ]
    ticks = [{"name": title, "ticks": axis[1]} for title, axis in zip(titles, axes, strict=True)]
    return {"axes": ticks, "lines": lines}


def parameter_figures(board: Leaderboard) -> list[tuple[str, Figure]]:
    """Return, of each parameter, the first objective of all finished trials over it, with their intervals."""
    return [(name, _parameter_figure(board, name)) for name in _varied(board)] if len(board.entries) > 1 else []


def pareto_figure(board: Leaderboard) -> Figure | None:
    """Return the first two objectives of all finished trials, the Pareto front as a line; None for one objective."""
    if len(board.sweep.metrics) < 2 or not board.entries:
        return None
    rest = [entry for entry in board.entries if not entry.on_front]
    front = sorted(board.front, key=lambda entry: _values(entry)[:2])
    size = {"size": 9}
    data = [
        _points(rest, board) | {"name": "dominated", "marker": size | {"color": "--faint"}},
        _points(front, board) | {"name": "Pareto front", "marker": size | {"color": "--accent"}},
    ]
    if len(board.sweep.metrics) == 2:  # of three objectives, the front is no line
        data[1] |= {"mode": "lines+markers", "line": {"color": "--accent", "width": 1.5, "dash": "dot"}}
    above = {"showlegend": True, "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}}
    x, y = ({"title": {"text": _escape(metric)}} for metric in board.sweep.metrics[:2])
    return {"data": data, "layout": {"height": 380, "xaxis": x, "yaxis": y} | above}


def _parameter_figure(board: Leaderboard, name: str) -> Figure:
    entries = [entry for entry in board.entries if name in entry.trial.parameters]
    values = [entry.trial.parameters[name] for entry in entries]
    if _is_range(values):
        axis: Figure = {"type": "log"} if _is_log(values) else {}
        places = [float(value) for value in values]
    else:
        places, labels = _places(values)
        ends = [-0.5, len(labels) - 0.5]
        axis = {"tickvals": list(range(len(labels))), "ticktext": labels, "range": ends, "showgrid": False}
    data = _points(entries, board) | {"x": places, "y": [_values(entry)[0] for entry in entries]}
    data["marker"] = {"size": 8, "color": ["--accent" if entry.rank == 1 else "--middle" for entry in entries]}
    intervals = [entry.intervals[0] for entry in entries]
    if any(intervals):
        data["error_y"] = _error_bars(data["y"], intervals)
    return {"data": [data], "layout": {"xaxis": axis, "height": 260}}


def _points(entries: Sequence[Entry], board: Leaderboard) -> Figure:
    """Return trials as points of their first two objectives; each says what it is and links to its page."""
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [_values(entry)[0] for entry in entries],
        "y": [_values(entry)[-1 if len(board.sweep.metrics) < 2 else 1] for entry in entries],
        "text": ["<br>".join(map(_escape, _told(entry, board))) for entry in entries],
        "hoverinfo": "text",
        "customdata": [f"{entry.trial.number}/index.html" for entry in entries],
    }


def _told(entry: Entry, board: Leaderboard) -> list[str]:
    """Return the lines that say what a trial is."""
    values = zip(board.sweep.metrics, _values(entry), entry.intervals, strict=True)
    return [
        f"trial {entry.trial.number}",
        *(f"{name}={write_value(value)}" for name, value in entry.trial.parameters.items()),
        *(f"{metric} {write_interval(value, interval)}" for metric, value, interval in values),
    ]


def _error_bars(values: Sequence[float], intervals: Sequence[Interval | None]) -> Figure:
    ends = [interval or Interval(value, value) for value, interval in zip(values, intervals, strict=True)]
    return {
        "type": "data",
        "symmetric": False,
        "array": [max(0.0, end.high - value) for value, end in zip(values, ends, strict=True)],
        "arrayminus": [max(0.0, value - end.low) for value, end in zip(values, ends, strict=True)],
        "color": "--faint",
        "thickness": 1.2,
        "width": 0,
    }


def _parallel_axis(values: Sequence[Any], objective: bool) -> tuple[list[float | None], list[tuple[float, str]]]:
    """Return where each value lies on its axis, and the ticks: choices are equally spaced, of a range the ends."""
    if objective or _is_range(values):
        scaled = _scaled([math.log10(value) for value in values] if not objective and _is_log(values) else values)
        write = write_number if objective else write_value
        ends = [(0.0, write(float(min(values)))), (1.0, write(float(max(values))))]
        return [round(value, 4) for value in scaled], ends if min(values) < max(values) else [(0.5, ends[0][1])]
    present = [value for value in values if value is not None]
    order, labels = _order(present)
    places = [round((index + 0.5) / len(labels), 4) for index in range(len(labels))]
    found = [None if value is None else places[order[same_value(value)]] for value in values]
    return found, list(zip(places, labels, strict=True))


def _scaled(values: Sequence[float]) -> list[float]:
    """Return values from 0 for the least to 1 for the largest, 0.5 where all are equal."""
    low, high = min(values), max(values)
    return [(value - low) / (high - low) if high > low else 0.5 for value in values]


def _places(values: Sequence[Any]) -> tuple[list[float], list[str]]:
    """Return where on the axis each value's point stands, beside those of the same choice, and the choices' names."""
    order, labels = _order(values)
    chosen = [order[same_value(value)] for value in values]
    counts = {place: chosen.count(place) for place in chosen}
    seen = dict.fromkeys(counts, 0)
    places = []
    for place in chosen:
        seen[place] += 1
        places.append(round(place + _SPREAD * ((seen[place] - 0.5) / counts[place] - 0.5), 4))
    return places, ["<br>".join(map(_escape, _wrapped(label))) for label in labels]


def _wrapped(text: str) -> list[str]:
    """Return a name in lines of about a dozen letters, so that it finds room beside its neighbours."""
    lines = [""]
    for part in re.findall(r"[^_/ -]*[_/ -]?", text)[:-1]:
        if lines[-1] and len(lines[-1]) + len(part) > _LABEL:
            lines.append("")
        lines[-1] += part
    return [line if len(line) <= 2 * _LABEL else f"{line[: 2 * _LABEL]}…" for line in lines]


def _order(values: Sequence[Any]) -> tuple[dict[str, int], list[str]]:
    """Return each choice's place, numbers by size and names by the alphabet, and what is written there."""
    different = {same_value(value): value for value in values}
    numeric = all(_is_number(value) for value in different.values())
    keys = sorted(different, key=lambda key: different[key]) if numeric else sorted(different)
    return {key: place for place, key in enumerate(keys)}, [write_value(different[key]) for key in keys]


def _varied(board: Leaderboard) -> list[str]:
    """Return the parameters with several values among the finished trials."""
    return [
        name
        for name in board.parameters
        if len({same_value(entry.trial.parameters.get(name)) for entry in board.entries}) > 1
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_range(values: Sequence[Any]) -> bool:
    return all(map(_is_number, values)) and len(set(values)) > _FEW_VALUES


def _is_log(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) / min(values) >= _LOG_RANGE


def _values(entry: Entry) -> tuple[float, ...]:
    return entry.trial.values or ()


def _escape(text: str) -> str:
    """Return text as Plotly takes it, which reads a little HTML in all that it writes."""
    return html.escape(text if len(text) <= 120 else f"{text[:119]}…", quote=False)


def whisker(value: float, interval: Interval, low: float, high: float) -> dict[str, float]:
    """Return where an interval and its value lie between `low` and `high`, in per cent, for the table's small bars."""
    scale = 100 / (high - low) if high > low else 0.0
    left, right = ((end - low) * scale for end in (interval.low, interval.high))
    return {"left": round(left, 2), "width": round(right - left, 2), "at": round((value - low) * scale, 2)}
