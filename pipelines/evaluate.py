"""data/voc, weights/model.pt -> reports/evaluation.json, the files that explain it, and those to measure it again."""

import json
from pathlib import Path

from pipelines.stage import run
from reprolens.config import load
from reprolens.evaluation.fingerprint import check_leaks, fingerprint
from reprolens.evaluation.predict import evaluate_split
from reprolens.evaluation.reports import shown, write_reports
from reprolens.files import sha256
from reprolens.models import load_trained
from reprolens.voc import read_folder

WEIGHTS = Path("weights/model.pt")


def main() -> str:
    config = load(Path("config.yaml"))
    options = config.evaluate
    folder = read_folder(Path("data/voc"))
    check_leaks(folder, options.split)
    results, pictures = evaluate_split(load_trained(WEIGHTS), folder, options, config.seed)
    facts = {
        "split": options.split,
        "data/sha256": fingerprint(folder, options.split),
        "weights/sha256": sha256(WEIGHTS),
        "near_duplicates": json.loads(Path("reports/dataset.json").read_text(encoding="utf-8"))["near_duplicates"],
    }
    write_reports(results, pictures, Path("reports"), facts, options, config.seed)
    metrics = results.metrics
    return (
        f"evaluate: {options.split} mAP50 {shown(metrics, 'voc12/map50')} (VOC12), "
        f"{shown(metrics, 'voc07/map50')} (VOC07), AP {shown(metrics, 'coco/ap')} (COCO) on {metrics['images']} images"
    )


if __name__ == "__main__":
    run(main)
