"""data/voc, weights/model.pt -> reports/evaluation.json, predictions.json, plots/, samples/."""

from pathlib import Path

from pipelines.stage import run
from reprolens.config import load
from reprolens.evaluation import write_reports
from reprolens.evaluation.predict import evaluate_split
from reprolens.models import load_trained
from reprolens.voc import read_folder


def main() -> str:
    config = load(Path("config.yaml"))
    options = config.evaluate
    trained = load_trained(Path("weights/model.pt"))
    folder = read_folder(Path("data/voc"))
    results, pictures = evaluate_split(trained, folder, options)
    write_reports(results, pictures, Path("reports"), split=options.split, samples=options.samples, seed=config.seed)
    metrics = results.metrics
    return (
        f"evaluate: {options.split} mAP50 {metrics['voc12/map50']:.3f} (VOC12), {metrics['voc07/map50']:.3f} (VOC07), "
        f"AP {metrics['coco/ap']:.3f} (COCO) on {metrics['images']} images"
    )


if __name__ == "__main__":
    run(main)
