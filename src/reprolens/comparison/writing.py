"""How metrics are named, differences written and names shortened: the same in verdict, terminal and page."""

from reprolens.evaluation.measures.intervals import class_key
from reprolens.evaluation.reports.table import HEADLINE

_TITLES = {key: title for key, (title, _) in HEADLINE.items()} | {"f1": "F1"}
_CLASS_TITLES = {"voc12/ap50/": "AP50 (VOC12)", "coco/ap/": "AP (COCO)"}


def metric_title(key: str) -> str:
    """Return a metric's name with its protocol: `AP (COCO)`, `mAP50 (VOC12)`; what has no other name is its own."""
    return _TITLES.get(key, key)


def class_title(metric: str) -> str:
    """Return which AP of the classes is shown where the comparison is on `metric`."""
    return _CLASS_TITLES["coco/ap/" if metric.startswith("coco/") else "voc12/ap50/"]


def class_metric(metric: str, name: str) -> str:
    """Return the key of a class's AP where the comparison is on `metric`: COCO's with COCO's, else VOC 2012's."""
    return class_key("coco/ap", name) if metric.startswith("coco/") else f"voc12/ap50/{name}"


def signed(value: float, digits: int = 3, *, zero: str = "") -> str:
    """Return a number with its sign, a true minus; `zero` is the sign of what rounds to 0."""
    text = f"{value:+.{digits}f}"
    return zero + text[1:] if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def shorten(name: str, most: int) -> str:
    """Return a name of at most `most` letters, shortened in its middle: paths differ at their ends."""
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-(most - most // 2) :]}"
