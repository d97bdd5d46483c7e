"""ONNX with everything inside: a picture as it was decoded goes in, boxes in its own pixels come out.

image    uint8   (height, width, 3)   RGB, any size
boxes    float32 (N, 4)               x0 y0 x1 y1 in pixels of the image
scores   float32 (N,)                 highest first
labels   int64   (N,)                 index of the line in labels.txt, from 0 on
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import ModelProto, compose, helper, parser

from reprolens.config import Export
from reprolens.errors import ExportError
from reprolens.export.dense import Dense, DenseOneStage, TwoStage, fixed_part
from reprolens.files import atomic
from reprolens.models import TrainedModel
from reprolens.models.mask_rcnn import without_masks
from reprolens.models.reparameterize import reparameterize

# Without `exclude_outside` ONNX repeats the picture's edge where the filter reaches over it, which torch does not.
_BEFORE = """
before (uint8[height, width, 3] image) => (float[1, 3, {h}, {w}] pixels, float[4] scale)
<int64[4] size = {{1, 3, {h}, {w}}}, int64[1] first = {{0}}, float one = {{255.0}}, float[2] sides = {{{h}.0, {w}.0}},
 int64[4] turned = {{1, 0, 1, 0}}>
{{
    numbers = Cast <to = 1> (image)
    channels = Transpose <perm = [2, 0, 1]> (numbers)
    batch = Unsqueeze (channels, first)
    resized = Resize <mode = "linear", antialias = 1, exclude_outside = 1,
        coordinate_transformation_mode = "half_pixel"> (batch, , , size)
    pixels = Div (resized, one)
    shape = Shape <start = 0, end = 2> (image)
    original = Cast <to = 1> (shape)
    ratios = Div (original, sides)
    scale = Gather (ratios, turned)
}}
"""

# Suppression by class, then the best of all classes: what torchvision's batched_nms and its cut do.
_AFTER_DENSE = """
after (float[A, 4] dense_boxes, float[A, K] dense_scores, float[4] scale)
    => (float[N, 4] boxes, float[N] scores, int64[N] labels)
<int64[1] zero = {{0}}, int64[1] most = {{{most}}}, float[1] iou = {{{iou}}}, float[1] least = {{{least}}},
 int64 class_column = {{1}}, int64 box_column = {{2}}, int64[2] pair = {{1, 2}}>
{{
    batch_boxes = Unsqueeze (dense_boxes, zero)
    by_class = Transpose <perm = [1, 0]> (dense_scores)
    batch_scores = Unsqueeze (by_class, zero)
    chosen = NonMaxSuppression (batch_boxes, batch_scores, most, iou, least)
    places = Gather <axis = 1> (chosen, pair)
    chosen_scores = GatherND (by_class, places)
    count = Shape (chosen_scores)
    kept = Min (count, most)
    scores, order = TopK <axis = 0> (chosen_scores, kept)
    chosen_labels = Gather <axis = 1> (chosen, class_column)
    labels = Gather (chosen_labels, order)
    chosen_boxes = Gather <axis = 1> (chosen, box_column)
    box_places = Gather (chosen_boxes, order)
    network_boxes = Gather (dense_boxes, box_places)
    boxes = Mul (network_boxes, scale)
}}
"""

_AFTER_TWO_STAGE = """
after (float[N, 4] found_boxes, float[N] found_scores, int64[N] found_labels, float[4] scale)
    => (float[N, 4] boxes, float[N] scores, int64[N] labels)
{{
    boxes = Mul (found_boxes, scale)
    scores = Identity (found_scores)
    labels = Identity (found_labels)
}}
"""


def export_onnx(trained: TrainedModel, config: Export, path: Path) -> None:
    """Write the model with its pre- and post-processing as one ONNX file, its blocks folded that can be.

    Of Mask R-CNN the boxes are written, without the branch that draws masks.
    Raises ExportError if torch cannot export it.
    """
    height, width = trained.options.image_size
    core = fixed_part(reparameterize(trained.module.cpu().eval()), (height, width)).eval()
    middle = _export_core(core, config.opset, (height, width))
    opset = next(entry.version for entry in middle.opset_import if entry.domain == "")
    after = _AFTER_TWO_STAGE if isinstance(core, TwoStage) else _AFTER_DENSE
    options = {
        "most": trained.options.detections_per_image,
        "iou": trained.options.nms_threshold,
        "least": trained.options.score_threshold,
    }
    before_graph = _parse(_BEFORE.format(h=height, w=width), middle.ir_version, opset)
    after_graph = _parse(after.format(**options), middle.ir_version, opset)
    model = compose.merge_models(before_graph, middle, io_map=[("pixels", "pixels")], outputs=None)
    shared = [(output.name, output.name) for output in model.graph.output]
    model = compose.merge_models(model, after_graph, io_map=shared)
    _clean(model)
    onnx.checker.check_model(model, full_check=True)
    with atomic(path) as temporary:
        onnx.save(model, temporary)


def _export_core(core: Dense | DenseOneStage | TwoStage, opset: int, size: tuple[int, int]) -> ModelProto:
    """Export the part of fixed shapes; two-stage models only pass through torch's older exporter."""
    two_stage = isinstance(core, TwoStage)
    outputs = ["found_boxes", "found_scores", "found_labels"] if two_stage else ["dense_boxes", "dense_scores"]
    # A picture in which nothing is found would let the older exporter drop the branches that handle findings.
    example = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    buffer: Any = io.BytesIO()  # which the older exporter takes too, though its types do not say so
    with _quiet(), torch.no_grad(), without_masks(core.detector):
        try:
            if not two_stage:
                program: Any = torch.onnx.export(
                    core, (example,), dynamo=True, opset_version=opset, input_names=["pixels"], output_names=outputs
                )
                return program.model_proto
            torch.onnx.export(
                core,
                (example,),
                buffer,
                dynamo=False,
                opset_version=min(opset, 20),
                input_names=["pixels"],
                output_names=outputs,
                dynamic_axes={name: {0: "N"} for name in outputs},
            )
        except (RuntimeError, ValueError, torch.onnx.errors.OnnxExporterError) as error:
            raise ExportError(
                f"{type(core.detector).__name__}: torch cannot export it ({str(error).splitlines()[0]})"
            ) from error
    return onnx.load_model_from_string(buffer.getvalue())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's exporters from telling about their own work."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        logging.getLogger("onnxscript").setLevel(logging.ERROR)
        yield


def _parse(text: str, ir_version: int, opset: int) -> ModelProto:
    return helper.make_model(
        parser.parse_graph(text), ir_version=ir_version, opset_imports=[helper.make_opsetid("", opset)]
    )


def _clean(model: ModelProto) -> None:
    """Take out what names the exporting machine's files, and say what this file is."""
    model.producer_name = "reprolens"
    model.doc_string = "image uint8 (height, width, 3) RGB -> boxes x0 y0 x1 y1 in its pixels, scores, labels"
    for graph in (model.graph, *model.functions):
        for node in graph.node:
            node.doc_string = ""
            del node.metadata_props[:]
        for value in (*graph.value_info,):
            value.doc_string = ""
            del value.metadata_props[:]
    del model.graph.metadata_props[:]
