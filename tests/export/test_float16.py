"""The network in 16 bits: the same detector, half the size, and nothing becomes infinite."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from reprolens.export.calibration import measure, open_session
from reprolens.export.float16 import LARGEST, to_float16, too_wide, write_float16
from reprolens.export.gate.numbers import difference
from reprolens.inference.load import load_model

FAMILIES = ["fcos_mobilenet_v2", "fasterrcnn_mobilenet_v3_large_fpn"]


@pytest.mark.parametrize("family", FAMILIES)
def test_it_finds_what_the_float32_file_finds_in_half_the_size(
    family: str, exported: Callable[[str], Any], pictures: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    it = exported(family)
    written = write_float16(it.source, tmp_path / "half.onnx")
    half = load_model(tmp_path / "half.onnx", threads=1)
    assert half.contract == it.source.contract("onnx_float16", written.batch)
    assert written.facts["layers_in_float32"] == 0
    assert (tmp_path / "half.onnx").stat().st_size < 0.56 * it.path.stat().st_size
    options = it.trained.options
    gaps = [
        difference(
            *(model(picture[None])[0] for model in (it.model, half)),
            options.score_threshold,
            options.detections_per_image,
            0.01,
        )
        for picture in pictures[:2]
    ]
    assert sum(gap.matched for gap in gaps) > 150
    assert sum(gap.unmatched for gap in gaps) <= 4  # two stages choose other proposals here and there
    assert max(gap.score for gap in gaps) < 0.1


def test_candidates_are_float32_and_pixels_are_not_rounded_before_the_first_layer(
    exported: Callable[[str], Any], tmp_path: Path
) -> None:
    write_float16(exported("fcos_mobilenet_v2").source, tmp_path / "half.onnx")
    graph = onnx.shape_inference.infer_shapes(onnx.load(tmp_path / "half.onnx")).graph
    types = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    assert {types[name] for name in ("pixels", "dense_boxes", "dense_scores")} == {TensorProto.FLOAT}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert {types[node.output[0]] for node in convolutions} == {TensorProto.FLOAT16}
    [cast] = [node for node in graph.node if node.output[0] == convolutions[0].input[0]]
    assert cast.op_type == "Cast"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_model_gives_the_same_bytes(family: str, exported: Callable[[str], Any], tmp_path: Path) -> None:
    for name in ("one.onnx", "another.onnx"):
        write_float16(exported(family).source, tmp_path / name)
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "another.onnx").read_bytes()


def test_a_batch_gives_what_its_pictures_give_alone(
    exported: Callable[[str], Any], pictures: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    write_float16(exported("fcos_mobilenet_v2").source, tmp_path / "half.onnx")
    model = load_model(tmp_path / "half.onnx", threads=1)
    batch = np.stack([pictures[0], 255 - pictures[0]])
    for together, alone in zip(model(batch), (model(picture[None])[0] for picture in batch), strict=True):
        np.testing.assert_allclose(together.scores, alone.scores, atol=2e-3)


def test_layers_through_which_too_large_numbers_flow_stay_float32() -> None:
    network = _two_layers(scale=3e4)
    pixels = np.ones((1, 3, 4, 4), dtype=np.float32)
    outputs = [name for node in network.graph.node for name in node.output]
    wide = too_wide(network, measure(network, outputs, [pixels]))
    assert wide == {"first", "relu", "second", "decode"}
    expected = open_session(network).run(None, {"pixels": pixels})[0]
    assert expected.max() > LARGEST
    np.testing.assert_allclose(
        open_session(to_float16(network, wide)).run(None, {"pixels": pixels})[0], expected, rtol=1e-6
    )
    # onnxruntime's CPU works in 32 bits, other runtimes do not.
    [rounded] = ReferenceEvaluator(to_float16(network)).run(None, {"pixels": pixels})
    assert np.isinf(rounded).all()


def test_a_weight_that_16_bits_do_not_hold_keeps_its_layer_in_float32() -> None:
    network = _two_layers(scale=1e5)
    assert "first" in too_wide(network, {})


def _two_layers(scale: float) -> ModelProto:
    first, second = np.full((2, 3, 1, 1), scale, dtype=np.float32), np.full((1, 2, 1, 1), 0.5, dtype=np.float32)
    nodes = [
        helper.make_node("Conv", ["pixels", "first.weight"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "second.weight"], ["c"], name="second"),
        helper.make_node("Identity", ["c"], ["out"], name="decode"),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 3, 4, 4])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 1, 4, 4])],
        [numpy_helper.from_array(first, "first.weight"), numpy_helper.from_array(second, "second.weight")],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
