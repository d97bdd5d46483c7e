"""weights/model.pt, data/voc, earlier reports -> export/ (the files that the gate let pass), reports/export.json."""

from pathlib import Path
from typing import Any

from pipelines.stage import run
from reprolens.config import load
from reprolens.export import check_formats, export_model, refuse, told_rejected
from reprolens.files import write_json


def main() -> str:
    config = load(Path("config.yaml"))
    check_formats(config.export.formats)  # before torch is loaded, which takes seconds
    from reprolens.models import load_trained
    from reprolens.voc import read_folder

    trained = load_trained(Path("weights/model.pt"))
    folder = read_folder(Path("data/voc"))
    report = export_model(trained, folder, config.export, Path("reports"), Path("export"), Path())
    write_json(Path("reports/export.json"), report)
    refuse(report, config.export)
    parts = [told(name, report) for name in report["published"]]
    if report["rejected"]:
        parts.append(f"rejected: {told_rejected(report)} (export/rejected)")
    return f"export: {'; '.join(parts)}"


def told(name: str, report: dict[str, Any]) -> str:
    """Return what is to be known of a published file: its size, how fast it is, how far its mAP fell."""
    drop = report[f"{name}/drop/voc12/map50"]
    loss = "mAP50 undefined" if drop is None else f"mAP50 {-drop:+z.4f}"
    return (
        f"export/{report[f'{name}/file']}, {report[f'{name}/size_mb']:.1f} MB, "
        f"{report[f'{name}/latency_ms/p50']:.1f} ms a picture ({report[f'{name}/speedup']:.1f} x torch), {loss}"
    )


if __name__ == "__main__":
    run(main)
