"""Experiments that were never run: what their stages leave behind, written with the library's own writers."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from reprolens import files
from reprolens.evaluation import DetectionEvaluator, Detections, Picture, truth_of
from reprolens.evaluation.fingerprint import fingerprint
from reprolens.evaluation.predictions.coco_files import write_predictions, write_truth
from reprolens.voc import Object, Record, parse_annotation, read_folder, write_folder

CLASSES = ("cat", "dog", "<b>&cow")
SIZE = (120, 90)
CONFIG = {
    "seed": 1,
    "model": {"name": "fcos", "image_size": [96, 96]},
    "optimizer": {"lr": 1e-3},
    "evaluate": {"split": "test", "score_threshold": 0.5},
    "tracking": {"name": "one"},
}


def make_voc(folder: Path, images: int, seed: int = 0) -> Path:
    """Write a VOC folder with a test split of drawn pictures; the same arguments write the same bytes."""
    random = np.random.default_rng(seed)
    records = []
    for number in range(images):
        objects = []
        for _ in range(int(random.integers(1, 5))):
            x, y = random.uniform(0, 70), random.uniform(0, 50)
            box = (x, y, x + random.uniform(12, 45), y + random.uniform(12, 38))
            name = CLASSES[int(random.integers(len(CLASSES)))]
            objects.append(
                Object(name, tuple(round(float(value), 1) for value in box), difficult=random.random() < 0.1)
            )
        records.append(Record(f"{number:03}", f"{number:03}.jpg", *SIZE, objects=tuple(objects)))
        path = folder / "JPEGImages" / f"{number:03}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(60, 190, (9, 12, 3), dtype=np.uint8)).resize(SIZE).save(path)
    write_folder(folder, CLASSES, {"train": [], "val": [], "test": records})
    return folder


def find(voc: Path, noise: float, seed: int = 7) -> list[Picture]:
    """Return the test pictures with what a detector finds that is so many pixels off; the more, the more it misses."""
    folder, random = read_folder(voc), np.random.default_rng(seed)
    pictures = []
    for record in folder.records("test"):
        truth = truth_of(record, folder.classes)
        boxes = truth.boxes + random.normal(0, 1, truth.boxes.shape) * noise
        kept = random.random(len(truth)) > noise / 20
        scores, false = random.uniform(0.4, 1, len(truth)), random.uniform(0, 50, (1, 2))
        own = Detections(
            np.concatenate([boxes[kept], np.hstack((false, false + 20))]),
            np.append(scores[kept], 0.1 + noise / 20),
            np.append(truth.labels[kept], 0),
        )
        pictures.append(Picture(record, folder.image(record), own))
    return pictures


def write_reports(root: Path, voc: Path, noise: float, config: Mapping[str, Any] = CONFIG) -> None:
    """Write into `root` what the stages of an experiment leave behind."""
    pictures = find(voc, noise)
    evaluator = DetectionEvaluator(CLASSES)
    for picture in pictures:
        evaluator.update(picture.record.id, picture.detections, truth_of(picture.record, CLASSES), SIZE)
    hashed = fingerprint(read_folder(voc), "test")
    reports = root / "reports"
    said = {"split": "test", "data/sha256": hashed, "weights/sha256": f"{noise:.0f}" * 64, "score_threshold": 0.5}
    files.write_json(reports / "evaluation.json", {**said, **evaluator.compute().metrics})
    files.write_json(reports / "export.json", {"onnx/size_mb": 8.0 + noise, "onnx/latency_ms/p50": 2.5})
    files.write_json(reports / "train.json", {"parameters": 1000})
    write_predictions(pictures, reports / "predictions.json")
    write_truth(pictures, CLASSES, "test", hashed, reports / "ground_truth.json")
    files.write_text(root / "config.yaml", yaml.safe_dump(dict(config)))


def write_voc100(base: Path, folder: Path) -> tuple[Path, Path]:
    """Write the truth of the 100 VOC photographs as the published numbers take it, and their detections made worse."""
    random, classes = np.random.default_rng(0), (base / "voc.names").read_text().split()
    pictures = []
    for path in sorted((base / "gts" / "pascalvoc_format").glob("*.xml")):
        record = replace(parse_annotation(path.read_bytes(), path.name), id=path.stem)
        moved = [replace(item, box=(item.box[0] + 1, item.box[1] + 1, *item.box[2:])) for item in record.objects]
        found = base / "dets" / "abs_xyx2y2" / f"{path.stem}.txt"
        lines = found.read_text().split("\n") if found.is_file() else []
        table = np.array([line.split() for line in lines if line.strip()], dtype=float).reshape(-1, 6)
        worse = Detections(table[:, 2:] + random.normal(0, 12, (len(table), 4)), table[:, 1], table[:, 0].astype(int))
        pictures.append(Picture(replace(record, objects=tuple(moved)), path, worse))
    truth, noisy = folder / "truth.json", folder / "noisy.json"
    write_truth(pictures, classes, "val", None, truth)
    write_predictions(pictures, noisy)
    return truth, noisy
