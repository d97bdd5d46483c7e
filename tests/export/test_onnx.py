"""The exported file is the trained model: same detections, on pictures of any size, of every family."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.utils
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from reprolens.errors import ExportError
from reprolens.evaluation import Detections
from reprolens.export.onnx import export_onnx
from reprolens.export.parity import Difference, difference, run_onnx
from reprolens.models import TrainedModel, names
from reprolens.models.mask_rcnn import without_masks
from reprolens.models.registry import get
from reprolens.models.reparameterize import reparameterize

Pixels = NDArray[np.uint8]
Give = Callable[[str], Any]
Lively = Callable[..., TrainedModel]
SLOW = {"dfine_m", "dfine_s", "rtdetr_v2_r50", "yolox_darknet53", "yolox_l", "yolox_m", "yolox_x"}
LARGE = {*SLOW, "fasterrcnn_resnet50_fpn_v2", "maskrcnn_resnet50_fpn_v2", "retinanet_resnet50_fpn_v2"}
"""Larger scales and later versions: to agree on one picture is enough for them."""
FAMILIES = ["fcos_mobilenet_v2", "fasterrcnn_mobilenet_v3_large_fpn"]  # both of torch's exporters


def _torch(trained: TrainedModel, image: Pixels) -> Detections:
    with torch.inference_mode(), without_masks(trained.module):
        [found] = trained.module([torch.from_numpy(image.copy()).permute(2, 0, 1) / 255])
    return Detections(found["boxes"].numpy(), found["scores"].numpy(), found["labels"].numpy() - 1)


def _gap(trained: TrainedModel, session: Any, image: Pixels) -> Difference:
    options = trained.options
    found = _torch(trained, image), run_onnx(session, image)
    return difference(*found, options.score_threshold, options.detections_per_image, 1e-3)


def _opset(path: Path) -> int:
    return next(entry.version for entry in onnx.load(path).opset_import if entry.domain == "")


# One process exports a model once, for all of its tests.
@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=[pytest.mark.xdist_group(name), *[pytest.mark.slow] * (name in SLOW)])
        for name in names()
    ],
)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def it(name: str, exported: Give) -> Any:
    """Return every model, exported."""
    return exported(name)


@pytest.fixture
def shown(name: str, pictures: list[Pixels]) -> list[Pixels]:
    """Return pictures of three sizes; one of them for the large scales of a family."""
    assert len({image.shape for image in pictures}) == 3
    return pictures[:1] if name in LARGE or get(name).fixed_size else pictures


def test_the_file_finds_what_the_model_finds_in_pictures_of_any_size(it: Any, shown: list[Pixels]) -> None:
    for image in shown:
        gap = _gap(it.trained, it.session, image)
        assert gap.unmatched == 0, gap
        assert gap.matched >= 0.9 * it.trained.options.detections_per_image, gap
        assert gap.box < 0.1, gap
        assert gap.score < 1e-3, gap


def test_what_is_compared_depends_on_the_picture(it: Any, pictures: list[Pixels]) -> None:
    one, other = (run_onnx(it.session, image) for image in (pictures[0], 255 - pictures[0]))
    options = it.trained.options
    gap = difference(one, other, options.score_threshold, options.detections_per_image, 1e-3)
    assert gap.unmatched > 0 or gap.score > 2e-3, gap


def test_the_file_speaks_of_pixels_of_the_picture_and_of_lines_of_labels(it: Any, shown: list[Pixels]) -> None:
    [given] = it.session.get_inputs()
    assert (given.name, given.type, given.shape[2]) == ("image", "tensor(uint8)", 3)
    assert all(isinstance(side, str) for side in given.shape[:2])  # named, not fixed
    assert [(out.name, out.type) for out in it.session.get_outputs()] == [
        ("boxes", "tensor(float)"),
        ("scores", "tensor(float)"),
        ("labels", "tensor(int64)"),
    ]
    for image in shown:
        boxes, scores, labels = it.session.run(None, {"image": image})
        assert (boxes.shape, labels.shape) == ((len(scores), 4), (len(scores),))
        assert (np.diff(scores) <= 0).all()
        assert set(labels) <= set(range(10))
        assert boxes.min() >= 0
        assert boxes[:, [0, 2]].max() <= image.shape[1] + 1e-3
        assert boxes[:, [1, 3]].max() <= image.shape[0] + 1e-3
        assert boxes[:, 2].max() > 0.7 * image.shape[1]


def test_the_file_names_nothing_of_the_machine_that_made_it(it: Any) -> None:
    model = onnx.load(it.path)
    for tensor in model.graph.initializer:
        tensor.ClearField("raw_data")  # numbers, which may by chance spell anything
    content = model.SerializeToString()
    repository, home = Path(__file__).parents[2], Path.home()
    traces = [str(repository), f"{home}/", sys.prefix, "site-packages", "reprolens/export", ".py"]
    assert [trace for trace in traces if trace.encode() in content] == []


def test_the_file_shows_the_network_the_pixels_that_it_was_trained_on(
    exported: Give, pictures: list[Pixels], tmp_path: Path
) -> None:
    it = exported("fcos_mobilenet_v2")
    onnx.utils.extract_model(it.path, tmp_path / "before.onnx", ["image"], ["pixels"])
    before = onnxruntime.InferenceSession(tmp_path / "before.onnx", providers=["CPUExecutionProvider"])
    transform = it.trained.module.transform
    noise = np.random.default_rng(0).integers(0, 256, (211, 190, 3), dtype=np.uint8)
    for image in (*pictures, noise):
        [seen] = before.run(["pixels"], {"image": image})
        expected, _ = transform.resize(torch.from_numpy(image.copy()).permute(2, 0, 1) / 255)
        assert np.abs(seen[0] - expected.numpy()).max() < 1e-4  # at the edges too


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_model_gives_the_same_bytes(
    family: str, exported: Give, lively: Lively, options: Any, tmp_path: Path
) -> None:
    export_onnx(lively(family), options, tmp_path / "another name.onnx")
    assert (tmp_path / "another name.onnx").read_bytes() == exported(family).path.read_bytes()


@pytest.mark.parametrize(("family", "opset"), zip(FAMILIES, (18, 20), strict=True))
def test_where_nothing_is_found_the_arrays_are_empty_in_every_operator_set(
    family: str, opset: int, lively: Lively, options: Any, open_session: Any, pictures: list[Pixels], tmp_path: Path
) -> None:
    trained = lively(family, score_threshold=0.999)
    export_onnx(trained, replace(options, opset=opset), tmp_path / "model.onnx")
    assert _opset(tmp_path / "model.onnx") == opset
    boxes, scores, labels = open_session(tmp_path / "model.onnx").run(None, {"image": pictures[0]})
    assert (boxes.shape, scores.shape, labels.shape) == ((0, 4), (0,), (0,))
    assert (boxes.dtype, scores.dtype, labels.dtype) == (np.float32, np.float32, np.int64)


def test_a_two_stage_model_that_sees_nothing_in_noise_is_exported_whole(
    lively: Lively, options: Any, open_session: Any, pictures: list[Pixels], tmp_path: Path
) -> None:
    # The older exporter follows one run on a picture of noise, in which a trained model finds nothing.
    trained = lively("fasterrcnn_mobilenet_v3_large_fpn", score_threshold=0.3)
    noise = torch.rand(1, 3, 72, 88, generator=torch.Generator().manual_seed(0))
    _blind(trained.module, noise[0], torch.from_numpy(pictures[0].copy()).permute(2, 0, 1) / 255)
    with torch.no_grad():
        assert len(trained.module([noise[0]])[0]["scores"]) == 0
    export_onnx(trained, options, tmp_path / "model.onnx")
    session = open_session(tmp_path / "model.onnx")
    for image in pictures:
        gap = _gap(trained, session, image)
        assert gap.unmatched == 0
        assert gap.matched > 10


def test_thresholds_of_any_size_are_in_the_file_in_the_newest_operator_set(
    lively: Lively, options: Any, open_session: Any, pictures: list[Pixels], tmp_path: Path
) -> None:
    trained = lively("fcos_mobilenet_v2", score_threshold=1e-05, nms_threshold=1.0)  # not every parser reads 1e-05
    export_onnx(trained, replace(options, opset=23), tmp_path / "model.onnx")
    assert _opset(tmp_path / "model.onnx") == 23
    assert _gap(trained, open_session(tmp_path / "model.onnx"), pictures[1]).unmatched == 0


def test_blocks_that_can_fold_are_plain_convolutions_in_the_file(
    lively: Lively, options: Any, open_session: Any, pictures: list[Pixels], tmp_path: Path
) -> None:
    trained = lively("fcos_mobilenet_v2", backbone="repvgg_a0")
    export_onnx(trained, options, tmp_path / "model.onnx")
    operators = [node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node]
    folded = reparameterize(trained.module)
    assert operators.count("Conv") == _convolutions(folded, pictures[0]) < _convolutions(trained.module, pictures[0])
    assert "BatchNormalization" not in operators
    session = open_session(tmp_path / "model.onnx")
    for image in pictures:
        gap = _gap(trained, session, image)
        assert (gap.unmatched, gap.box < 0.1, gap.score < 1e-3) == (0, True, True), gap
    with pytest.raises(ExportError, match="it is in training mode"):
        reparameterize(trained.module.train())


@pytest.mark.parametrize(
    "name",
    [pytest.param("maskrcnn_resnet50_fpn", marks=pytest.mark.xdist_group("maskrcnn_resnet50_fpn"))],
    indirect=True,
    scope="module",
)
def test_of_mask_rcnn_the_file_has_no_part_that_draws_masks(it: Any) -> None:
    operators = {node.op_type for node in onnx.load(it.path).graph.node}
    assert "ConvTranspose" not in operators  # the mask head's alone
    assert "masks" in it.trained.module([torch.zeros(3, 72, 88)])[0]  # the model itself still draws them


def test_a_family_without_an_export_is_refused_and_leaves_no_file(lively: Lively, options: Any, tmp_path: Path) -> None:
    other = replace(lively("fcos_mobilenet_v2"), module=nn.Linear(1, 1))
    with pytest.raises(ExportError, match="Linear: this family has no ONNX export yet"):
        export_onnx(other, options, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def _convolutions(module: nn.Module, image: Pixels) -> int:
    """Return how many convolutions a picture goes through."""
    count = 0

    def add(*_: Any) -> None:
        nonlocal count
        count += 1

    hooks = [part.register_forward_hook(add) for part in module.modules() if isinstance(part, nn.Conv2d)]
    with torch.inference_mode():
        module([torch.from_numpy(image.copy()).permute(2, 0, 1) / 255])
    for hook in hooks:
        hook.remove()
    return count


def _blind(module: nn.Module, unseen: torch.Tensor, seen: torch.Tensor) -> None:
    """Make the second stage take for background whatever it sees in `unseen`, and hardly anything in `seen`."""
    features: list[torch.Tensor] = []
    hook = module.get_submodule("roi_heads.box_head").register_forward_hook(lambda _, __, out: features.append(out))
    with torch.no_grad():
        module([unseen])
        module([seen])
        hook.remove()
        gap = features[0].mean(0) - features[1].mean(0)
        high, low = (features[0] @ gap).min(), (features[1] @ gap).median()
        last = module.get_submodule("roi_heads.box_predictor.cls_score")
        last.get_parameter("weight")[0] += 800 * gap / (high - low)
        last.get_parameter("bias")[0] -= 400 * (high + low) / (high - low)
