"""The export stage: a trained model to a folder that is whole, checked, and understood without this repository."""

import json
from pathlib import Path
from typing import Any

from reprolens.config import Export
from reprolens.errors import ExportError
from reprolens.export.card import write_card
from reprolens.export.onnx import export_onnx
from reprolens.export.parity import compare
from reprolens.files import atomic_folder
from reprolens.models import TrainedModel
from reprolens.voc import Folder


def export_model(trained: TrainedModel, folder: Folder, config: Export, reports: Path, out: Path) -> dict[str, Any]:
    """Write model.onnx, labels.txt and the model card to `out`; return the report for reports/export.json.

    Raises ExportError if the file cannot be made or does not agree with `trained`; `out` then stays as it was.
    """
    earlier = {name: _read(reports / f"{name}.json") for name in ("dataset", "pretrain", "train", "evaluation")}
    with atomic_folder(out) as temporary:
        path = temporary / "model.onnx"
        export_onnx(trained, config, path)
        report = {
            "opset": config.opset,
            "size_mb": round(path.stat().st_size / 1e6, 2),
            **compare(trained, path, folder, config),
        }
        write_card(temporary, trained, {**earlier, "export": report})
    return report


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ExportError(f"{path}: missing or damaged; run dvc repro evaluate") from None
