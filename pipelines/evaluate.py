"""data/voc, weights/model.pt -> reports/evaluation.json, predictions.json, plots/, samples/."""

from pathlib import Path

from pipelines.stage import run
from reprolens.config import load
from reprolens.evaluation import shown, write_reports
from reprolens.evaluation.predict import evaluate_split
from reprolens.models import load_trained
from reprolens.voc import read_folder


def main() -> str:
    config = load(Path("config.yaml"))
    options = config.evaluate
    trained = load_trained(Path("weights/model.pt"))
    folder = read_folder(Path("data/voc"))
    results, pictures = evaluate_split(trained, folder, options, config.seed)
    write_reports(
        results,
        pictures,
        Path("reports"),
        split=options.split,
        samples=options.samples,
        worst=options.worst,
        seed=config.seed,
    )
    metrics = results.metrics
    return (
        f"evaluate: {options.split} mAP50 {shown(metrics, 'voc12/map50')} (VOC12), "
        f"{shown(metrics, 'voc07/map50')} (VOC07), AP {shown(metrics, 'coco/ap')} (COCO) on {metrics['images']} images"
    )


if __name__ == "__main__":
    run(main)
