"""COCO's average precision and recall, through hotcoco (pycocotools' results, faster).

Source: https://cocodataset.org/#detection-eval. COCO knows no "difficult": such objects count as ordinary ones here, so
a detector that leaves them out scores lower than in VOC's measure. Crowd boxes are COCO's `iscrowd`. At most 100
detections of a class and picture count, the best ones.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from reprolens.evaluation.detections import Detections, Truth, join_detections, join_truths

if TYPE_CHECKING:
    from hotcoco import COCOeval

_SUMMARY = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100")
"""The first nine of COCO's twelve numbers, in its order."""


def coco_evaluation(
    detections: Sequence[Detections], truths: Sequence[Truth], sizes: Sequence[tuple[int, int]], classes: int
) -> "COCOeval":
    """Match the detections of pictures, in the same order in all three lists, and return hotcoco's evaluation of them.

    `sizes` holds the pictures' width and height in pixels.
    """
    from hotcoco import COCO, COCOeval

    images = [{"id": number, "width": w, "height": h} for number, (w, h) in enumerate(sizes, start=1)]
    categories = [{"id": number, "name": str(number)} for number in range(1, classes + 1)]
    image, truth = join_truths(truths)
    expected = COCO.from_arrays(images, categories, image + 1, truth.labels + 1, xywh(truth.boxes), iscrowd=truth.crowd)
    image, found = join_detections(detections)
    columns = (image + 1, xywh(found.boxes), found.scores, found.labels + 1)
    evaluation = COCOeval(expected, expected.loadRes(np.column_stack(columns)), "bbox")
    evaluation.evaluate()
    return evaluation


def coco_metrics(evaluation: "COCOeval", classes: Sequence[str]) -> dict[str, float | None]:
    """Return `coco/ap` and so on, then each class's `class_key`, from what `coco_evaluation` returns.

    A number that is undefined (no object of that class or size; COCO says -1) is None.
    """
    evaluation.accumulate()
    evaluation.summary_lines()  # as summarize(), which prints
    metrics = {f"coco/{name}": _defined(value) for name, value in zip(_SUMMARY, evaluation.stats, strict=False)}
    # (IoU thresholds, recalls, classes, areas, most detections): all areas, 100 detections
    precision = cast(dict[str, Any], evaluation.eval)["precision"][:, :, :, 0, -1]
    for index, name in enumerate(classes):
        values = precision[:, :, index]
        metrics[class_key(name)] = float(values.mean()) if (values > -1).all() else None
    return metrics


def class_key(name: str) -> str:
    """Return `coco/ap/<class>`; a class called low or high has `coco/ap/class/low`: the other is the interval's end."""
    return f"coco/ap/class/{name}" if name in ("low", "high") else f"coco/ap/{name}"


def xywh(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return boxes `(N, 4)` of corners as COCO's left, top, width and height; an inverted side has length 0."""
    return np.concatenate([boxes[:, :2], np.maximum(boxes[:, 2:] - boxes[:, :2], 0)], axis=1)


def _defined(value: float) -> float | None:
    return None if value < 0 else float(value)
