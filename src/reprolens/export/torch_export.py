"""torch's own format, .pt2: a graph of torch's operators and its weights, run by torch without the detector's code.

It takes pictures as they were decoded and gives candidates; thresholds and suppression, whose shapes depend on the
data, torch.export refuses. `reprolens.inference.torch_model` does them.
"""

import io
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn import functional

from reprolens.config import ExportFormat
from reprolens.errors import ExportError, first_line
from reprolens.export.dense import TwoStage, fixed_part
from reprolens.export.formats import Written
from reprolens.export.quiet import quiet
from reprolens.export.source import Source
from reprolens.files import atomic
from reprolens.inference.model import KEY

_PICTURE = (48, 56)
"""(height, width) of the pictures that the network is traced with; other than any that it sees."""


class Candidates(nn.Module):
    """`images (B, H, W, 3)` uint8 RGB to boxes `(B, A, 4)` in their pixels and scores `(B, A, K)`."""

    def __init__(self, dense: nn.Module, size: tuple[int, int]) -> None:
        super().__init__()
        self.dense, self.size = dense, size

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        pixels = images.permute(0, 3, 1, 2).float() / 255
        boxes, scores = self.dense(
            functional.interpolate(pixels, self.size, mode="bilinear", align_corners=False, antialias=True)
        )
        height, width = (torch.scalar_tensor(images.shape[place]) / self.size[place - 1] for place in (1, 2))
        return boxes * torch.stack([width, height, width, height]), scores


def write_torch_export(source: Source, path: Path) -> Written:
    """Write the model as a .pt2 that gives candidates. Raises ExportError if it has two stages, or torch cannot."""
    height, width = source.trained.options.image_size
    dense = fixed_part(source.network, (height, width))
    if isinstance(dense, TwoStage):
        raise ExportError(
            f"export.formats: {source.trained.options.name} has two stages, which torch.export cannot follow; take onnx"
        )
    module = Candidates(dense, (height, width)).eval().requires_grad_(False)
    batch = None
    try:
        program = _export(module, dynamic=True)
    except Exception:  # torch.export raises kinds of its own; some code asks for the batch's size
        batch = 1
        try:
            program = _export(module, dynamic=False)
        except Exception as error:
            name = source.trained.options.name
            raise ExportError(f"{name}: torch.export cannot follow it ({first_line(error)})") from error
    contract = source.contract(ExportFormat.torch_export, batch, postprocess=False)
    buffer = io.BytesIO()  # a file's name would be in the archive
    with quiet():
        torch.export.save(program, buffer, extra_files={f"{KEY}.json": contract.to_json()})
    with atomic(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
    return Written(batch, {})


def _export(module: nn.Module, dynamic: bool) -> ExportedProgram:
    """Export for pictures of any size, and with `dynamic` for any number of them."""
    example = torch.zeros(2 if dynamic else 1, *_PICTURE, 3, dtype=torch.uint8)  # torch takes one for fixed
    sides = {1: Dim("height"), 2: Dim("width")}
    with quiet(), torch.no_grad():
        program = torch.export.export(
            module, (example,), dynamic_shapes={"images": {0: Dim("batch"), **sides} if dynamic else sides}
        )
    for node in program.graph.nodes:  # which name the exporting machine's files
        for key in ("stack_trace", "nn_module_stack", "source_fn_stack"):
            node.meta.pop(key, None)
    return program
