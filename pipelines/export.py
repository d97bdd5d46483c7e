"""weights/model.pt, data/voc, earlier reports -> export/ (ONNX, labels, model card), reports/export.json."""

from pathlib import Path

from pipelines.stage import run
from reprolens.config import load
from reprolens.export import export_model
from reprolens.files import write_json
from reprolens.models import load_trained
from reprolens.voc import read_folder


def main() -> str:
    config = load(Path("config.yaml"))
    trained = load_trained(Path("weights/model.pt"))
    folder = read_folder(Path("data/voc"))
    report = export_model(trained, folder, config.export, Path("reports"), Path("export"))
    write_json(Path("reports/export.json"), report)
    return (
        f"export: export/model.onnx, {report['size_mb']} MB, {report['parity/detections']} detections agree with torch "
        f"to {report['parity/max_box_difference']:.2g} pixels, {report['latency_ms/onnxruntime']} ms a picture"
    )


if __name__ == "__main__":
    run(main)
