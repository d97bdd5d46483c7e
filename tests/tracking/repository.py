"""A repository as the stages before track leave it."""

import csv
import dataclasses
import json
import random
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from reprolens.config import Config, load
from reprolens.config.compose import compose, to_yaml

REPOSITORY = Path(__file__).parents[2]
CLASSES = [str(digit) for digit in range(10)]
ERRORS = [("cls", 7, 0.02), ("loc", 5, 0.01), ("both", 2, 0.0), ("dupe", 1, 0.003), ("bkg", 9, 0.004), ("miss", 0, 0.0)]
REASON = "coco/ap falls by 0.1000, allowed is 0.02 (export.gate.max_drop.int8)"
HASHES = {"data/voc": "a" * 32 + ".dir", "weights/initial.pt": "b" * 32, "weights/model.pt": "c" * 32}


@dataclasses.dataclass(frozen=True)
class Repository:
    """A repository's root, and its configuration read back from config.yaml."""

    root: Path
    config: Config

    def tracking(self, **changes: Any) -> Config:
        """Return the configuration with other values in the section `tracking`."""
        return dataclasses.replace(self.config, tracking=dataclasses.replace(self.config.tracking, **changes))

    def damage(self, name: str, text: str | None) -> None:
        """Give a file another content; None removes it."""
        path = self.root / name
        if text is None:
            path.unlink()
        else:
            path.write_text(text)


