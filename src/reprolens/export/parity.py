"""Is the exported file the same model? Its detections against torch's, one to one, on real pictures."""

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from reprolens.config import Export
from reprolens.errors import ExportError
from reprolens.evaluation import Detections
from reprolens.loading import open_rgb
from reprolens.models import TrainedModel
from reprolens.models.mask_rcnn import without_masks
from reprolens.voc import Folder, Record

_TIMED_RUNS = 20


@dataclass(frozen=True)
class Difference:
    """How two sets of detections of one picture differ.

    `box` is in pixels of the picture; `unmatched` counts the detections of either that have no partner in the other.
    """

    box: float
    score: float
    matched: int
    unmatched: int


def compare(trained: TrainedModel, path: Path, folder: Folder, config: Export) -> dict[str, Any]:
    """Run the file at `path` and `trained` on pictures of the test split; return the entries for reports/export.json.

    Detections whose score is as low as the lowest that either side kept may be missing on one side, because rounding
    decides there. Raises ExportError if the two differ by more than `config` tolerates.
    """
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes derive from Exception alone
        raise ExportError(f"{path}: onnxruntime cannot load it ({str(error).splitlines()[0]})") from None
    module = trained.module.cpu().eval()
    differences, pixels = [], []
    for record in _spread(list(folder.records("test")), config.parity_images):
        pixels.append(np.array(open_rgb(folder, record)))
        ours, theirs = _run_torch(module, pixels[-1]), run_onnx(session, pixels[-1])
        options = trained.options
        differences.append(
            difference(ours, theirs, options.score_threshold, options.detections_per_image, config.score_tolerance)
        )
    report = {
        "parity/images": len(differences),
        "parity/detections": sum(item.matched for item in differences),
        "parity/unmatched": sum(item.unmatched for item in differences),
        "parity/max_box_difference": max(item.box for item in differences),
        "parity/max_score_difference": max(item.score for item in differences),
    }
    for name, limit, knob in (
        ("parity/max_box_difference", config.box_tolerance, "box_tolerance"),
        ("parity/max_score_difference", config.score_tolerance, "score_tolerance"),
        ("parity/unmatched", 0, None),
    ):
        if report[name] > limit:
            allowed = f"{limit} ({f'export.{knob}'})" if knob else "none"
            raise ExportError(
                f"{path.name}: differs from the torch model, {name} is {report[name]:g}, allowed is {allowed}"
            )
    return report | {
        "latency_ms/onnxruntime": _milliseconds(lambda image: run_onnx(session, image), pixels),
        "latency_ms/torch": _milliseconds(lambda image: _run_torch(module, image), pixels),
    }


def run_onnx(session: onnxruntime.InferenceSession, image: NDArray[np.uint8]) -> Detections:
    """Return what the exported model finds in `image (H, W, 3)`."""
    return Detections(*session.run(["boxes", "scores", "labels"], {"image": image}))


def difference(
    first: Detections, second: Detections, least_score: float, most: int, score_tolerance: float
) -> Difference:
    """Pair the detections of a class that overlap nearly wholly, and return how far apart pairs are.

    A detection without a partner counts only if its score is clearly above what decides whether the other side keeps
    it at all: `least_score`, or, where the other side holds as many as it may (`most`), the lowest score there.
    """
    box, score, pairs = 0.0, 0.0, 0
    lonely: list[float] = []
    free = np.ones(len(second), dtype=bool)
    for place in range(len(first)):
        gap = np.abs(second.boxes - first.boxes[place]).max(axis=1) + np.abs(second.scores - first.scores[place])
        gap[~free | (second.labels != first.labels[place])] = np.inf
        partner = int(gap.argmin()) if len(gap) else -1
        side = float((first.boxes[place, 2:] - first.boxes[place, :2]).max())
        if partner < 0 or not gap[partner] <= max(2.0, 0.05 * side):  # `not <=`: NaN is no partner either
            lonely.append(float(first.scores[place]))
            continue
        free[partner] = False
        pairs += 1
        box = max(box, float(np.abs(second.boxes[partner] - first.boxes[place]).max()))
        score = max(score, float(abs(second.scores[partner] - first.scores[place])))
    unmatched = 0
    for scores, other in ((np.array(lonely), second), (second.scores[free], first)):
        cut = max(least_score, float(other.scores.min())) if len(other) >= most else least_score
        unmatched += int((scores > cut + score_tolerance).sum())
    return Difference(box, score, pairs, unmatched)


def _run_torch(module: torch.nn.Module, image: NDArray[np.uint8]) -> Detections:
    with torch.inference_mode(), without_masks(module):
        found = module([torch.from_numpy(image).permute(2, 0, 1).float() / 255])[0]
    return Detections(*(found[name].numpy() - (name == "labels") for name in ("boxes", "scores", "labels")))


def _spread(records: list[Record], count: int) -> list[Record]:
    """Return up to `count` records, evenly spaced."""
    places = np.unique(np.linspace(0, len(records) - 1, min(count, len(records))).round().astype(int))
    return [records[place] for place in places]


def _milliseconds(run: Any, images: list[NDArray[np.uint8]]) -> float:
    """Return the median time of one picture, after a warm-up."""
    run(images[0])
    times = []
    for number in range(_TIMED_RUNS):
        start = time.perf_counter()
        run(images[number % len(images)])
        times.append(time.perf_counter() - start)
    return round(median(times) * 1000, 2)
