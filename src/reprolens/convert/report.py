"""What a data set holds and what is wrong with it: reports/dataset.json, and the same as tables."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from reprolens.convert.archive import displayed
from reprolens.convert.source import Problem, Task
from reprolens.voc import Record

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class Origin:
    """Where a data set came from: its format, why it was taken for that, its folder, and the licence that it states."""

    format: str
    reason: str
    path: str
    task: Task
    licence: str | None = None


def report(
    origin: Origin,
    classes: Sequence[str],
    splits: Mapping[str, Sequence[Record]],
    shown: Mapping[str, frozenset[str]],
    problems: Sequence[Problem],
) -> dict[str, Any]:
    """Return the report. `shown` are the classes in the mask of each picture that has one, by its id.

    Classes are counted by boxes in a data set for detection, else by the pictures that show them.
    """
    counts = {split: _counts(origin.task, records, shown) for split, records in splits.items()}
    records = [record for part in splits.values() for record in part]
    boxes = {split: sum(len(record.objects) for record in part) for split, part in splits.items()}
    empty = sum(not (record.objects or record.labels or shown.get(record.id)) for record in records)
    values: dict[str, Any] = {"images": len(records), "boxes": sum(boxes.values())}
    values |= {f"images/{split}": len(part) for split, part in splits.items()}
    values |= {f"boxes/{split}": count for split, count in boxes.items()}
    values |= {"images_without_objects": empty, "masks": len(shown)}
    values["labels"] = sum(len(record.labels) for record in records)
    values["near_duplicates"] = sum(problem.kind == "near_duplicate" for problem in problems)
    values["problems"] = len(problems)
    # Lists, because DVC's table of metrics shows every single value but skips lists.
    values["classes"] = [{"name": name, **{split: counts[split][name] for split in splits}} for name in classes]
    values["sizes"] = _sizes(records)
    kinds = Counter((problem.kind, str(problem.action)) for problem in problems)
    values["problem_kinds"] = [
        {"kind": kind, "action": action, "count": count} for (kind, action), count in sorted(kinds.items())
    ]
    values["problem_list"] = [asdict(problem) | {"place": displayed(problem.place)} for problem in problems]
    values["source"] = [asdict(origin)]
    return values


def _counts(task: Task, records: Iterable[Record], shown: Mapping[str, frozenset[str]]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for record in records:
        if task == "detection":
            counts.update(item.name for item in record.objects)
        else:
            counts.update({*record.labels, *shown.get(record.id, ()), *(item.name for item in record.objects)})
    return counts


def _sizes(records: Iterable[Record]) -> list[dict[str, int]]:
    """Return the sizes of pictures, the commonest first, at most twenty."""
    sizes = Counter((record.width, record.height) for record in records if record.width)
    commonest = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:20]
    return [{"width": width, "height": height, "images": count} for (width, height), count in commonest]


def tables(values: Mapping[str, Any], most: int = 20) -> "Iterable[RenderableType]":
    """Yield a report as tables for a terminal: what it is, its classes, its problems (the first `most` in words)."""
    from rich.markup import escape
    from rich.table import Table

    splits = [key.removeprefix("images/") for key in values if key.startswith("images/")]
    source = values["source"][0]
    yield f"[bold]{escape(source['path'])}[/bold]: {source['format']}, {source['task']} ({escape(source['reason'])})"
    size = values["sizes"][0] if values["sizes"] else None
    sizes = f", most of {size['width']} x {size['height']} pixels" if size else ""
    masks = f", {values['masks']} masks" if values["masks"] else ""
    labels = f", {values['labels']} image labels" if values["labels"] else ""
    yield (
        f"{values['images']} images{sizes}; {values['boxes']} boxes{masks}{labels}, {len(values['classes'])} classes; "
        f"{values['images_without_objects']} images without objects, {values['problems']} problems"
    )
    table = Table("class", box=None, header_style="bold")
    for split in splits:
        table.add_column(split, justify="right")
    for entry in values["classes"][:most]:
        table.add_row(escape(entry["name"]), *(str(entry[split]) for split in splits))
    if len(values["classes"]) > most:
        table.add_row(f"... {len(values['classes']) - most} more")
    table.add_row("images", *(str(values[f"images/{split}"]) for split in splits), style="dim")
    yield table
    if values["problem_kinds"]:
        table = Table("problem", "what convert does", box=None, header_style="bold")
        table.add_column("count", justify="right")
        for entry in values["problem_kinds"]:
            table.add_row(entry["kind"], entry["action"], str(entry["count"]))
        yield table
        for problem in values["problem_list"][:most]:
            place = problem["place"] or problem["file"]
            yield f"[dim]{problem['kind']}[/dim] {escape(place)}: {escape(problem['reason'])}"
        if len(values["problem_list"]) > most:
            yield f"... {len(values['problem_list']) - most} more (--json has all)"