def build_repository(root: Path, epochs: int = 5, samples: int = 3, model_size: int = 1000) -> Repository:
    """Fill a folder with what compose, convert, pretrain, train, evaluate and export write; sizes are in bytes."""
    generator = random.Random(1)
    (root / "reports" / "plots").mkdir(parents=True)
    _write_json_reports(root / "reports")
    _write_history(root / "reports" / "history.csv", epochs)
    _write_plots(root / "reports" / "plots")
    _write_samples(root / "reports" / "samples", samples, generator)
    _write_sheets(root / "reports" / "sheets")
    _write_label_errors(root / "reports" / "label_errors.csv")
    for path, data in {
        "weights/model.pt": generator.randbytes(model_size),
        "reports/predictions.json": b"[]\n",
        "reports/ground_truth.json": b'{"images": [], "annotations": [], "categories": []}\n',
        "export/model.onnx": generator.randbytes(model_size),
        "export/labels.txt": "\n".join(CLASSES).encode(),
        "export/README.md": b"# Model card\n",
        "export/rejected/onnx_int8/model-int8.onnx": b"worse",
        "export/rejected/onnx_int8/reason.txt": f"{REASON}\n".encode(),
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    outs = "".join(f"    - path: {path}\n      md5: {md5}\n" for path, md5 in HASHES.items())
    (root / "dvc.lock").write_text(f"schema: '2.0'\nstages:\n  all:\n    cmd: python x.py\n    outs:\n{outs}")
    (root / "config.yaml").write_text(to_yaml(compose(REPOSITORY, ["tracking=offline"])))
    return Repository(root, load(root / "config.yaml"))


def _write_json_reports(folder: Path) -> None:
    reports: dict[str, dict[str, Any]] = {
        "dataset": {
            "images": 700,
            "boxes": 2800,
            "images/train": 500,
            "boxes/train": 2000,
            "problems": 0,
            "classes": [{"name": name, "train": 200, "val": 40, "test": 40} for name in CLASSES],
            "problem_list": [],
            "source": {"format": "digits", "path": "data/digits"},
        },
        "pretrain": {"source": "published", "name": "mobilenet_v2", "sha256": "d" * 64, "tensors": 314},
        "train": {
            "epochs": 5,
            "seconds": 61.5,
            "best/epoch": 4,
            "val/map50": 0.59,
            "val/map": 0.3,
            "precision": "bf16",
            "weights_kept": ["a", "b"],
            "fingerprint": "f" * 16,
        },
        "evaluation": _evaluation(),
        "export": _export(),
    }
    for name, report in reports.items():
        (folder / f"{name}.json").write_text(json.dumps(report))


def _export() -> dict[str, Any]:
    """Return the report on two files, of which one is worse than the model and so was not published."""
    files = {
        "torch": ("", 0.925, 0.61, 12.5),
        "onnx": ("model.onnx", 0.925, 0.6098, 7.5),
        "onnx_int8": ("model-int8.onnx", 0.8, 0.51, 4.25),
    }
    report: dict[str, Any] = {"published": ["onnx"], "rejected": {"onnx_int8": REASON}, "split": "test", "images": 100}
    report |= {"opset": 18, "threads": 2, "cpu": "A processor", "batch": 8}
    for name, (file, map50, ap, median) in files.items():
        report |= {f"{name}/voc12/map50": map50, f"{name}/coco/ap": ap, f"{name}/images_per_second": 1100 / median}
        report |= {f"{name}/latency_ms/p50": median, f"{name}/latency_ms/p95": 1.5 * median}
        report[f"{name}/peak_memory_mib"] = 120.5
        if file:
            report |= {f"{name}/passed": name == "onnx", f"{name}/file": file, f"{name}/size_mb": 8.5}
            report |= {f"{name}/drop/voc12/map50": 0.925 - map50, f"{name}/drop/coco/ap": 0.61 - ap}
            report[f"{name}/speedup"] = 12.5 / median
    return report


def _evaluation() -> dict[str, Any]:
    return {
        "split": "test",
        "images": 100,
        "boxes": 400,
        "detections": 950,
        "data/sha256": "1" * 64,
        "weights/sha256": "2" * 64,
        "near_duplicates": 2,
        "voc12/map50": 0.925,
        "voc12/map50/low": 0.9,
        "voc12/map50/high": 0.95,
        "coco/ap": 0.61,
        "coco/ap_small": 0.45,
        "coco/ap_medium": 0.65,
        "coco/ap_large": 0.75,
        "coco/ar_small": 0.5,
        "coco/ar_large": None,
        "score_threshold": 0.5,
        "precision": 0.9,
        "precision/low": 0.85,
        "precision/high": 0.92,
        "best_f1": 0.88,
        "best_f1/threshold": 0.42,
        "calibration/ece": 0.0625,
        "calibration/mce": 0.25,
        "boxes/small": 300,
        "boxes/medium": 100,
        "boxes/large": 0,
        "voc12/ap50/low": 0.5,  # a class may be called so
        **{f"tide/{name}": cost for name, _, cost in ERRORS},
        **{f"voc12/ap50/{name}": 0.9 - index / 100 for index, name in enumerate(CLASSES)},
    }


def _write_history(path: Path, epochs: int) -> None:
    header = ("epoch", "global_step", "lr", "train/loss", "train/box", "val/map50", "val/map", "images_per_second")
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for epoch in range(1, epochs + 1):
            # Validation is run every second epoch and is best before the end.
            val = [0.5 + 0.1 * (epoch == 2), 0.3] if epoch % 2 == 0 else ["", ""]
            writer.writerow([epoch, epoch * 32, 0.001, 1 / epoch, 0.5 / epoch, *val, 210.5])


def _write_plots(folder: Path) -> None:
    points = [f"{name},{step / 100},{1 - step / 200}\n" for name in CLASSES for step in range(101)]
    (folder / "pr.csv").write_text("class,recall,precision\n" + "".join(points))
    rows = [f"{name},40,0.9,{'' if name == '9' else 0.6}\n" for name in CLASSES]
    (folder / "per_class.csv").write_text("class,boxes,ap50_voc12,ap_coco\n" + "".join(rows))
    names = [*CLASSES, "background"]
    pairs = [f"{truth},{seen},{9 if truth == seen != 'background' else 0}\n" for truth in names for seen in names]
    (folder / "confusion.csv").write_text("truth,prediction,count\n" + "".join(pairs))
    kinds = [f"{name},{count},{cost}\n" for name, count, cost in ERRORS]
    (folder / "errors.csv").write_text("error,count,cost\n" + "".join(kinds))
    bins = [f"{(place + 0.5) / 4},{place / 4},{10 * place},{place / 4},{(place + 1) / 4}\n" for place in (1, 2, 3)]
    (folder / "reliability.csv").write_text("confidence,accuracy,count,lower,upper\n,,0,0.0,0.25\n" + "".join(bins))
    rows = [f"{step / 20},{0.5 + step / 40},{1 - step / 20},{0.5}\n" for step in range(21)]
    (folder / "thresholds.csv").write_text("threshold,precision,recall,f1\n" + "".join(rows))
    figures = {"pr": "white", "confusion": "blue", "errors": "red", "class_ap": "green", "reliability": "yellow"}
    for name, color in figures.items():
        Image.new("RGB", (320, 240), color).save(folder / f"{name}.png")


def _write_label_errors(path: Path) -> None:
    rows = [
        ("test_0001", "overlooked", "", "8", 1, 2.5, 30, 40, 0.875),
        ("test_0002", "swapped", "3", "8", 20, 20.5, 60, 60.25, 0.5),
        ("test_0002", "spurious", "7", "", 5, 5, 9, 9, 0.25),
    ]
    with path.open("w", newline="") as file:
        header = ("image", "kind", "class", "suggested", "x0", "y0", "x1", "y1", "suspicion")
        csv.writer(file).writerows([header, *rows])


def _write_samples(folder: Path, count: int, generator: random.Random) -> None:
    """Write so many samples and, if there are any, two of the worst."""
    folder.mkdir()
    entries = []
    worst = [("worst", f"worst-{index}.jpg", "1 missed, 2 false") for index in range(2 if count else 0)]
    for index, (kind, file, why) in enumerate([("sample", f"{index}.jpg", None) for index in range(count)] + worst):
        picture = Image.new("RGB", (160, 120), (200, 40 * index % 256, 90))
        ImageDraw.Draw(picture).ellipse((20, 20, 60, 60), fill="white")
        picture.save(folder / file, quality=90)
        box = [20.0, 20.5, 60.0, 60.25]
        seen = {"box": [21.0, 19.5, 61.0, 62.0], "label": "3", "score": round(generator.uniform(0.5, 1), 3)}
        entries.append(
            {
                "image": file,
                "kind": kind,
                "why": why,
                "id": f"test_{index:04d}",
                "width": 160,
                "height": 120,
                "truth": [{"box": box, "label": "3", "difficult": index == 1}],
                "predictions": [] if index == 2 else [seen],
            }
        )
    (folder / "samples.json").write_text(json.dumps(entries))
    Image.new("RGB", (640, 480), "black").save(folder / "sheet.png")
    Image.new("RGB", (640, 480), "grey").save(folder / "worst.png")
    for color, name in (("red", "false_positives"), ("blue", "misses"), ("yellow", "label_errors")):
        Image.new("RGB", (640, 480), color).save(folder / f"{name}.png")


def _write_sheets(folder: Path) -> None:
    folder.mkdir()
    for color, name in (("orange", "data"), ("green", "augmentation")):
        Image.new("RGB", (640, 480), color).save(folder / f"{name}.jpg")
