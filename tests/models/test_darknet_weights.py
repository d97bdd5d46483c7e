"""Darknet's weight files: OpenCV, which reads them itself, and our models see the same in the same pictures.

The configuration files are written here as darknet's are, and the files of values from the names that stand beside
their layers here, by hand: nothing of the reader has a say in them.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reprolens.config import Model
from reprolens.errors import WeightsError
from reprolens.models import build
from reprolens.models.darknet_weights import read_darknet
from reprolens.models.yolov3 import YOLOv3

CLASSES = 4
HEIGHT, WIDTH = 64, 96
HEADER = struct.pack("<iiiq", 0, 2, 5, 32013312)
OLD_HEADER = struct.pack("<iiii", 0, 1, 0, 1000)


@dataclass
class Network:
    """A configuration file in the making, and the names of our modules that its convolutions are."""

    text: str = f"[net]\nwidth={WIDTH}\nheight={HEIGHT}\nchannels=3\n"
    names: list[str] = field(default_factory=list)

    def add(self, section: str, **values: object) -> None:
        self.text += f"\n[{section}]\n" + "".join(f"{key}={value}\n" for key, value in values.items())

    def convolution(self, name: str, filters: int, size: int, stride: int = 1) -> None:
        self.names.append(name)
        shape = {"filters": filters, "size": size, "stride": stride, "pad": 1}
        self.add("convolutional", batch_normalize=1, **shape, activation="leaky")

    def detection(self, level: int, width: int, anchors: str, mask: str) -> None:
        self.convolution(f"head.levels.{level}.0", width, 3)
        self.names.append(f"head.levels.{level}.1")
        self.add("convolutional", size=1, stride=1, pad=1, filters=3 * (5 + CLASSES), activation="linear")
        number = anchors.count(",") // 2 + 1
        self.add("yolo", mask=mask, anchors=anchors, classes=CLASSES, num=number, thresh=0)


def _yolov3() -> Network:
    network = Network()
    network.convolution("backbone.body.stem", 32, 3)
    for stage, blocks in enumerate((1, 2, 8, 8, 4), start=1):
        network.convolution(f"backbone.body.stage{stage}.0", 32 * 2**stage, 3, 2)
        for block in range(1, blocks + 1):
            network.convolution(f"backbone.body.stage{stage}.{block}.reduce", 16 * 2**stage, 1)
            network.convolution(f"backbone.body.stage{stage}.{block}.expand", 32 * 2**stage, 3)
            network.add("shortcut", **{"from": -3, "activation": "linear"})
    anchors = "10,13, 16,30, 33,23, 30,61, 62,45, 59,119, 116,90, 156,198, 373,326"
    for level, width, route, mask in ((2, 512, 0, "6,7,8"), (1, 256, 61, "3,4,5"), (0, 128, 36, "0,1,2")):
        if route:
            network.add("route", layers=-4)
            network.convolution(f"backbone.neck.levels.{level}.reduce", width, 1)
            network.add("upsample", stride=2)
            network.add("route", layers=f"-1, {route}")
        for layer in range(5):
            name = f"backbone.neck.levels.{level}.block.{layer}"
            network.convolution(name, width * (1 + layer % 2), 1 + 2 * (layer % 2))
        network.detection(level, 2 * width, anchors, mask)
    return network


def _yolov3_tiny() -> Network:
    network = Network()
    for layer in range(1, 8):
        network.convolution(f"backbone.body.conv{layer}", 2 ** (layer + 3), 3)
        if layer < 7:
            network.add("maxpool", size=2, stride=2 if layer < 6 else 1)
    anchors = "10,14, 23,27, 37,58, 81,82, 135,169, 344,319"
    network.convolution("backbone.neck.levels.1.block.0", 256, 1)
    network.detection(1, 512, anchors, "3,4,5")
    network.add("route", layers=-4)
    network.convolution("backbone.neck.levels.0.reduce", 128, 1)
    network.add("upsample", stride=2)
    network.add("route", layers="-1, 8")
    network.detection(0, 256, anchors, "1,2,3")
    return network


def _values(model: nn.Module, names: list[str]) -> bytes:
    """Return the values of modules as darknet's save_convolutional_weights writes them."""
    state, found = model.state_dict(), list[Tensor]()
    for name in names:
        if f"{name}.norm.weight" in state:
            found += [state[f"{name}.norm.{part}"] for part in ("bias", "weight", "running_mean", "running_var")]
            found.append(state[f"{name}.conv.weight"])
        else:
            found += [state[f"{name}.bias"], state[f"{name}.weight"]]
    return b"".join(tensor.numpy().astype("<f4").tobytes() for tensor in found)


