"""Reports of the stages before the export, and of an export, for the tests of what is told of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reprolens import files
from reprolens.config import Evaluate
from reprolens.evaluation.predict import evaluate_split
from reprolens.export.formats import FORMATS
from reprolens.models import TrainedModel
from reprolens.voc import Folder

PRETRAIN = {"source": "published", "name": "MobileNet_V2_Weights.IMAGENET1K_V1", "licence": "BSD-3-Clause"}
TRAIN = {"epochs": 3, "parameters": 2_108_816}


def write_reports(root: Path, trained: TrainedModel, folder: Folder, dataset: Mapping[str, Any]) -> Path:
    """Write what the stages before leave for a model; return their folder."""
    results, _ = evaluate_split(trained, folder, Evaluate("test", 4, 0.5, 100, 4, 2, 4, 4), 7)
    facts = {"split": "test", "data/sha256": "1" * 64}
    for name, report in {
        "dataset": dataset,
        "pretrain": PRETRAIN,
        "train": TRAIN,
        "evaluation": facts | results.metrics,
    }.items():
        files.write_json(root / f"{name}.json", report)
    return root


def exported(published: Sequence[str], rejected: Sequence[str] = (), **changes: Any) -> dict[str, Any]:
    """Return reports/export.json of files that are twice as fast as torch and as good but for a thousandth."""
    report: dict[str, Any] = {"published": list(published), "rejected": dict.fromkeys(rejected, "coco/ap falls")}
    report |= {"split": "test", "images": 6, "opset": 20, "threads": 2, "cpu": "A | processor", "batch": 8}
    for name in ("torch", *published, *rejected):
        half = 1 if name == "torch" else 2
        report |= {f"{name}/voc12/map50": 0.9, f"{name}/coco/ap": 0.6, f"{name}/images_per_second": 100.0 * half}
        report |= {f"{name}/latency_ms/p50": 10 / half, f"{name}/latency_ms/p95": 20 / half}
        report[f"{name}/peak_memory_mib"] = 123.4
        if name != "torch":
            report |= {f"{name}/passed": name in published, f"{name}/file": FORMATS[name].file}  # type: ignore[index]
            report |= {f"{name}/drop/voc12/map50": 0.001, f"{name}/drop/coco/ap": 0.0}
            report |= {f"{name}/size_mb": 8.5, f"{name}/speedup": 2.0}
    return report | changes
