"""Files that are not ONNX are looked through for what belongs into no file, too."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from export.gate.bench import Bench
from reprolens.config import ExportFormat
from reprolens.export.formats import FORMATS, Written
from reprolens.export.gate.claim import check_claim, count_convolutions
from reprolens.export.gate.operators import check_operators
from reprolens.export.source import Source
from reprolens.inference.load import load_model


class _Layers(nn.Module):
    """Two convolutions, one transposed, and what is behind the first."""

    def __init__(self, *behind: nn.Module) -> None:
        super().__init__()
        self.first, self.behind, self.second = nn.Conv2d(3, 4, 3), nn.Sequential(*behind), nn.Conv2d(4, 4, 3)
        self.last = nn.ConvTranspose2d(4, 4, 2)

    def forward(self, pixels: torch.Tensor) -> Any:
        return self.last(self.second(self.behind(self.first(pixels))))


def _saved(path: Path, module: nn.Module) -> Path:
    torch.export.save(torch.export.export(module, (torch.rand(2, 3, 16, 16),)), path)
    return path


def _unfolded(source_of: Callable[..., Source]) -> tuple[Source, Source]:
    """Return a source, and one that writes the same model neither folded nor fused."""
    source, other = (source_of("fcos_mobilenet_v2", backbone="repvgg_a0") for _ in range(2))
    other.__dict__["network"] = copy.deepcopy(other.trained.module)
    return source, other


@pytest.mark.parametrize("format", [ExportFormat.torch_export, ExportFormat.openvino])
def test_nothing_is_wrong_with_a_good_file(format: ExportFormat, bench: Bench, tmp_path: Path) -> None:
    pytest.importorskip(FORMATS[format].package or "torch")
    path = tmp_path / FORMATS[format].file
    written = FORMATS[format].write(bench.source, path)
    assert check_claim(bench.source, format, path, load_model(path, threads=1), written) == []
    assert check_operators(path, 12) == ["has 13 convolutions, the folded network 12: its blocks are not folded"]


@pytest.mark.parametrize("format", [ExportFormat.torch_export, ExportFormat.openvino])
def test_blocks_that_are_not_folded_are_seen(
    format: ExportFormat, source_of: Callable[..., Source], tmp_path: Path
) -> None:
    pytest.importorskip(FORMATS[format].package or "torch")
    source, other = _unfolded(source_of)
    path = tmp_path / FORMATS[format].file
    batch = FORMATS[format].write(other, path).batch
    reasons = check_claim(source, format, path, load_model(path, threads=1), Written(batch, {}))
    assert reasons[0].endswith(f"the folded network {count_convolutions(source)}: its blocks are not folded")


@pytest.mark.parametrize(
    ("behind", "learns", "reasons"),
    [
        ([nn.ReLU(), nn.BatchNorm2d(4), nn.Dropout()], False, []),
        ([nn.BatchNorm2d(4)], False, ["has 1 BatchNormalization that belong into the convolutions before them"]),
        (
            [nn.ReLU(), nn.BatchNorm2d(4)],
            True,
            ["was exported in training mode: 1 BatchNormalization normalise by the batch"],
        ),
        ([nn.Dropout()], True, ["was exported in training mode: it has 1 Dropout"]),
    ],
)
def test_norms_in_the_wrong_place_or_mode_are_seen(
    behind: list[nn.Module], learns: bool, reasons: list[str], tmp_path: Path
) -> None:
    assert check_operators(_saved(tmp_path / "model.pt2", _Layers(*behind).train(learns)), 2) == reasons


def test_a_convolution_that_several_norms_follow_keeps_them(tmp_path: Path) -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.one, self.other = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4)

        def forward(self, pixels: torch.Tensor) -> Any:
            return self.one(self.convolution(pixels)) + self.other(self.convolution(pixels))

    assert check_operators(_saved(tmp_path / "model.pt2", Shared().eval()), 2) == []


def test_weights_of_16_bits_are_no_float32(bench: Bench, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    FORMATS[ExportFormat.openvino].write(bench.source, tmp_path / "model.xml")
    model = openvino.Core().read_model(tmp_path / "model.xml")
    openvino.save_model(model, tmp_path / "half.xml", compress_to_fp16=True)
    assert check_operators(tmp_path / "half.xml", 13) == ["is to be float32, but its numbers are float16"]
