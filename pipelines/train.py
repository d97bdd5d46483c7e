"""data/voc, weights/initial.pt -> weights/model.pt, reports/train.json, reports/history.csv, reports/sheets/."""

from functools import partial
from pathlib import Path

from pipelines.stage import run
from reprolens.config import load
from reprolens.evaluation.predict import validation_metrics
from reprolens.files import write_json
from reprolens.loading import open_index
from reprolens.loading.sheet import draw_training_sheets
from reprolens.models import save_trained
from reprolens.tracking.live import live
from reprolens.training.checkpoint import discard_checkpoints
from reprolens.training.detection import train_detector
from reprolens.training.processes import launch, place
from reprolens.voc import read_folder


def main() -> str:
    config = load(Path("config.yaml"))
    if launch("pipelines.train", config.trainer.processes):
        return ""  # the first of them has done the rest
    folder = read_folder(Path("data/voc"))
    if place()[0] == 0:
        height, width = config.model.image_size
        sheets = Path("reports/sheets")
        draw_training_sheets(open_index(folder), config.augment, (height, width), config.seed, sheets)
    trained = train_detector(
        config,
        folder,
        Path("weights/initial.pt"),
        Path("reports/history.csv"),
        validation_metrics,
        Path(".checkpoints"),
        partial(live, Path(), config),
    )
    if place()[0] > 0:
        return ""
    report = trained.report
    save_trained(Path("weights/model.pt"), trained.state, config.model, folder.classes, trained.preprocessing)
    write_json(Path("reports/train.json"), report)
    if trained.checkpoints:
        discard_checkpoints(trained.checkpoints)
    return (
        f"train: epoch {report['kept/epoch']} of {report['epochs']}, val mAP {report['val/map']:.3f}, "
        f"mAP50 {report['val/map50']:.3f}, {report['seconds']:.0f} s"
    )


if __name__ == "__main__":
    run(main)
