"""Candidates, which are the network's raw numbers: boxes and scores before thresholds and suppression.

Detections may agree although the numbers have moved, because suppression keeps the same ones; candidates may not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

from reprolens.export.dense import TwoStage, fixed_part
from reprolens.export.gate.numbers import LEAST_SCORE, LEAST_SIDE
from reprolens.export.source import Source
from reprolens.inference.model import Contract, Pixels
from reprolens.inference.outputs import CANDIDATES

_LEAST_COMPARED = 100
"""So many of a picture's candidates are compared even if none is a detection."""
_RANKED = 0.01
"""Share of the compared candidates that may lack a partner where they are ranked: see `compare`."""


@dataclass(frozen=True)
class Candidates:
    """Of one picture: `boxes (A, 4)`, x0 y0 x1 y1 in its pixels, and `scores (A, K)`, 0 for all but the best."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]

    def is_finite(self) -> bool:
        return bool(np.isfinite(self.boxes).all() and np.isfinite(self.scores).all())


@dataclass(frozen=True)
class Gap:
    """The greatest differences of candidates: of a coordinate, in pixels and as a share of the box's longer side (of
    a pixel where it is shorter); of a score, and as a share of torch's (of 0.01 where that is lower).

    They are NaN where a number on either side is.
    """

    box: float = 0.0
    box_relative: float = 0.0
    score: float = 0.0
    score_relative: float = 0.0

    def __or__(self, other: "Gap") -> "Gap":
        """Return the gap of the pictures of both together."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Gap(*(float(np.maximum(*pair)) for pair in pairs))  # NaN stays


Give = Callable[[Pixels], Candidates]


def torch_candidates(source: Source) -> Give | None:
    """Return what gives the trained module's candidates of a picture `(H, W, 3)`; None for a detector of two stages."""
    size = source.trained.options.image_size
    module = source.trained.module.cpu().eval()
    part = fixed_part(module, (size[0], size[1])).eval()
    if isinstance(part, TwoStage):
        return None
    transform: Any = module.get_submodule("transform")

    def give(picture: Pixels) -> Candidates:
        with torch.inference_mode():
            pixels, _ = transform.resize(torch.from_numpy(picture).permute(2, 0, 1) / 255)
            boxes, scores = part(pixels[None])
        scale = np.array([picture.shape[1] / size[1], picture.shape[0] / size[0]] * 2, np.float32)
        return Candidates(boxes[0].numpy() * scale, scores[0].numpy())

    return give


def file_candidates(path: Path, contract: Contract) -> Give | None:
    """Return what gives the candidates of a file, None if it does not show them.

    ONNX and OpenVINO files have them inside under their names, so a copy in memory is given them as outputs.
    """
    if path.suffix == ".onnx":
        return _of_onnx(path)
    if path.suffix == ".xml":
        return _of_openvino(path)
    return None if contract.postprocess else _of_torch_export(path)


def compare(ours: Candidates, theirs: Candidates, least_score: float, is_ranked: bool = False) -> Gap:
    """Return how far a file's candidates are from torch's; each is compared with the one of the same place.

    Compared is what both sides kept and either takes for a detection, its score being above `least_score`; where these
    are fewer than 100, which a weak model has none of, torch's 100 best. What one side alone kept was at the cut of the
    best, where rounding decides; if it matters, the detections show it. A file that lost most of them is as far from
    torch as can be.

    A network that ranks its candidates (DETR's queries) may swap two that are nearly equal, so with `is_ranked` those
    that are far apart are compared with the nearest of the other side's, and 1 in 100 of the compared may lack a
    partner, the last one having been swapped for one that was not kept.
    """
    if ours.boxes.shape != theirs.boxes.shape or ours.scores.shape != theirs.scores.shape:
        return Gap(np.inf, np.inf, np.inf, np.inf)
    if not (ours.is_finite() and theirs.is_finite()):
        return Gap(np.nan, np.nan, np.nan, np.nan)
    least = min(least_score, _score_of_last(theirs))
    compared = _compared(ours, theirs, least)
    if 2 * compared.sum() < ((theirs.scores > 0) & (theirs.scores >= least)).sum():
        return Gap(np.inf, np.inf, np.inf, np.inf)
    places = np.arange(len(ours.boxes))
    apart = np.flatnonzero(_is_apart(ours, theirs, least))
    if is_ranked and 0 < len(apart) <= 1000:  # more are no rounding, and their distances would not fit into memory
        partners = _nearest(ours, theirs, apart)
        swapped = ~_is_apart(_rows(ours, apart), _rows(theirs, partners), least)
        places[apart[swapped]] = partners[swapped]
        left = apart[~swapped]
        if len(left) <= _RANKED * compared.any(1).sum():
            kept = np.setdiff1d(np.arange(len(places)), left)
            return _gap(_rows(ours, kept), _rows(theirs, places[kept]), least)
    return _gap(ours, _rows(theirs, places), least)