def _lively(options: Model) -> YOLOv3:
    """Return a model whose values are all different and whose outputs are neither all alike nor beyond bounds."""
    torch.manual_seed(3)
    model = build(options, CLASSES)
    assert isinstance(model, YOLOv3)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = 1.0
            norm.weight.uniform_(0.8, 1.2)
            norm.bias.normal_(std=0.1)
        model.train().raw(torch.rand(4, 3, HEIGHT, WIDTH))
        for level in model.head.get_submodule("levels").children():
            last = level.get_parameter("1.weight")
            last.normal_(std=last[0].numel() ** -0.5)
            level.get_parameter("1.bias").normal_(std=0.5)
    return model.eval()


@dataclass(frozen=True)
class Case:
    network: Network
    options: Model
    model: YOLOv3
    values: bytes


@pytest.fixture(scope="module")
def tiny(options: Callable[..., Model]) -> Case:
    network, small = _yolov3_tiny(), options("yolov3_tiny", image_size=[HEIGHT, WIDTH])
    model = _lively(small)
    return Case(network, small, model, _values(model, network.names))


@pytest.fixture(scope="module")
def large(options: Callable[..., Model]) -> Case:
    network, small = _yolov3(), options("yolov3", image_size=[HEIGHT, WIDTH])
    model = _lively(small)
    return Case(network, small, model, _values(model, network.names))


@pytest.fixture(params=["tiny", "large"])
def case(request: pytest.FixtureRequest) -> Case:
    return request.getfixturevalue(request.param)


def _written(path: Path, *parts: bytes) -> Path:
    path.write_bytes(b"".join(parts))
    return path


