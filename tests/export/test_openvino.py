"""OpenVINO's file: what the ONNX file finds, of pictures larger and smaller than the network sees."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from reprolens.errors import ExportError
from reprolens.export.gate.numbers import difference
from reprolens.inference.load import load_model

pytest.importorskip("openvino", reason="the extra openvino is not installed")

FAMILIES = ["fcos_mobilenet_v2", "fasterrcnn_mobilenet_v3_large_fpn"]


@pytest.fixture(scope="module")
def write() -> Any:
    from reprolens.export.openvino import write_openvino

    return write_openvino


@pytest.mark.parametrize("family", FAMILIES)
def test_it_finds_what_the_onnx_file_finds_in_pictures_of_any_size(
    family: str, exported: Callable[[str], Any], pictures: list[NDArray[np.uint8]], write: Any, tmp_path: Path
) -> None:
    it = exported(family)
    path = tmp_path / "model-openvino.xml"
    written = write(it.source, path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model-openvino.bin", "model-openvino.xml"]
    model = load_model(path, threads=1)
    assert model.contract == it.source.contract("openvino", written.batch)
    options = it.trained.options
    noise = np.random.default_rng(0).integers(0, 256, (211, 90, 3), dtype=np.uint8)  # much is lost if not antialiased
    for picture in (*pictures, noise):
        found = (one(picture[None])[0] for one in (it.model, model))
        gap = difference(*found, options.score_threshold, options.detections_per_image, 1e-3)
        assert (gap.unmatched, gap.box < 0.1, gap.score < 1e-3) == (0, True, True), (picture.shape, gap)
        assert gap.matched > 50


def test_a_batch_gives_what_its_pictures_give_alone(
    exported: Callable[[str], Any], pictures: list[NDArray[np.uint8]], write: Any, tmp_path: Path
) -> None:
    write(exported("fcos_mobilenet_v2").source, tmp_path / "model.xml")
    model = load_model(tmp_path / "model.xml", threads=1)
    batch = np.stack([pictures[0], 255 - pictures[0]])
    for together, alone in zip(model(batch), (model(picture[None])[0] for picture in batch), strict=True):
        np.testing.assert_allclose(together.scores, alone.scores, atol=1e-4)


def test_the_same_model_gives_the_same_bytes_which_name_no_place(
    exported: Callable[[str], Any], write: Any, tmp_path: Path
) -> None:
    for folder in ("one", "another"):
        write(exported("fcos_mobilenet_v2").source, tmp_path / folder / "model.xml")
    for name in ("model.xml", "model.bin"):
        content = (tmp_path / "one" / name).read_bytes()
        assert content == (tmp_path / "another" / name).read_bytes()
        assert str(tmp_path).encode() not in content
        assert b"/tmp" not in content or name == "model.bin"


def test_without_post_processing_it_gives_candidates_that_are_suppressed_outside(
    exported: Callable[[str], Any], pictures: list[NDArray[np.uint8]], write: Any, tmp_path: Path
) -> None:
    it = exported("fcos_mobilenet_v2")
    write(replace(it.source, config=replace(it.source.config, postprocess=False)), tmp_path / "model.xml")
    model = load_model(tmp_path / "model.xml", threads=1)
    assert not model.contract.postprocess
    found, expected = model(pictures[1][None])[0], it.model(pictures[1][None])[0]
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)


def test_two_stages_without_their_post_processing_are_refused_and_leave_no_file(
    exported: Callable[[str], Any], write: Any, tmp_path: Path
) -> None:
    source = exported("fasterrcnn_mobilenet_v3_large_fpn").source
    with pytest.raises(ExportError, match="has two stages"):
        write(replace(source, config=replace(source.config, postprocess=False)), tmp_path / "model.xml")
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_its_weights_or_not_of_openvino_is_refused(
    exported: Callable[[str], Any], write: Any, tmp_path: Path
) -> None:
    write(exported("fcos_mobilenet_v2").source, tmp_path / "model.xml")
    (tmp_path / "model.bin").unlink()
    with pytest.raises(ExportError, match=r"model\.bin, do not lie beside it"):
        load_model(tmp_path / "model.xml")
    (tmp_path / "model.bin").write_bytes(b"")
    (tmp_path / "model.xml").write_text("<net")
    with pytest.raises(ExportError, match="OpenVINO cannot load it"):
        load_model(tmp_path / "model.xml")
