"""Where a repository has its model."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Repository:
    """A folder with weights/model.pt and export/model.onnx."""

    path: Path

    @property
    def weights(self) -> Path:
        return self.path / "weights" / "model.pt"

    @property
    def exported(self) -> Path:
        return self.path / "export" / "model.onnx"