def test_opencv_and_our_model_see_the_same_with_the_same_file(case: Case, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2", reason="opencv-python-headless (dependency group dev) is not installed")
    (tmp_path / "net.cfg").write_text(case.network.text)
    file = _written(tmp_path / "net.weights", HEADER, case.values)
    picture = torch.rand(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(5))

    net = cv2.dnn.readNetFromDarknet(str(tmp_path / "net.cfg"), str(file))
    net.enableWinograd(False)  # which trades accuracy for speed
    net.setInput(picture.numpy())
    theirs = np.concatenate(net.forward(net.getUnconnectedOutLayersNames())[::-1])  # (R, 5 + classes)

    model = build(case.options, CLASSES).eval()
    assert isinstance(model, YOLOv3)
    model.load_state_dict(read_darknet(file, model) or {}, strict=False)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-6  # OpenCV's; darknet's CUDA kernels have ours
    with torch.inference_mode():
        boxes, scores = (found[0].numpy() for found in model.decode(model.raw(picture), (HEIGHT, WIDTH)))
    sides = np.array([WIDTH, HEIGHT])
    ours = np.hstack([(boxes[:, :2] + boxes[:, 2:]) / 2 / sides, (boxes[:, 2:] - boxes[:, :2]) / sides, scores])
    np.testing.assert_allclose(ours, np.delete(theirs, 4, axis=1), rtol=1e-4, atol=1e-4)  # their column 4 is objectness
    assert ours.std(axis=0).min() > 0.05  # what they agree on is not the same everywhere


@pytest.mark.parametrize("header", [HEADER, OLD_HEADER], ids=["0.2", "0.1"])
def test_a_file_gives_every_value_of_the_model_back(tiny: Case, header: bytes, tmp_path: Path) -> None:
    read = read_darknet(_written(tmp_path / "net.weights", header, tiny.values), tiny.model)
    own = {key: value for key, value in tiny.model.state_dict().items() if not key.endswith("num_batches_tracked")}
    assert read is not None
    assert read.keys() == own.keys()
    assert all(torch.equal(value, own[key]) for key, value in read.items())


def test_outputs_come_for_as_many_classes_as_the_file_has(tiny: Case, tmp_path: Path) -> None:
    other = build(tiny.options, 7)
    read = read_darknet(_written(tmp_path / "net.backup", HEADER, tiny.values), other)
    assert read is not None
    differing = {key: len(value) for key, value in read.items() if value.shape != other.state_dict()[key].shape}
    outputs = [f"head.levels.{level}.1.{part}" for level in (0, 1) for part in ("weight", "bias")]
    assert differing == dict.fromkeys(outputs, 3 * (5 + 4))
    assert all(torch.equal(read[key], tiny.model.state_dict()[key]) for key in differing)


@pytest.mark.parametrize(
    ("name", "file", "length", "modules", "classes"),
    [
        ("yolov3", "yolov3.weights", 248_007_048, 75, 80),
        ("yolov3", "darknet53.conv.74", 162_482_580, 52, None),
        ("yolov3_tiny", "yolov3-tiny.weights", 35_434_956, 13, 80),
    ],
)
def test_files_of_the_published_lengths_are_understood(
    name: str,
    file: str,
    length: int,
    modules: int,
    classes: int | None,
    options: Callable[..., Model],
    tmp_path: Path,
) -> None:
    path = _written(tmp_path / file, HEADER)
    with path.open("r+b") as opened:
        opened.truncate(length)  # zeros, which take no room on the disk
    with torch.device("meta"):
        model = build(options(name), CLASSES)
    read = read_darknet(path, model)
    assert read is not None
    assert len({key.rpartition(".")[0].removesuffix(".norm").removesuffix(".conv") for key in read}) == modules
    outputs = {len(value) for key, value in read.items() if key.startswith("head") and key.endswith("1.bias")}
    assert outputs == ({3 * (5 + classes)} if classes else set())


def test_the_first_layers_of_a_file_give_those_layers(tiny: Case, tmp_path: Path) -> None:
    names = tiny.network.names[:9]  # what `darknet partial ... 15` leaves: all before the first output
    read = read_darknet(_written(tmp_path / "tiny.conv.15", HEADER, _values(tiny.model, names)), tiny.model)
    assert read is not None
    assert len(read) == 9 * 5
    assert {key.removesuffix(".conv.weight") for key in read if key.endswith("conv.weight")} == {*names}
    assert all(torch.equal(value, tiny.model.state_dict()[key]) for key, value in read.items())


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("cut.weights", lambda whole: whole[:-4000], "cut off"),
        ("cut_in_a_number.weights", lambda whole: whole[:-3], "damaged"),
        ("long.weights", lambda whole: whole + bytes(40), "of another network"),
        ("short.weights", lambda whole: whole[:4000], "of another network"),
        ("bare.weights", lambda whole: whole[:20], "of another network"),
        ("header.weights", lambda whole: whole[:14], "cannot be read"),
        ("nan.weights", lambda whole: whole[:-4] + struct.pack("<f", float("nan")), "damaged"),
        ("cut.conv.15", lambda whole: whole[:100_000], "cut off"),
        ("whole.conv.15", lambda whole: whole, "cut off, or of another network"),
    ],
)
def test_damaged_files_and_those_of_other_networks_are_refused_in_one_line(
    tiny: Case, name: str, content: Callable[[bytes], bytes], reason: str, tmp_path: Path
) -> None:
    path = _written(tmp_path / name, content(HEADER + tiny.values))
    with pytest.raises(WeightsError, match=reason) as refused:
        read_darknet(path, tiny.model)
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_refused(tiny: Case, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there is no such file"):
        read_darknet(tmp_path / "none.weights", tiny.model)


def test_a_model_with_another_backbone_is_told_so(tiny: Case, options: Callable[..., Model], tmp_path: Path) -> None:
    other = build(options("yolov3_tiny", backbone="resnet18"), CLASSES)
    with pytest.raises(WeightsError, match=r"set model\.backbone to null"):
        read_darknet(_written(tmp_path / "net.weights", HEADER, tiny.values), other)


def test_files_of_other_programs_are_left_to_others(tiny: Case, tmp_path: Path) -> None:
    torch.save(tiny.model.state_dict(), tmp_path / "torch.weights")
    assert read_darknet(tmp_path / "torch.weights", tiny.model) is None
    assert read_darknet(_written(tmp_path / "net.pt", HEADER, tiny.values), tiny.model) is None
    assert read_darknet(_written(tmp_path / "empty.weights"), tiny.model) is None
