"""The network in 8 bits: all its layers, nothing of what decodes boxes, and chosen without the gate's pictures."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from reprolens.errors import ExportError
from reprolens.export.gate.numbers import difference
from reprolens.export.int8 import write_int8
from reprolens.export.layers import find_layers, network_nodes
from reprolens.export.quantisation import prepare, quantised_nodes
from reprolens.inference.load import load_model


@pytest.fixture(scope="module")
def made(exported: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, Any]:
    it = exported("fcos_mobilenet_v2")
    path = tmp_path_factory.mktemp("int8") / "model-int8.onnx"
    return it, path, write_int8(it.source, path)


def test_all_layers_are_quantised_and_the_file_is_a_third_of_the_size(made: tuple[Any, Path, Any]) -> None:
    it, path, written = made
    model = onnx.load(path)
    weights = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    makers = {node.output[0]: node for node in model.graph.node}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    kinds = {weights[makers[node.input[1]].input[0]] for node in convolutions}
    assert kinds == {TensorProto.INT8}
    assert {makers[node.input[0]].op_type for node in convolutions} == {"DequantizeLinear"}
    assert written.facts["layers"] == len(find_layers(it.source.parts.network.graph))
    assert (written.facts["layers_in_float"], written.facts["float_layers"]) == (0, "")
    assert written.facts["calibration_images"] == min(8, len(it.source.folder.splits["train"]))
    assert path.stat().st_size < 0.36 * it.path.stat().st_size


def test_decoding_stays_float32(made: tuple[Any, Path, Any]) -> None:
    graph = onnx.shape_inference.infer_shapes(onnx.load(made[1])).graph
    types = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    assert {types[name] for name in ("pixels", "dense_boxes", "dense_scores")} == {TensorProto.FLOAT}
    network = prepare(made[0].source.parts.network).graph
    kinds = {node.op_type for node in quantised_nodes(network)}
    assert kinds <= {"Add", "Clip", "Conv", "Relu", "Resize", "Concat", "MaxPool"}
    assert {node.name for node in quantised_nodes(network)} <= network_nodes(network)


def test_it_finds_nearly_what_the_float32_file_finds(
    made: tuple[Any, Path, Any], pictures: list[NDArray[np.uint8]]
) -> None:
    it, path, written = made
    model = load_model(path, threads=1)
    assert model.contract == it.source.contract("onnx_int8", written.batch)
    options = it.trained.options
    for picture in pictures:
        found = (one(picture[None])[0] for one in (it.model, model))
        gap = difference(*found, options.score_threshold, options.detections_per_image, 0.05)
        assert gap.matched > 70, gap
        assert gap.score < 0.1, gap


def test_a_batch_gives_what_its_pictures_give_alone(
    made: tuple[Any, Path, Any], pictures: list[NDArray[np.uint8]]
) -> None:
    model = load_model(made[1], threads=1)
    batch = np.stack([pictures[0], 255 - pictures[0]])
    for together, alone in zip(model(batch), (model(picture[None])[0] for picture in batch), strict=True):
        np.testing.assert_allclose(together.scores, alone.scores, atol=1e-3)


def test_the_same_model_gives_the_same_bytes_without_a_look_at_the_test_split(
    made: tuple[Any, Path, Any], tmp_path: Path
) -> None:
    it, path, _ = made
    folder = it.source.folder
    blind = replace(it.source, folder=replace(folder, splits={**folder.splits, "test": ("is not there",)}))
    write_int8(blind, tmp_path / "another name.onnx")
    assert (tmp_path / "another name.onnx").read_bytes() == path.read_bytes()


def test_without_a_val_split_the_search_measures_on_pictures_of_train(
    made: tuple[Any, Path, Any], tmp_path: Path
) -> None:
    folder = made[0].source.folder
    splits = {"train": folder.splits["train"], "val": (), "test": ("is not there",)}
    write_int8(replace(made[0].source, folder=replace(folder, splits=splits)), tmp_path / "model.onnx")
    with pytest.raises(ExportError, match="no pictures to calibrate with"):
        splits = {**splits, "train": ()}
        write_int8(replace(made[0].source, folder=replace(folder, splits=splits)), tmp_path / "none.onnx")


@pytest.mark.parametrize("name", ["yolox_nano"])
def test_what_lies_between_convolutions_is_quantised_with_them(name: str, source_of: Callable[..., Any]) -> None:
    network = prepare(source_of(name).parts.network).graph
    kinds = [node.op_type for node in quantised_nodes(network)]
    assert {"Add", "Concat", "Conv", "MaxPool", "Mul", "Resize", "Sigmoid"} == set(kinds)
    assert kinds.count("Mul") == kinds.count("Sigmoid") < kinds.count("Conv")  # the scores' own sigmoids are not


@pytest.mark.slow
def test_two_stages_are_quantised_too(
    exported: Callable[[str], Any], pictures: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    it = exported("fasterrcnn_mobilenet_v3_large_fpn")
    written = write_int8(it.source, tmp_path / "model.onnx")
    assert (written.batch, written.facts["layers"]) == (1, 73)
    [found] = load_model(tmp_path / "model.onnx", threads=1)(pictures[0][None])
    assert len(found) > 50
    assert np.isfinite(found.boxes).all()
