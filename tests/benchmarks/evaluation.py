"""What measuring a detector costs: `python tests/benchmarks/evaluation.py [--oracle]`.

5,000 pictures of 640 x 480 with 36,000 objects of 80 classes and 145,000 detections are made up: about three in four
objects found, often more than once. Asked are at most 1.2 times what hotcoco and our VOC measure take alone, and never
more than 5 seconds on two cores. `--oracle` measures pycocotools once as well.
"""

import argparse
import contextlib
import io
import multiprocessing
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from reprolens.evaluation import DetectionEvaluator, Detections, Truth
from reprolens.evaluation.measures.detections import join_detections, join_truths, xywh
from reprolens.evaluation.measures.voc_ap import all_point_ap, eleven_point_ap, voc_curves

PICTURES, OBJECTS, FOUND, CLASSES = 5_000, 36_000, 145_000, 80
SIZE = (640, 480)
RESAMPLES = 300
MOST_SECONDS, MOST_TIMES = 5.0, 1.2

Split = tuple[list[Detections], list[Truth]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--oracle", action="store_true", help="pycocotools too, once: some 40 seconds")
    options = parser.parse_args()
    detections, truths = made_up()
    console = Console(width=100)
    title = f"{PICTURES:,} pictures, {sum(map(len, truths)):,} objects, {sum(map(len, detections)):,} detections"
    console.print(measured(detections, truths, title, options.rounds, options.oracle))


def measured(detections: list[Detections], truths: list[Truth], title: str, rounds: int, oracle: bool) -> Table:
    """Return the median seconds of each part, all warmed up, and how much memory each adds to a new process.

    CPU seconds add up those of both cores, so they may be more; they hardly rise when the machine is busy elsewhere.
    """
    table = Table(title=title, title_justify="left")
    for name in ("", "seconds", "of them CPU", "memory (MB)"):
        table.add_column(name, justify="right" if name else "left")

    def evaluated(**options: Any) -> Callable[[], object]:
        return lambda: evaluate(detections, truths, **options)

    calls: dict[str, Callable[[], object]] = {
        "hotcoco alone, from arrays": hotcoco_alone(detections, truths),
        "our VOC alone": lambda: voc_alone(detections, truths),
        "the evaluator: every number": evaluated(),
        "and the breakdown": evaluated(breakdown=True),
        f"and {RESAMPLES} resamples": evaluated(breakdown=True, resamples=RESAMPLES),
    }
    # Memory first: a process forked from one in which hotcoco's threads run would wait for them for ever.
    grown = {name: memory(call) for name, call in calls.items()}
    # In turn, so that what else the machine does falls on all alike.
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            if turn or name != f"and {RESAMPLES} resamples":
                taken[name].append(seconds(call))
    medians = np.array([np.median(values[-rounds:], axis=0) for values in taken.values()])
    for name, row in zip(calls, medians, strict=True):
        table.add_row(name, *(f"{value:.3f}" for value in row), f"{grown[name]:.0f}")
    ratio = medians[2] / (medians[0] + medians[1])
    table.add_row("evaluator / (hotcoco + VOC)", *(f"{value:.2f}" for value in ratio), f"asked: {MOST_TIMES}")
    table.add_row("with everything", *(f"{value:.2f}" for value in medians[-1]), f"asked: {MOST_SECONDS:g} s")
    if oracle:
        slow = seconds(pycocotools_alone(detections, truths))
        table.add_row("pycocotools, from dicts", *(f"{value:.1f}" for value in slow), "")
    return table


def evaluate(detections: list[Detections], truths: list[Truth], **options: Any) -> object:
    """Measure by the evaluator, given the pictures one by one."""
    evaluator = DetectionEvaluator([f"class {number}" for number in range(CLASSES)], **options)
    for number, (found, truth) in enumerate(zip(detections, truths, strict=True)):
        evaluator.update(number, found, truth, SIZE)
    return evaluator.compute()


def voc_alone(detections: list[Detections], truths: list[Truth]) -> None:
    """Measure both forms of VOC's AP of every class."""
    for curve in voc_curves(detections, truths, CLASSES):
        eleven_point_ap(curve)
        all_point_ap(curve)


def hotcoco_alone(detections: list[Detections], truths: list[Truth]) -> Callable[[], None]:
    """Return what measures arrays, joined beforehand, by hotcoco."""
    from hotcoco import COCO, COCOeval

    image, truth = join_truths(truths)
    place, found = join_detections(detections)
    boxes = xywh(truth.boxes)
    results = np.column_stack((place + 1, xywh(found.boxes), found.scores, found.labels + 1))
    images = [{"id": number, "width": SIZE[0], "height": SIZE[1]} for number in range(1, PICTURES + 1)]
    categories = [{"id": number, "name": str(number)} for number in range(1, CLASSES + 1)]

    def call() -> None:
        expected = COCO.from_arrays(images, categories, image + 1, truth.labels + 1, boxes, iscrowd=truth.crowd)
        evaluation = COCOeval(expected, expected.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summary_lines()

    return call


def pycocotools_alone(detections: list[Detections], truths: list[Truth]) -> Callable[[], None]:
    """Return what measures the same by pycocotools, from the dictionaries that its files hold."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for number, (found, truth) in enumerate(zip(detections, truths, strict=True), start=1):
        columns = zip(xywh(truth.boxes).tolist(), truth.labels.tolist(), truth.areas.tolist(), strict=True)
        for box, label, area in columns:
            row = {"image_id": number, "category_id": label + 1, "bbox": box, "area": area, "iscrowd": 0}
            annotations.append({**row, "id": len(annotations) + 1})
        columns = zip(xywh(found.boxes).tolist(), found.labels.tolist(), found.scores.tolist(), strict=True)
        for box, label, score in columns:
            results.append({"image_id": number, "category_id": label + 1, "bbox": box, "score": score})

    def call() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            expected = COCO()
            expected.dataset = {
                "images": [{"id": number, "width": 640, "height": 480} for number in range(1, PICTURES + 1)],
                "categories": [{"id": number, "name": str(number)} for number in range(1, CLASSES + 1)],
                "annotations": annotations,
            }
            expected.createIndex()
            evaluation = COCOeval(expected, expected.loadRes(results), "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()

    return call


def made_up() -> Split:
    """Return a split whose detections are moved, repeated and misnamed objects, and boxes where nothing is."""
    random = np.random.default_rng(0)
    where = np.sort(random.integers(0, PICTURES, OBJECTS))
    boxes, labels = boxes_anywhere(random, OBJECTS), random.integers(0, CLASSES, OBJECTS)
    source = random.integers(0, OBJECTS, FOUND * 2 // 3)
    moved = boxes[source] + random.normal(0, 0.08, (len(source), 4)) * np.tile(boxes[source, 2:] - boxes[source, :2], 2)
    named = np.where(random.random(len(source)) < 0.8, labels[source], random.integers(0, CLASSES, len(source)))
    nothing = FOUND - len(source)
    place = np.concatenate([where[source], random.integers(0, PICTURES, nothing)])
    found = Detections(
        np.concatenate([moved, boxes_anywhere(random, nothing)]),
        np.concatenate([random.beta(3, 2, len(source)), random.beta(1, 4, nothing)]),
        np.concatenate([named, random.integers(0, CLASSES, nothing)]),
    )
    order = np.argsort(place, kind="stable")
    detections, truths = [], []
    for number in range(PICTURES):
        rows = order[slice(*np.searchsorted(place[order], (number, number + 1)))]
        detections.append(Detections(found.boxes[rows], found.scores[rows], found.labels[rows]))
        rows = np.flatnonzero(where == number)
        nowhere = np.zeros(len(rows), np.bool_)
        truths.append(Truth(boxes[rows], labels[rows], nowhere, nowhere))
    return detections, truths


def boxes_anywhere(random: np.random.Generator, count: int) -> np.ndarray:
    """Return boxes `(count, 4)` of corners within the picture, many of them small."""
    sides = np.minimum(np.exp(random.normal(4, 0.9, (count, 2))) + 4, SIZE)
    corners = random.random((count, 2)) * (np.array(SIZE) - sides)
    return np.concatenate([corners, corners + sides], axis=1)


def seconds(call: Callable[[], object]) -> tuple[float, float]:
    """Return how long `call` takes, and the CPU time it uses."""
    start, processor = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - start, time.process_time() - processor


def memory(call: Callable[[], object]) -> float:
    """Return the most memory in MB that `call` adds to a new process, its libraries loaded before."""
    here, there = multiprocessing.get_context("fork").Pipe(duplex=False)

    def run() -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in KiB, as Linux counts
        call()
        there.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    there.close()
    grown: float = here.recv()
    process.join()
    return grown


if __name__ == "__main__":
    main()
