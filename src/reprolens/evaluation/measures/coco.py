"""COCO's average precision and recall, of boxes and of masks, through hotcoco (pycocotools' results, faster).

Source: https://cocodataset.org/#detection-eval. COCO knows no "difficult": such objects count as ordinary ones here, so
a detector that leaves them out scores lower than in VOC's measure. Crowd boxes are COCO's `iscrowd`. At most 100
detections of a class and picture count, the best ones. Small, medium and large go by an object's area, that of its
outline where it has one, and by a detection's: of boxes the box's, of masks the mask's. (pycocotools goes by the box's
for masks too if the results hold boxes; leave them out of the results, as Detectron2 does, for the same numbers.)
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from reprolens.evaluation.measures.detections import Detections, Joined, Masks, Truth, join, xywh
from reprolens.evaluation.measures.intervals import class_key
from reprolens.evaluation.measures.overlaps import Array, Overlap, Whole

if TYPE_CHECKING:
    from hotcoco import COCOeval

_SUMMARY = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
)
"""COCO's twelve numbers in its order."""

SIZES = ("small", "medium", "large")
_LIMITS = (32.0**2, 96.0**2)

Sizes = Sequence[tuple[int, int]]
"""The pictures' width and height in pixels."""


def coco_evaluation(
    detections: Sequence[Detections], truths: Sequence[Truth], sizes: Sizes, classes: int
) -> "COCOeval":
    """Match the boxes of pictures, in the same order in all three lists, and return hotcoco's evaluation of them."""
    return evaluate_coco(join(detections, truths), sizes, classes)


def evaluate_coco(joined: Joined, sizes: Sizes, classes: int, kind: Literal["bbox", "segm"] = "bbox") -> "COCOeval":
    """Match the boxes or the masks of joined pictures, and return hotcoco's evaluation of them.

    Raises ValueError if masks are asked for and not there: see `has_masks`.
    """
    from hotcoco import COCO, COCOeval, mask

    images = [{"id": number, "width": w, "height": h} for number, (w, h) in enumerate(sizes, start=1)]
    categories = [{"id": number, "name": str(number)} for number in range(1, classes + 1)]
    truth, found = joined.truth, joined.found
    outlines = codes = None
    if kind == "segm":
        outlines, codes = _codes(truth.masks, joined.truth_image, sizes), _codes(found.masks, joined.image, sizes)
    expected = COCO.from_arrays(
        images,
        categories,
        joined.truth_image + 1,
        truth.labels + 1,
        xywh(truth.boxes),
        area=truth.areas,
        iscrowd=truth.crowd,
        segmentation=cast(Any, outlines),
    )
    columns = (joined.image + 1, xywh(found.boxes), found.scores, found.labels + 1)
    results = expected.loadRes(np.column_stack(columns), segmentation=cast(Any, codes))
    if codes:
        results.update_anns(ids=np.arange(1, len(found) + 1), area=np.asarray(mask.area(codes), np.float64))
    evaluation = COCOeval(expected, results, kind)
    evaluation.evaluate()
    return evaluation


def has_masks(joined: Joined) -> bool:
    """Return whether masks can be measured: every object has an outline, every detection a mask, and there are both."""
    return bool(joined.truth.masks and joined.found.masks)


def coco_metrics(evaluation: "COCOeval", classes: Sequence[str], prefix: str = "coco") -> dict[str, float | None]:
    """Return `coco/ap` and so on, then each class's `coco/ap/<class>`, from what `coco_evaluation` returns.

    A number that is undefined (no object of that class or size; COCO says -1) is None. `prefix` stands in place of
    `coco`.
    """
    evaluation.accumulate()
    evaluation.summary_lines()  # as summarize(), which prints
    metrics = {f"{prefix}/{name}": _defined(value) for name, value in zip(_SUMMARY, evaluation.stats, strict=True)}
    # (IoU thresholds, recalls, classes, areas, most detections): all areas, 100 detections
    precision = cast(dict[str, Any], evaluation.eval)["precision"][:, :, :, 0, -1]
    precision = np.ascontiguousarray(precision).reshape(precision.shape[0] * precision.shape[1], len(classes))
    ap, lowest = precision.mean(axis=0), precision.min(axis=0)
    for name, value, least in zip(classes, ap.tolist(), lowest.tolist(), strict=True):
        metrics[class_key(f"{prefix}/ap", name)] = value if least > -1 else None
    return metrics


def size_counts(truth: Truth) -> dict[str, int]:
    """Return how many objects are COCO's `small`, `medium` (from 32 x 32 square pixels up) and `large` (from 96 x 96).

    All add up to the objects, crowds among them. COCO's own limits belong to both sides.
    """
    return dict(zip(SIZES, np.bincount(size_places(truth.areas), minlength=len(SIZES)).tolist(), strict=True))


def size_places(areas: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the position in SIZES of each area, `(N,)`."""
    return np.searchsorted(_LIMITS, areas, side="right")


def mask_overlap(joined: Joined, sizes: Sizes) -> Overlap:
    """Return what measures the IoU of masks; in a crowd the share of the detection's own pixels counts.

    Raises ValueError if there are no masks: see `has_masks`.
    """
    from hotcoco import mask

    found = _codes(joined.found.masks, joined.image, sizes)
    truth = _codes(joined.truth.masks, joined.truth_image, sizes)
    crowd = joined.truth.crowd

    def overlap(one: Whole, other: Whole) -> Array:
        values = np.empty(len(one))
        # All pairs of a detection follow each other, and those of a picture and class are decoded together.
        starts = np.flatnonzero(np.diff(one, prepend=-1))
        rows: dict[bytes, list[int]] = {}
        bounds = [*starts.tolist(), len(one)]
        for number, start in enumerate(bounds[:-1]):
            rows.setdefault(other[start : bounds[number + 1]].tobytes(), []).append(start)
        for key, own in rows.items():
            others = np.frombuffer(key, np.int64)
            table = mask.iou([found[one[start]] for start in own], [truth[place] for place in others], crowd[others])
            for start, row in zip(own, np.asarray(table), strict=True):
                values[start : start + len(others)] = row
        return values

    return overlap


def _codes(masks: Masks | None, image: NDArray[np.int64], sizes: Sizes) -> list[dict[str, Any]]:
    """Return masks as hotcoco takes them, each with the height and width of its picture."""
    if masks is None:
        raise ValueError("not all objects and detections have masks")
    codes = []
    for counts, place in zip(masks, image.tolist(), strict=True):
        width, height = sizes[place]
        codes.append({"size": [height, width], "counts": counts})
    return codes


def _defined(value: float) -> float | None:
    return None if value < 0 else float(value)
