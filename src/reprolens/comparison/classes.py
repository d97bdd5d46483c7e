"""Which classes gained and which lost."""

from reprolens.comparison.compare import Comparison, Pair
from reprolens.comparison.paired import Difference
from reprolens.comparison.writing import class_metric


def class_differences(pair: Pair, comparison: Comparison) -> list[tuple[str, Difference]]:
    """Return name and difference of each class that has one, the largest gain first.

    It is COCO's AP where the comparison's metric is COCO's, else VOC 2012's at IoU 0.5.
    """
    keys = {name: class_metric(comparison.metric, name) for name in comparison.classes}
    found = [(name, pair.differences[key]) for name, key in keys.items() if key in pair.differences]
    known = [(name, own) for name, own in found if own.difference is not None]
    return sorted(known, key=lambda item: -(item[1].difference or 0.0))
