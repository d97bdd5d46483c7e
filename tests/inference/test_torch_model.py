"""torch.export's files as torch runs them; what may be in them is tested in tests/export/test_torch_export.py."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from colours import CONTRACT
from reprolens.errors import ExportError
from reprolens.inference.model import KEY
from reprolens.inference.torch_model import TorchExportModel


class Looks(nn.Module):
    """Looks up the first value of a picture in a table of two rows; gives `outputs` tensors."""

    table: Tensor

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.register_buffer("table", torch.tensor([[0.0, 0.0, 4.0, 3.0], [1.0, 1.0, 3.0, 3.0]]))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        boxes = nn.functional.embedding(images[:, 0, 0, 0].long(), self.table)[:, None]
        return (boxes, boxes[..., :3] / 4 + 0.2, boxes)[: self.outputs]


def write(path: Path, outputs: int = 2) -> Path:
    program = torch.export.export(Looks(outputs).eval(), (torch.zeros(1, 3, 4, 3, dtype=torch.uint8),))
    contract = replace(CONTRACT, format="torch_export", postprocess=False, batch=1)
    torch.export.save(program, path, extra_files={f"{KEY}.json": contract.to_json()})
    return path


def picture(value: int) -> np.ndarray:
    return np.full((1, 3, 4, 3), value, np.uint8)


def test_it_finds_what_its_candidates_say(tmp_path: Path) -> None:
    found = TorchExportModel(write(tmp_path / "model.pt2"))(picture(0))[0]
    assert found.boxes[0].tolist() == [0, 0, 4, 3] and found.labels[0] == 2


def test_whatever_torch_raises_ends_in_one_line(tmp_path: Path) -> None:
    model = TorchExportModel(write(tmp_path / "model.pt2"))
    with pytest.raises(IndexError):
        model._module(torch.from_numpy(picture(7)))
    with pytest.raises(ExportError, match=r"model\.pt2: torch cannot run it \(index out of range.*\)$"):
        model(picture(7))


@pytest.mark.parametrize("outputs", [1, 3])
def test_other_outputs_than_promised_end_in_one_line(outputs: int, tmp_path: Path) -> None:
    model = TorchExportModel(write(tmp_path / "model.pt2", outputs))
    with pytest.raises(ExportError, match=r"model\.pt2: torch cannot run it \(zip"):
        model(picture(0))
