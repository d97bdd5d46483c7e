"""One ONNX file with everything inside: pictures as they were decoded go in, boxes in their own pixels come out.

images   uint8   (batch, height, width, 3)   RGB, of any one size
boxes    float32 (batch, most, 4)            x0 y0 x1 y1 in pixels of the pictures
scores   float32 (batch, most)               highest first
labels   int64   (batch, most)               index of the line in labels.txt, from 0 on
counts   int64   (batch,)                    so many of a picture's rows are detections, the rest is 0

Without post-processing, instead: candidate_boxes (batch, A, 4) and candidate_scores (batch, A, K).
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import ModelProto, compose, helper

from reprolens.config import ExportFormat
from reprolens.errors import ExportError, first_line
from reprolens.export import graph
from reprolens.export.dense import Dense, DenseOneStage, TwoStage, fixed_part
from reprolens.export.formats import Written
from reprolens.export.quiet import quiet
from reprolens.export.source import Source
from reprolens.files import atomic
from reprolens.inference.model import KEY, Contract
from reprolens.models.mask_rcnn import without_masks

_NEWEST_OF_OLDER = 20
"""The newest operator set that torch's older exporter writes."""


@dataclass(frozen=True)
class Parts:
    """What an ONNX file is joined of.

    network: `pixels (batch, 3, h, w)` float, 0 to 1, to `dense_boxes (batch, A, 4)` in its pixels and `dense_scores
        (batch, A, K)`; of two stages to `found_boxes (N, 4)`, `found_scores (N,)` and `found_labels (N,)`.
    batch: how many pictures it takes at a time, None for any number.
    """

    network: ModelProto
    two_stage: bool
    batch: int | None


def write_onnx(source: Source, path: Path) -> Written:
    """Write the model with its pre- and post-processing. Raises ExportError if torch cannot export it."""
    parts = source.parts
    save(assemble(parts, source.contract(ExportFormat.onnx, parts.batch)), path)
    return Written(parts.batch, {})


def export_parts(source: Source) -> Parts:
    """Export the part of a detector whose shapes are fixed; of two-stage models all, by torch's older exporter.

    Of Mask R-CNN the boxes alone, without the branch that draws masks. Raises ExportError if torch cannot.
    """
    height, width = source.trained.options.image_size
    core = fixed_part(source.network, (height, width)).eval()
    with quiet(), torch.no_grad(), without_masks(core.detector):
        if isinstance(core, TwoStage):
            return Parts(_export_two_stage(core, source.config.opset, (height, width)), True, 1)
        try:
            return Parts(_export_dense(core, source.config.opset, (height, width), dynamic=True), False, None)
        except ExportError:
            return Parts(_export_dense(core, source.config.opset, (height, width), dynamic=False), False, 1)


def assemble(parts: Parts, contract: Contract) -> ModelProto:
    """Put pre- and post-processing around the network, and the contract beside it.

    Raises ExportError if a model of two stages is to be without its post-processing, which is in the middle of it.
    """
    network = compose.add_prefix(parts.network, "network/", rename_inputs=False, rename_outputs=False)
    versions = network.ir_version, next(entry.version for entry in network.opset_import if entry.domain == "")
    if parts.two_stage:
        if not contract.postprocess:
            raise ExportError(f"export.postprocess: {contract.model} has two stages, which suppression joins; set true")
        after = graph.after_two_stage(contract, *versions)
    else:
        anchors = network.graph.output[0].type.tensor_type.shape.dim[1].dim_value
        after = graph.after_dense(contract, anchors, *versions)
    model = compose.merge_models(graph.before(contract, *versions), network, io_map=[("pixels", "pixels")])
    model = compose.merge_models(model, after, io_map=[(value.name, value.name) for value in model.graph.output])
    _clean(model)
    helper.set_model_props(model, {KEY: contract.to_json()})
    onnx.checker.check_model(model, full_check=True)
    return model


def save(model: ModelProto, path: Path) -> None:
    """Write a model; the same model gives the same bytes."""
    with atomic(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def _export_dense(core: Dense | DenseOneStage, opset: int, size: tuple[int, int], dynamic: bool) -> ModelProto:
    # Two pictures, because torch takes a dimension of one for fixed.
    example = torch.rand(2 if dynamic else 1, 3, *size, generator=torch.Generator().manual_seed(0))
    try:
        program: Any = torch.onnx.export(
            core,
            (example,),
            dynamo=True,
            opset_version=opset,
            input_names=["pixels"],
            output_names=["dense_boxes", "dense_scores"],
            dynamic_shapes={"pixels": {0: torch.export.Dim("batch")}} if dynamic else None,
        )
    except Exception as error:  # torch.export raises kinds of its own for code that it cannot follow
        raise _cannot(core, error) from error
    network: ModelProto = program.model_proto
    if dynamic and not network.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise ExportError(f"{type(core.detector).__name__}: its code fixes the number of pictures")
    return network


def _export_two_stage(core: TwoStage, opset: int, size: tuple[int, int]) -> ModelProto:
    # A picture in which nothing is found would let the older exporter drop the branches that handle findings.
    example = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    outputs = ["found_boxes", "found_scores", "found_labels"]
    buffer: Any = io.BytesIO()  # which the older exporter takes too, though its types do not say so
    try:
        torch.onnx.export(
            core,
            (example,),
            buffer,
            dynamo=False,
            opset_version=min(opset, _NEWEST_OF_OLDER),
            input_names=["pixels"],
            output_names=outputs,
            dynamic_axes={name: {0: "N"} for name in outputs},
        )
    except (RuntimeError, ValueError, torch.onnx.errors.OnnxExporterError) as error:
        raise _cannot(core, error) from error
    return onnx.load_model_from_string(buffer.getvalue())


def _cannot(core: Any, error: Exception) -> ExportError:
    return ExportError(f"{type(core.detector).__name__}: torch cannot export it ({first_line(error)})")


def _clean(model: ModelProto) -> None:
    """Take out what names the exporting machine's files, and say what this file is."""
    model.producer_name, model.graph.name = "reprolens", "detector"
    model.doc_string = "images uint8 (batch, height, width, 3) RGB to boxes x0 y0 x1 y1 in their pixels"
    del model.metadata_props[:]
    for part in (model.graph, *model.functions):
        for node in part.node:
            node.doc_string = ""
            del node.metadata_props[:]
        for value in part.value_info:
            value.doc_string = ""
            del value.metadata_props[:]
    del model.graph.metadata_props[:]
