"""A comparison on the terminal: the verdict first, then what is behind it; and all of it as JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from string import ascii_uppercase
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from reprolens.comparison.classes import class_differences
from reprolens.comparison.compare import SIZES, Changed, Comparison, Judged, Pair
from reprolens.comparison.paired import Difference
from reprolens.comparison.settings import MISSING, Setting, write_setting
from reprolens.comparison.writing import class_title, signed
from reprolens.evaluation.measures.bootstrap import HEADLINE
from reprolens.tracking.wording import write_number

_MOST_CLASSES = 10
_MOST_PICTURES = 5
_LONGEST_HEAD = 9
"""Letters of a column's head with which every table fits into 80 columns."""
_COLORS = {"better": "bold green", "worse": "bold red", "same": "bold", "open": "bold yellow"}


def tables(comparison: Comparison) -> Iterator[RenderableType]:
    """Yield what is printed: a verdict for each pair, then settings, numbers, sizes, classes and pictures.

    Where names are long the columns are headed by letters, which are explained above the tables.
    """
    heads = _heads([own.name for own in comparison.subjects])
    first = heads[0]
    for pair in comparison.pairs:
        yield Text(pair.verdict, style=_COLORS[pair.outcome])
    hashed = f", test set {comparison.sha256[:12]}" if comparison.sha256 else ""
    pairs = zip(heads, comparison.subjects, strict=True)
    said = [f"{head}: {_legend(head, own)}" for head, own in pairs if head != own.said]
    yield Text(f"{comparison.split or 'split'}, {comparison.images} pictures{hashed}; {', '.join(said)}", style="dim")
    for note in comparison.notes:
        yield Text(f"note: {note}", style="dim")
    for title, settings in (("settings that differ", comparison.settings), ("results", comparison.facts)):
        if settings:
            yield _settings(title, settings, heads)
    for pair, second in zip(comparison.pairs, heads[1:], strict=True):
        names = (first, second)
        yield _numbers(pair, names)
        yield _sizes(pair, names)
        if (classes := class_differences(pair, comparison)) and len(classes) > 1:
            yield _classes(classes, names, class_title(comparison.metric))
        if pair.changed:
            yield _pictures(pair, names)


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Return the whole comparison as plain values; a setting that a subject does not have is absent there."""
    return {
        "metric": comparison.metric,
        "split": comparison.split,
        "data/sha256": comparison.sha256,
        "images": comparison.images,
        "resamples": comparison.resamples,
        "seed": comparison.seed,
        "subjects": [asdict(subject) for subject in comparison.subjects],
        "settings": [_named(setting, comparison) for setting in comparison.settings],
        "facts": [_named(fact, comparison) for fact in comparison.facts],
        "against": [_pair_json(pair) for pair in comparison.pairs],
        "notes": list(comparison.notes),
    }


def _heads(names: Sequence[str]) -> list[str]:
    if max(map(len, names)) <= _LONGEST_HEAD:
        return list(names)
    return [ascii_uppercase[place] if place < len(ascii_uppercase) else f"#{place + 1}" for place in range(len(names))]


def _legend(head: str, own: Judged) -> str:
    """Return what a column's head stands for, with the name that the verdict calls it by."""
    return own.said if own.name in (head, *own.said.replace(",", "").split()) else f"{own.name}, {own.said}"


def _named(setting: Setting, comparison: Comparison) -> dict[str, Any]:
    pairs = zip(comparison.subjects, setting.values, strict=True)
    return {"name": setting.name, "values": {subject.name: value for subject, value in pairs if value is not MISSING}}


def _pair_json(pair: Pair) -> dict[str, Any]:
    return {
        "name": pair.name,
        "verdict": pair.verdict,
        "outcome": pair.outcome,
        "differences": {key: asdict(own) for key, own in pair.differences.items()},
        "sizes": {key: {"first": one, "second": two} for key, (one, two) in pair.sizes.items()},
        "changes": pair.changes,
        "changed": [_changed_json(item) for item in pair.changed],
    }


def _changed_json(item: Changed) -> dict[str, Any]:
    return {"id": item.id, "gain": item.gain, "before": item.before, "after": item.after}


def _settings(title: str, settings: tuple[Setting, ...], heads: Sequence[str]) -> Table:
    table = _table(title, *heads, right=False)
    for setting in settings:
        table.add_row(Text(setting.name), *(Text(write_setting(value)) for value in setting.values))
    return table


def _numbers(pair: Pair, names: tuple[str, str]) -> Table:
    table = _table(f"{names[1]} against {names[0]}", *names, "difference", "95 % interval")
    for key in HEADLINE:
        if key in pair.differences:
            table.add_row(key, *_difference(pair.differences[key]))
    return table


def _classes(classes: list[tuple[str, Difference]], names: tuple[str, str], title: str) -> Table:
    """Return the classes that changed most, the largest gain first."""
    most = sorted(range(len(classes)), key=lambda place: -abs(classes[place][1].difference or 0))[:_MOST_CLASSES]
    left = len(classes) - len(most)
    some = f", {len(most)} of {len(classes)}" if left else ""
    table = _table(f"classes{some}: {title}", *names, "difference", "95 % interval")
    for place in sorted(most):
        name, own = classes[place]
        table.add_row(Text(name), *_difference(own))
    return table


def _sizes(pair: Pair, names: tuple[str, str]) -> Table:
    heads = [head for measure in ("AP", "AR") for head in (*(f"{measure} {name}" for name in names), measure)]
    table = _table("sizes", *heads)
    for size in SIZES:
        cells: list[str] = []
        for measure in ("ap", "ar"):
            before, after = pair.sizes.get(f"coco/{measure}_{size}", (None, None))
            change = "" if before is None or after is None else signed(after - before)
            cells += [write_number(before), write_number(after), change]
        table.add_row(size, *cells)
    return table


def _pictures(pair: Pair, names: tuple[str, str]) -> Table:
    table = _table("pictures that changed most", *names, "gain", right=False)
    for item in pair.changed[:_MOST_PICTURES]:
        table.add_row(Text(item.id), item.before, item.after, signed(item.gain, 2))
    return table


def _difference(own: Difference) -> tuple[str, str, Text, str]:
    if own.difference is None:
        return write_number(own.first), write_number(own.second), Text(""), ""
    style = ("green" if own.difference > 0 else "red") if own.shown else ""
    ends = "" if own.low is None or own.high is None else f"{signed(own.low)} to {signed(own.high)}"
    return write_number(own.first), write_number(own.second), Text(signed(own.difference), style=style), ends


def _table(title: str, *columns: str, right: bool = True) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(Text(title), overflow="fold")
    for column in columns:
        table.add_column(Text(column), justify="right" if right else "left", overflow="fold")
    return table