def _of_onnx(path: Path) -> Give | None:
    model = onnx.load(path)
    if not {name for node in model.graph.node for name in node.output}.issuperset(CANDIDATES):
        return None
    missing = set(CANDIDATES).difference(output.name for output in model.graph.output)
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in CANDIDATES if name in missing
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda picture: _first(session.run(list(CANDIDATES), {"images": picture[None]}))


def _of_torch_export(path: Path) -> Give:
    module = torch.export.load(path).module(check_guards=False)  # as what runs it

    def give(picture: Pixels) -> Candidates:
        with torch.inference_mode():
            return _first([given.numpy() for given in module(torch.from_numpy(picture[None]))])

    return give


def _of_openvino(path: Path) -> Give | None:
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    if not {name for node in model.get_ops() for value in node.outputs() for name in value.names}.issuperset(
        CANDIDATES
    ):
        return None
    given = {name for value in model.outputs for name in value.names}
    model.add_outputs([name for name in CANDIDATES if name not in given])
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})  # as what runs it

    def give(picture: Pixels) -> Candidates:
        outputs = compiled({"images": picture[None]})
        return _first([outputs[name] for name in CANDIDATES])

    return give


def _first(outputs: Sequence[NDArray]) -> Candidates:
    """Return the candidates of the only picture of a batch."""
    boxes, scores = outputs
    return Candidates(boxes[0], scores[0])


def _score_of_last(candidates: Candidates) -> float:
    """Return the score of the last of the best that are compared anyway."""
    best = np.sort(candidates.scores.max(1, initial=0))[::-1]
    return float(best[:_LEAST_COMPARED].min(initial=1))


def _compared(ours: Candidates, theirs: Candidates, least_score: float) -> NDArray[np.bool_]:
    """Return which scores `(A, K)` are compared."""
    kept = (ours.scores > 0) & (theirs.scores > 0)
    return kept & ((ours.scores >= least_score) | (theirs.scores >= least_score))


def _is_apart(ours: Candidates, theirs: Candidates, least_score: float) -> NDArray[np.bool_]:
    """Return which candidates `(A,)` are further apart than rounding takes them."""
    compared = _compared(ours, theirs, least_score)
    score = np.where(compared, np.abs(ours.scores - theirs.scores), 0).max(1, initial=0)
    return compared.any(1) & ((np.abs(ours.boxes - theirs.boxes).max(1) > 1) | (score > 0.01))


def _nearest(ours: Candidates, theirs: Candidates, places: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return for each of `places` of ours the one of `places` of theirs that is nearest, each taken once."""
    free, partners = np.ones(len(places), dtype=bool), places.copy()
    for row, place in enumerate(places):
        distance = np.abs(theirs.boxes[places] - ours.boxes[place]).max(1)
        distance += 100 * np.abs(theirs.scores[places] - ours.scores[place]).max(1)  # 0.01 is as far as a pixel
        nearest = int(np.where(free, distance, np.inf).argmin())
        free[nearest], partners[row] = False, places[nearest]
    return partners


def _rows(candidates: Candidates, places: NDArray[np.intp]) -> Candidates:
    return Candidates(candidates.boxes[places], candidates.scores[places])


def _gap(ours: Candidates, theirs: Candidates, least_score: float) -> Gap:
    compared = _compared(ours, theirs, least_score)
    rows = compared.any(1)
    boxes = theirs.boxes[rows]
    box = np.abs(ours.boxes[rows] - boxes)
    sides = np.maximum((boxes[:, 2:] - boxes[:, :2]).max(1, initial=0), LEAST_SIDE)
    score = np.abs(ours.scores - theirs.scores)[compared]
    return Gap(
        float(box.max(initial=0)),
        float((box / sides[:, None]).max(initial=0)),
        float(score.max(initial=0)),
        float((score / np.maximum(theirs.scores[compared], LEAST_SCORE)).max(initial=0)),
    )
