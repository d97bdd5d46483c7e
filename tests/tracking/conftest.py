"""A repository as the earlier stages leave it, and a reader of the runs that wandb wrote."""

import csv
import dataclasses
import json
import os
import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from reprolens.config import Config, load
from reprolens.config.compose import compose, to_yaml

REPOSITORY = Path(__file__).parents[2]
CLASSES = [str(digit) for digit in range(10)]
HASHES = {"data/voc": "a" * 32 + ".dir", "weights/initial.pt": "b" * 32, "weights/model.pt": "c" * 32}


@dataclasses.dataclass(frozen=True)
class Repository:
    """A repository's root, and its configuration read back from config.yaml."""

    root: Path
    config: Config

    def tracking(self, **changes: Any) -> Config:
        """Return the configuration with other values in the section `tracking`."""
        return dataclasses.replace(self.config, tracking=dataclasses.replace(self.config.tracking, **changes))


@dataclasses.dataclass(frozen=True)
class Written:
    """What an offline run holds, read from its .wandb file: the records that the server would be sent."""

    folder: Path
    run: Any
    config: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    metrics: dict[str, Any]
    artifacts: dict[str, Any]
    exit_code: int | None

    def media(self, name: str) -> Any:
        """Return a media value, which lies in the last row of the history."""
        return self.history[-1][name]


def _records(data: bytes) -> Iterator[bytes]:
    """Yield the records of a .wandb file: LevelDB's log format behind a header of 7 bytes."""
    offset, parts = 7, b""
    while offset + 7 <= len(data):
        left = 32768 - offset % 32768
        if left < 7:
            offset += left
            continue
        _, length, kind = struct.unpack("<IHB", data[offset : offset + 7])
        parts += data[offset + 7 : offset + 7 + length]
        offset += 7 + length
        if kind in (1, 4):  # the whole record, or its last part
            yield parts
            parts = b""


def _set(target: dict[str, Any], item: Any) -> None:
    *path, last = list(item.nested_key) or [item.key]
    for key in path:
        target = target.setdefault(key, {})
    target[last] = json.loads(item.value_json)


@pytest.fixture(scope="session")
def read_run() -> Callable[[Path], Written]:
    """Read the one run in an offline folder back from its transaction log."""

    def read(folder: Path) -> Written:
        from wandb.proto import wandb_internal_pb2

        (log,) = folder.glob("*.wandb")
        written = Written(folder, None, {}, [], {}, {}, {}, None)
        run, exit_code = None, None
        for data in _records(log.read_bytes()):
            record = wandb_internal_pb2.Record.FromString(data)
            kind = record.WhichOneof("record_type")
            if kind == "run":
                run = record.run
            elif kind == "metric":
                written.metrics[record.metric.name] = record.metric
            elif kind == "artifact":
                written.artifacts[record.artifact.name] = record.artifact
            elif kind == "exit":
                exit_code = record.exit.exit_code
            elif kind == "history":
                row: dict[str, Any] = {}
                for item in record.history.item:
                    _set(row, item)
                written.history.append(row)
            elif kind == "summary":
                for item in record.summary.update:
                    _set(written.summary, item)
            if kind in ("run", "config"):
                for item in (record.run.config if kind == "run" else record.config).update:
                    _set(written.config, item)
        return dataclasses.replace(written, run=run, exit_code=exit_code)

    return read


@pytest.fixture(scope="session")
def build() -> Callable[..., Repository]:
    """Fill a folder with what compose, convert, pretrain, train, evaluate and export write."""

    def fill(root: Path, epochs: int = 5, samples: int = 3, model_size: int = 1000) -> Repository:
        generator = random.Random(1)
        (root / "reports" / "plots").mkdir(parents=True)
        _write_json_reports(root / "reports")
        _write_history(root / "reports" / "history.csv", epochs)
        _write_plots(root / "reports" / "plots")
        _write_samples(root / "reports" / "samples", samples, generator)
        for path, data in {
            "weights/model.pt": generator.randbytes(model_size),
            "export/model.onnx": generator.randbytes(model_size),
            "export/labels.txt": "\n".join(CLASSES).encode(),
            "export/README.md": b"# Model card\n",
        }.items():
            (root / path).parent.mkdir(exist_ok=True)
            (root / path).write_bytes(data)
        outs = "".join(f"    - path: {path}\n      md5: {md5}\n" for path, md5 in HASHES.items())
        (root / "dvc.lock").write_text(f"schema: '2.0'\nstages:\n  all:\n    cmd: python x.py\n    outs:\n{outs}")
        (root / "config.yaml").write_text(to_yaml(compose(REPOSITORY, ["tracking=offline"])))
        return Repository(root, load(root / "config.yaml"))

    return fill


@pytest.fixture
def repository(build: Callable[..., Repository], tmp_path: Path) -> Repository:
    return build(tmp_path)


@pytest.fixture(autouse=True)
def _own_wandb(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's account and WANDB_* variables out of the tests."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path_factory.mktemp("wandb-config")))
    monkeypatch.setenv("NETRC", str(tmp_path_factory.mktemp("netrc") / "netrc"))


def _write_json_reports(folder: Path) -> None:
    per_class = {f"voc12/ap50/{name}": 0.9 - index / 100 for index, name in enumerate(CLASSES)}
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
            "best/val/map50": 0.93,
            "precision": "bf16",
            "weights_kept": ["a", "b"],
        },
        "evaluation": {
            "images": 100,
            "boxes": 400,
            "split": "test",
            "voc12/map50": 0.925,
            "voc12/map50/low": 0.9,
            "voc12/map50/high": 0.95,
            "coco/ap": 0.61,
            "coco/ap_large": None,
            "precision": 0.9,
            "precision/low": 0.85,
            "precision/high": 0.92,
            "voc12/ap50/low": 0.5,  # a class may be called so
            **per_class,
        },
        "export": {"file": "export/model.onnx", "opset": 18, "parity/images": 8, "latency_ms/onnxruntime": 7.5},
    }
    for name, report in reports.items():
        (folder / f"{name}.json").write_text(json.dumps(report))


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
    Image.new("RGB", (320, 240), "white").save(folder / "pr.png")


def _write_samples(folder: Path, count: int, generator: random.Random) -> None:
    folder.mkdir()
    entries = []
    for index in range(count):
        picture = Image.new("RGB", (160, 120), (200, 40 * index % 256, 90))
        ImageDraw.Draw(picture).ellipse((20, 20, 60, 60), fill="white")
        picture.save(folder / f"{index}.jpg", quality=90)
        box = [20.0, 20.5, 60.0, 60.25]
        seen = {"box": [21.0, 19.5, 61.0, 62.0], "label": "3", "score": round(generator.uniform(0.5, 1), 3)}
        entries.append(
            {
                "image": f"{index}.jpg",
                "id": f"test_{index:04d}",
                "width": 160,
                "height": 120,
                "truth": [{"box": box, "label": "3", "difficult": index == 1}],
                "predictions": [] if index == 2 else [seen],
            }
        )
    (folder / "samples.json").write_text(json.dumps(entries))
    Image.new("RGB", (640, 480), "black").save(folder / "sheet.png")
