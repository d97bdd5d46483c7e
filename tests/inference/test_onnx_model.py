"""ONNX files as models: what goes in, what comes out, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, parser

from reprolens.errors import ExportError
from reprolens.inference.model import KEY
from reprolens.inference.onnx_model import OnnxModel

RNG = np.random.default_rng(0)


def coloured(*colours: tuple[int, int, int]) -> np.ndarray:
    """Return a batch of pictures of 4 x 6 pixels, each of one colour."""
    return np.array(colours, dtype=np.uint8)[:, None, None, :].repeat(4, axis=1).repeat(6, axis=2)


@pytest.mark.parametrize("postprocess", [True, False])
def test_detections_are_the_same_in_either_kind_of_output(
    write_colours: Callable[..., Path], postprocess: bool
) -> None:
    model = OnnxModel(write_colours(postprocess=postprocess), threads=1)
    one, two, none = model(coloured((51, 255, 0), (0, 102, 0), (0, 0, 0)))
    assert one.labels.tolist() == [1, 0]
    assert one.scores == pytest.approx([1.0, 0.2])
    assert one.boxes.tolist() == [[0, 0, 6, 4]] * 2
    assert two.labels.tolist() == [1]
    assert len(none) == 0
    assert none.boxes.shape == (0, 4)
    for found in (one, two, none):
        assert (found.boxes.dtype, found.scores.dtype, found.labels.dtype) == (np.float32, np.float32, np.int64)


@pytest.mark.parametrize("batch", [1, 2, 4])
@pytest.mark.parametrize("count", [0, 1, 3, 4, 5])
def test_any_number_of_pictures_goes_through_a_file_of_a_fixed_batch(
    write_colours: Callable[..., Path], batch: int, count: int
) -> None:
    model = OnnxModel(write_colours(batch=batch), threads=1)
    images = RNG.integers(0, 256, (count, 5, 7, 3), dtype=np.uint8)
    found = model(images)
    assert len(found) == count
    for image, given in zip(images, found, strict=True):
        shares = image.reshape(-1, 3).mean(axis=0) / 255
        assert given.scores == pytest.approx(sorted(shares, reverse=True))
        assert given.labels.tolist() == np.argsort(-shares).tolist()


def test_contract_is_read_from_the_file(write_colours: Callable[..., Path]) -> None:
    contract = OnnxModel(write_colours(batch=2, classes=("röd", "grön", "blå")), threads=1).contract
    assert contract.batch == 2
    assert contract.classes == ("röd", "grön", "blå")
    assert contract.size == (8, 8)


def test_pictures_that_are_not_contiguous_are_taken(write_colours: Callable[..., Path]) -> None:
    model = OnnxModel(write_colours(), threads=1)
    images = RNG.integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    for straight, turned in zip(model(images), model(images[:, ::-1, ::-1]), strict=True):
        assert turned.scores == pytest.approx(straight.scores)


def one_line(path: Path) -> str:
    with pytest.raises(ExportError) as caught:
        OnnxModel(path)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(str(path))
    return text


def test_damaged_file_is_refused_in_one_line(write_colours: Callable[..., Path], capfd: pytest.CaptureFixture) -> None:
    path = write_colours()
    path.write_bytes(path.read_bytes()[:-40])
    assert "cannot load" in one_line(path)
    path.write_bytes(b"")
    one_line(path)
    path.write_text("<html>not a model</html>")
    assert "cannot load" in one_line(path)
    assert capfd.readouterr() == ("", "")


def test_onnx_file_of_someone_else_is_refused(tmp_path: Path) -> None:
    graph = parser.parse_graph("other (float[N] x) => (float[N] y) { y = Identity (x) }")
    path = tmp_path / "other.onnx"
    model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 20)])
    onnx.save(model, path)
    assert "not exported by reprolens" in one_line(path)
    for text in ("", "[]", "{}", '{"classes": 3}', "no json"):
        helper.set_model_props(model, {KEY: text})
        onnx.save(model, path)
        assert "not exported by reprolens" in one_line(path)


def test_file_whose_metadata_tell_of_other_outputs_is_refused(write_colours: Callable[..., Path]) -> None:
    path, said = write_colours(postprocess=False), write_colours("said.onnx")
    model = onnx.load(path)
    helper.set_model_props(model, {entry.key: entry.value for entry in onnx.load(said).metadata_props})
    onnx.save(model, path)
    assert "inputs and outputs" in one_line(path)
